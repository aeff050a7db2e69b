"""Squeeze-and-excitation gate over the levels (Hu et al. 2018, arXiv:1709.01507)."""

from __future__ import annotations

from torch import Tensor, nn


class SEGate(nn.Module):
    """Weigh each channel of a sequence by a gate computed from its mean over the levels.

    Mean over the levels, Linear(C, C / reduction), GELU, Linear(C / reduction, C), sigmoid, multiply. The GELU follows
    the 8th place of LEAP (jackhuntcn); the paper has a ReLU.

    Args:
        channels: Channels C of the sequence.
        reduction: Ratio of C to the width of the bottleneck.
    """

    def __init__(self, channels: int = 512, reduction: int = 4) -> None:
        super().__init__()
        squeezed = max(channels // reduction, 1)
        self.gate = nn.Sequential(nn.Linear(channels, squeezed), nn.GELU(), nn.Linear(squeezed, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Gate a sequence (batch, levels, channels); the shape stays."""
        out: Tensor = x * self.gate(x.mean(dim=1)).unsqueeze(1)
        return out
