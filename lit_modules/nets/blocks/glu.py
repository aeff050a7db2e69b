"""Gated linear units with a swish gate, "SwiGLU" (Shazeer 2020, arXiv:2002.05202)."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


def glu(x: Tensor) -> Tensor:
    """Split the last axis in halves a, g and return a * swish(g): (..., 2 C) to (..., C)."""
    value, gate = x.chunk(2, dim=-1)
    return value * F.silu(gate)


class GLUMlp(nn.Module):
    """Linear, gated linear unit, linear, as in the 1st place of LEAP (greySnow).

    Args:
        in_features: Channels of the input.
        expanded_features: Channels before the gate, which halves them; even.
        out_features: Channels of the output.
    """

    def __init__(self, in_features: int, expanded_features: int, out_features: int) -> None:
        super().__init__()
        self.expand = nn.Linear(in_features, expanded_features)
        self.project = nn.Linear(expanded_features // 2, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in_features) to (..., out_features)."""
        out: Tensor = self.project(glu(self.expand(x)))
        return out
