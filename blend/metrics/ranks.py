"""Means of ranks.

Models of different calibration may order rows alike. A rank mean averages, for every target, the rank of each row over
the models (weighted), and reads the value of that rank from the weighted mean of the models' sorted predictions. The
blend of one model, or of equal models, is that model. Ranks are taken inside a fold, since each fold has its own nets;
for test predictions over the whole test set.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass
class RankTable:
    """Ranks and sorted values of one fold.

    Attributes:
        ranks: ``(models, rows, targets)`` float32 from 0 to rows - 1, ties take their mean.
        ordered: ``(models, rows, targets)`` float32, sorted over rows.
    """

    ranks: npt.NDArray[np.float32]
    ordered: npt.NDArray[np.float32]

    def blend(self, w: Array) -> Array:
        """Rank mean ``(rows, targets)`` with weights ``(models,)``."""
        mean = np.tensordot(w, self.ranks, axes=1)
        values = np.tensordot(w, self.ordered, axes=1)
        last = len(mean) - 1
        below = np.clip(np.floor(mean).astype(np.int64), 0, last)
        above = np.minimum(below + 1, last)
        share = mean - below
        low, high = np.take_along_axis(values, below, axis=0), np.take_along_axis(values, above, axis=0)
        result: Array = low + share * (high - low)
        return result


def rank_table(predictions: npt.NDArray[np.float32]) -> RankTable:
    """Rank the rows of ``(models, rows, targets)`` predictions."""
    from scipy.stats import rankdata

    ranks = (rankdata(predictions, axis=1) - 1.0).astype(np.float32)
    return RankTable(ranks, np.sort(predictions, axis=1))
