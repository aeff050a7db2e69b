"""Columns that differ between rows with and without a mechanism: the second input of the two-heads ResNet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.moa.features.published import PUBLISHED_GENES
from datamodules.moa.features.table import CELLS, GENES, FeatureTable, FitContext, State, Step, numpy_of

_FEW = 3  # a target with fewer positive rows tells nothing


class Screen(Step):
    """Appends a copy of the columns that t-tests find related to the targets.

    Per target, every column is t-tested between the rows with and without it; the ``keep`` columns (447) whose 25 %
    quantile of the p-values over the targets is smallest are kept. The published list for ``lish-moa`` (all cells and
    347 genes, ``published=1``) was chosen by this rule on all labels, validation rows' included, so it leaks a little;
    by default the rule is applied to the training rows alone. The source does not tell its threshold, so the number of
    columns stands in its place.
    """

    name: ClassVar[str] = "screen"
    allowed: ClassVar[dict[str, float]] = {"keep": 447, "published": 0}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Positions of the kept columns among genes and cells."""
        if self.options["published"]:
            return {"columns": _published(context.names)}
        if context.labels is None:
            raise DataError("data.features: the step 'screen' chooses columns by the labels and was given none")
        values = np.concatenate([numpy_of(table.blocks[name]) for name in (GENES, CELLS)], axis=1)[: context.labelled]
        labels = context.labels[:, context.labels.sum(axis=0) >= _FEW]
        if labels.shape[1] == 0:
            raise DataError(
                f"data.features: no target has {_FEW} positive training rows, so 'screen' cannot choose columns"
            )
        quartile = np.quantile(t_test_p_values(values, labels), 0.25, axis=0)
        keep = min(int(self.options["keep"]), len(quartile))
        return {"columns": np.sort(np.argsort(quartile, kind="stable")[:keep])}

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append the copies."""
        both = torch.cat([table.blocks[GENES], table.blocks[CELLS]], dim=1)
        return table.with_blocks(screened=both[:, state["columns"]])


def t_test_p_values(values: npt.NDArray[np.float64], labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Two-sided p-values of Student's t-test with pooled variance, ``(targets, columns)``.

    Args:
        values: ``(rows, columns)``.
        labels: ``(rows, targets)`` of 0 and 1; every target needs rows of both kinds.
    """
    from scipy.stats import t as student

    y = labels.astype(np.float64)
    n, n1 = len(y), y.sum(axis=0)[:, None]
    n0 = n - n1
    total, square = values.sum(axis=0), np.square(values).sum(axis=0)
    sum1 = y.T @ values
    mean1, mean0 = sum1 / n1, (total - sum1) / n0
    within = square - n1 * np.square(mean1) - n0 * np.square(mean0)
    spread = np.sqrt(np.maximum(within, 1e-300) / (n - 2) * (1 / n1 + 1 / n0))
    return np.asarray(2 * student.sf(np.abs(mean1 - mean0) / spread, n - 2))


def _published(names: Mapping[str, tuple[str, ...]]) -> npt.NDArray[np.int64]:
    wanted = {f"g-{number}" for number in PUBLISHED_GENES}
    missing = wanted - set(names[GENES])
    if missing:
        raise DataError(
            f"data.features: the published list of 'screen' is lish-moa's, and column {min(missing)!r} is not in these data; "
            "leave published=1 out"
        )
    genes = [i for i, name in enumerate(names[GENES]) if name in wanted]
    return np.array([*genes, *range(len(names[GENES]), len(names[GENES]) + len(names[CELLS]))], dtype=np.int64)
