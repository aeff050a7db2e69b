"""Typed settings of the GWI nets (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal

from datamodules.settings import Checked, setting

Mirror = Literal["none", "naive", "all"]


@dataclass
class GwiModel(Checked):
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
        scaling: Training maps are multiplied by random factors up to 1 + this or its inverse, as far as they stay between 1500 and
            4500 m/s, and their gathers become those of such maps (:mod:`lit_modules.gwi.scaling`); 0 = not.
    """

    group: ClassVar[str] = "model"

    # module:class of the net; a plain string, because this file is read before torch is imported
    net: ClassVar[str] = ""

    amplitude: Literal["raw", "log1p"] = "log1p"
    gain: float = setting(1.0, above=0)
    confidence_weight: float = setting(1.0, low=0)
    mirror: Mirror = "none"
    scaling: float = setting(0.0, low=0, high=1)

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
        tokens: Tokens along an edge of the grid, 18 in the source; 6, 8, 9, 12, 24 or 36 divide the cells as well. With 9 an
            optimiser step costs about a fifth.
        positions: Add a learned vector for each place of the grid to its token.
    """

    net: ClassVar[str] = "lit_modules.nets.gwi_inversion:GwiInversion"

    dim: int = setting(384, low=1)
    blocks: int = setting(28, low=1)
    head_dim: int = setting(32, low=1)
    resize_width: int = setting(0, low=0)
    checkpoint_blocks: bool = False
    norm_momentum: float = setting(0.01, above=0, high=1)
    tokens: int = setting(18, low=1)
    positions: bool = False


@dataclass
class BenchmarkNet(GwiModel):
    """InversionNet of the OpenFWI benchmark; it has no error estimate.

    Args:
        samples: Time samples of a gather, the same as ``--data.samples``.
        width: Channels of the first layer.
    """

    net: ClassVar[str] = "lit_modules.nets.inversionnet:InversionNet"

    confidence_weight: float = setting(0.0, low=0)
    samples: int = setting(1000, low=1)
    width: int = setting(32, low=1)


@dataclass
class FamilyNet(Checked):
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

    group: ClassVar[str] = "model"

    dim: int = setting(384, low=1)
    blocks: int = setting(28, low=1)
    head_dim: int = setting(32, low=1)
    imitation: float = setting(1.0, low=0)
    predicted_share: float = setting(0.5, low=0, high=1)
    label_smoothing: float = setting(0.0, low=0, below=1)
    checkpoint_blocks: bool = False
    norm_momentum: float = setting(0.01, above=0, high=1)
