"""Inverted-bottleneck convolution on a grid of tokens, as MaxViT has it (Tu et al. 2022, arXiv:2204.01697)."""

from __future__ import annotations

from torch import Tensor, nn


class SqueezeExcite(nn.Module):
    """Weigh each channel of (batch, channels, height, width) by a gate computed from its mean (Hu et al. 2018, arXiv:1709.01507).

    Args:
        channels: Channels of the grid.
        squeezed: Width of the bottleneck.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(channels, squeezed), nn.SiLU(), nn.Linear(squeezed, channels), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """The gated grid."""
        out: Tensor = x * self.gate(x.mean((2, 3)))[:, :, None, None]
        return out


class MBConv(nn.Module):
    """Pre-normalised expand, 3 x 3 depth-wise convolution, squeeze-excite, project, add.

    BatchNorm has TensorFlow's constants (eps 1e-3, momentum 0.99), as the MaxViT that the 4th place of GWI built on. Its means
    need several hundred steps to leave their initial values: a shorter training wants a larger ``norm_momentum``.

    Args:
        dim: Channels of the grid (batch, dim, height, width).
        expansion: Ratio of the inner width to ``dim``.
        se_ratio: Width of the squeeze-excite bottleneck in shares of ``dim``.
        norm_momentum: Share of a batch in BatchNorm's running statistics (torch's sense: 1 - TensorFlow's).
    """

    def __init__(self, dim: int, expansion: int = 4, se_ratio: float = 0.25, norm_momentum: float = 0.01) -> None:
        super().__init__()
        inner = expansion * dim
        self.block = nn.Sequential(
            _norm(dim, norm_momentum),
            nn.Conv2d(dim, inner, 1, bias=False),
            _norm(inner, norm_momentum),
            nn.GELU(),
            nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False),
            _norm(inner, norm_momentum),
            nn.GELU(),
            SqueezeExcite(inner, max(1, int(se_ratio * dim))),
            nn.Conv2d(inner, dim, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Grid to grid of the same shape."""
        out: Tensor = x + self.block(x)
        return out


def _norm(channels: int, momentum: float) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3, momentum=momentum)
