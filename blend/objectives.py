"""Losses as functions of the weights: what solvers minimise, for some rows and targets of a problem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from blend.cells import Part, Polynomial
from blend.scores import PROBABILITY_FLOOR, sum_log
from blend.simplex import frank_wolfe_gap, minimize_quadratic, minimize_smooth

Array = npt.NDArray[np.float64]


class Objective(ABC):
    """A loss of blend weights, lower is better.

    Attributes:
        size: number of models.
        convex: derivatives exist and a minimiser can be certified.
    """

    size: int
    convex: bool = True

    @abstractmethod
    def losses(self, W: Array) -> Array:
        """Losses ``(candidates,)`` of weights ``(candidates, models)`` that sum to 1."""

    def loss(self, w: Array) -> float:
        """Loss of one vector of weights."""
        return float(self.losses(w[None, :])[0])

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """Loss, gradient and Hessian on the simplex.

        Raises:
            NotImplementedError: the loss has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no derivatives")

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        """Weights on the simplex of least loss, and by how much at most they miss the optimum."""
        return minimize_smooth(self, self.equal() if start is None else start)

    def nonnegative_minimum(self, ridge: float = 0.0, center: Array | None = None) -> Array:
        """Weights of least loss whose sum is free.

        Raises:
            NotImplementedError: only squared errors have it.
        """
        raise NotImplementedError(f"{type(self).__name__} needs weights that sum to 1")

    def equal(self) -> Array:
        """Equal weights."""
        return np.full(self.size, 1.0 / self.size)

    def singles(self) -> Array:
        """``(models,)`` losses of the models alone."""
        return self.losses(np.eye(self.size))


class QuadraticLoss(Objective):
    """``1 - R2``: a quadratic form of ``v = [w, s, s c]``, summed over targets.

    Args:
        form: ``(models + 1, models + 1)`` matrix on ``[w, sum(w) - 1]``.
        constant: loss that no weights change.
    """

    def __init__(self, form: Array, constant: float) -> None:
        self.form, self.constant, self.size = form, constant, len(form) - 1

    def losses(self, W: Array) -> Array:
        excess = W.sum(axis=1, keepdims=True) - 1.0
        excess[np.abs(excess) < 1e-12] = 0.0
        v = np.concatenate([W, excess], axis=1)
        return ((v @ self.form) * v).sum(axis=1) + self.constant

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        inner = self.form[:-1, :-1]
        return float(w @ inner @ w) + self.constant, 2 * inner @ w, 2 * inner

    def nonnegative_minimum(self, ridge: float = 0.0, center: Array | None = None) -> Array:
        """Non-negative least squares on the Gram matrix, optionally with ``ridge * |w - center|^2``."""
        basis = np.vstack([np.eye(self.size), np.ones(self.size)])
        H = 2 * basis.T @ self.form @ basis
        g = -2 * basis.T @ self.form[:, -1]
        if center is not None:
            H, g = H + 2 * ridge * np.eye(self.size), g - 2 * ridge * center
        return minimize_quadratic(H, g, np.zeros(self.size), sum_to_one=False)


class CellLoss(Objective):
    """Common part of losses that are sums over cells, some of them reduced to a polynomial.

    Args:
        parts: disjoint cells.
        models: number of models.
    """

    def __init__(self, parts: Sequence[Part], models: int) -> None:
        self.size, self.parts = models, parts
        self.cells = sum(part.cells for part in parts)
        self.polynomial = Polynomial.zero(models, cubic=False)
        for part in parts:
            self.polynomial.add(part.polynomial)
        self.error = self.polynomial.error / max(1, self.cells)

    def losses(self, W: Array) -> Array:
        total = self.polynomial.losses(W)
        for part in self.parts:
            for values, truth in part.spans():
                total += self._span_losses(W, values, truth)
        return total / self.cells

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        value, gradient, hessian = self.polynomial.derivatives(w)
        for part in self.parts:
            for values, truth in part.spans():
                v, g, h = self._span_derivatives(w, values, truth)
                value, gradient, hessian = value + v, gradient + g, hessian + h
        return value / self.cells, gradient / self.cells, hessian / self.cells

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        w, gap = super().minimum(start)
        return w, gap + 2 * self.error

    @abstractmethod
    def _span_losses(self, W: Array, values: Array, truth: npt.NDArray[np.float32]) -> Array: ...

    def _span_derivatives(self, w: Array, values: Array, truth: npt.NDArray[np.float32]) -> tuple[float, Array, Array]:
        raise NotImplementedError


class ProbabilityLoss(CellLoss):
    """Log loss of a blend of probabilities."""

    def _span_losses(self, W: Array, values: Array, truth: npt.NDArray[np.float32]) -> Array:
        return -sum_log(self._true_label(W @ values, truth))

    @staticmethod
    @abstractmethod
    def _true_label(mean: Array, truth: npt.NDArray[np.float32]) -> Array:
        """Probability given to the true label, clipped, from the mean of what was kept."""

    def shrunk_losses(self, W: Array, shrinks: Array) -> Array:
        """Losses ``(candidates,)`` of ``p (1 - 2 c) + c`` at the best ``c`` of an ascending list that begins with 0.

        The loss is convex in ``c``: where it does not fall at 0, the other values need not be tried. Cells must not be
        reduced.
        """
        total, slope = np.zeros((len(shrinks), len(W))), np.zeros(len(W))
        for part in self.parts:
            for values, truth in part.spans():
                q = self._true_label(W @ values, truth)
                slope += (2.0 - 1.0 / q).sum(axis=1)
                total[0] -= sum_log(q)
        falling = np.flatnonzero(slope < 0)
        for part in self.parts if len(falling) else []:
            for values, truth in part.spans():
                q = self._true_label(W[falling] @ values, truth)
                for i, c in enumerate(shrinks[1:], start=1):
                    total[i, falling] -= sum_log(q * (1 - 2 * c) + c)
        total[1:, slope >= 0] = np.inf
        return total.min(axis=0) / self.cells


class LogLoss(ProbabilityLoss):
    """Log loss of the weighted mean of probabilities (convex)."""

    @staticmethod
    def _true_label(mean: Array, truth: npt.NDArray[np.float32]) -> Array:
        q = np.abs(np.subtract(1.0, truth, dtype=np.float64) - mean)
        return np.clip(q, PROBABILITY_FLOOR, 1.0, out=q)

    def _span_derivatives(self, w: Array, values: Array, truth: npt.NDArray[np.float32]) -> tuple[float, Array, Array]:
        q = self._true_label(w @ values, truth)
        inverse = 1.0 / q
        scaled = values * inverse
        return -float(sum_log(q)), scaled @ (1.0 - 2.0 * truth.astype(np.float64)), scaled @ scaled.T


class LogitLoss(ProbabilityLoss):
    """Log loss of the weighted mean of logits (convex as well): ``log(1 + exp(z)) - y z``."""

    @staticmethod
    def _true_label(mean: Array, truth: npt.NDArray[np.float32]) -> Array:
        signed = mean * (1.0 - 2.0 * truth.astype(np.float64))
        return np.maximum(1.0 / (1.0 + np.exp(np.minimum(signed, 700.0))), PROBABILITY_FLOOR)

    def _span_derivatives(self, w: Array, values: Array, truth: npt.NDArray[np.float32]) -> tuple[float, Array, Array]:
        sign = 1.0 - 2.0 * truth.astype(np.float64)
        miss = 1.0 - self._true_label(w @ values, truth)
        scaled = values * (miss * (1.0 - miss))
        return -float(sum_log(1.0 - miss)), values @ (sign * miss), scaled @ values.T


class AbsoluteLoss(CellLoss):
    """Mean absolute error (convex, piecewise linear)."""

    def _span_losses(self, W: Array, values: Array, truth: npt.NDArray[np.float32]) -> Array:
        return np.abs(W @ values).sum(axis=1)

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        """Newton's method on Huber's loss of ever smaller width; every width gives a lower bound of the optimum.

        With ``u = clip(residual / width, -1, 1)`` duality gives ``min_w mean|w.R| >= min_k mean(u R_k)``, which is the
        least entry of Huber's gradient; the gap to it is returned.
        """
        w = self.equal() if start is None else start
        width, best, bound = self.loss(w), w, -np.inf
        for _ in range(12):
            smooth = HuberLoss(self, width)
            w, _ = minimize_smooth(smooth, w)
            bound = max(bound, float(smooth.derivatives(w)[1].min()))
            best = w if self.loss(w) < self.loss(best) else best
            if self.loss(best) - bound <= 1e-8 * self.loss(best):
                break
            width *= 0.1
        return best, max(0.0, self.loss(best) - bound)


class HuberLoss(CellLoss):
    """Huber's smooth lower bound of the absolute error: quadratic for residuals below ``width``."""

    def __init__(self, absolute: AbsoluteLoss, width: float) -> None:
        super().__init__(absolute.parts, absolute.size)
        self.width = width

    def _span_losses(self, W: Array, values: Array, truth: npt.NDArray[np.float32]) -> Array:
        r = np.abs(W @ values)
        return np.where(r < self.width, 0.5 * r * r / self.width, r - 0.5 * self.width).sum(axis=1)

    def _span_derivatives(self, w: Array, values: Array, truth: npt.NDArray[np.float32]) -> tuple[float, Array, Array]:
        r = w @ values
        inside = np.abs(r) < self.width
        near = values[:, inside]
        return (
            float(self._span_losses(w[None, :], values, truth)[0]),
            values @ np.clip(r / self.width, -1.0, 1.0),
            near @ near.T / self.width,
        )


class FunctionLoss(Objective):
    """Any metric of any kind of blend, evaluated in full.

    Args:
        evaluate: loss of weights ``(models,)``.
        models: number of models.
    """

    convex = False

    def __init__(self, evaluate: Callable[[Array], float], models: int) -> None:
        self._evaluate, self.size = evaluate, models

    def losses(self, W: Array) -> Array:
        return np.array([self._evaluate(w) for w in W])


class Composed(Objective):
    """A loss over blends of blends: weights ``v`` of ``J`` groups stand for ``v @ basis`` over the models.

    Args:
        inner: loss over the models.
        basis: ``(J, models)``, rows sum to 1.
    """

    def __init__(self, inner: Objective, basis: Array) -> None:
        self.inner, self.basis, self.size, self.convex = inner, basis, len(basis), inner.convex

    def losses(self, W: Array) -> Array:
        return self.inner.losses(W @ self.basis)

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        value, gradient, hessian = self.inner.derivatives(w @ self.basis)
        return value, self.basis @ gradient, self.basis @ hessian @ self.basis.T

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        if isinstance(self.inner, AbsoluteLoss):
            parts = [_ComposedPart(part, self.basis) for part in self.inner.parts]
            return AbsoluteLoss(parts, self.size).minimum(start)
        return super().minimum(start)

    def nonnegative_minimum(self, ridge: float = 0.0, center: Array | None = None) -> Array:
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

    def spans(self):  # type: ignore[no-untyped-def]
        for values, truth in super().spans():
            yield self._basis @ values, truth


class WithPrior(Objective):
    """A loss plus a pull towards given weights, for few rows per target.

    Log losses take a Dirichlet prior, ``-strength / cells * sum_k center_k log w_k``: as many pseudo-observations as
    ``strength`` says. Other losses take ``strength / 2 * |w - center|^2`` in units of the loss's curvature.

    Args:
        inner: the loss.
        center: weights on the simplex.
        strength: of the pull.
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
        return self.inner.losses(W) + self._pull(W)

    def _pull(self, W: Array) -> Array:
        if not self._dirichlet:
            return 0.5 * self._strength * ((W - self.center) ** 2).sum(axis=1)
        held = self.center > 0
        with np.errstate(divide="ignore"):
            return -self._strength * (np.log(np.maximum(W[:, held], 0.0)) @ self.center[held])

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        value, gradient, hessian = self.inner.derivatives(w)
        value += float(self._pull(w[None, :])[0])
        if not self._dirichlet:
            pull = self._strength * (w - self.center)
            return value, gradient + pull, hessian + self._strength * np.eye(self.size)
        share = np.where(self.center > 0, self.center / np.maximum(w, 1e-300), 0.0)
        curvature = share / np.maximum(w, 1e-300)
        return value, gradient - self._strength * share, hessian + self._strength * np.diag(curvature)

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        if start is None:  # inside wherever the prior has mass
            start = 0.5 * self.center + 0.5 / self.size
        return minimize_smooth(self, start, tolerance=1e-8)


def gap_of(objective: Objective, w: Array) -> float:
    """Certificate for given weights of a smooth convex loss."""
    _, gradient, _ = objective.derivatives(w)
    return frank_wolfe_gap(w, gradient)
