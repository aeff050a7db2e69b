"""Typed settings of the GWI nets (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

Mirror = Literal["none", "naive", "all"]


@dataclass
class GwiModel:
    """What every net from gathers to maps shares.

    Args:
        amplitude: What the net sees of a sample x: x itself, or sign(x) log(1 + gain |x|) / log(1 + gain), as the OpenFWI
            benchmark does.
        gain: 1 in the benchmark. Four of five samples are below 0.1 beside direct waves of 50: with a gain of 30 a net of few
            steps sees the reflections.
        confidence_weight: Weight of the loss of the net's own error estimate (4th place: 1); 0 = no such loss.
        mirror: ``none``; ``naive`` = training samples are mirrored at random and predictions averaged over both views, though
            the mirrored central shot is wrong by a cell; ``all`` = the net only ever sees the mirrored line, and its
            maps are mirrored back (4th place's second model).
    """

    # module:class of the net; a plain string, because this file is read before torch is imported
    net: ClassVar[str] = ""

    amplitude: Literal["raw", "log1p"] = "log1p"
    gain: float = 1.0
    confidence_weight: float = 1.0
    mirror: Mirror = "none"

    def __post_init__(self) -> None:
        if self.gain <= 0:
            raise ValueError(f"model.gain must be above 0, got {self.gain}")

    def net_arguments(self) -> dict[str, Any]:
        """The settings that belong to the net itself."""
        shared = {field.name for field in fields(GwiModel)}
        return {name: value for name, value in asdict(self).items() if name not in shared}


@dataclass
class Inversion(GwiModel):
    """18 x 18 tokens, MBConv and transformer in turn (4th place). 92 million parameters at the defaults.

    Args:
        dim: Width of a token (small 64, base 192, full 384).
        blocks: Pairs of MBConv and transformer (small 4, base 12, full 28).
        head_dim: Width of an attention head.
        resize_width: Stretch the 70 receivers to this many before tokens are cut, such as 288; 0 pads them to 72.
        checkpoint_blocks: Compute the transformers again in the backward pass, to save memory.
        norm_momentum: Share of a batch in BatchNorm's running statistics; 0.01 as in the source needs some hundred steps.
    """

    net: ClassVar[str] = "lit_modules.nets.gwi_inversion:GwiInversion"

    dim: int = 384
    blocks: int = 28
    head_dim: int = 32
    resize_width: int = 0
    checkpoint_blocks: bool = False
    norm_momentum: float = 0.01


@dataclass
class BenchmarkNet(GwiModel):
    """InversionNet of the OpenFWI benchmark; it has no error estimate.

    Args:
        samples: Time samples of a gather, the same as ``--data.samples``.
        width: Channels of the first layer.
    """

    net: ClassVar[str] = "lit_modules.nets.inversionnet:InversionNet"

    confidence_weight: float = 0.0
    samples: int = 1000
    width: int = 32


@dataclass
class FamilyNet:
    """The body of the 4th place's net on velocity maps: which of OpenFWI's ten families they belong to.

    Args:
        dim: Width of a token.
        blocks: Pairs of MBConv and transformer.
        head_dim: Width of an attention head.
        imitation: How far maps are blurred and given smooth errors, as maps that a net predicts have them, validation maps
            too: 1 = about 30 m/s off on average, 0 = true maps. Match it to the error of the net whose maps shall be told apart.
        predicted_share: How often training shows a map as a net predicted it (``--data.predicted``) and not an imitation.
        label_smoothing: Label smoothing of the cross entropy.
        checkpoint_blocks: Compute the transformers again in the backward pass, to save memory.
        norm_momentum: Share of a batch in BatchNorm's running statistics.
    """

    dim: int = 384
    blocks: int = 28
    head_dim: int = 32
    imitation: float = 1.0
    predicted_share: float = 0.5
    label_smoothing: float = 0.0
    checkpoint_blocks: bool = False
    norm_momentum: float = 0.01

    def __post_init__(self) -> None:
        if self.imitation < 0:
            raise ValueError(f"model.imitation must not be negative, got {self.imitation}")
        if not 0 <= self.predicted_share <= 1:
            raise ValueError(f"model.predicted_share must be between 0 and 1, got {self.predicted_share}")
