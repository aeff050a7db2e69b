"""Weights per group: of rows, such as the families of OpenFWI, or of targets, such as the variables of ClimSim."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, register
from blend.solvers.exact import exact_minimum
from blend.weights import Level, Weights
from datamodules.banks.bank import BankError


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
    metrics = ("r2", "column_log_loss", "mae")
    summary = "exact weights per row group (families) or target group (variables)"
    by: Literal["auto", "rows", "targets"] = "auto"

    def refusal(self, problem: BlendProblem) -> str | None:
        """Needs groups."""
        if not self._by_rows(problem) and not problem.target_groups:
            return "method per_group needs row groups (--groups FILE, --by rows) or target groups in the manifest"
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
        gap = sum(gaps) if problem.metric.name == "r2" else max(gaps)
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
