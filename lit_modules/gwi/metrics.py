"""Scores by family: mean absolute error of maps, over all cells and over those the judge looks at, and confusion."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from datamodules.gwi.schema import FAMILIES
from lit_modules.metrics import StreamingMAE


class FamilyMAE(StreamingMAE):
    """Exact mean absolute error in m/s by family: all columns, and the odd ones that Kaggle scores."""

    def __init__(self) -> None:
        super().__init__((2, len(FAMILIES)))

    def update(self, predictions: Tensor, targets: Tensor, family: Tensor) -> None:  # type: ignore[override]
        """Add maps ``(rows, 70, 70)`` and the numbers of their families ``(rows,)``."""
        error = (predictions.double() - targets.double()).abs()
        for kind, columns in enumerate((error, error[:, :, 1::2])):
            self.total[kind].index_add_(0, family, columns.sum((1, 2)))
            self.count[kind].index_add_(0, family, torch.full_like(columns[:, 0, 0], columns[0].numel()))

    def compute(self) -> Tensor:
        """Over all rows: ``(all columns, odd columns)``, ``(2,)``."""
        return self.total.sum(1) / self.count.sum(1)

    def table(self) -> dict[str, float]:
        """``mae`` and ``mae_odd`` over all rows and per family that was seen. A collective call."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            overall, total, count = self.compute(), self.total.clone(), self.count.clone()
        scores = {}
        for kind, name in enumerate(("mae", "mae_odd")):
            scores[name] = float(overall[kind])
            seen = ((f, family) for f, family in enumerate(FAMILIES) if count[kind, f] > 0)
            scores |= {f"{name}_{family}": float(total[kind, f] / count[kind, f]) for f, family in seen}
        return scores


class FamilyConfusion(Metric):
    """How many maps of each family (row) were taken for each (column), ``(10, 10)``."""

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    counts: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("counts", torch.zeros(len(FAMILIES), len(FAMILIES), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, predicted: Tensor, family: Tensor) -> None:
        """Add numbers of predicted and true families, each ``(rows,)``."""
        n = len(FAMILIES)
        self.counts += torch.bincount(family * n + predicted, minlength=n * n).view(n, n)

    def compute(self) -> Tensor:
        """The counts."""
        return self.counts

    def table(self) -> dict[str, float]:
        """``accuracy`` over all rows and per family that was seen. A collective call."""
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            counts = self.counts.clone()
        rows = counts.sum(1)
        scores = {"accuracy": float(counts.trace() / rows.sum())}
        seen = ((f, family) for f, family in enumerate(FAMILIES) if rows[f] > 0)
        return scores | {f"accuracy_{family}": float(counts[f, f] / rows[f]) for f, family in seen}
