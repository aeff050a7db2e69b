"""A bottleneck over the whole column beside the column itself, read by an LSTM: the 5th place of LEAP.

Source: "Crowdsourcing the Frontier" (Lin et al. 2025, arXiv:2511.20963), after YusefAN's solution.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from lit_modules.nets.blocks.headed import HeadedNet
from lit_modules.nets.blocks.rnn import BidirectionalRNN


class EncDecLSTM(HeadedNet):
    """MLP encoder and decoder of the flat column, LSTM over input and decoded column, narrow GRU, MLP on the flat result.

    Args:
        in_channels: Channels of the input, 26 in the source.
        hidden: Width of one direction of the LSTM.
        layers: Layers of the LSTM.
        dropout: Dropout between the layers of the LSTM.
        bottleneck: Width of the encoder's three layers in multiples of ``in_channels``.
        narrow: Width of one direction of the GRU.
        confidence: Whether a head of expected errors exists.
        levels: Levels of a column.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 26,
        hidden: int = 512,
        layers: int = 3,
        dropout: float = 0.09,
        bottleneck: tuple[int, ...] = (15, 8, 4),
        narrow: int = 16,
        confidence: bool = False,
        levels: int = 60,
        n_level_targets: int = 6,
        n_scalar_targets: int = 8,
    ) -> None:
        flat = 2 * narrow * levels
        n_targets = n_level_targets * levels + n_scalar_targets
        super().__init__()
        self.add_heads(lambda: _relu_mlp(flat, flat // 2, n_targets), confidence)
        widths = [in_channels * share for share in (levels, *bottleneck)]
        self.encoder = _relu_mlp(*widths)
        self.decoder = _relu_mlp(*reversed(widths))
        self.lstm = BidirectionalRNN(2 * in_channels, hidden, layers, dropout)
        self.gru = BidirectionalRNN(2 * hidden, narrow, 1, dropout=0.0, cell="gru")

    def features(self, x: Tensor) -> Tensor:
        """Map (batch, levels, in_channels) to (batch, levels * 2 * narrow)."""
        decoded = self.decoder(self.encoder(x.flatten(1))).view_as(x)
        out: Tensor = self.gru(self.lstm(torch.cat([x, decoded], dim=-1))).flatten(1)
        return out


def _relu_mlp(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them, drawn by Xavier's rule."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        linear = nn.Linear(n_in, n_out)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])
