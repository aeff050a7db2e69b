"""Efficient channel attention (Wang et al. 2020, arXiv:1910.03151)."""

from __future__ import annotations

from torch import Tensor, nn


class ECA(nn.Module):
    """Weigh each channel by a gate that sees the level means of the neighbouring channels.

    Mean over the levels, one convolution of a single kernel along the *channel* axis, sigmoid, multiply. Two published
    ports of the 1st place of LEAP gate the levels instead; this is the paper's and the winner's axis.

    Args:
        kernel_size: Odd number of neighbouring channels the gate sees.
    """

    def __init__(self, kernel_size: int = 5) -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Gate a sequence (batch, levels, channels); the shape stays."""
        gate = self.conv(x.mean(dim=1).unsqueeze(1)).sigmoid()
        return x * gate
