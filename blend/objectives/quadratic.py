"""Squared errors, from Gram matrices."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from blend.objectives.base import Objective
from blend.objectives.simplex import minimize_quadratic

Array = npt.NDArray[np.float64]


class QuadraticLoss(Objective):
    """``1 - R2`` or a mean squared error: a quadratic form of ``v = [w, s, s c]``, summed over targets.

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


class RootQuadraticLoss(Objective):
    """Mean over targets of the root of a quadratic form: root mean squared errors (a mean of norms, so convex).

    Args:
        forms: ``(targets, models + 1, models + 1)``, see :class:`QuadraticLoss`.
    """

    def __init__(self, forms: Array) -> None:
        self.forms, self.size = forms, forms.shape[-1] - 1
        self.mean = QuadraticLoss(forms.mean(axis=0), 0.0)

    def losses(self, W: Array) -> Array:
        """See :class:`~blend.objectives.base.Objective`."""
        excess = W.sum(axis=1, keepdims=True) - 1.0
        excess[np.abs(excess) < 1e-12] = 0.0
        v = np.concatenate([W, excess], axis=1)
        squares = np.einsum("mk,tkl,ml->mt", v, self.forms, v, optimize=True)
        return np.asarray(np.sqrt(np.maximum(squares, 0.0)).mean(axis=1))

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """See :class:`~blend.objectives.base.Objective`."""
        inner = self.forms[:, :-1, :-1]
        slope = inner @ w
        floor = (
            1e-14 * np.einsum("tkk->t", inner) + 1e-200
        )  # few rows can be matched exactly, where the root has no curvature
        roots = np.sqrt(np.maximum(slope @ w, floor))
        unit = slope / roots[:, None]
        hessian = (inner - unit[:, :, None] * unit[:, None, :]) / roots[:, None, None]
        return float(roots.mean()), unit.mean(axis=0), hessian.mean(axis=0)

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        """From the exact minimum of the mean square, which is the answer for one target."""
        return super().minimum(self.mean.minimum(start)[0])

    def nonnegative_minimum(self, ridge: float = 0.0, center: Array | None = None) -> Array:
        """For one target, where squares and roots have one minimum."""
        if len(self.forms) > 1:
            return super().nonnegative_minimum(ridge, center)
        return self.mean.nonnegative_minimum(ridge, center)
