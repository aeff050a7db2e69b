"""Recurrent nets over the 60 atmospheric levels: the family of the 8th place of LEAP, as a table of parts.

A net reads a standardised column (batch, 60, channels) - profiles, and scalars repeated on every level - and gives the 368
scaled targets. All of them are a body, a neck that mixes the levels once more, and a head that maps each level to six
tendencies and eight fluxes (:func:`sequence_to_targets`). Their widths have defaults in one place,
:mod:`lit_modules.leap.settings`.

Source: write-up of jackhuntcn (Heng Zheng), Kaggle ``leap-atmospheric-physics-ai-climsim``, discussion 523223, for the first
six nets, with the names and the widths of the write-up; the other five lie in its training scripts, without published
scores. Its unused linear layer is left out, and attention runs over the levels unless ``attention_axis="batch"`` asks for
the source's quirk (:class:`AttentionOverAxis`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lit_modules.nets.blocks.attention import AttentionAxis, AttentionOverAxis, SelfAttention
from lit_modules.nets.blocks.headed import HeadedNet
from lit_modules.nets.blocks.heads import MLPHead, sequence_to_targets
from lit_modules.nets.blocks.rnn import BidirectionalRNN
from lit_modules.nets.blocks.se import SEGate
from lit_modules.nets.blocks.tcn import ConvStack, ResidualTCNBlock
from lit_modules.nets.blocks.transformer import EncoderLayer

LEVEL_TARGETS = 6  # tendencies of t, q0001, q0002, q0003, u, v
SCALAR_TARGETS = 8  # surface fluxes


@dataclass(frozen=True)
class Sizes:
    """Widths of the parts; each part reads what it needs.

    Args:
        hidden: Width of one direction of a recurrent layer, or channels of the convolutions of a TCN.
        layers: Stacked recurrent layers or residual blocks.
        dropout: Dropout between recurrent layers, in encoder layers and residual blocks, and in the head.
        heads: Attention heads; must divide the width that they attend in.
        feedforward: Hidden width of an encoder layer.
        attention_axis: Axis that attention mixes; ``"batch"`` only to replicate the source.
        attention_residual: Whether the attention of the neck is added to its input and the sum normalised.
        dilations: Dilation of each convolution of the neck.
        lstm_share: Share of the LSTM in the sum of LSTM and GRU.
    """

    hidden: int
    layers: int
    dropout: float
    heads: int = 1
    feedforward: int = 1
    attention_axis: AttentionAxis = "level"
    attention_residual: bool = False
    dilations: tuple[int, ...] = ()
    lstm_share: float = 1.0


class ColumnNet(HeadedNet):
    """Body, neck and head in a row, then the reduction to the vector of targets.

    Args:
        body: Key of :data:`BODIES`.
        neck: Key of :data:`NECKS`.
        head: Key of :data:`HEADS`.
        in_channels: Channels of the input.
        n_level_targets: Targets per level, the leading channels of the head.
        n_scalar_targets: Targets per column.
        confidence: Whether a head of expected errors exists.
        sizes: As :class:`Sizes`.
    """

    def __init__(
        self,
        body: str,
        neck: str,
        head: str,
        in_channels: int,
        n_level_targets: int = LEVEL_TARGETS,
        n_scalar_targets: int = SCALAR_TARGETS,
        confidence: bool = False,
        **sizes: Any,
    ) -> None:
        super().__init__()
        s = Sizes(**sizes)
        width = s.hidden if body == "tcn" else 2 * s.hidden
        self.body = BODIES[body](in_channels, s)
        self.neck = NECKS[neck](width, s)
        self.add_heads(lambda: HEADS[head](width, n_level_targets + n_scalar_targets, s.dropout), confidence)
        self.n_level_targets = n_level_targets

    def features(self, x: Tensor) -> Tensor:
        """Map (batch, levels, in_channels) to (batch, levels, width)."""
        out: Tensor = self.neck(self.body(x))
        return out

    def to_targets(self, x: Tensor) -> Tensor:
        """Reduce a map over the levels to (batch, level targets * levels + scalar targets)."""
        return sequence_to_targets(x, self.n_level_targets)


class LSTMPlusGRU(nn.Module):
    """Weighted sum of the states of an LSTM and a GRU stack."""

    def __init__(self, in_channels: int, s: Sizes) -> None:
        super().__init__()
        self.lstm = _rnn("lstm", in_channels, s)
        self.gru = _rnn("gru", in_channels, s)
        self.lstm_share = s.lstm_share

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, levels, in_channels) to (batch, levels, 2 * hidden)."""
        out: Tensor = self.lstm_share * self.lstm(x) + (1.0 - self.lstm_share) * self.gru(x)
        return out


class InputJoinedLSTM(nn.Module):
    """A one-layer BiLSTM whose states, joined to its input, feed a deeper BiLSTM."""

    def __init__(self, in_channels: int, s: Sizes) -> None:
        super().__init__()
        self.first = BidirectionalRNN(in_channels, s.hidden, layers=1)
        self.second = _rnn("lstm", in_channels + 2 * s.hidden, s)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, levels, in_channels) to (batch, levels, 2 * hidden)."""
        out: Tensor = self.second(torch.cat([x, self.first(x)], dim=-1))
        return out


class NormedAttention(nn.Module):
    """Self-attention over the levels with a residual and a LayerNorm after the sum."""

    def __init__(self, dim: int, s: Sizes) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, s.heads, s.dropout)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Attend in (batch, levels, dim); the shape stays."""
        out: Tensor = self.norm(x + self.attention(x))
        return out


def _rnn(cell: Any, n: int, s: Sizes) -> nn.Module:
    return BidirectionalRNN(n, s.hidden, s.layers, s.dropout, cell)


def _encoder(n: int, s: Sizes) -> nn.Module:
    return AttentionOverAxis(EncoderLayer(n, s.heads, s.feedforward, s.dropout), s.attention_axis)


def _attention(n: int, s: Sizes) -> nn.Module:
    return AttentionOverAxis(
        NormedAttention(n, s) if s.attention_residual else SelfAttention(n, s.heads), s.attention_axis
    )


def _residual_blocks(n: int, s: Sizes) -> nn.Module:
    """Block i has dilation 2^i."""
    blocks = (ResidualTCNBlock(s.hidden if i else n, s.hidden, 2**i, dropout=s.dropout) for i in range(s.layers))
    return nn.Sequential(*blocks)


BODIES: dict[str, Callable[[int, Sizes], nn.Module]] = {
    "lstm": partial(_rnn, "lstm"),
    "gru": partial(_rnn, "gru"),
    "lstm_plus_gru": LSTMPlusGRU,
    "encoder_lstm": lambda n, s: nn.Sequential(_encoder(n, s), _rnn("lstm", n, s)),
    "input_joined_lstm": InputJoinedLSTM,
    "tcn": _residual_blocks,
}
"""What reads the column: makes (batch, levels, channels) -> (batch, levels, width) from channels and sizes."""

NECKS: dict[str, Callable[[int, Sizes], nn.Module]] = {
    "none": lambda _n, _s: nn.Identity(),
    "encoder": _encoder,
    "attention": _attention,
    "normed_attention": NormedAttention,
    "convolutions": lambda n, s: nn.Sequential(SEGate(n), ConvStack(n, s.dilations)),
}
"""What mixes the levels once more; the shape stays."""

HEADS: dict[str, Callable[[int, int, float], nn.Module]] = {
    "mlp": lambda n, out, dropout: MLPHead(n, out, dropout=dropout),
    "linear": lambda n, out, dropout: nn.Sequential(nn.Dropout(dropout), nn.Linear(n, out)),
}
"""What makes the targets of a level from its channels."""

BiLSTM = partial(ColumnNet, "lstm", "none", "mlp")
BiGRU = partial(ColumnNet, "gru", "none", "mlp")
BiLSTMTransformer = partial(ColumnNet, "lstm", "encoder", "mlp")
BiLSTMAttention = partial(ColumnNet, "lstm", "attention", "mlp")  # the source's best single model
BiLSTMTCN = partial(ColumnNet, "lstm", "convolutions", "linear")
BiLSTMCNN = partial(ColumnNet, "lstm", "convolutions", "linear")  # two undilated convolutions
BiGRUTransformer = partial(ColumnNet, "gru", "encoder", "mlp")
LSTMGRUTransformer = partial(ColumnNet, "lstm_plus_gru", "encoder", "mlp")
TransformerLSTM = partial(ColumnNet, "encoder_lstm", "none", "mlp")
ResLSTMAttention = partial(ColumnNet, "input_joined_lstm", "attention", "mlp")
TCNAttention = partial(ColumnNet, "tcn", "normed_attention", "mlp")  # the source attends over the levels here
