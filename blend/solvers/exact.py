"""Exact solutions of the convex problems, with a certificate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from blend.objectives import Composed, Objective
from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, Solver, register
from blend.weights import Weights
from datamodules.banks.bank import BankError


@register
@dataclass
class Convex(MeanSolver):
    """The exact optimum on the simplex: Newton steps for log loss, a quadratic programme for R2, and for MAE.

    Attributes:
        min_weight: Models below it are dropped and the rest solved again.
    """

    name = "convex"
    complexity = 3
    metrics: ClassVar[tuple[str, ...]] = ("r2", "column_log_loss", "mae")
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
        objective = problem.objective(folds, self.kind, self.clip)
        values, gap = exact_minimum(objective)
        dropped = (values > 0) & (values < self.min_weight)
        if dropped.any():
            keep = np.flatnonzero(values >= self.min_weight)
            inner, _ = exact_minimum(Composed(objective, np.eye(objective.size)[keep]))
            loss = objective.loss(values)
            values = np.zeros(objective.size)
            values[keep] = inner
            gap += objective.loss(values) - loss
        return self.weights(problem, values, gap=gap)


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
class Mae(Convex):
    """The exact optimum for mean absolute error."""

    name = "mae"
    metrics: ClassVar[tuple[str, ...]] = ("mae",)
    summary = "exact weights for mean absolute error with a printed duality gap"


@register
@dataclass
class Nnls(Solver):
    """Non-negative least squares on the Gram matrix: weights whose sum is free, so that a blend may also shrink."""

    name = "nnls"
    complexity = 3
    metrics = ("r2",)
    summary = "non-negative weights of free sum for R2, exact"

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights of least squared error (in units of each target's variance).

        Raises:
            BankError: the metric is not R2.
        """
        self.check(problem)
        return Weights(self.name, list(problem.names), problem.objective(folds).nonnegative_minimum(), gap=0.0)
