"""Multi-head self-attention (Vaswani et al. 2017, arXiv:1706.03762) on torch's fused kernel, and the axis it runs over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

AttentionAxis = Literal["level", "batch"]


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """Softmax attention of (batch, heads, length, width) by the fastest kernel of the device.

    That is torch's fused one, but for two cases on the CPU: with dropout it has no fused kernel, and in bfloat16 its kernel takes
    two to three times as long as the plain products (measured on 60 levels, torch 2.15, a CPU with AVX-512 BF16).
    """
    if q.device.type == "cpu" and (dropout > 0.0 or q.dtype == torch.bfloat16):
        weights = (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
        return F.dropout(weights, dropout) @ v
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout)


class SelfAttention(nn.Module):
    """Self-attention over the second-last axis, with biases, in one query-key-value product.

    Same function, parameters and initial distribution as ``nn.MultiheadAttention(dim, heads)``; queries, keys and values
    stay views of the one product, which spares three copies.

    Args:
        dim: Channels of the sequence.
        heads: Number of heads; must divide ``dim``.
        dropout: Dropout of the attention weights.
    """

    def __init__(self, dim: int, heads: int = 8, dropout: float = 0.0) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"The attention's width {dim} is not divisible by its {heads} heads.")
        self.heads = heads
        self.dropout = dropout
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Attend within each sequence of (batch, length, dim); the shape stays."""
        batch, length, dim = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, dim // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        attended = attend(q, k, v, self.dropout if self.training else 0.0)
        out: Tensor = self.out(attended.transpose(1, 2).reshape(batch, length, dim))
        return out


class AttentionOverAxis(nn.Module):
    """Run a module that attends over the second-last axis either over the levels or, as a quirk, over the batch.

    The 8th place's Transformer and attention models attend over the rows of the batch by an oversight of the axis order, so
    that a row's result depends on the rows it happens to be batched with. ``axis="batch"`` replicates their scores;
    it is refused in eval mode unless :func:`batch_axis_evaluation` is active, so that predictions can never be made so.

    Args:
        attention: Module that maps (batch, length, dim) to the same shape and mixes along ``length``.
        axis: ``"level"``, or ``"batch"`` to replicate the source.
    """

    def __init__(self, attention: nn.Module, axis: AttentionAxis = "level") -> None:
        super().__init__()
        if axis not in ("level", "batch"):
            raise ValueError(f"attention_axis must be 'level' or 'batch', got {axis!r}.")
        self.attention = attention
        self.axis = axis
        self.allow_batch_axis_eval = False

    def forward(self, x: Tensor) -> Tensor:
        """Attend in (batch, levels, dim); the shape stays.

        Raises:
            RuntimeError: In eval mode with ``axis="batch"`` outside :func:`batch_axis_evaluation`.
        """
        out: Tensor
        if self.axis == "level":
            out = self.attention(x)
            return out
        if not (self.training or self.allow_batch_axis_eval):
            raise RuntimeError(
                "attention_axis='batch' lets a row's prediction depend on the other rows of its batch and is refused "
                "for prediction; train with attention_axis='level' (validation scores that replicate the source run inside "
                "batch_axis_evaluation(net))."
            )
        out = self.attention(x.transpose(0, 1)).transpose(0, 1)
        return out


@contextmanager
def batch_axis_evaluation(net: nn.Module) -> Iterator[None]:
    """Allow ``attention_axis="batch"`` in eval mode inside the block: for validation scores that replicate the source."""
    wrappers = [module for module in net.modules() if isinstance(module, AttentionOverAxis)]
    before = [wrapper.allow_batch_axis_eval for wrapper in wrappers]
    for wrapper in wrappers:
        wrapper.allow_batch_axis_eval = True
    try:
        yield
    finally:
        for wrapper, allowed in zip(wrappers, before, strict=True):
            wrapper.allow_batch_axis_eval = allowed
