"""Losses made of other losses: blends of blends, and a pull towards given weights."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy

import numpy as np
import numpy.typing as npt

from blend.metrics.cells import Part, Polynomial
from blend.objectives.base import Objective
from blend.objectives.cells import AbsoluteLoss, HuberLoss, ProbabilityLoss
from blend.objectives.quadratic import QuadraticLoss, RootQuadraticLoss
from blend.objectives.simplex import minimize_smooth

Array = npt.NDArray[np.float64]
_WIDTHS = 3  # down to a thousandth of the loss: the strength of the pull is known far less well


class Composed(Objective):
    """A loss over blends of blends: weights ``v`` of ``J`` groups stand for ``v @ basis`` over the models.

    Args:
        inner: Loss over the models.
        basis: ``(J, models)``, rows sum to 1.
    """

    def __init__(self, inner: Objective, basis: Array) -> None:
        self.inner, self.basis, self.size = inner, basis, len(basis)
        self.convex, self.smooth = inner.convex, inner.smooth

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
            return AbsoluteLoss(parts, self.size, self.inner.slopes).minimum(start)
        return super().minimum(start)

    def nonnegative_minimum(self, ridge: float = 0.0, center: Array | None = None) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        if isinstance(self.inner, RootQuadraticLoss) and len(self.inner.forms) == 1:  # has the minimum of its square
            return Composed(self.inner.mean, self.basis).nonnegative_minimum(ridge, center)
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


class WithPrior(Objective):
    """A loss plus a pull towards given weights, for few rows per target.

    Log losses take a Dirichlet prior, ``-strength / cells * sum_k center_k log w_k``: as many pseudo-observations as
    ``strength`` says. Other losses take ``strength / 2 * |w - center|^2`` in units of the loss's curvature.

    Args:
        inner: The loss.
        center: Weights on the simplex.
        strength: Strength of the pull.
    """

    def __init__(self, inner: Objective, center: Array, strength: float) -> None:
        self.inner, self.center, self.size = inner, center, inner.size
        self._dirichlet = isinstance(inner, ProbabilityLoss)
        if isinstance(inner, ProbabilityLoss):
            self._strength = strength / inner.cells
        elif isinstance(inner, QuadraticLoss):
            self._strength = 2 * strength * float(np.trace(inner.form[:-1, :-1])) / inner.size
        else:
            self._strength = strength * float(inner.singles().mean())

    def losses(self, W: Array) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        return self.inner.losses(W) + self._pull(W)

    def _pull(self, W: Array) -> Array:
        if not self._dirichlet:
            return np.asarray(0.5 * self._strength * ((W - self.center) ** 2).sum(axis=1))
        held = self.center > 0
        with np.errstate(divide="ignore"):
            return -self._strength * (np.log(np.maximum(W[:, held], 0.0)) @ self.center[held])

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """See :class:`~blend.objectives.base.Objective`."""
        value, gradient, hessian = self.inner.derivatives(w)
        value += float(self._pull(w[None, :])[0])
        if not self._dirichlet:
            pull = self._strength * (w - self.center)
            return value, gradient + pull, hessian + self._strength * np.eye(self.size)
        share = np.where(self.center > 0, self.center / np.maximum(w, 1e-300), 0.0)
        curvature = share / np.maximum(w, 1e-300)
        return value, gradient - self._strength * share, hessian + self._strength * np.diag(curvature)

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        """See :class:`~blend.objectives.base.Objective`."""
        if start is None:  # inside wherever the prior has mass
            start = 0.5 * self.center + 0.5 / self.size
        if not isinstance(self.inner, AbsoluteLoss):
            return minimize_smooth(self, start, tolerance=1e-8)
        smooth, width, gap = copy(self), self.inner.loss(start), 0.0
        for _ in range(_WIDTHS):
            width *= 0.1
            smooth.inner = HuberLoss(self.inner, width)
            start, gap = minimize_smooth(smooth, start, tolerance=1e-8)
        return start, gap + 0.5 * width * max(self.inner.slopes) ** 2  # Huber's loss is lower by no more
