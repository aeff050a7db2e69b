"""RankGauss: every column through its own quantiles to a normal distribution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.moa.features.table import MEASURED, FeatureTable, FitContext, State, Step, numpy_of

_BOUND = 1e-7  # scikit-learn's; the output so ends at +-5.2
_ROWS_AT_ONCE = 4096


class RankGauss(Step):
    """``QuantileTransformer(output_distribution="normal")`` of scikit-learn, kept as quantiles and applied in torch.

    Options: ``quantiles`` (100), and ``all=1`` to transform every block so far instead of genes and cells alone.
    """

    name: ClassVar[str] = "rank_gauss"
    allowed: ClassVar[dict[str, float]] = {"quantiles": 100, "all": 0}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Quantiles of every column, ``(columns, quantiles)``."""
        values = np.concatenate([numpy_of(table.blocks[name]) for name in self._blocks(table)], axis=1)
        return {"quantiles": fit_quantiles(values, int(self.options["quantiles"]), context.seed)}

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Transform the blocks in their places."""
        names = self._blocks(table)
        columns = torch.cat([table.blocks[name] for name in names], dim=1)
        pieces = [quantile_normal(rows, state["quantiles"]) for rows in columns.split(_ROWS_AT_ONCE)]
        widths = [table.blocks[name].shape[1] for name in names]
        return table.with_blocks(**dict(zip(names, torch.cat(pieces).split(widths, dim=1), strict=True)))

    def _blocks(self, table: FeatureTable) -> list[str]:
        return list(table.blocks) if self.options["all"] else [name for name in MEASURED if name in table.blocks]


def fit_quantiles(values: npt.NDArray[np.float64], quantiles: int, seed: int) -> npt.NDArray[np.float64]:
    """Quantiles of every column as ``QuantileTransformer`` finds them, ``(columns, quantiles)``.

    Args:
        values: ``(rows, columns)``.
        quantiles: How many; at most one per row.
        seed: Seed of the library.
    """
    from sklearn.preprocessing import QuantileTransformer

    transformer = QuantileTransformer(
        n_quantiles=min(quantiles, len(values)),
        output_distribution="normal",
        subsample=len(values),  # every row counts; the library's default would draw 10,000 of them
        random_state=seed,
    ).fit(values)
    return np.ascontiguousarray(transformer.quantiles_.T)


def quantile_normal(values: Tensor, quantiles: Tensor) -> Tensor:
    """Values to normal scores through piecewise linear quantile functions, as scikit-learn does it.

    Where quantiles repeat (saturated measurements), a value gets the mean of the ranks of the repetition's two ends.

    Args:
        values: ``(rows, columns)`` float64.
        quantiles: ``(columns, quantiles)``, ascending.
    """
    n = quantiles.shape[1]
    x = values.T.contiguous()
    ranks = torch.linspace(0, 1, n, dtype=values.dtype, device=values.device)
    after = torch.searchsorted(quantiles, x, right=True).clamp(1, n - 1)
    before = torch.searchsorted(quantiles, x).clamp(1, n - 1)
    rank = 0.5 * (_between(x, quantiles, ranks, after, lower=True) + _between(x, quantiles, ranks, before, lower=False))
    rank = torch.where(x + _BOUND > quantiles[:, -1:], 1.0, rank)
    rank = torch.where(x - _BOUND < quantiles[:, :1], 0.0, rank)
    limit = float(torch.special.ndtri(torch.tensor(1 - _BOUND + 2.220446049250313e-16, dtype=torch.float64)))
    out: Tensor = torch.special.ndtri(rank).clamp(-limit, limit).T
    return out


def _between(x: Tensor, quantiles: Tensor, ranks: Tensor, upper: Tensor, lower: bool) -> Tensor:
    """Rank on the segment that ends at quantile ``upper``; where it has no width, of its lower or upper end."""
    q0, q1 = quantiles.gather(1, upper - 1), quantiles.gather(1, upper)
    r0, r1 = ranks[upper - 1], ranks[upper]
    width = q1 - q0
    share = (x - q0) / torch.where(width > 0, width, 1.0)
    share = torch.where(width > 0, share, 0.0 if lower else 1.0).clamp(0, 1)
    return r0 + share * (r1 - r0)
