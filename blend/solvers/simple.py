"""The two blends that need no search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, register
from blend.weights import Weights


@register
@dataclass
class Single(MeanSolver):
    """The one best model."""

    name = "single"
    complexity = 0
    summary = "the best single model"

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """All weight on the model of least loss; the first one on a tie."""
        losses = problem.objective(folds).singles()
        return Weights(self.name, list(problem.names), np.eye(len(losses))[int(np.argmin(losses))])


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
