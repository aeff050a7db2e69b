"""Greedy selection with replacement.

Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models" (ICML 2004).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, register
from blend.weights import Weights

_TIE = 1e-12


@register
@dataclass
class Greedy(MeanSolver):
    """Add, step by step, the model that lowers the loss of the running mean most; keep the best prefix.

    Attributes:
        steps: Additions.
        use_best: Cut at the best prefix (without it: the last).
    """

    name = "greedy"
    complexity = 2
    summary = "greedy selection with replacement (Caruana), cut at its best prefix"
    steps: int = 100
    use_best: bool = True

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Counts over steps; among ties a model already chosen wins, then the first."""
        objective = problem.objective(folds, self.kind, self.clip)
        models = len(problem.names)
        counts, best, best_loss, path = np.zeros(models), np.zeros(models), np.inf, []
        for step in range(self.steps):
            losses = objective.losses((counts + np.eye(models)) / (step + 1))
            tied = losses <= losses.min() + _TIE * abs(losses.min())
            known = tied & (counts > 0)
            chosen = int(np.argmax(known if known.any() else tied))
            counts[chosen] += 1
            path.append({"added": problem.names[chosen], "loss": float(losses[chosen])})
            if losses[chosen] < best_loss - _TIE * abs(losses[chosen]):
                best, best_loss = counts.copy(), float(losses[chosen])
        final = best if self.use_best else counts
        return self.weights(problem, final / final.sum(), path=path)
