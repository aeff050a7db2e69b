"""The best single model, the plain mean, and exact solutions of the convex problems with a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from blend.metrics.scores import SquaredMetric
from blend.objectives import Composed, Objective
from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, Solver, register
from blend.weights import Kind, Weights
from datamodules.banks.bank import BankError


@register
@dataclass
class Single(MeanSolver):
    """The one best model."""

    name = "single"
    complexity = 0
    summary = "the best single model"

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """All weight on the model of least loss; the first one on a tie."""
        own = replace(self, kind="arithmetic") if self.kind == "rank" else self  # ranks of one model are that model
        losses = problem.objective(folds, own.kind, own.clip).singles()
        return own.weights(problem, np.eye(len(losses))[int(np.argmin(losses))])


@register
@dataclass
class Equal(MeanSolver):
    """The plain mean of all models."""

    name = "equal"
    complexity = 1
    summary = "equal weights"

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """One over the number of models.

        Raises:
            BankError: the metric has no such mean.
        """
        if self.kind != "arithmetic":
            problem.objective(folds, self.kind, self.clip)  # refuses a mean that these predictions do not have
        return self.weights(problem, np.full(len(problem.names), 1.0 / len(problem.names)))


@register
@dataclass
class Convex(MeanSolver):
    """The exact optimum on the simplex: Newton steps for log losses, a quadratic programme for squared errors, smoothing for MAE.

    Attributes:
        min_weight: Models below it are dropped and the rest solved again.
    """

    name = "convex"
    complexity = 3
    convex_only = True
    summary = "exact weights on the simplex with a printed optimality gap"
    min_weight: float = 0.0

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights of least loss and their Frank-Wolfe (for MAE: duality) gap.

        Raises:
            BankError: the metric or mean is not convex in the weights.
        """
        self.check(problem)
        if self.kind == "rank":
            raise BankError("a mean of ranks is not convex in the weights; use --method optuna")
        values, gap = simplex_minimum(problem, folds, self.kind, self.clip)
        dropped = (values > 0) & (values < self.min_weight)
        if dropped.any():
            objective = problem.objective(folds, self.kind, self.clip)
            keep = np.flatnonzero(values >= self.min_weight)
            inner, _ = exact_minimum(Composed(objective, np.eye(objective.size)[keep]))
            loss = objective.loss(values)
            values = np.zeros(objective.size)
            values[keep] = inner
            gap += objective.loss(values) - loss
        return self.weights(problem, values, gap=gap)


def simplex_minimum(
    problem: BlendProblem, folds: Sequence[int] | None, kind: Kind = "arithmetic", clip: float = 0.0
) -> tuple[np.ndarray, float]:
    """:func:`exact_minimum` of some folds, remembered: nested scores and inner folds ask for the same sets again."""
    key = ("exact", frozenset(problem.folds if folds is None else folds), kind, clip)
    if key not in problem.remembered:
        problem.remembered[key] = exact_minimum(problem.objective(folds, kind, clip))
    values, gap = problem.remembered[key]
    return values.copy(), gap


def exact_minimum(objective: Objective) -> tuple[np.ndarray, float]:
    """Minimum on the simplex, with exact zeros, and never worse than a single model.

    A log loss is clipped where a probability is 0, which is not convex; then a corner may win and keeps the certificate
    of the unclipped loss.
    """
    values, gap = objective.minimum()
    cleaned = np.where(values < 1e-9, 0.0, values)
    cleaned /= cleaned.sum()
    losses = objective.losses(np.vstack([values, cleaned, np.eye(objective.size)]))
    best = int(np.argmin(losses[2:]))
    if losses[2 + best] < min(losses[0], losses[1]):
        return np.eye(objective.size)[best], gap
    if losses[1] <= losses[0] + 1e-12 * abs(losses[0]):
        return cleaned, gap + max(0.0, float(losses[1] - losses[0]))
    return values, gap


@register
@dataclass
class Nnls(Solver):
    """Non-negative least squares on the Gram matrix: weights whose sum is free, so that a blend may also shrink it."""

    name = "nnls"
    complexity = 3
    summary = "non-negative weights of free sum for squared errors, exact"

    def refusal(self, problem: BlendProblem) -> str | None:
        """Needs squared errors, of one target where their root is the metric."""
        metric = problem.metric
        if isinstance(metric, SquaredMetric) and (problem.width == 1 or not metric.root):
            return None
        return f"method nnls is for squared errors, not for {metric.name}"

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights of least squared error (in units of each target's variance).

        Raises:
            BankError: the metric is not a squared error.
        """
        self.check(problem)
        return Weights(self.name, list(problem.names), problem.objective(folds).nonnegative_minimum(), gap=0.0)
