"""Typed settings of the LEAP nets (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Literal


@dataclass
class LeapModel:
    """What every LEAP net shares: input channels, loss, post-processing.

    Args:
        loss: pointwise loss on the scaled targets.
        loss_beta: where ``smooth_l1`` and ``huber`` turn from quadratic to linear, in scaled units.
        difference_weight: weight of the loss on differences between adjacent levels (2nd and 3rd place; 0 = off).
        second_difference_weight: weight of the loss on second differences (3rd place; 0 = off).
        relative_humidity: add relative humidity as an input channel (3rd, 4th and 10th place).
        vertical_difference: add differences between adjacent levels as input channels (7th place).
        target_scale: divide a weighted target by its ``rms`` (8th place) or its ``std``.
        clamp_water: no step may leave negative water (5th place).
    """

    # module:class of the net; a plain string, because this file is read before torch is imported
    net: ClassVar[str] = ""

    loss: Literal["smooth_l1", "huber", "mae", "mse"] = "smooth_l1"
    loss_beta: float = 1.0
    difference_weight: float = 0.0
    second_difference_weight: float = 0.0
    relative_humidity: bool = False
    vertical_difference: bool = False
    target_scale: Literal["rms", "std"] = "rms"
    clamp_water: bool = False

    def net_arguments(self) -> dict[str, Any]:
        """The settings that belong to the net itself."""
        shared = {field.name for field in fields(LeapModel)}
        return {name: value for name, value in asdict(self).items() if name not in shared}


@dataclass
class BiLSTM(LeapModel):
    """Bidirectional LSTM over the levels and an MLP at every level.

    Args:
        hidden: width of one direction.
        layers: stacked recurrent layers.
        dropout: between recurrent layers and in the head.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTM"

    hidden: int = 256
    layers: int = 6
    dropout: float = 0.1


@dataclass
class BiLSTMTCN(BiLSTM):
    """BiLSTM, squeeze-excite gate, dilated convolutions, linear head.

    Args:
        dilations: dilation of each convolution.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTMTCN"

    dilations: tuple[int, ...] = (1, 2, 4, 8)


@dataclass
class BiGRU(BiLSTM):
    """Bidirectional GRU of eight layers and an MLP at every level."""

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiGRU"

    layers: int = 8


@dataclass
class BiLSTMCNN(BiLSTM):
    """BiLSTM, squeeze-excite gate, two convolutions, linear head.

    Args:
        dilations: dilation of each convolution.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTMCNN"

    dilations: tuple[int, ...] = (1, 1)


@dataclass
class BiLSTMAttention(BiLSTM):
    """BiLSTM, self-attention without residual, MLP at every level.

    Args:
        heads: attention heads; must divide twice ``hidden``.
        attention_axis: ``level`` attends over the 60 levels; ``batch`` replicates the source's quirk (a row's result
            depends on the rows beside it) and is refused in validation and prediction.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTMAttention"

    heads: int = 8
    attention_axis: Literal["level", "batch"] = "level"


@dataclass
class BiLSTMTransformer(BiLSTMAttention):
    """BiLSTM, one Transformer encoder layer, MLP at every level.

    Args:
        feedforward: hidden width of the encoder layer.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent:BiLSTMTransformer"

    feedforward: int = 2048


@dataclass
class BiGRUTransformer(BiLSTMTransformer):
    """BiGRU, one Transformer encoder layer, MLP at every level (a script of the source without a score)."""

    net: ClassVar[str] = "lit_modules.nets.recurrent_hybrids:BiGRUTransformer"


@dataclass
class LSTMGRUTransformer(BiLSTMTransformer):
    """Weighted sum of a BiLSTM and a BiGRU, one Transformer encoder layer, MLP (a script of the source without a score).

    Args:
        lstm_share: weight of the BiLSTM; the BiGRU has the rest.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent_hybrids:LSTMGRUTransformer"

    lstm_share: float = 0.6


@dataclass
class TransformerLSTM(BiLSTMTransformer):
    """One Transformer encoder layer on the 25 channels, then BiLSTM and MLP (a script of the source without a score)."""

    net: ClassVar[str] = "lit_modules.nets.recurrent_hybrids:TransformerLSTM"

    heads: int = 5


@dataclass
class ResLSTMAttention(BiLSTMAttention):
    """One BiLSTM layer, concatenated with the input, BiLSTM, attention, MLP (a script of the source without a score)."""

    net: ClassVar[str] = "lit_modules.nets.recurrent_hybrids:ResLSTMAttention"

    heads: int = 1


@dataclass
class TCNAttention(BiLSTM):
    """Residual dilated convolutions and self-attention over the levels (a script of the source without a score).

    ``hidden`` is the width of the convolutions, ``layers`` the number of residual blocks.

    Args:
        heads: attention heads; must divide ``hidden``.
    """

    net: ClassVar[str] = "lit_modules.nets.recurrent_hybrids:TCNAttention"

    heads: int = 8


@dataclass
class Ridge(LeapModel):
    """Ridge regression on the standardised inputs; its penalty is chosen on the latest training rows."""

    net: ClassVar[str] = "lit_modules.leap.ridge:ColumnLinear"
