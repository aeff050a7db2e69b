"""TabNet (Arik & Pfister 2019): decision steps that each look at a sparse choice of the features.

The forward pass equals that of ``pytorch_tabnet`` for equal weights. Its net cannot be used as it is: it needs a group matrix of
features squared, and normalises no batch that leaves one row over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lit_modules.nets.blocks.entmax import entmax15

_HALF = math.sqrt(0.5)


class GhostBatchNorm(nn.Module):
    """Batch norm over chunks of a batch (Hoffer et al. 2017).

    Args:
        features: Columns.
        chunk: Rows of a chunk.
        momentum: Momentum of the running statistics.
    """

    def __init__(self, features: int, chunk: int = 128, momentum: float = 0.02) -> None:
        super().__init__()
        self.chunk = chunk
        self.norm = nn.BatchNorm1d(features, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, features)``, normalised chunk by chunk in training; a row left over joins the chunk before it."""
        if not self.training:
            out: Tensor = self.norm(x)
            return out
        parts = list(x.chunk(math.ceil(len(x) / self.chunk)))
        if len(parts) > 1 and len(parts[-1]) == 1:  # one row has no variance
            parts[-2:] = [torch.cat(parts[-2:])]
        return torch.cat([self.norm(part) for part in parts])


class GLULayer(nn.Module):
    """Linear, ghost batch norm, gated linear unit.

    Args:
        linear: The linear layer to twice the width; several layers may share one.
        chunk: Rows of a ghost batch.
        momentum: Momentum of batch norm.
    """

    def __init__(self, linear: nn.Linear, chunk: int, momentum: float) -> None:
        super().__init__()
        self.linear = linear
        self.norm = GhostBatchNorm(linear.out_features, chunk, momentum)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, in)`` to ``(B, width)``."""
        value, gate = self.norm(self.linear(x)).chunk(2, dim=1)
        return torch.as_tensor(value * gate.sigmoid())


class FeatureTransformer(nn.Module):
    """GLU layers with scaled residuals: first the linear layers that all steps share, then the step's own.

    Args:
        shared: Linear layers of the shared block.
        own: Number of layers of the step.
        width: Width of the output.
        chunk: Rows of a ghost batch.
        momentum: Momentum of batch norm.
    """

    def __init__(self, shared: Sequence[nn.Linear], own: int, width: int, chunk: int, momentum: float) -> None:
        super().__init__()
        linears = [*shared, *(glu_linear(width, width) for _ in range(own))]
        self.layers = nn.ModuleList(GLULayer(linear, chunk, momentum) for linear in linears)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, features)`` to ``(B, width)``; only the very first layer has no residual."""
        x = self.layers[0](x)
        for layer in self.layers[1:]:
            x = (x + layer(x)) * _HALF
        return x


class TabNet(nn.Module):
    """TabNet with entmax masks and embedded category columns.

    Args:
        in_features: Columns of the input.
        out_features: Logits.
        decision: Width of a step's decision (``n_d``).
        attention: Width of what the next step's mask is made of (``n_a``).
        steps: Decision steps.
        gamma: How much a feature may be looked at again; 1 = once.
        independent: GLU layers of each step's own.
        shared: GLU layers whose linear maps all steps share.
        categories: ``{column: number of categories}`` of columns that hold category numbers; each becomes one number.
        chunk: Rows of a ghost batch.
        momentum: Momentum of ghost batch norm.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        decision: int = 32,
        attention: int = 32,
        steps: int = 1,
        gamma: float = 1.3,
        independent: int = 2,
        shared: int = 2,
        categories: dict[int, int] | None = None,
        chunk: int = 128,
        momentum: float = 0.02,
    ) -> None:
        super().__init__()
        if steps < 1 or shared < 1:
            raise ValueError("TabNet needs at least one step and one shared layer")
        self.decision, self.gamma = decision, gamma
        self.category_columns = sorted(categories or {})
        self.embeddings = nn.ModuleList(nn.Embedding((categories or {})[column], 1) for column in self.category_columns)
        width = decision + attention
        linears = [glu_linear(in_features if i == 0 else width, width) for i in range(shared)]

        def transformer() -> FeatureTransformer:
            return FeatureTransformer(linears, independent, width, chunk, momentum)

        self.norm = nn.BatchNorm1d(in_features, momentum=0.01)
        self.split = transformer()
        self.transformers = nn.ModuleList(transformer() for _ in range(steps))
        self.attentions = nn.ModuleList(
            nn.Sequential(_plain_linear(attention, in_features), GhostBatchNorm(in_features, chunk, momentum))
            for _ in range(steps)
        )
        self.output = _plain_linear(decision, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(B, in_features)`` to logits ``(B, out_features)``."""
        return self.with_masks(x)[0]

    def with_masks(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits, and the mask of each step ``(steps, B, in_features)``."""
        x = self.norm(self._embed(x))
        prior = torch.ones_like(x)
        attended = self.split(x)[:, self.decision :]
        total: Tensor | float = 0.0
        masks = []
        for attention, transformer in zip(self.attentions, self.transformers, strict=True):
            mask = entmax15(prior * attention(attended).float())
            prior = prior * (self.gamma - mask)
            out = transformer(mask * x)
            total = total + out[:, : self.decision].relu()
            attended = out[:, self.decision :]
            masks.append(mask)
        return self.output(total), torch.stack(masks)

    def _embed(self, x: Tensor) -> Tensor:
        if not self.category_columns:
            return x
        columns = list(x.split(1, dim=1))
        for column, embedding in zip(self.category_columns, self.embeddings, strict=True):
            columns[column] = embedding(x[:, column].long())
        return torch.cat(columns, dim=1)


def glu_linear(in_features: int, width: int) -> nn.Linear:
    """Linear map without bias to twice ``width``, with the source's initialisation."""
    linear = nn.Linear(in_features, 2 * width, bias=False)
    nn.init.xavier_normal_(linear.weight, gain=math.sqrt((in_features + 2 * width) / math.sqrt(in_features)))
    return linear


def _plain_linear(in_features: int, out_features: int) -> nn.Linear:
    linear = nn.Linear(in_features, out_features, bias=False)
    nn.init.xavier_normal_(linear.weight, gain=math.sqrt((in_features + out_features) / math.sqrt(4 * in_features)))
    return linear
