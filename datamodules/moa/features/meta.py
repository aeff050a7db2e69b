"""Predictions of an earlier stage as features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.moa.features.rank_gauss import fit_quantiles, quantile_normal
from datamodules.moa.features.table import FeatureTable, FitContext, State, Step, numpy_of


class MetaRankGauss(Step):
    """Appends the earlier stage's predictions as normal scores.

    The quantiles are those of the out-of-fold predictions of the treated training rows. A row of a new file comes with
    the mean over the earlier stage's folds and seeds, which spreads less than the predictions of single nets; the
    quantiles stay the training rows', as in the source. Options: ``quantiles`` (100), and ``only=1`` to drop all other
    blocks (it must then be the last step).
    """

    name: ClassVar[str] = "meta_rank_gauss"
    allowed: ClassVar[dict[str, float]] = {"quantiles": 100, "only": 0}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Quantiles of every prediction, ``(predictions, quantiles)``."""
        meta = numpy_of(_predictions(table))
        treated = ~table.control.cpu().numpy()
        known = meta[treated & np.isfinite(meta).all(axis=1)]
        if len(known) == 0:
            raise DataError(f"data.features: {self.name} was given no row that the earlier stage predicted")
        return {"quantiles": fit_quantiles(known, int(self.options["quantiles"]), context.seed)}

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append the block, or keep nothing else."""
        scores = quantile_normal(_predictions(table), state["quantiles"])
        if self.options["only"]:
            return table.with_only(meta=scores)
        return table.with_blocks(meta=scores)


def _predictions(table: FeatureTable) -> torch.Tensor:
    if table.meta is None:
        raise DataError(
            "data.features: the step 'meta_rank_gauss' needs the predictions of an earlier stage; run an experiment that "
            "declares one, or name the folder of its finished runs with --data.meta"
        )
    return table.meta
