"""Recurrent nets over the 60 atmospheric levels: the family of the 8th place of LEAP.

A net reads a standardised column (batch, 60, 25) - nine profiles and sixteen scalars repeated on every level - and gives
the 368 scaled targets. All of them are a recurrent body, a neck that mixes the levels once more, and a head that maps each
level to six tendencies and eight fluxes (:func:`sequence_to_targets`).

Source: write-up of jackhuntcn (Heng Zheng), Kaggle ``leap-atmospheric-physics-ai-climsim``, discussion 523223. The names and
the widths are the write-up's. Its unused linear layer is left out, and attention runs over the levels unless
``attention_axis="batch"`` asks for the source's quirk (:class:`AttentionOverAxis`).
"""

from __future__ import annotations

from torch import Tensor, nn

from lit_modules.nets.blocks.attention import AttentionAxis, AttentionOverAxis, SelfAttention
from lit_modules.nets.blocks.heads import MLPHead, sequence_to_targets
from lit_modules.nets.blocks.rnn import BidirectionalRNN
from lit_modules.nets.blocks.se import SEGate
from lit_modules.nets.blocks.tcn import ConvStack
from lit_modules.nets.blocks.transformer import EncoderLayer

LEVEL_TARGETS = 6  # tendencies of t, q0001, q0002, q0003, u, v
SCALAR_TARGETS = 8  # surface fluxes


class ColumnNet(nn.Module):
    """Body, neck and head in a row, then the reduction to the vector of targets.

    Args:
        body: Module (batch, levels, in_channels) -> (batch, levels, width).
        neck: Module that keeps that shape; ``nn.Identity()`` for none.
        head: Module (batch, levels, width) -> (batch, levels, level targets + scalar targets).
        n_level_targets: Leading channels of the head that are targets per level.
    """

    def __init__(self, body: nn.Module, neck: nn.Module, head: nn.Module, n_level_targets: int = LEVEL_TARGETS) -> None:
        super().__init__()
        self.body = body
        self.neck = neck
        self.head = head
        self.n_level_targets = n_level_targets

    def forward(self, x: Tensor) -> Tensor:
        """Map a column (batch, levels, in_channels) to targets (batch, level targets * levels + scalar targets)."""
        return sequence_to_targets(self.head(self.neck(self.body(x))), self.n_level_targets)


class BiLSTM(ColumnNet):
    """Bidirectional LSTM and an MLP at every level.

    Args:
        in_channels: Channels of the input, 25 in the source.
        hidden: Width of one direction.
        layers: Stacked recurrent layers.
        dropout: Dropout between recurrent layers and in the head.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 25,
        hidden: int = 256,
        layers: int = 6,
        dropout: float = 0.1,
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        super().__init__(
            body=BidirectionalRNN(in_channels, hidden, layers, dropout, cell="lstm"),
            neck=nn.Identity(),
            head=MLPHead(2 * hidden, n_level_targets + n_scalar_targets, dropout=dropout),
            n_level_targets=n_level_targets,
        )


class BiGRU(ColumnNet):
    """:class:`BiLSTM` with a GRU of eight layers. Arguments as there."""

    def __init__(
        self,
        in_channels: int = 25,
        hidden: int = 256,
        layers: int = 8,
        dropout: float = 0.1,
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        super().__init__(
            body=BidirectionalRNN(in_channels, hidden, layers, dropout, cell="gru"),
            neck=nn.Identity(),
            head=MLPHead(2 * hidden, n_level_targets + n_scalar_targets, dropout=dropout),
            n_level_targets=n_level_targets,
        )


class BiLSTMTransformer(ColumnNet):
    """BiLSTM, one post-norm Transformer encoder layer, MLP head.

    Args:
        in_channels: Channels of the input.
        hidden: Width of one direction.
        layers: Stacked recurrent layers.
        dropout: Dropout between recurrent layers, in the encoder layer and in the head.
        heads: Attention heads; must divide ``2 * hidden``.
        feedforward: Hidden width of the encoder layer.
        attention_axis: Axis the attention mixes; ``"batch"`` only to replicate the source.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 25,
        hidden: int = 256,
        layers: int = 6,
        dropout: float = 0.1,
        heads: int = 8,
        feedforward: int = 2048,
        attention_axis: AttentionAxis = "level",
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        super().__init__(
            body=BidirectionalRNN(in_channels, hidden, layers, dropout, cell="lstm"),
            neck=AttentionOverAxis(EncoderLayer(2 * hidden, heads, feedforward, dropout), attention_axis),
            head=MLPHead(2 * hidden, n_level_targets + n_scalar_targets, dropout=dropout),
            n_level_targets=n_level_targets,
        )


class BiLSTMAttention(ColumnNet):
    """BiLSTM, self-attention with neither residual nor norm, MLP head: the source's best single model.

    Args:
        in_channels: Channels of the input.
        hidden: Width of one direction.
        layers: Stacked recurrent layers.
        dropout: Dropout between recurrent layers and in the head; the attention has none.
        heads: Attention heads; must divide ``2 * hidden``.
        attention_axis: Axis the attention mixes; ``"batch"`` only to replicate the source.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 25,
        hidden: int = 256,
        layers: int = 6,
        dropout: float = 0.1,
        heads: int = 8,
        attention_axis: AttentionAxis = "level",
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        super().__init__(
            body=BidirectionalRNN(in_channels, hidden, layers, dropout, cell="lstm"),
            neck=AttentionOverAxis(SelfAttention(2 * hidden, heads), attention_axis),
            head=MLPHead(2 * hidden, n_level_targets + n_scalar_targets, dropout=dropout),
            n_level_targets=n_level_targets,
        )


class BiLSTMTCN(ColumnNet):
    """BiLSTM, squeeze-excite gate, four dilated convolutions, linear head.

    Args:
        in_channels: Channels of the input.
        hidden: Width of one direction.
        layers: Stacked recurrent layers.
        dropout: Dropout between recurrent layers and before the head.
        dilations: Dilation of each convolution.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 25,
        hidden: int = 256,
        layers: int = 6,
        dropout: float = 0.1,
        dilations: tuple[int, ...] = (1, 2, 4, 8),
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        width = 2 * hidden
        super().__init__(
            body=BidirectionalRNN(in_channels, hidden, layers, dropout, cell="lstm"),
            neck=nn.Sequential(SEGate(width), ConvStack(width, dilations)),
            head=nn.Sequential(nn.Dropout(dropout), nn.Linear(width, n_level_targets + n_scalar_targets)),
            n_level_targets=n_level_targets,
        )


class BiLSTMCNN(BiLSTMTCN):
    """:class:`BiLSTMTCN` with two undilated convolutions. Arguments as there."""

    def __init__(
        self,
        in_channels: int = 25,
        hidden: int = 256,
        layers: int = 6,
        dropout: float = 0.1,
        dilations: tuple[int, ...] = (1, 1),
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        super().__init__(in_channels, hidden, layers, dropout, dilations, n_level_targets, n_scalar_targets)
