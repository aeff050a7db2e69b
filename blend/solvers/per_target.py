"""Weights per target: the best few models of each, or regularised weights that are shrunk to the global ones.

``top`` averages, for every target, the models of the best validation score on it (8th place of the LEAP competition,
jackhuntcn, discussion 523223: the top 4). Without it, each target has its own exact weights, pulled to the global ones
by a strength that cross-validation over the folds chooses: with few rows, free weights per target are worse than equal
ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from blend.objectives import QuadraticLoss, WithPrior
from blend.problem import MOST_TARGET_PARTS, BlendProblem
from blend.solvers.base import Solver, register
from blend.solvers.exact import exact_minimum
from blend.weights import Weights
from datamodules.banks.bank import BankError

Array = npt.NDArray[np.float64]
STRENGTHS = {
    "r2": (0.0, 0.003, 0.03, 0.3, 3.0),  # ridge, in units of the Gram matrix's mean diagonal
    "column_log_loss": (1.0, 10.0, 100.0, 1000.0),  # pseudo-observations of a Dirichlet prior
    "mae": (0.001, 0.01, 0.1, 1.0),
}


@register
@dataclass
class PerTarget(Solver):
    """One vector of weights per target.

    Attributes:
        top: Average the best so many models of each target; None for regularised weights.
        free_sum: With R2, let the sum of a target's weights differ from 1.
    """

    name = "per_target"
    complexity = 6
    quick = False
    metrics = ("r2", "column_log_loss", "mae")
    summary = "weights per target: top-k means, or shrunk to the global weights with a strength chosen by folds"
    top: int | None = None
    free_sum: bool = True
    _fitted: dict[tuple[frozenset[int], float], Array] = field(default_factory=dict, repr=False)
    _fitted_for: object = field(default=None, repr=False)

    def refusal(self, problem: BlendProblem) -> str | None:
        """Too many targets, such as the pixels of maps."""
        if problem.metric.name != "r2" and problem.width > MOST_TARGET_PARTS:
            return f"{problem.width} targets are too many for weights per target; use per_group or a global method"
        return super().refusal(problem)

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """``(targets, models)`` weights.

        Raises:
            BankError: ``top`` is larger than the number of models, or there are too many targets.
        """
        self.check(problem)
        chosen = problem.folds if folds is None else list(folds)
        segments = [[t, t + 1] for t in range(problem.width)]
        if self.top is not None:
            values, notes = self._top(problem, chosen), [f"the {self.top} best models of each target, averaged"]
        else:
            if self._fitted_for is not problem:
                self._fitted, self._fitted_for = {}, problem
            strength = self._choose_strength(problem, chosen)
            values, notes = self._shrunk(problem, chosen, strength), [f"pull to the global weights: {strength:g}"]
        return Weights(self.name, list(problem.names), values, "targets", segments, notes=notes)

    def _top(self, problem: BlendProblem, folds: list[int]) -> Array:
        models = len(problem.names)
        if not 1 <= self.top <= models:  # type: ignore[operator]
            raise BankError(f"--top {self.top}: choose between 1 and the number of models, {models}")
        losses = np.array([problem.objective(folds, targets=(t, t + 1)).singles() for t in range(problem.width)])
        values = np.zeros((problem.width, models))
        best = np.argsort(losses, axis=1, kind="stable")[:, : self.top]
        np.put_along_axis(values, best, 1.0 / self.top, axis=1)  # type: ignore[operator]
        return values

    def _choose_strength(self, problem: BlendProblem, folds: list[int]) -> float:
        """Least loss on each fold of weights from the others; one fold alone takes the strongest pull."""
        strengths = STRENGTHS[problem.metric.name]
        if len(folds) < 2:
            return strengths[-1]
        losses = np.zeros(len(strengths))
        for held in folds:
            rest = [fold for fold in folds if fold != held]
            tested = [problem.objective([held], targets=(t, t + 1)) for t in range(problem.width)]
            for i, strength in enumerate(strengths):
                values = self._shrunk(problem, rest, strength)
                losses[i] += sum(objective.loss(w) for objective, w in zip(tested, values, strict=True))
        return strengths[int(np.argmin(losses))]

    def _shrunk(self, problem: BlendProblem, folds: list[int], strength: float) -> Array:
        key = (frozenset(folds), strength)
        if key not in self._fitted:
            whole = problem.objective(folds)
            free = self.free_sum and isinstance(whole, QuadraticLoss)
            center = whole.nonnegative_minimum() if free else exact_minimum(whole)[0]
            self._fitted[key] = np.array(
                [self._one(problem, folds, t, center, strength, free) for t in range(problem.width)]
            )
        return self._fitted[key]

    def _one(
        self, problem: BlendProblem, folds: list[int], target: int, center: Array, strength: float, free: bool
    ) -> Array:
        objective = problem.objective(folds, targets=(target, target + 1))
        if free and isinstance(objective, QuadraticLoss):
            if not objective.form.any():  # a target without variance teaches nothing
                return center
            ridge = strength * float(np.trace(objective.form[:-1, :-1])) / objective.size
            return objective.nonnegative_minimum(ridge, center)
        return WithPrior(objective, center, strength).minimum()[0]
