"""Squared errors, from Gram matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blend.objectives.base import Objective
from blend.objectives.simplex import minimize_quadratic

Array = npt.NDArray[np.float64]


class QuadraticLoss(Objective):
    """``1 - R2``: a quadratic form of ``v = [w, s, s c]``, summed over targets.

    Args:
        form: ``(models + 1, models + 1)`` matrix on ``[w, sum(w) - 1]``.
        constant: Loss that no weights change.
    """

    def __init__(self, form: Array, constant: float) -> None:
        self.form, self.constant, self.size = form, constant, len(form) - 1

    def losses(self, W: Array) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        excess = W.sum(axis=1, keepdims=True) - 1.0
        excess[np.abs(excess) < 1e-12] = 0.0
        v = np.concatenate([W, excess], axis=1)
        result: Array = ((v @ self.form) * v).sum(axis=1) + self.constant
        return result

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """See :class:`~blend.objectives.base.Objective`."""
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
