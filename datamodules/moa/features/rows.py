"""Features of a single row: statistics over its genes and cells, and its normalisation by its own quantiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.moa.features.table import CELLS, GENES, FeatureTable, FitContext, State, Step


class RowStatistics(Step):
    """Mean, standard deviation, excess kurtosis and skewness over the genes, the cells, and both together.

    All with pandas' definitions (unbiased). Options: ``sum=1`` puts the sum before them.
    """

    name: ClassVar[str] = "row_statistics"
    allowed: ClassVar[dict[str, float]] = {"sum": 0}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Only checks that there are columns enough."""
        for name in (GENES, CELLS):
            if 0 < table.blocks[name].shape[1] < 4:
                raise DataError(f"data.features: row_statistics needs at least 4 {name} columns")
        return {}

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append the statistics."""
        genes, cells = table.blocks[GENES], table.blocks[CELLS]
        parts = [genes] if cells.shape[1] == 0 else [genes, cells, torch.cat([genes, cells], dim=1)]
        return table.with_blocks(
            row_statistics=torch.cat([moments(part, bool(self.options["sum"])) for part in parts], dim=1)
        )


class RowMeans(Step):
    """Mean over the genes and mean over the cells."""

    name: ClassVar[str] = "row_means"

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append one column each."""
        parts = [table.blocks[name] for name in (GENES, CELLS) if table.blocks[name].shape[1]]
        return table.with_blocks(row_means=torch.stack([part.mean(dim=1) for part in parts], dim=1))


class RowNormalise(Step):
    """Centre a row's genes and cells at its own quartiles, and shrink its cells by their spread (2nd place).

    Genes minus the mean of the 25 % and 75 % quantiles; cells minus the mean of the 25 % and 72 % quantiles, divided by
    4 plus the 75 % quantile of their absolute values.
    """

    name: ClassVar[str] = "row_normalise"

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Replace genes and cells."""
        blocks = {GENES: _centred(table.blocks[GENES], 0.25, 0.75)}
        if table.blocks[CELLS].shape[1]:
            cells = _centred(table.blocks[CELLS], 0.25, 0.72)
            blocks[CELLS] = cells / (4 + cells.abs().quantile(0.75, dim=1, keepdim=True))
        return table.with_blocks(**blocks)


def _centred(values: Tensor, low: float, high: float) -> Tensor:
    q = torch.tensor([low, high], dtype=values.dtype, device=values.device)
    return values - values.quantile(q, dim=1).mean(dim=0)[:, None]


def moments(values: Tensor, with_sum: bool) -> Tensor:
    """Row statistics as pandas computes them: (sum,) mean, std, kurt, skew; 0 for the last two of a constant row.

    Args:
        values: ``(rows, columns)``, at least four columns.
        with_sum: Put the sum first.
    """
    n = values.shape[1]
    mean = values.mean(dim=1)
    d = values - mean[:, None]
    m2, m3, m4 = (d.pow(k).sum(dim=1) for k in (2, 3, 4))
    varies = m2 > 1e-14
    safe = torch.where(varies, m2, 1.0)
    skew = n * (n - 1) ** 0.5 / (n - 2) * m3 / safe.pow(1.5)
    kurtosis = n * (n + 1) * (n - 1) * m4 / ((n - 2) * (n - 3) * safe.square()) - 3 * (n - 1) ** 2 / ((n - 2) * (n - 3))
    columns = [mean, (m2 / (n - 1)).sqrt(), torch.where(varies, kurtosis, 0.0), torch.where(varies, skew, 0.0)]
    return torch.stack([values.sum(dim=1), *columns] if with_sum else columns, dim=1)
