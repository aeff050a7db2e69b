"""L-BFGS from a net's map to one that explains the recorded gathers, within bounds and under a prior.

Rounds of a few iterations: each holds the sponge of the map's slowest velocity, and weighs the prior by what misfit is left, so
that the prior leads while the fit is poor and lets go as it becomes good. Steps are larger in the depth, which is lit less.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from datamodules.gwi.refinement.misfit import Fit, Misfit
from datamodules.gwi.refinement.priors import Prior
from datamodules.gwi.schema import VMAX, VMIN

Array = npt.NDArray[np.float64]
_ARMIJO, _SHRINK, _TRIES = 1e-4, 0.35, 6


@dataclass(frozen=True)
class Descent:
    """How a map is refined.

    Args:
        max_iterations: at most; each costs about one gradient, four times a simulation.
        round_iterations: iterations between two looks at the sponge, the weight of the prior and the progress.
        tolerance: a round that lowers the residual (root mean square) by less than this share is the last one.
        enough: residual at which a map is taken as explained; float32 rounding alone leaves 5e-5.
        prior_weight: value of the prior over that of the misfit at the beginning of a round.
        late_prior_weight: the same once ``settled`` iterations are done: what the gathers tell quickly is told, and edges sharpen.
        settled: iterations before that.
        first_step: m/s that the first step moves a cell at most.
        memory: pairs that L-BFGS remembers.
    """

    max_iterations: int = 100
    round_iterations: int = 10
    tolerance: float = 0.05
    enough: float = 2e-4
    prior_weight: float = 0.3
    late_prior_weight: float = 3.0
    settled: int = 30
    first_step: float = 30.0
    memory: int = 20

    def __post_init__(self) -> None:
        for name in ("max_iterations", "round_iterations", "memory"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("tolerance", "prior_weight", "late_prior_weight", "enough"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")


@dataclass
class Refined:
    """One refined map.

    Attributes:
        velocity: ``(depth, columns)`` in m/s.
        before, after: root mean square of the residual; ``after`` is never larger.
        iterations: done, also where the result was thrown away.
        reason: ``explained``, ``plateau``, ``iterations`` or ``no better``.
    """

    velocity: Array
    before: float
    after: float
    iterations: int
    reason: str


@dataclass
class _Point:
    """A map with the value and gradient of misfit and prior together, the gradient per unit of scaled velocity."""

    velocity: Array
    value: float
    gradient: Array
    rms: float


@dataclass
class _Curvature:
    """The pairs of L-BFGS."""

    most: int
    first_step: float
    pairs: list[tuple[Array, Array]] = field(default_factory=list)

    def remember(self, step: Array, change: Array) -> None:
        if (step * change).sum() > 1e-12 * np.sqrt((step**2).sum() * (change**2).sum()):
            self.pairs = [*self.pairs, (step, change)][-self.most :]

    def direction(self, gradient: Array, scale: Array) -> Array:
        """The gradient times the inverse Hessian's estimate (two-loop recursion); without any, a step of so many m/s."""
        if not self.pairs:
            return gradient * (self.first_step / np.abs(gradient * scale).max())
        q, factors = gradient.copy(), []
        for step, change in reversed(self.pairs):
            factor = (step * q).sum() / (step * change).sum()
            factors.append(factor)
            q -= factor * change
        last_step, last_change = self.pairs[-1]
        q *= (last_step * last_change).sum() / (last_change**2).sum()
        for (step, change), factor in zip(self.pairs, reversed(factors), strict=True):
            q += step * (factor - (change * q).sum() / (step * change).sum())
        return q


def refine_map(velocity: npt.NDArray[np.floating], misfit: Misfit, prior: Prior, settings: Descent) -> Refined:
    """Move one map until it explains its gathers; the map as it came if that was not for the better.

    Args:
        velocity: where to begin, ``(depth, columns)`` in m/s; velocities out of bounds are clipped first.
        misfit: of its gathers.
        prior: of its family.
        settings: of the descent.
    """
    start: Array = np.asarray(velocity, dtype=np.float64)
    before = misfit.rms(start)
    scale: Array = ((np.arange(start.shape[0], dtype=np.float64) + 5.0) / 40.0)[:, None]
    best: Array = np.clip(start, VMIN, VMAX)
    curvature = _Curvature(settings.memory, settings.first_step)  # that of the misfit, which outlives a round
    done, reached, reason = 0, np.inf, "iterations"
    while done < settings.max_iterations:
        many = min(settings.round_iterations, settings.max_iterations - done)
        weight = settings.prior_weight if done < settings.settled else settings.late_prior_weight
        point, made = _round(best, misfit, prior, scale, weight, curvature, many)
        done += made
        best = point.velocity
        if point.rms <= settings.enough:
            reason = "explained"
            break
        if made < many or point.rms > (1 - settings.tolerance) * reached:
            reason = "plateau"
            break
        reached = point.rms
    after = misfit.rms(best)
    if not after <= before:
        return Refined(start, before, before, done, "no better")
    return Refined(best, before, after, done, reason)


def _round(
    velocity: Array,
    misfit: Misfit,
    prior: Prior,
    scale: Array,
    prior_weight: float,
    curvature: _Curvature,
    iterations: int,
) -> tuple[_Point, int]:
    """Iterations under one objective: the point reached, and how many."""
    slowest = float(velocity.min())
    fit, (penalty, _) = misfit(velocity, slowest), prior(velocity)
    weight = prior_weight * fit.value / penalty if penalty > 0 else 0.0

    def judge(v: Array, fit: Fit | None = None) -> _Point:
        fit = fit or misfit(v, slowest)
        penalty, slope = prior(v)
        return _Point(v, fit.value + weight * penalty, (fit.gradient + weight * slope) * scale, fit.rms)

    point = judge(velocity, fit)
    for done in range(iterations):
        if not point.gradient.any():
            return point, done
        following = _search(point, curvature.direction(point.gradient, scale), scale, judge)
        if following is None and curvature.pairs:  # a poor estimate: begin again downhill
            curvature.pairs = []
            continue
        if following is None:
            return point, done
        curvature.remember((following.velocity - point.velocity) / scale, following.gradient - point.gradient)
        point = following
    return point, iterations


def _search(point: _Point, direction: Array, scale: Array, judge: Callable[[Array], _Point]) -> _Point | None:
    """Shorten a step until it lowers the objective enough; None if none does."""
    length, slope = 1.0, abs(float((point.gradient * direction).sum()))
    for _ in range(_TRIES):
        # as float32, which the misfit sees: a step is measured between what was simulated
        moved = (point.velocity - length * scale * direction).clip(VMIN, VMAX).astype(np.float32).astype(np.float64)
        tried = judge(moved)
        if tried.value < point.value - _ARMIJO * length * slope:
            return tried
        length *= _SHRINK
    return None
