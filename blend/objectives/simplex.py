"""Exact minimisation over blend weights: quadratic programmes by an active set, smooth convex losses by Newton steps.

Weights live on the simplex (not negative, sum 1). Convexity gives a certificate for any weights ``w`` with gradient
``g``: no other weights are better by more than the Frank-Wolfe gap ``g.w - min_k g_k``.
"""

# Own code beside scipy's SLSQP, which gives no certificate: benchmarks/blend.py --cases peers prints both; with log losses of 12 and
# 40 models SLSQP took 20 and 75 times as long.

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
_NEVER_BETTER = 1e-15  # relative rounding of a float64 sum


class Smooth(Protocol):
    """A convex loss with two derivatives."""

    size: int

    def loss(self, w: Array) -> float:
        """Loss of weights ``(models,)``."""
        ...

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """Loss, gradient ``(models,)`` and Hessian ``(models, models)``; gradients may miss a multiple of ones."""
        ...


def frank_wolfe_gap(w: Array, gradient: Array) -> float:
    """How far ``w`` is from the optimum at most."""
    return max(0.0, float(gradient @ w - gradient.min()))


def minimize_quadratic(H: Array, g: Array, start: Array, sum_to_one: bool = True) -> Array:
    """Minimiser of ``x'Hx / 2 + g'x`` over ``x >= 0``, with sum 1 or free, by a primal active-set method.

    Args:
        H: Symmetric, positive semi-definite ``(models, models)``; a trace of ridge makes duplicates harmless.
        g: ``(models,)``.
        start: A feasible point.
        sum_to_one: Keep the sum at 1.
    """
    size = len(g)
    ridge = 1e-14 * max(np.trace(H) / size, 1e-300) + 1e-14 * np.abs(g).max()
    H = H + ridge * np.eye(size)
    x, free = start.astype(np.float64).copy(), start > 0
    added = -1
    for _ in range(100 * size):
        target = _equality_minimum(H, g, free, sum_to_one)
        shrinking = free & (target < 0)
        if shrinking.any():
            candidates = np.flatnonzero(shrinking)
            steps = x[candidates] / (x[candidates] - target[candidates])
            block = int(candidates[np.argmin(steps)])
            if block == added and steps.min() <= 0.0:
                return x  # the last direction was only rounding
            x += min(1.0, float(steps.min())) * (target - x)
            x[block], free[block] = 0.0, False
            np.maximum(x, 0.0, out=x)
            continue
        x = target
        gradient = H @ x + g
        level = float(gradient @ x) if sum_to_one else 0.0
        reduced = np.where(free, np.inf, gradient - level)
        added = int(np.argmin(reduced))
        if reduced[added] >= -1e-13 * (np.abs(gradient).max() + np.abs(g).max()):
            return x
        free[added] = True
    return x


def _equality_minimum(H: Array, g: Array, free: npt.NDArray[np.bool_], sum_to_one: bool) -> Array:
    """Minimiser with the inactive weights at 0 and no other bound."""
    index = np.flatnonzero(free)
    out = np.zeros(len(g))
    if not len(index):
        return out
    if not sum_to_one:
        out[index] = np.linalg.solve(H[np.ix_(index, index)], -g[index])
        return out
    n = len(index)
    system = np.ones((n + 1, n + 1))
    system[:n, :n], system[n, n] = H[np.ix_(index, index)], 0.0
    scale = max(np.abs(system[:n, :n]).max(), 1e-300)  # the bordered row keeps its size, the block is brought to it
    system[:n, :n] /= scale
    right = np.append(-g[index] / scale, 1.0)
    try:
        solution = np.linalg.solve(system, right)
    except np.linalg.LinAlgError:
        solution = np.linalg.lstsq(system, right, rcond=None)[0]
    out[index] = solution[:n]
    return out


def minimize_smooth(loss: Smooth, start: Array, tolerance: float = 1e-11, steps: int = 200) -> tuple[Array, float]:
    """Newton's method on the simplex: each step is a quadratic programme, then a line search.

    Args:
        loss: Convex.
        start: A point of the simplex, best inside.
        tolerance: Stop when the gap falls below this times the loss.
        steps: Most Newton steps.

    Returns:
        Weights and their Frank-Wolfe gap.
    """
    w = start.astype(np.float64)
    value, gradient, hessian = loss.derivatives(w)
    for _ in range(steps):
        if frank_wolfe_gap(w, gradient) <= tolerance * abs(value):
            break
        target = minimize_quadratic(hessian, gradient - hessian @ w, w)
        direction = target - w
        slope = float(gradient @ direction)
        length = _line_search(loss, w, direction, value, slope)
        if length == 0.0:
            break
        w = np.maximum(w + length * direction, 0.0)
        w /= w.sum()
        previous, (value, gradient, hessian) = value, loss.derivatives(w)
        if previous - value <= _NEVER_BETTER * abs(value) and length == 1.0:
            break
    return w, frank_wolfe_gap(w, gradient)


def _line_search(loss: Smooth, w: Array, direction: Array, value: float, slope: float) -> float:
    """Armijo's rule by halving; 0 when no step helps."""
    length = 1.0
    while length > 1e-12:
        if loss.loss(w + length * direction) <= value + 1e-4 * length * slope + _NEVER_BETTER * abs(value):
            return length
        length *= 0.5
    return 0.0
