"""Linear models on the predictions of many models, pulled towards equal weights: what the stacker fits.

Each minimises a convex loss of ``z = sum_k w_k x_k + b`` plus ``ridge / 2 * |w - 1/K|^2`` by Newton's method (absolute errors
by reweighted squares).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from blend.weights import LOGIT_CLIP

Array = npt.NDArray[np.float64]
Form = Literal["squared", "absolute", "logistic", "softmax"]
_STEPS = 25
_TOLERANCE = 1e-4  # step of a weight; the error of a Newton step is its square
_SHORTEST = 1e-4  # share of a Newton step
_NARROW = 1e-2  # absolute errors are squared below this share of their mean
_TINY = 1e-9
_CURVATURE = 0.05  # of the log loss at confident predictions
_SMALLEST = 1e-6  # weight that an absolute penalty leaves


class Data(NamedTuple):
    """Inputs ``(models, rows, targets)`` and truth ``(rows, targets)``."""

    inputs: Array
    truth: Array


class Fit(NamedTuple):
    """Weights ``(models,)``, and intercepts: one per target, or one for the logits of all."""

    weights: Array
    intercept: Array


@dataclass(frozen=True)
class Linear:
    """A family of linear models.

    Attributes:
        form: Loss: squared errors (each target's in units of its variance), absolute or quantile errors, log loss of logits,
            log loss of the class with the largest of several logarithms.
        slopes: Cost of a unit above the truth and below, of absolute errors.
        sparse: Share of the penalty that is absolute (the elastic net), towards zero.
    """

    form: Form
    slopes: tuple[float, float] = (1.0, 1.0)
    sparse: float = 0.0

    def inputs(self, predictions: npt.NDArray[np.float32]) -> Array:
        """Predictions as the model takes them."""
        P = predictions.astype(np.float64)
        if self.form in ("squared", "absolute"):
            return P
        P = np.clip(P, LOGIT_CLIP, 1 - LOGIT_CLIP)
        return np.log(P / (1 - P)) if self.form == "logistic" else np.log(P)

    def fit(self, data: Data, penalty: float, start: Fit | None = None) -> Fit:
        """The minimiser.

        Args:
            data: Rows to fit.
            penalty: Ridge in units of the data's mean curvature per model.
            start: Where to begin, such as the fit of a near penalty.
        """
        X, y = data
        models, targets = len(X), y.shape[1]
        centre = np.full(models, 1.0 / models)
        shared = self.form == "logistic"
        scale = self._scale(y)
        ridge = penalty * self._unit(X, scale) + _TINY
        w, b = start or Fit(centre, np.zeros(1 if shared else targets))
        pull = np.full(models, ridge * (1 - self.sparse))
        for _ in range(_STEPS):
            slope, hessian = self._derivatives(X, y, scale, w, b)
            lasso = ridge * self.sparse / models / (np.abs(w) + _SMALLEST)  # reweighted squares
            slope[:models] += pull * (w - centre) + lasso * w
            hessian[np.arange(models), np.arange(models)] += pull + lasso
            hessian[np.arange(models, len(slope)), np.arange(models, len(slope))] += _TINY * (1 + abs(hessian).max())
            step = np.linalg.solve(hessian, slope)
            moved, length = Fit(w - step[:models], b - step[models:]), 1.0
            if self.form != "squared":
                costs = [self.loss(data, at) + _penalty(at.weights, pull, centre, lasso) for at in (Fit(w, b), moved)]
                while costs[1] > costs[0] + _TINY * abs(costs[0]) and length > _SHORTEST:
                    length *= 0.5
                    moved = Fit(w - length * step[:models], b - length * step[models:])
                    costs[1] = self.loss(data, moved) + _penalty(moved.weights, pull, centre, lasso)
            w, b = moved
            if length * np.abs(step).max() < (10 * _TOLERANCE if self.form == "absolute" else _TOLERANCE) or (
                self.form == "squared" and not self.sparse
            ):
                break
        return Fit(np.where(np.abs(w) < 10 * _SMALLEST, 0.0, w) if self.sparse else w, b)

    def losses(self, data: Data, fitted: Fit) -> Array:
        """``(rows,)`` losses."""
        X, y = data
        z = np.tensordot(fitted.weights, X, axes=1) + fitted.intercept
        if self.form == "logistic":
            return np.asarray((np.logaddexp(0.0, z) - y * z).sum(axis=1))
        if self.form == "softmax":
            top = z.max(axis=1, keepdims=True)
            return np.asarray(np.log(np.exp(z - top).sum(axis=1)) + top[:, 0] - (y * z).sum(axis=1))
        if self.form == "absolute":
            return np.asarray(np.maximum(self.slopes[0] * (z - y), self.slopes[1] * (y - z)).sum(axis=1))
        return np.asarray((((z - y) * self._scale(y)) ** 2).sum(axis=1))

    def loss(self, data: Data, fitted: Fit) -> float:
        """Sum of losses of some rows."""
        return float(self.losses(data, fitted).sum())

    def _scale(self, truth: Array) -> Array:
        """``(targets,)`` factor of residuals; a target without variance does not count."""
        if self.form != "squared":
            return np.ones(truth.shape[1])
        spread = truth.std(axis=0)
        return np.asarray(np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0))

    def _unit(self, X: Array, scale: Array) -> float:
        """Mean curvature per model."""
        centred = X if self.form in ("logistic", "softmax") else X - X.mean(axis=1, keepdims=True)
        total = float((np.einsum("krt,krt->t", centred, centred) * scale**2).sum()) / len(X)
        return total * _CURVATURE if self.form in ("logistic", "softmax") else total

    def _derivatives(self, X: Array, y: Array, scale: Array, w: Array, b: Array) -> tuple[Array, Array]:
        """Gradient and curvature of ``[w, b]``."""
        models = len(X)
        z = np.tensordot(w, X, axes=1) + b
        if self.form == "softmax":
            p = np.exp(z - z.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            slope, curve = p - y, p
        elif self.form == "logistic":
            p = 1.0 / (1.0 + np.exp(-np.clip(z, -50, 50)))
            slope, curve = p - y, p * (1 - p)
        elif self.form == "absolute":
            r = z - y
            cost = np.where(r > 0, self.slopes[0], self.slopes[1])
            curve = cost / np.maximum(np.abs(r), _NARROW * np.abs(r).mean() + _TINY)
            slope = curve * r
        else:
            curve = np.broadcast_to(scale**2, z.shape)
            slope = (z - y) * curve
        flat, weighted = X.reshape(models, -1), X * curve
        ww, wb, bb = weighted.reshape(models, -1) @ flat.T, weighted.sum(axis=1), np.diag(curve.sum(axis=0))
        if self.form == "softmax":
            mean = weighted.sum(axis=2)
            ww, wb, bb = ww - mean @ mean.T, wb - mean @ p, bb - p.T @ p
        gradient = np.append(flat @ slope.reshape(-1), slope.sum(axis=0))
        if len(b) == 1:
            wb, bb = wb.sum(axis=1, keepdims=True), bb.sum(keepdims=True)
            gradient = np.append(gradient[:models], gradient[models:].sum())
        return gradient, np.block([[ww, wb], [wb.T, bb]])


def _penalty(w: Array, pull: Array, centre: Array, lasso: Array) -> float:
    return float((pull * (w - centre) ** 2 + lasso * w**2).sum()) / 2
