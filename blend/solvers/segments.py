"""Weights per group and per target.

``per_group``: of rows, such as the families of OpenFWI, or of targets, such as the variables of ClimSim. ``per_target``:
``top`` averages, for every target, the models of the best validation score on it (8th place of the LEAP competition,
jackhuntcn, discussion 523223: the top 4); without it, each target has its own exact weights, pulled to the global ones by
a strength that cross-validation over the folds chooses: with few rows, free weights per target are worse than equal ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import ColumnLogLoss, SquaredMetric
from blend.objectives import QuadraticLoss, WithPrior
from blend.problem import MOST_TARGET_PARTS, BlendProblem
from blend.solvers.base import MeanSolver, Solver, register
from blend.solvers.exact import exact_minimum
from blend.weights import Level, Weights
from datamodules.banks.bank import BankError

Array = npt.NDArray[np.float64]
_RIDGES = (0.0, 0.003, 0.03, 0.3, 3.0)  # in units of the Gram matrix's mean diagonal
_OBSERVATIONS = (1.0, 10.0, 100.0, 1000.0)  # pseudo-observations of a Dirichlet prior
_SLOPES = (0.001, 0.01, 0.1, 1.0)  # in units of the mean error


@register
@dataclass
class PerGroup(MeanSolver):
    """The exact weights of every group.

    Attributes:
        by: ``rows`` (a family per row), ``targets`` (the target groups of the manifest) or ``auto``: rows if they are grouped.
    """

    name = "per_group"
    complexity = 5
    quick = False
    convex_only = True
    summary = "exact weights per row group (families) or target group (variables)"
    by: Literal["auto", "rows", "targets"] = "auto"

    def refusal(self, problem: BlendProblem) -> str | None:
        """Needs groups."""
        if problem.metric.labels == "classes":
            return "method per_group weighs targets or row groups apart; the classes of one label are neither"
        if not self._by_rows(problem) and not problem.target_groups:
            return "method per_group needs row groups (--groups FILE, --by rows) or target groups in the manifest"
        spans = problem.target_groups.values()
        if len(problem.row_groups) == 1 if self._by_rows(problem) else list(spans) == [[0, problem.width]]:
            return "method per_group has one group only, which is what method convex solves"
        return super().refusal(problem)

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """``(groups, models)`` weights.

        Raises:
            BankError: there are no such groups, or the target groups do not cover the targets.
        """
        self.check(problem)
        if not self._by_rows(problem):
            segments = _covering(problem.target_groups, problem.width)
            found = [exact_minimum(problem.objective(folds, self.kind, self.clip, targets=(a, b))) for a, b in segments]
            return self._result(problem, found, "targets", segments, max(gap for _, gap in found))
        everywhere: tuple[np.ndarray, float] | None = None
        found, notes = [], []
        for code, name in enumerate(problem.row_groups):
            if problem.count(folds, code):
                found.append(exact_minimum(problem.objective(folds, self.kind, self.clip, group=code)))
                continue
            everywhere = everywhere or exact_minimum(problem.objective(folds, self.kind, self.clip))
            found.append((everywhere[0], 0.0))
            notes.append(f"group {name!r} has no rows to fit on and takes the global weights")
        gaps = [gap for _, gap in found]  # shares of one sum for R2, parts of a mean for the others
        gap = sum(gaps) if isinstance(problem.metric, SquaredMetric) else max(gaps)
        return self._result(problem, found, "rows", list(problem.row_groups), gap, notes)

    def _result(
        self,
        problem: BlendProblem,
        found: list[tuple[np.ndarray, float]],
        level: Level,
        segments: list[Any],
        gap: float,
        notes: Sequence[str] = (),
    ) -> Weights:
        values = np.array([w for w, _ in found])
        return self.weights(problem, values, level=level, segments=segments, gap=gap, notes=list(notes))

    def _by_rows(self, problem: BlendProblem) -> bool:
        if self.by == "rows" and not problem.row_groups:
            raise BankError("the rows have no groups; give them with --groups FILE (columns row_id, group)")
        return self.by == "rows" or (self.by == "auto" and bool(problem.row_groups))


def _covering(groups: dict[str, list[int]], width: int) -> list[list[int]]:
    """The groups' ranges in order.

    Raises:
        BankError: they overlap or leave a target out.
    """
    segments = sorted([int(start), int(stop)] for start, stop in groups.values())
    edges = [0, *[stop for _, stop in segments]]
    if any(start != edge for (start, _), edge in zip(segments, edges, strict=False)) or edges[-1] != width:
        raise BankError(f"the manifest's target groups do not cover the {width} targets exactly once: {segments}")
    return segments


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
    convex_only = True
    summary = "weights per target: top-k means, or shrunk to the global weights with a strength chosen by folds"
    top: int | None = None
    free_sum: bool = True
    _fitted: dict[tuple[frozenset[int], float], Array] = field(default_factory=dict, repr=False)
    _fitted_for: object = field(default=None, repr=False)

    def refusal(self, problem: BlendProblem) -> str | None:
        """One target, too many targets such as the pixels of maps, or classes."""
        if problem.width == 1:
            return "method per_target has one target only, which is what method convex solves"
        if problem.metric.labels == "classes":
            return "method per_target weighs targets apart; the classes of one label are not targets"
        if not isinstance(problem.metric, SquaredMetric) and problem.width > MOST_TARGET_PARTS:
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
        metric = problem.metric
        strengths = (
            _RIDGES
            if isinstance(metric, SquaredMetric)
            else _OBSERVATIONS
            if isinstance(metric, ColumnLogLoss)
            else _SLOPES
        )
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
