"""Mean absolute error of maps, over all cells and over those the judge looks at, by family."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics import Metric

from datamodules.gwi.schema import FAMILIES


class FamilyMAE(Metric):
    """Exact mean absolute error in m/s by family: all columns, and the odd ones that Kaggle scores, in float64 sums."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        zeros = torch.zeros(2, len(FAMILIES), dtype=torch.float64)
        self.add_state("total", zeros, dist_reduce_fx="sum")
        self.add_state("count", zeros.clone(), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, truth: Tensor, family: Tensor) -> None:
        """Add maps ``(rows, 70, 70)`` and the numbers of their families ``(rows,)``."""
        error = (predictions.double() - truth.double()).abs()
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
