"""Attention over all tokens of a grid with a learned bias for their relative position (Swin: Liu et al. 2021, arXiv:2103.14030)."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class GridAttention(nn.Module):
    """Multi-head self-attention over a grid, row by row, plus a bias that depends on the offset of two tokens only.

    Args:
        dim: Channels of the tokens (batch, side * side, dim).
        side: Tokens along an edge.
        head_dim: Channels of a head; must divide ``dim``.
    """

    index: Tensor

    def __init__(self, dim: int, side: int, head_dim: int = 32) -> None:
        super().__init__()
        if dim % head_dim:
            raise ValueError(f"The attention's width {dim} is not divisible by the width {head_dim} of a head.")
        self.heads = dim // head_dim
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        self.bias = nn.Parameter(torch.empty((2 * side - 1) ** 2, self.heads))
        nn.init.trunc_normal_(self.bias, std=0.02)
        self.register_buffer("index", relative_index(side), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each grid; the shape stays."""
        batch, length, dim = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.bias.index_select(0, self.index).view(length, length, self.heads).permute(2, 0, 1)[None]
        if x.is_cuda or not torch.is_grad_enabled():
            attended = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype))
        else:  # the CPU has no fused kernel with a gradient for the bias, and torch's stand-in is a third slower than this
            attended = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2) + bias.to(q.dtype)).softmax(-1) @ v
        out: Tensor = self.out(attended.transpose(1, 2).reshape(batch, length, dim))
        return out


class GridTransformer(nn.Module):
    """Pre-normalised attention and a GELU feed-forward of four times the width.

    Args:
        dim: Channels of the tokens.
        side: Tokens along an edge.
        head_dim: Channels of a head.
    """

    def __init__(self, dim: int, side: int, head_dim: int = 32) -> None:
        super().__init__()
        self.attention = nn.Sequential(nn.LayerNorm(dim), GridAttention(dim, side, head_dim))
        self.feedforward = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (batch, side * side, dim) to the same shape."""
        x = x + self.attention(x)
        out: Tensor = x + self.feedforward(x)
        return out


def relative_index(side: int) -> Tensor:
    """For every pair of tokens the number of their offset, ``(side**4,)`` of 0 to (2 side - 1)**2 - 1."""
    cells = torch.stack(torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")).flatten(1)
    offset = cells[:, :, None] - cells[:, None, :] + side - 1
    return (offset[0] * (2 * side - 1) + offset[1]).flatten()
