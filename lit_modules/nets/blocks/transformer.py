"""Post-norm Transformer encoder layer (Vaswani et al. 2017, arXiv:1706.03762)."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lit_modules.nets.blocks.attention import SelfAttention


class EncoderLayer(nn.Module):
    """Self-attention and a ReLU feed-forward net, each with dropout, residual and a LayerNorm after the sum.

    Computes what ``nn.TransformerEncoderLayer(dim, heads, feedforward, dropout, batch_first=True)`` computes, with the
    attention of :class:`SelfAttention`.

    Args:
        dim: Channels of the sequence.
        heads: Attention heads.
        feedforward: Width of the hidden layer.
        dropout: Dropout of the attention weights, of the hidden layer and of both branches.
    """

    def __init__(self, dim: int = 512, heads: int = 8, feedforward: int = 2048, dropout: float = 0.1) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, heads, dropout)
        self.norm1 = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, feedforward)
        self.project = nn.Linear(feedforward, dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Encode (batch, length, dim); the shape stays."""
        x = self.norm1(x + self.dropout(self.attention(x)))
        hidden = self.dropout(F.relu(self.expand(x)))
        out: Tensor = self.norm2(x + self.dropout(self.project(hidden)))
        return out
