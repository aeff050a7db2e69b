"""Efficient channel attention (Wang et al. 2020, arXiv:1910.03151)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn


class ECA(nn.Module):
    """Weigh each channel by a gate that sees the level means of the neighbouring channels.

    Mean over the levels, one convolution of a single kernel along the *channel* axis, sigmoid, multiply: the paper's and the
    1st place's. Published ports of the 1st place of LEAP gate the levels instead (``axis="level"``): mean over the channels,
    one convolution along the levels.

    Args:
        kernel_size: Odd number of neighbouring channels (or levels) the gate sees.
        axis: What is gated.
    """

    def __init__(self, kernel_size: int = 5, axis: Literal["channel", "level"] = "channel") -> None:
        super().__init__()
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.axis = axis

    def forward(self, x: Tensor) -> Tensor:
        """Gate a sequence (batch, levels, channels); the shape stays."""
        if self.axis == "level":
            gate: Tensor = self.conv(x.mean(dim=2).unsqueeze(1)).sigmoid().transpose(1, 2)
        else:
            gate = self.conv(x.mean(dim=1).unsqueeze(1)).sigmoid()
        return x * gate
