"""Blends of blends."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from blend.metrics.cells import Part, Polynomial
from blend.objectives.absolute import AbsoluteLoss
from blend.objectives.base import Objective
from blend.objectives.quadratic import QuadraticLoss

Array = npt.NDArray[np.float64]


class Composed(Objective):
    """A loss over blends of blends: weights ``v`` of ``J`` groups stand for ``v @ basis`` over the models.

    Args:
        inner: Loss over the models.
        basis: ``(J, models)``, rows sum to 1.
    """

    def __init__(self, inner: Objective, basis: Array) -> None:
        self.inner, self.basis, self.size, self.convex = inner, basis, len(basis), inner.convex

    def losses(self, W: Array) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        return self.inner.losses(W @ self.basis)

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """See :class:`~blend.objectives.base.Objective`."""
        value, gradient, hessian = self.inner.derivatives(w @ self.basis)
        return value, self.basis @ gradient, self.basis @ hessian @ self.basis.T

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        """See :class:`~blend.objectives.base.Objective`."""
        if isinstance(self.inner, AbsoluteLoss):
            parts = [_ComposedPart(part, self.basis) for part in self.inner.parts]
            return AbsoluteLoss(parts, self.size).minimum(start)
        return super().minimum(start)

    def nonnegative_minimum(self, ridge: float = 0.0, center: Array | None = None) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        if not isinstance(self.inner, QuadraticLoss):
            return super().nonnegative_minimum(ridge, center)
        wide = np.zeros((self.size + 1, self.inner.size + 1))
        wide[:-1, :-1], wide[-1, -1] = self.basis, 1.0
        return QuadraticLoss(wide @ self.inner.form @ wide.T, self.inner.constant).nonnegative_minimum(ridge, center)


class _ComposedPart(Part):
    """Cells of blended groups of models."""

    def __init__(self, part: Part, basis: Array) -> None:
        polynomial = Polynomial.zero(len(basis), cubic=False)
        polynomial.linear, polynomial.constant = basis @ part.polynomial.linear, part.polynomial.constant
        polynomial.cells = part.polynomial.cells
        super().__init__(polynomial, part.values, part.truth, part.cells)
        self._basis = basis

    def spans(self) -> Iterator[tuple[Array, npt.NDArray[np.float32]]]:
        """The cells of :class:`~blend.metrics.cells.Part`, blended."""
        for values, truth in super().spans():
            yield self._basis @ values, truth
