"""Learned scale and bias per channel (Squeezeformer, Kim et al. 2022, arXiv:2206.00888)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

ScaleBiasInit = Literal["ones", "glorot"]


class ScaleBias(nn.Module):
    """x * scale + bias per channel, at the end of each residual branch.

    Args:
        channels: Channels of the sequence.
        init: First values of the scale. ``"ones"`` as in the paper; ``"glorot"`` as Keras' default initialiser draws a vector,
            uniform within sqrt(3 / channels), which starts every branch small (1st place of LEAP). The bias starts at 0.
    """

    def __init__(self, channels: int, init: ScaleBiasInit = "ones") -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        if init == "glorot":
            bound = math.sqrt(3.0 / channels)
            nn.init.uniform_(self.scale, -bound, bound)
        elif init != "ones":
            raise ValueError(f"scale_bias_init must be 'ones' or 'glorot', got {init!r}.")

    def forward(self, x: Tensor) -> Tensor:
        """Scale (..., channels); the shape stays."""
        return torch.addcmul(self.bias, x, self.scale)
