"""ConvNeXt over the 60 atmospheric levels: the 4th place of LEAP as "Crowdsourcing the Frontier" compares it.

Source: Lin et al. 2025 (arXiv:2511.20963), after Liu et al. 2022 (arXiv:2201.03545). Nothing is strided: all 60 levels stay.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lit_modules.nets.blocks.headed import HeadedNet

_KERNEL = 7


class ConvNeXt(HeadedNet):
    """Stages of depthwise convolutions and inverted bottlenecks, each stage wider than the one before.

    Args:
        in_channels: Channels of the input, 26 in the source.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        kernels: Levels that the convolution before each stage spans; an even one reaches one level further down.
        layer_scale: First scale of the residual branches.
        confidence: Whether a head of expected errors exists.
        levels: Levels of a column.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 26,
        depths: tuple[int, ...] = (3, 3, 9, 3),
        widths: tuple[int, ...] = (96, 192, 384, 768),
        kernels: tuple[int, ...] = (4, 2, 2, 2),
        layer_scale: float = 1e-6,
        confidence: bool = False,
        levels: int = 60,
        n_level_targets: int = 6,
        n_scalar_targets: int = 8,
    ) -> None:
        super().__init__()
        self.add_heads(lambda: _ConvHead(widths[-1], levels, n_level_targets, n_scalar_targets), confidence)
        layers: list[nn.Module] = []
        for n_in, width, depth, kernel in zip((in_channels, *widths), widths, depths, kernels, strict=False):
            widen = nn.Conv1d(n_in, width, kernel, padding="same")
            layers += [widen, nn.BatchNorm1d(width)] if not layers else [nn.BatchNorm1d(n_in), widen]
            layers += [ConvNeXtBlock(width, layer_scale) for _ in range(depth)]
        self.stages = nn.Sequential(*layers)

    def features(self, x: Tensor) -> Tensor:
        """Map (batch, levels, in_channels) to (batch, last width, levels)."""
        return cast(Tensor, self.stages(x.transpose(1, 2)))


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution, BatchNorm, inverted bottleneck with GELU, learned scale, residual.

    Args:
        width: Channels.
        layer_scale: First value of the scale.
    """

    def __init__(self, width: int, layer_scale: float = 1e-6) -> None:
        super().__init__()
        self.depthwise = nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2, groups=width)
        self.norm = nn.BatchNorm1d(width)
        self.expand = nn.Linear(width, 4 * width)
        self.project = nn.Linear(4 * width, width)
        self.scale = nn.Parameter(torch.full((width,), layer_scale))

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, width, levels) to the same shape."""
        h = self.norm(self.depthwise(x)).transpose(1, 2)
        h = self.project(F.gelu(self.expand(h))) * self.scale
        out: Tensor = x + h.transpose(1, 2)
        return out


class _ConvHead(nn.Module):
    """A convolution to a map of all targets, and a linear layer from the maps of the column targets to their values."""

    def __init__(self, width: int, levels: int, n_level_targets: int, n_scalar_targets: int) -> None:
        super().__init__()
        self.n_level_targets = n_level_targets
        self.conv = nn.Conv1d(width, n_level_targets + n_scalar_targets, 3, padding=1)
        self.scalars = nn.Linear(n_scalar_targets * levels, n_scalar_targets)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.conv(x)
        scalars = self.scalars(maps[:, self.n_level_targets :].flatten(1))
        return torch.cat([maps[:, : self.n_level_targets].flatten(1), scalars], dim=1)
