"""Sums over cells, some of which are reduced to a polynomial."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from blend.metrics.cells import Part, Polynomial
from blend.objectives.base import Objective

Array = npt.NDArray[np.float64]


class CellLoss(Objective):
    """Common part of losses that are sums over cells, some of them reduced to a polynomial.

    Args:
        parts: Disjoint cells.
        models: Number of models.
    """

    def __init__(self, parts: Sequence[Part], models: int) -> None:
        self.size, self.parts = models, parts
        self.cells = sum(part.cells for part in parts)
        self.polynomial = Polynomial.zero(models, cubic=False)
        for part in parts:
            self.polynomial.add(part.polynomial)
        self.error = self.polynomial.error / max(1, self.cells)

    def losses(self, W: Array) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        total = self.polynomial.losses(W)
        for part in self.parts:
            for values, truth in part.spans():
                total += self._span_losses(W, values, truth)
        return total / self.cells

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """See :class:`~blend.objectives.base.Objective`."""
        value, gradient, hessian = self.polynomial.derivatives(w)
        for part in self.parts:
            for values, truth in part.spans():
                v, g, h = self._span_derivatives(w, values, truth)
                value, gradient, hessian = value + v, gradient + g, hessian + h
        return value / self.cells, gradient / self.cells, hessian / self.cells

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        """See :class:`~blend.objectives.base.Objective`."""
        w, gap = super().minimum(start)
        return w, gap + 2 * self.error

    @abstractmethod
    def _span_losses(self, W: Array, values: Array, truth: npt.NDArray[np.float32]) -> Array: ...

    def _span_derivatives(self, w: Array, values: Array, truth: npt.NDArray[np.float32]) -> tuple[float, Array, Array]:
        raise NotImplementedError(f"{type(self).__name__} has no derivatives")
