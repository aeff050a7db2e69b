"""From a net's map to one that explains the recorded gathers, by quasi-Newton steps within bounds and under a prior.

First the gathers speak, with a light prior. Then a heavy one makes layers even and edges sharp, and fades: what it got wrong the
gathers mend. Within a round of iterations the sponge of the map's slowest velocity and the prior's weight, which is measured by the
misfit that is left, are held. Steps are larger in the depth, which is lit less.

A descent does not simulate: it yields maps to be tried and is sent how they fit, so that many run side by side (:mod:`.side_by_side`).
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datamodules.gwi.refinement.misfit import Fit, Trial, depth_scale
from datamodules.gwi.refinement.priors import Penalty, Prior
from datamodules.gwi.refinement.quasi_newton import SecantHessian, solve
from datamodules.gwi.schema import VMAX, VMIN

Array = npt.NDArray[np.float64]
_LEAST = 0.05  # share of a misfit that is taken as more than noise at least
_ARMIJO, _SHRINK, _TRIES = 1e-4, 0.35, 6


@dataclass(frozen=True)
class Descent:
    """How a map is refined.

    Args:
        max_iterations: At most; each costs about one gradient, four times a simulation.
        round_iterations: Iterations between two looks at the sponge, the weight of the prior and the progress.
        tolerance: Once the prior weighs less than the misfit, a round that lowers the residual (root mean square) by less than this
            share is the last one.
        enough: Residual at which a map is taken as explained; float32 rounding alone leaves 5e-5.
        prior_weight: Value of the prior over that of the misfit at the beginning of a round; None: the prior's own.
        settled: Least iterations with that weight.
        fitted: Residual above which it stays so: a map whose shallow part is not yet right would be evened out below.
        late_prior_weight: Weight of the round that follows; None: the prior's own.
        fade: Share of the weight that each later round keeps, down to ``prior_weight``.
        first_step: m/s that the first step moves a cell at most.
        memory: Steps from which the misfit's Hessian is estimated.
        slowest, fastest: Bounds of velocities in m/s.
        noise: Root mean square of noise in the gathers, whose misfit gives the prior no weight.
    """

    max_iterations: int = 60
    round_iterations: int = 10
    tolerance: float = 0.05
    enough: float = 2e-4
    prior_weight: float | None = None
    settled: int = 20
    fitted: float = 0.01
    late_prior_weight: float | None = None
    fade: float = 0.5
    first_step: float = 30.0
    memory: int = 100
    slowest: float = VMIN
    fastest: float = VMAX
    noise: float = 0.0

    def __post_init__(self) -> None:
        for name in ("max_iterations", "round_iterations", "memory"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("tolerance", "prior_weight", "late_prior_weight", "enough", "settled", "fitted"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not 0 < self.fade <= 1:
            raise ValueError(f"fade must be above 0 and at most 1, got {self.fade}")

    def explainable(self, fit: Fit) -> float:
        """Misfit less what noise leaves."""
        return fit.value * max(_LEAST, 1.0 - (self.noise / max(fit.rms, 1e-30)) ** 2)

    def weight(self, prior: Prior, late_rounds: int | None) -> float:
        """Of the prior against the misfit, so many rounds after it became heavy; None: before."""
        first = prior.weight if self.prior_weight is None else self.prior_weight
        if late_rounds is None:
            return first
        late = prior.late_weight if self.late_prior_weight is None else self.late_prior_weight
        return max(first, late * self.fade**late_rounds)


@dataclass
class Refined:
    """One refined map.

    Attributes:
        velocity: ``(depth, columns)`` in m/s.
        before, after: Root mean square of the residual; ``after`` is never larger.
        iterations: Done, also where the result was thrown away.
        reason: ``explained``, ``plateau``, ``iterations`` or ``no better``.
    """

    velocity: Array
    before: float
    after: float
    iterations: int
    reason: str


@dataclass
class _Point:
    """A map with its misfit and penalty."""

    velocity: Array
    fit: Fit
    penalty: Penalty


@dataclass
class _Objective:
    """Misfit and weighted prior of a round; gradients are per unit of velocity over ``scale``."""

    prior: Prior
    scale: Array
    slowest: float
    weight: float
    bounds: tuple[float, float]

    def at(self, velocity: Array) -> Generator[Trial, Fit, _Point]:
        fit = yield Trial(velocity, self.slowest)
        return _Point(velocity, fit, self.prior(velocity))

    def value(self, point: _Point) -> float:
        return point.fit.value + self.weight * point.penalty.value

    def gradient(self, point: _Point) -> Array:
        return (point.fit.gradient + self.weight * point.penalty.gradient) * self.scale

    def direction(self, point: _Point, gradient: Array, hessian: SecantHessian, first_step: float) -> Array:
        """Uphill; without a step to learn from, the misfit's gradient alone would move a cell by ``first_step`` m/s."""
        size = float(np.abs(gradient * self.scale).max()) / first_step
        of_misfit = hessian.operator() if hessian else lambda u: size * u

        def both(u: Array) -> Array:
            return of_misfit(u) + self.weight * self.scale * point.penalty.curvature(self.scale * u)

        return solve(both, gradient)


def descend(
    velocity: npt.NDArray[np.floating], prior: Prior, settings: Descent, begin: npt.NDArray[np.floating] | None = None
) -> Generator[Trial, Fit, Refined]:
    """Move one map until it explains its gathers; the map as it came if that was not for the better.

    Args:
        velocity: The map as it came, ``(depth, columns)`` in m/s; velocities out of bounds are clipped first.
        prior: Prior of its family.
        settings: Settings of the descent.
        begin: Where to begin, if other steps have moved the map already.

    Yields:
        Maps to be tried; how they fit must be sent.
    """
    start: Array = np.asarray(velocity, dtype=np.float64)
    before = (yield Trial(start)).rms
    scale = np.broadcast_to(depth_scale(len(start)), start.shape)
    best: Array = np.clip(
        start if begin is None else np.asarray(begin, dtype=np.float64), settings.slowest, settings.fastest
    )
    hessian = SecantHessian(settings.memory)  # that of the misfit, which outlives a round
    done, reached, reason = 0, np.inf, "iterations"
    late: int | None = None
    weight = np.inf
    while done < settings.max_iterations:
        many = min(settings.round_iterations, settings.max_iterations - done)
        objective = _Objective(prior, scale, float(best.min()), 0.0, (settings.slowest, settings.fastest))
        point = yield from objective.at(best)
        if late is not None:
            late += 1
        elif done >= settings.settled and point.fit.rms <= settings.fitted:
            late, weight = 0, np.inf
        share, penalty = settings.weight(prior, late), point.penalty.value
        # never heavier again: a misfit that the prior has made worse must not make the prior heavier
        weight = min(weight, share * settings.explainable(point.fit) / penalty if penalty > 0 else 0.0)
        objective.weight = weight
        point, made = yield from _round(point, objective, hessian, settings.first_step, many)
        best, done = point.velocity, done + made
        if point.fit.rms <= settings.enough:
            reason = "explained"
            break
        if made < many or (late is not None and share < 1 and point.fit.rms > (1 - settings.tolerance) * reached):
            reason = "plateau"
            break
        reached = point.fit.rms
    after = (yield Trial(best)).rms
    if not after <= before:
        return Refined(start, before, before, done, "no better")
    return Refined(best, before, after, done, reason)


def _round(
    point: _Point, objective: _Objective, hessian: SecantHessian, first_step: float, iterations: int
) -> Generator[Trial, Fit, tuple[_Point, int]]:
    """Iterations under one objective: the point reached, and how many."""
    for done in range(iterations):
        gradient = objective.gradient(point)
        if not gradient.any():
            return point, done
        direction = objective.direction(point, gradient, hessian, first_step)
        following = yield from _search(point, direction, abs(float((gradient * direction).sum())), objective)
        if following is None and hessian:  # a poor estimate: begin again downhill
            hessian.forget()
            continue
        if following is None:
            return point, done
        scale = objective.scale
        change = (following.fit.gradient - point.fit.gradient) * scale
        hessian.remember((following.velocity - point.velocity) / scale, change)
        point = following
    return point, iterations


def _search(
    point: _Point, direction: Array, slope: float, objective: _Objective
) -> Generator[Trial, Fit, _Point | None]:
    """Shorten a step until it lowers the objective enough; None if none does."""
    length, value = 1.0, objective.value(point)
    for _ in range(_TRIES):
        # as float32, which the misfit sees: a step is measured between what was simulated
        moved = (point.velocity - length * objective.scale * direction).clip(*objective.bounds)
        tried = yield from objective.at(moved.astype(np.float32).astype(np.float64))
        if objective.value(tried) < value - _ARMIJO * length * slope:
            return tried
        length *= _SHRINK
    return None
