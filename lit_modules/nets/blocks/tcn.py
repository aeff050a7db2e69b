"""Temporal convolution stacks (Bai et al. 2018, arXiv:1803.01271), here along the levels and seeing both sides."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lit_modules.nets.blocks.level_conv import LevelBatchNorm, LevelConv


class ConvStack(nn.Sequential):
    """Convolution, BatchNorm and GELU once per dilation, without residuals (8th place of LEAP, jackhuntcn).

    Dilations 1, 2, 4, 8 are its "TCN", dilations 1, 1 its "CNN".

    Args:
        channels: Channels in and out.
        dilations: Dilation of each convolution.
        kernel_size: Levels each kernel spans.
    """

    def __init__(self, channels: int = 512, dilations: Sequence[int] = (1, 2, 4, 8), kernel_size: int = 3) -> None:
        layers: list[nn.Module] = []
        for dilation in dilations:
            layers += [LevelConv(channels, channels, kernel_size, dilation), LevelBatchNorm(channels), nn.GELU()]
        super().__init__(*layers)


class ResidualTCNBlock(nn.Module):
    """Two dilated convolutions with LayerNorm and a residual, the second GELU and dropout after the sum.

    Source: the unpublished TCN with attention of jackhuntcn. A 1x1 convolution carries the residual where the width changes.

    Args:
        in_channels: Channels of the input.
        channels: Channels of the output.
        dilation: Dilation of both convolutions.
        kernel_size: Levels each kernel spans.
        dropout: Dropout after each activation.
    """

    def __init__(
        self, in_channels: int, channels: int, dilation: int = 1, kernel_size: int = 3, dropout: float = 0.1
    ) -> None:
        super().__init__()
        self.conv1 = LevelConv(in_channels, channels, kernel_size, dilation)
        self.norm1 = nn.LayerNorm(channels)
        self.conv2 = LevelConv(channels, channels, kernel_size, dilation)
        self.norm2 = nn.LayerNorm(channels)
        self.residual = nn.Identity() if in_channels == channels else nn.Linear(in_channels, channels)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, levels, in_channels) to (batch, levels, channels)."""
        out = self.dropout(F.gelu(self.norm1(self.conv1(x))))
        out = self.norm2(self.conv2(out)) + self.residual(x)
        result: Tensor = self.dropout(F.gelu(out))
        return result
