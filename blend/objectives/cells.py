"""Losses that are sums over cells: log losses, absolute and pinball errors."""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property

import numpy as np
import numpy.typing as npt

from blend.metrics.cells import Part, Polynomial
from blend.metrics.scores import PROBABILITY_FLOOR, sum_log
from blend.objectives.base import Objective
from blend.objectives.simplex import minimize_smooth

Array = npt.NDArray[np.float64]


Span = tuple[Array, npt.NDArray[np.float32]]
"""Cells ``(models, n)`` and their truth ``(n,)``."""
_JOINED = 2**18  # values
_CLASS_ROWS = 2**11  # of a span, for the processor's cache
# Share of the reweighted least squares' curvature that Huber's straight parts keep: without it Newton's steps overshoot, and 100 models x
# 600 rows take 2.5 times as long.
_FAR = 0.01


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

    def spans(self) -> Iterable[Span]:
        """All kept cells: few ones in one piece, as the parts of a hundred rows cost more than their cells."""
        return self._spans_of_parts() if self._joined is None else self._joined

    @cached_property
    def _joined(self) -> list[Span] | None:
        if sum(values.size for part in self.parts for values in part.values) > _JOINED:
            return None
        pieces = list(self._spans_of_parts())
        if not pieces:
            return []
        values, truth = zip(*pieces, strict=True)
        return [(np.concatenate(values, axis=1), np.concatenate(truth))]

    def _spans_of_parts(self) -> Iterator[Span]:
        return itertools.chain.from_iterable(part.spans() for part in self.parts)

    def losses(self, W: Array) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        total = self.polynomial.losses(W)
        for values, truth in self.spans():
            total += self._span_losses(W, values, truth)
        return total / self.cells

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """See :class:`~blend.objectives.base.Objective`."""
        value, gradient, hessian = self.polynomial.derivatives(w)
        for values, truth in self.spans():
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
        for values, truth in self.spans():
            q = self._true_label(W @ values, truth)
            slope += (2.0 - 1.0 / q).sum(axis=1)
            total[0] -= sum_log(q)
        falling = np.flatnonzero(slope < 0)
        for values, truth in self.spans() if len(falling) else []:
            q = self._true_label(W[falling] @ values, truth)
            for i, c in enumerate(shrinks[1:], start=1):
                total[i, falling] -= sum_log(q * (1 - 2 * c) + c)
        total[1:, slope >= 0] = np.inf
        return np.asarray(total.min(axis=0) / self.cells)


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


class SoftmaxLoss(Objective):
    """Log loss of the true class of the normalised geometric mean: ``log sum_c exp(w.L_c) - w.L_true`` (convex).

    Args:
        logs: ``(models, rows, classes)`` logarithms of probabilities, none of them positive or very large.
        label: ``(rows,)`` true class.
    """

    def __init__(self, logs: npt.NDArray[np.float32], label: npt.NDArray[np.int_]) -> None:
        self.size, self._rows = len(logs), logs.shape[1]
        # a matrix (models, rows) for each class: sums over classes are then sums of whole matrices
        by_class = logs.transpose(2, 0, 1)
        self._spans: list[tuple[Array, Array]] = []
        for start in range(0, self._rows, _CLASS_ROWS):
            span = np.ascontiguousarray(by_class[:, :, start : start + _CLASS_ROWS], dtype=np.float64)
            true = span[label[start : start + _CLASS_ROWS], :, np.arange(span.shape[2])].T
            self._spans.append((span, np.ascontiguousarray(true)))

    def losses(self, W: Array) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        total = np.zeros(len(W))
        for logs, true in self._spans:
            mass = np.zeros((len(W), true.shape[1]))
            for of_class in logs:
                z = W @ of_class
                mass += np.exp(z, out=z)
            total += np.log(mass, out=mass).sum(axis=1) - W @ true.sum(axis=1)
        return np.asarray(total / self._rows)

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """See :class:`~blend.objectives.base.Objective`."""
        value, gradient, hessian = 0.0, np.zeros(self.size), np.zeros((self.size, self.size))
        for logs, true in self._spans:
            p = np.exp(np.array([w @ of_class for of_class in logs]))
            mass = p.sum(axis=0)
            p /= mass
            weighted = logs * p[:, None, :]
            mean = weighted.sum(axis=0)
            value += float(np.log(mass).sum() - (w @ true).sum())
            gradient += (mean - true).sum(axis=1)
            hessian += sum(a @ b.T for a, b in zip(logs, weighted, strict=True)) - mean @ mean.T
        return value / self._rows, gradient / self._rows, hessian / self._rows


class AbsoluteLoss(CellLoss):
    """Mean absolute or pinball error (convex, piecewise linear).

    Args:
        parts: Disjoint cells.
        models: Number of models.
        slopes: Cost of a unit above the truth, and of a unit below.
    """

    smooth = False

    def __init__(self, parts: Sequence[Part], models: int, slopes: tuple[float, float] = (1.0, 1.0)) -> None:
        super().__init__(parts, models)
        self.slopes = slopes

    def _span_losses(self, W: Array, values: Array, truth: npt.NDArray[np.float32]) -> Array:
        r = W @ values
        if self.slopes == (1.0, 1.0):
            return np.asarray(np.abs(r).sum(axis=1))
        return np.asarray(np.maximum(self.slopes[0] * r, -self.slopes[1] * r).sum(axis=1))

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        """Newton's method on Huber's loss of ever smaller width; every width gives a lower bound of the optimum.

        With ``u = clip(residual / width, -below, above)`` of the slopes duality gives ``min_w mean|w.R| >= min_k mean(u R_k)``, which is the
        least entry of Huber's gradient; the gap to it is returned.
        """
        w = self.equal() if start is None else start
        width, best, bound = self.loss(w), w, -np.inf
        if width == 0.0:
            return w, 0.0
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
        self.width, self._slopes, self._absolute = width, absolute.slopes, absolute

    def spans(self) -> Iterable[Span]:
        """Those of the absolute error, which all widths share."""
        return self._absolute.spans()

    def _clipped(self, r: Array) -> Array:
        return np.clip(r / self.width, -self._slopes[1], self._slopes[0])

    def _span_losses(self, W: Array, values: Array, truth: npt.NDArray[np.float32]) -> Array:
        r = W @ values
        u = self._clipped(r)
        return np.asarray((u * r - 0.5 * self.width * u * u).sum(axis=1))

    def _span_derivatives(self, w: Array, values: Array, truth: npt.NDArray[np.float32]) -> tuple[float, Array, Array]:
        r = w @ values
        u = self._clipped(r)
        near = (r > -self._slopes[1] * self.width) & (r < self._slopes[0] * self.width)
        curvature = np.where(near, 1.0, _FAR * self.width / np.maximum(np.abs(r), self.width))
        return float((u * r - 0.5 * self.width * u * u).sum()), values @ u, (values * curvature) @ values.T / self.width
