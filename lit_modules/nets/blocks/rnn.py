"""Bidirectional recurrent stack over the levels."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

_CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


class BidirectionalRNN(nn.Module):
    """Stacked bidirectional LSTM or GRU that returns its sequence of states alone.

    Args:
        in_channels: Channels of the input sequence.
        hidden: Width of one direction; the output has twice as many channels.
        layers: Stacked layers.
        dropout: Dropout between the layers (none after the last one).
        cell: Recurrent cell.
    """

    def __init__(
        self, in_channels: int, hidden: int, layers: int, dropout: float = 0.1, cell: Literal["lstm", "gru"] = "lstm"
    ) -> None:
        super().__init__()
        self.rnn = _CELLS[cell](
            in_channels,
            hidden,
            num_layers=layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, levels, in_channels) to (batch, levels, 2 * hidden)."""
        out: Tensor = self.rnn(x)[0].contiguous()  # it comes level by level; one copy here spares a convolution three
        return out
