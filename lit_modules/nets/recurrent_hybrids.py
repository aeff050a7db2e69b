"""Unpublished members of the 8th place's recurrent family: other bodies and necks around the same head.

They lie in the training scripts of jackhuntcn (Heng Zheng) beside the six nets of the write-up (:mod:`recurrent`), without
published scores. Inputs and outputs are the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lit_modules.nets.blocks.attention import AttentionAxis, AttentionOverAxis, SelfAttention
from lit_modules.nets.blocks.heads import MLPHead
from lit_modules.nets.blocks.rnn import BidirectionalRNN
from lit_modules.nets.blocks.tcn import ResidualTCNBlock
from lit_modules.nets.blocks.transformer import EncoderLayer
from lit_modules.nets.recurrent import LEVEL_TARGETS, SCALAR_TARGETS, ColumnNet


class BiGRUTransformer(ColumnNet):
    """BiGRU, one post-norm Transformer encoder layer, MLP head. Arguments as in :class:`BiLSTMTransformer`."""

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
            body=BidirectionalRNN(in_channels, hidden, layers, dropout, cell="gru"),
            neck=AttentionOverAxis(EncoderLayer(2 * hidden, heads, feedforward, dropout), attention_axis),
            head=MLPHead(2 * hidden, n_level_targets + n_scalar_targets, dropout=dropout),
            n_level_targets=n_level_targets,
        )


class LSTMGRUTransformer(ColumnNet):
    """0.6 BiLSTM + 0.4 BiGRU, one post-norm Transformer encoder layer, MLP head.

    Args:
        in_channels: Channels of the input.
        hidden: Width of one direction of both recurrent stacks.
        layers: Layers of both recurrent stacks.
        dropout: Dropout between recurrent layers, in the encoder layer and in the head.
        heads: Attention heads; must divide ``2 * hidden``.
        feedforward: Hidden width of the encoder layer.
        lstm_share: Share of the LSTM in the sum; the GRU has the rest.
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
        lstm_share: float = 0.6,
        attention_axis: AttentionAxis = "level",
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        super().__init__(
            body=_LSTMPlusGRU(in_channels, hidden, layers, dropout, lstm_share),
            neck=AttentionOverAxis(EncoderLayer(2 * hidden, heads, feedforward, dropout), attention_axis),
            head=MLPHead(2 * hidden, n_level_targets + n_scalar_targets, dropout=dropout),
            n_level_targets=n_level_targets,
        )


class TransformerLSTM(ColumnNet):
    """One Transformer encoder layer on the bare input channels, then BiLSTM, MLP head.

    Args:
        in_channels: Channels of the input and width of the encoder layer.
        hidden: Width of one direction.
        layers: Stacked recurrent layers.
        dropout: Dropout in the encoder layer, between recurrent layers and in the head.
        heads: Attention heads; must divide ``in_channels``.
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
        heads: int = 5,
        feedforward: int = 2048,
        attention_axis: AttentionAxis = "level",
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        encoder = AttentionOverAxis(EncoderLayer(in_channels, heads, feedforward, dropout), attention_axis)
        super().__init__(
            body=nn.Sequential(encoder, BidirectionalRNN(in_channels, hidden, layers, dropout, cell="lstm")),
            neck=nn.Identity(),
            head=MLPHead(2 * hidden, n_level_targets + n_scalar_targets, dropout=dropout),
            n_level_targets=n_level_targets,
        )


class ResLSTMAttention(ColumnNet):
    """One-layer BiLSTM joined to the input, BiLSTM over both, one-head self-attention, MLP head.

    Args:
        in_channels: Channels of the input.
        hidden: Width of one direction.
        layers: Layers of the second recurrent stack.
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
        heads: int = 1,
        attention_axis: AttentionAxis = "level",
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        super().__init__(
            body=_InputJoinedLSTM(in_channels, hidden, layers, dropout),
            neck=AttentionOverAxis(SelfAttention(2 * hidden, heads), attention_axis),
            head=MLPHead(2 * hidden, n_level_targets + n_scalar_targets, dropout=dropout),
            n_level_targets=n_level_targets,
        )


class TCNAttention(ColumnNet):
    """Residual dilated convolutions, self-attention over the levels with residual and LayerNorm, MLP head; no recurrence.

    The source attends over the levels here, so there is no axis to choose.

    Args:
        in_channels: Channels of the input.
        hidden: Channels of the convolutions.
        layers: Residual blocks; block i has dilation 2^i.
        dropout: Dropout in the blocks, of the attention weights and in the head.
        heads: Attention heads; must divide ``hidden``.
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
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
    ) -> None:
        blocks = (
            ResidualTCNBlock(hidden if i else in_channels, hidden, dilation=2**i, dropout=dropout)
            for i in range(layers)
        )
        super().__init__(
            body=nn.Sequential(*blocks),
            neck=_NormedAttention(hidden, heads, dropout),
            head=MLPHead(hidden, n_level_targets + n_scalar_targets, dropout=dropout),
            n_level_targets=n_level_targets,
        )


class _LSTMPlusGRU(nn.Module):
    """Weighted sum of the states of an LSTM and a GRU stack."""

    def __init__(self, in_channels: int, hidden: int, layers: int, dropout: float, lstm_share: float) -> None:
        super().__init__()
        self.lstm = BidirectionalRNN(in_channels, hidden, layers, dropout, cell="lstm")
        self.gru = BidirectionalRNN(in_channels, hidden, layers, dropout, cell="gru")
        self.lstm_share = lstm_share

    def forward(self, x: Tensor) -> Tensor:
        return self.lstm_share * self.lstm(x) + (1.0 - self.lstm_share) * self.gru(x)


class _InputJoinedLSTM(nn.Module):
    """A one-layer BiLSTM whose states, joined to its input, feed a deeper BiLSTM."""

    def __init__(self, in_channels: int, hidden: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.first = BidirectionalRNN(in_channels, hidden, layers=1)
        self.second = BidirectionalRNN(in_channels + 2 * hidden, hidden, layers, dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.cat([x, self.first(x)], dim=-1))


class _NormedAttention(nn.Module):
    """Self-attention with a residual and a LayerNorm after the sum."""

    def __init__(self, dim: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, heads, dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.attention(x))
