"""1D convolutions on a table: a linear layer learns an order of the features in which neighbours belong together."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import celu, relu
from torch.nn.utils.parametrizations import weight_norm

_CELU_ALPHA = 0.06


class SoftOrderingCNN(nn.Module):
    """The 1D-CNN of the 2nd place of MoA, the best single model of that competition.

    A weight-normalised linear layer spreads the features over ``channels`` signals of ``length`` steps; convolutions with
    one multiplicative shortcut and two poolings read them.

    Args:
        in_features: Columns of the input.
        out_features: Logits.
        channels: Channels of the first signal, 256 in the source.
        length: Length of the signal, 16 in the source; must divide by 4.
        width: Channels of the convolutions, 512 in the source.
    """

    def __init__(
        self, in_features: int, out_features: int, channels: int = 256, length: int = 16, width: int = 512
    ) -> None:
        super().__init__()
        if length % 4:
            raise ValueError(f"model.length must divide by 4, got {length}")
        self.signal = (channels, length)
        self.order = nn.Sequential(
            nn.BatchNorm1d(in_features), nn.Dropout(0.1), weight_norm(nn.Linear(in_features, channels * length))
        )
        self.enter = _conv_block(channels, width, kernel=5, dropout=0.1, bias=False)
        self.halve = nn.AdaptiveAvgPool1d(length // 2)
        self.gate = _conv_block(width, width, kernel=3, dropout=0.1)
        self.deep = nn.ModuleList(
            [_conv_block(width, width, kernel=3, dropout=0.3), _conv_block(width, width, kernel=5, dropout=0.2)]
        )
        self.pool = nn.MaxPool1d(kernel_size=4, stride=2, padding=1)
        flat = width * (length // 4)
        self.head = nn.Sequential(
            nn.Flatten(), nn.BatchNorm1d(flat), nn.Dropout(0.2), weight_norm(nn.Linear(flat, out_features))
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(B, in_features)`` to logits ``(B, out_features)``."""
        signal = celu(self.order(x), alpha=_CELU_ALPHA).unflatten(1, self.signal)
        gate = relu(self.gate(self.halve(relu(self.enter(signal)))))
        deep = gate
        for block in self.deep:
            deep = relu(block(deep))
        logits: Tensor = self.head(self.pool(deep * gate))
        return logits


def _conv_block(in_channels: int, out_channels: int, kernel: int, dropout: float, bias: bool = True) -> nn.Sequential:
    convolution = nn.Conv1d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
    # dim=-1: one length for the whole kernel, not one per output channel
    return nn.Sequential(nn.BatchNorm1d(in_channels), nn.Dropout(dropout), weight_norm(convolution, dim=-1))
