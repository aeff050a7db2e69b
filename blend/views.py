"""What a solver may ask of a problem, and problems whose models are blends of another's models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blend.objectives import Composed, Objective
from blend.scores import Metric
from blend.weights import Kind

Array = npt.NDArray[np.float64]
MOST_TARGET_PARTS = 1024  # of log loss and MAE; R2 has Gram matrices of any number of targets


class BlendProblem(Protocol):
    """What a solver may ask."""

    names: list[str]
    folds: list[int]
    metric: Metric
    width: int
    target_groups: dict[str, list[int]]
    row_groups: list[str]

    def objective(
        self,
        folds: Sequence[int] | None = None,
        kind: Kind = "arithmetic",
        clip: float = 0.0,
        group: int | None = None,
        targets: tuple[int, int] | None = None,
        reduce: bool = True,
    ) -> Objective:
        """Loss over some rows and targets."""
        ...

    def count(self, folds: Sequence[int] | None, group: int) -> int:
        """Rows of a group in some folds."""
        ...


class Projected:
    """A problem whose models are blends of another's models, sharing its passes.

    Args:
        problem: the whole.
        basis: ``(new models, models)`` weights of each new model.
        names: of the new models.
    """

    def __init__(self, problem: BlendProblem, basis: Array, names: Sequence[str]) -> None:
        self._problem, self._basis, self.names = problem, basis, list(names)
        self.folds, self.metric, self.width = problem.folds, problem.metric, problem.width
        self.target_groups, self.row_groups = problem.target_groups, problem.row_groups

    def objective(self, *args: Any, **kwargs: Any) -> Objective:
        """As :meth:`Problem.objective`, over the new models."""
        return Composed(self._problem.objective(*args, **kwargs), self._basis)

    def count(self, folds: Sequence[int] | None, group: int) -> int:
        """As :meth:`Problem.count`."""
        return self._problem.count(folds, group)


def subset(problem: BlendProblem, keep: Sequence[int]) -> Projected:
    """A problem of some of the models."""
    return Projected(problem, np.eye(len(problem.names))[list(keep)], [problem.names[k] for k in keep])
