"""Log losses of blended probabilities."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import PROBABILITY_FLOOR, sum_log
from blend.objectives.cell import CellLoss

Array = npt.NDArray[np.float64]


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
        result: Array = total.min(axis=0) / self.cells
        return result


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
