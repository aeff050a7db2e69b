"""U-Net over the 60 atmospheric levels, one-dimensional DDPM++ without noise embedding.

Source: Hu et al. 2025 (arXiv:2407.00124), as compared in "Crowdsourcing the Frontier" (arXiv:2511.20963); the blocks are those
of Song et al. 2021 (arXiv:2011.13456) in the form of Karras et al. 2022 (arXiv:2206.00364).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lit_modules.nets.blocks.headed import HeadedNet

_EPS = 1e-6
_SKIP_SCALE = math.sqrt(0.5)
_BRANCH_END = 1e-5  # of the weights that end a residual branch: a fresh block is nearly its skip
_ATTENTION_START = math.sqrt(0.2)

Resampling = Literal["none", "down", "up"]


class UNet(HeadedNet):
    """Encoder and decoder on levels that are halved at every resolution, joined by skips; attention at the coarsest.

    The levels are padded with zeros at the model top to a multiple of the coarsest step (60 to 64).

    Args:
        in_channels: Channels of the input, 26 in the source.
        width: Channels at the full number of levels.
        multipliers: Width of each resolution in multiples of ``width``.
        blocks: Blocks of the encoder at each resolution; the decoder has one more.
        dropout: Dropout inside the blocks.
        positive_scalars: Pass the column targets through a ReLU, as the source does, whose targets are scaled about 0.
            Targets that are centred, as this project's are, must not be cut there.
        confidence: Whether a head of expected errors exists (never with the ReLU).
        levels: Levels of a column.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 26,
        width: int = 128,
        multipliers: tuple[int, ...] = (1, 2, 2, 2),
        blocks: int = 2,
        dropout: float = 0.0,
        positive_scalars: bool = False,
        confidence: bool = False,
        levels: int = 60,
        n_level_targets: int = 6,
        n_scalar_targets: int = 8,
    ) -> None:
        widths = [width * multiplier for multiplier in multipliers]
        n_targets = (n_level_targets, n_scalar_targets)
        super().__init__()
        self.add_heads(lambda: _ConvHead(widths[0], levels, *n_targets), confidence)
        assert isinstance(self.head, _ConvHead)
        self.head.positive_scalars = positive_scalars
        self.padding = -levels % 2 ** (len(widths) - 1)
        self.stem = _conv(in_channels, width, 3)
        skips, channels = [width], width
        self.encoder = nn.ModuleList()
        for depth, out in enumerate(widths):
            if depth:
                self.encoder.append(UNetBlock(channels, channels, dropout, "down"))
                skips.append(channels)
            for _ in range(blocks):
                self.encoder.append(UNetBlock(channels, out, dropout))
                skips.append(out)
                channels = out
        self.decoder = nn.ModuleList([_SelfAttending(UNetBlock(channels, channels, dropout), channels)])
        self.decoder.append(UNetBlock(channels, channels, dropout))
        self.joins = [False, False]  # whether a block of the decoder takes a skip
        for depth, out in reversed(list(enumerate(widths))):
            if depth < len(widths) - 1:
                self.decoder.append(UNetBlock(channels, channels, dropout, "up"))
                self.joins.append(False)
            for _ in range(blocks + 1):
                self.decoder.append(UNetBlock(channels + skips.pop(), out, dropout))
                self.joins.append(True)
                channels = out

    def features(self, x: Tensor) -> Tensor:
        """Map (batch, levels, in_channels) to (batch, width, padded levels)."""
        h: Tensor = self.stem(F.pad(x.transpose(1, 2), (self.padding, 0)))
        skips = [h]
        for block in self.encoder:
            h = block(h)
            skips.append(h)
        for block, joins in zip(self.decoder, self.joins, strict=True):
            h = block(torch.cat([h, skips.pop()], dim=1) if joins else h)
        return h


class UNetBlock(nn.Module):
    """GroupNorm, SiLU, convolution, GroupNorm, convolution, and a skip; the levels are halved or doubled on request.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        dropout: Dropout before the second convolution.
        resampling: Mean of two neighbouring levels (``down``), every level twice (``up``), or none.
    """

    def __init__(
        self, in_channels: int, out_channels: int, dropout: float = 0.0, resampling: Resampling = "none"
    ) -> None:
        super().__init__()
        self.resampling = resampling
        self.norm0 = _norm(in_channels)
        self.conv0 = _conv(in_channels, out_channels, 3)
        self.norm1 = _norm(out_channels)
        self.dropout = nn.Dropout(dropout)
        self.conv1 = _conv(out_channels, out_channels, 3, _BRANCH_END)
        plain = in_channels == out_channels and resampling == "none"
        self.skip = nn.Identity() if plain else _conv(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, in_channels, levels) to (batch, out_channels, levels)."""
        h = self.conv0(self._resample(F.silu(self.norm0(x))))
        h = self.conv1(self.dropout(self.norm1(h)))
        out: Tensor = (h + self.skip(self._resample(x))) * _SKIP_SCALE
        return out

    def _resample(self, x: Tensor) -> Tensor:
        if self.resampling == "down":
            return F.avg_pool1d(x, 2)
        return x.repeat_interleave(2, dim=-1) if self.resampling == "up" else x


class _SelfAttending(nn.Module):
    """A block, then one-head self-attention over the levels with a residual of equal weight."""

    def __init__(self, block: UNetBlock, channels: int) -> None:
        super().__init__()
        self.block = block
        self.norm = _norm(channels)
        self.qkv = _conv(channels, 3 * channels, 1, _ATTENTION_START)
        self.proj = _conv(channels, channels, 1, _BRANCH_END)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, levels) to the same shape."""
        x = self.block(x)
        # queries, keys and values are interleaved channel by channel
        q, k, v = self.qkv(self.norm(x)).unflatten(1, (-1, 3)).transpose(-1, -3).unbind(2)
        attended = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        out: Tensor = (x + self.proj(attended)) * _SKIP_SCALE
        return out


class _ConvHead(nn.Module):
    """GroupNorm, SiLU, one convolution to a map of all targets; the mean over the levels is a column target."""

    def __init__(self, channels: int, levels: int, n_level_targets: int, n_scalar_targets: int) -> None:
        super().__init__()
        self.positive_scalars = False
        self.levels = levels
        self.n_level_targets = n_level_targets
        self.norm = _norm(channels)
        self.conv = _conv(channels, n_level_targets + n_scalar_targets, 3, _BRANCH_END)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, channels, padded levels) to (batch, targets)."""
        maps = self.conv(F.silu(self.norm(x)))[..., -self.levels :]
        scalars = maps[:, self.n_level_targets :]
        if self.positive_scalars:
            scalars = scalars.relu()
        return torch.cat([maps[:, : self.n_level_targets].flatten(1), scalars.mean(-1)], dim=1)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(min(32, channels // 4), channels, eps=_EPS)


def _conv(in_channels: int, out_channels: int, kernel_size: int, scale: float = 1.0) -> nn.Conv1d:
    conv = nn.Conv1d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    nn.init.xavier_uniform_(conv.weight, gain=scale)
    assert conv.bias is not None
    nn.init.zeros_(conv.bias)
    return conv
