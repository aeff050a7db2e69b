"""Absolute errors, minimised through ever narrower smooth bounds."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blend.objectives.cell import CellLoss
from blend.objectives.simplex import minimize_smooth

Array = npt.NDArray[np.float64]


class AbsoluteLoss(CellLoss):
    """Mean absolute error (convex, piecewise linear)."""

    def _span_losses(self, W: Array, values: Array, truth: npt.NDArray[np.float32]) -> Array:
        result: Array = np.abs(W @ values).sum(axis=1)
        return result

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        """Newton's method on Huber's loss of ever smaller width; every width gives a lower bound of the optimum.

        With ``u = clip(residual / width, -1, 1)`` duality gives ``min_w mean|w.R| >= min_k mean(u R_k)``, which is the
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
        self.width = width

    def _span_losses(self, W: Array, values: Array, truth: npt.NDArray[np.float32]) -> Array:
        r = np.abs(W @ values)
        result: Array = np.where(r < self.width, 0.5 * r * r / self.width, r - 0.5 * self.width).sum(axis=1)
        return result

    def _span_derivatives(self, w: Array, values: Array, truth: npt.NDArray[np.float32]) -> tuple[float, Array, Array]:
        r = w @ values
        inside = np.abs(r) < self.width
        near = values[:, inside]
        return (
            float(self._span_losses(w[None, :], values, truth)[0]),
            values @ np.clip(r / self.width, -1.0, 1.0),
            near @ near.T / self.width,
        )
