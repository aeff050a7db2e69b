"""The mean of two methods' weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, Solver, register
from blend.solvers.exact import Convex
from blend.solvers.greedy import Greedy
from blend.solvers.regular import Bagged, Stacker
from blend.weights import Kind, Weights

_KIND: dict[Kind, Kind] = {"softmax": "logit"}  # asked for by this name


@register
@dataclass
class Committee(Solver):
    """The mean of the bagged and the stacker's weights; where no stacker can work, of the bagged and the exact ones.

    A convex loss of a mean is at most the mean of the losses, so the committee is never worse than its members are on
    average. As the one is stable but cannot correct a bias, and the other corrects it but follows the noise of few rows, it is
    mostly better than both (``benchmarks/advice.py``).

    Attributes:
        stacker: May be shared with others, so that its inner fits are made once.
    """

    name = "committee"
    complexity = 4
    quick = False
    summary = "mean of the bagged and the stacker's weights (logits for labels): the safest choice"
    stacker: Stacker = field(default_factory=Stacker, repr=False)

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights and, with a stacker among the members, intercepts."""
        if self.stacker.refusal(problem) is None:
            other = self.stacker.fit(problem, folds)
        else:
            exact: MeanSolver = Convex() if problem.metric.convex else Greedy()
            other = exact.fit(problem, folds)
        bagged = Bagged(_KIND.get(other.kind, other.kind), other.clip).fit(problem, folds)
        return replace(
            other,
            method=self.name,
            values=np.mean([other.values, bagged.values], axis=0),
            intercept=[b / 2 for b in other.intercept],
            gap=None,
            path=[],
            notes=[f"the mean of bagged and {other.method}", *other.notes],
        )
