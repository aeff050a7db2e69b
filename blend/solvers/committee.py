"""The mean of several methods' weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, register
from blend.solvers.exact import Convex
from blend.solvers.greedy import Greedy
from blend.solvers.regular import Bagged, Stacker
from blend.weights import Weights


@register
@dataclass
class Committee(MeanSolver):
    """The mean of the exact, the bagged and, where it is of the same kind, the stacker's weights.

    A convex loss of a mean is at most the mean of the losses: the committee is never worse than its members are on average,
    and as these err in different ways it is mostly better than the best of them.
    """

    name = "committee"
    complexity = 3
    quick = False
    summary = "mean of the exact (or greedy), bagged and stacker weights: the safest on few rows"
    exact: bool = True
    _stacker: Stacker = field(default_factory=Stacker, repr=False)

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights and, with a stacker among the members, an intercept."""
        convex = problem.objective(folds, self.kind, self.clip).convex
        first: MeanSolver = Convex(self.kind, self.clip) if convex else Greedy(self.kind, self.clip)
        members = [solver.fit(problem, folds) for solver in (first, Bagged(self.kind, self.clip))][
            0 if self.exact else 1 :
        ]
        if self._stacker.refusal(problem) is None:
            stacked = self._stacker.fit(problem, folds)
            if stacked.kind == members[0].kind:
                members.append(stacked)
        values = np.mean([weights.values for weights in members], axis=0)
        return self.weights(problem, values, intercept=_mean_intercept(members))


def _mean_intercept(members: Sequence[Weights]) -> list[float]:
    widest = max(len(weights.intercept) for weights in members)
    if not widest:
        return []
    every = [np.broadcast_to(np.asarray(w.intercept or [0.0]), widest) for w in members]
    return [float(value) for value in np.mean(every, axis=0)]
