"""Any metric."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from blend.objectives.base import Objective

Array = npt.NDArray[np.float64]


class FunctionLoss(Objective):
    """Any metric of any kind of blend, evaluated in full.

    Args:
        evaluate: Loss of weights ``(models,)``.
        models: Number of models.
    """

    convex = False

    def __init__(self, evaluate: Callable[[Array], float], models: int) -> None:
        self._evaluate, self.size = evaluate, models

    def losses(self, W: Array) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        return np.array([self._evaluate(w) for w in W])
