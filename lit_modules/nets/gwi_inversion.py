"""The 4th place's net for OpenFWI (greySnow): convolution and attention in turn on one grid of tokens, no pyramid.

The write-up fixes 18 x 18 tokens of width 384 and 28 pairs of a 2-D convolution block (MaxViT's MBConv) and a transformer block;
how gathers become tokens and tokens maps it leaves open: here a linear patch embedding and a pixel shuffle.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lit_modules.nets.blocks.grid_attention import GridTransformer
from lit_modules.nets.blocks.mbconv import MBConv

SIDE, TOKENS, EDGE = 70, 18, 72  # map, tokens along an edge, cells that they share out along an edge
_PAD = (EDGE - SIDE) // 2


class VelocityOutput(NamedTuple):
    """What the net says of a batch of maps.

    Args:
        velocity: Scaled velocity, ``(batch, 70, 70)``.
        confidence: The net's estimate of its own absolute error, in the same scale and shape.
    """

    velocity: Tensor
    confidence: Tensor


class TokenGrid(nn.Module):
    """Blocks of MBConv and transformer on a square grid.

    Args:
        dim: Width of a token.
        blocks: Number of pairs.
        head_dim: Width of an attention head.
        checkpoint_blocks: Compute the blocks again in the backward pass instead of keeping their activations.
        norm_momentum: Norm momentum of BatchNorm, see :class:`MBConv`.
        tokens: Tokens along an edge.
    """

    def __init__(
        self,
        dim: int,
        blocks: int,
        head_dim: int = 32,
        checkpoint_blocks: bool = False,
        norm_momentum: float = 0.01,
        tokens: int = TOKENS,
    ) -> None:
        super().__init__()
        self.tokens = tokens
        self.checkpoint_blocks = checkpoint_blocks
        self.convolutions = nn.ModuleList(MBConv(dim, norm_momentum=norm_momentum) for _ in range(blocks))
        self.transformers = nn.ModuleList(GridTransformer(dim, tokens, head_dim) for _ in range(blocks))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """Grid ``(batch, dim, tokens, tokens)`` to normalised tokens ``(batch, tokens**2, dim)``."""
        x = x.contiguous(memory_format=torch.channels_last)
        for convolution, transformer in zip(self.convolutions, self.transformers, strict=True):
            x = convolution(x)  # not checkpointed: a second pass would count its statistics twice
            tokens = x.flatten(2).transpose(1, 2)
            if self.checkpoint_blocks and self.training:
                tokens = checkpoint(transformer, tokens, use_reentrant=False)
            else:
                tokens = transformer(tokens)
            x = tokens.transpose(1, 2).unflatten(2, (self.tokens, self.tokens))
        out: Tensor = self.norm(x.flatten(2).transpose(1, 2))
        return out


class Patches(nn.Conv2d):
    """A convolution whose patches do not overlap.

    On a CPU it is one matrix product, which takes about a tenth less there than torch's convolution, forward and backward.

    Args:
        channels: Of the input.
        dim: Of the output.
        patch: Rows and columns of a patch, which divide those of the input.
    """

    def __init__(self, channels: int, dim: int, patch: tuple[int, int]) -> None:
        super().__init__(channels, dim, patch, stride=patch)
        self.patch = patch

    def forward(self, x: Tensor) -> Tensor:
        """``(batch, channels, height, width)`` to a grid of tokens ``(batch, dim, rows, columns)``."""
        if x.is_cuda:
            return super().forward(x)
        patches = x.unflatten(3, (-1, self.patch[1])).unflatten(2, (-1, self.patch[0])).permute(0, 2, 4, 1, 3, 5)
        grid: Tensor = F.linear(patches.flatten(3), self.weight.flatten(1), self.bias)
        return grid.permute(0, 3, 1, 2)


class GwiInversion(nn.Module):
    """Gathers to a velocity map and the net's own error estimate.

    Args:
        dim: Width of a token.
        blocks: Pairs of MBConv and transformer.
        head_dim: Width of an attention head.
        samples: Time samples of a gather; a multiple of ``tokens``.
        shots: Gathers of a map.
        resize_width: Stretch the 70 receivers to this many (the walkthrough speaks of 288); 0 pads them to 72.
        checkpoint_blocks: See :class:`TokenGrid`.
        norm_momentum: Norm momentum of BatchNorm, see :class:`MBConv`.
        tokens: Tokens along an edge of the grid; they share out 72 cells.
        positions: Add a learned vector for each place of the grid to its token.
    """

    def __init__(
        self,
        dim: int = 384,
        blocks: int = 28,
        head_dim: int = 32,
        samples: int = 288,
        shots: int = 5,
        resize_width: int = 0,
        checkpoint_blocks: bool = False,
        norm_momentum: float = 0.01,
        tokens: int = TOKENS,
        positions: bool = False,
    ) -> None:
        super().__init__()
        if EDGE % tokens:
            raise ValueError(f"tokens must divide the {EDGE} cells of an edge, got {tokens}")
        width = resize_width or EDGE
        for name, length in (("samples", samples), ("resize_width", width)):
            if length % tokens:
                raise ValueError(f"{name} must be a multiple of the {tokens} tokens of an edge, got {length}")
        self.resize = (samples, resize_width) if resize_width else None
        self.embed = Patches(shots, dim, (samples // tokens, width // tokens))
        self.place = nn.Parameter(0.02 * torch.randn(dim, tokens, tokens)) if positions else None
        self.body = TokenGrid(dim, blocks, head_dim, checkpoint_blocks, norm_momentum, tokens)
        self.head = nn.Linear(dim, 2 * (EDGE // tokens) ** 2)

    def forward(self, gathers: Tensor) -> VelocityOutput:
        """``(batch, shots, samples, 70)`` to two float32 maps."""
        x = F.interpolate(gathers, self.resize, mode="bilinear") if self.resize else F.pad(gathers, (_PAD, _PAD))
        grid = self.embed(x)
        tokens = self.body(grid if self.place is None else grid + self.place)
        cells = self.head(tokens).float()  # in bfloat16 a velocity would be off by several m/s
        side = self.body.tokens
        maps = F.pixel_shuffle(cells.transpose(1, 2).unflatten(2, (side, side)), EDGE // side)
        return VelocityOutput(*maps[:, :, _PAD:-_PAD, _PAD:-_PAD].unbind(1))


class GwiFamilyNet(nn.Module):
    """The same body on a velocity map: which of the ten families it belongs to.

    Args:
        dim: Width of a token.
        blocks: Pairs of MBConv and transformer.
        head_dim: Width of an attention head.
        families: Number of classes.
        checkpoint_blocks: See :class:`TokenGrid`.
        norm_momentum: Norm momentum of BatchNorm, see :class:`MBConv`.
    """

    def __init__(
        self,
        dim: int = 384,
        blocks: int = 28,
        head_dim: int = 32,
        families: int = 10,
        checkpoint_blocks: bool = False,
        norm_momentum: float = 0.01,
    ) -> None:
        super().__init__()
        self.embed = Patches(1, dim, (EDGE // TOKENS, EDGE // TOKENS))
        self.body = TokenGrid(dim, blocks, head_dim, checkpoint_blocks, norm_momentum)
        self.head = nn.Linear(dim, families)

    def forward(self, velocity: Tensor) -> Tensor:
        """Scaled maps ``(batch, 70, 70)`` to logits ``(batch, families)``."""
        padded = F.pad(velocity[:, None], (_PAD,) * 4, mode="replicate")
        logits: Tensor = self.head(self.body(self.embed(padded)).mean(1))
        return logits
