"""1.5-entmax: a softmax that gives exact zeros (Peters, Niculae & Martins 2019)."""

from __future__ import annotations

import torch
from torch import Tensor


def entmax15(scores: Tensor) -> Tensor:
    """Probabilities ``relu(z / 2 - tau)^2`` over the last axis, with the threshold that makes them sum to 1.

    The threshold is exact: with the k largest scores in the support it solves a quadratic, and the support is the
    largest k whose smallest member still lies above its threshold. The backward pass is the closed form.

    Args:
        scores: ``(..., n)``.
    """
    z = (scores - scores.amax(dim=-1, keepdim=True)) / 2
    ordered = z.sort(dim=-1, descending=True).values
    k = torch.arange(1, z.shape[-1] + 1, dtype=z.dtype, device=z.device)
    mean = ordered.cumsum(dim=-1) / k
    mean_square = ordered.square().cumsum(dim=-1) / k
    spread = k * (mean_square - mean.square())
    tau = mean - ((1 - spread) / k).clamp(min=0).sqrt()
    support = (tau <= ordered).sum(dim=-1, keepdim=True)
    chosen = tau.detach().gather(-1, support - 1)
    probabilities: Tensor = _Probabilities.apply(z, chosen)
    return probabilities


class _Probabilities(torch.autograd.Function):
    """The map with its closed-form Jacobian: d p = s (d z - <s, d z> / sum s) with s = sqrt p, over z = scores / 2."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, z: Tensor, tau: Tensor) -> Tensor:
        """Square of what lies above the threshold."""
        root = (z - tau).clamp(min=0)
        ctx.save_for_backward(root)
        return root.square()

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        """Vector-Jacobian product."""
        (root,) = ctx.saved_tensors  # type: ignore[attr-defined]
        weighted = gradient * root
        mean = weighted.sum(dim=-1, keepdim=True) / root.sum(dim=-1, keepdim=True)
        return 2 * (weighted - mean * root), None
