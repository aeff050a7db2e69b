"""Selection of models step by step.

``greedy``, with replacement: Caruana, Niculescu-Mizil, Crew and Ksikes, "Ensemble selection from libraries of models"
(ICML 2004). ``grow`` and ``remove``, without replacement: 2nd place of "Mars Spectrometry 2: Gas Chromatography"
(D. Konovalov, arXiv:2403.15990); both go on past steps that make the loss worse and keep the best set on the path. A
blend's loss may be taken at its best shrink ``p (1 - 2 c) + c``, as the source scored (but did not export) its blends.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import SHRINKS
from blend.objectives import Objective, ProbabilityLoss
from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, register
from blend.weights import Kind, Weights
from datamodules.banks.bank import BankError

Array = npt.NDArray[np.float64]
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

    def evaluations(self, models: int) -> int:
        """Every model in every step."""
        return self.steps * models

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Counts over steps; among ties a model already chosen wins, then the first."""
        path = selected(problem, folds, self.kind, self.clip, self.steps)
        counts = chosen_counts(path, len(problem.names), self.use_best)
        named = [{"added": problem.names[chosen], "loss": loss} for chosen, loss in path]
        return self.weights(problem, counts / counts.sum(), path=named)


Path = list[tuple[int, float]]
"""The added model and the loss of every step."""


def select(
    objective: Objective, steps: int, allowed: npt.NDArray[np.intp] | None = None, path: Path | None = None
) -> Path:
    """Greedy selection with replacement.

    Args:
        objective: Loss of weights.
        steps: Additions.
        allowed: Positions of the models to choose from; None for all.
        path: Steps that were made before.
    """
    models, path = objective.size, list(path or [])
    among = np.arange(models) if allowed is None else allowed
    counts = chosen_counts(path, models, use_best=False)
    while len(path) < steps:
        losses = np.full(models, np.inf)
        losses[among] = objective.additions(counts, among)
        tied = losses <= losses.min() + _TIE * abs(losses.min())
        known = tied & (counts > 0)
        chosen = int(np.argmax(known if known.any() else tied))
        counts[chosen] += 1
        path.append((chosen, float(losses[chosen])))
    return path


def chosen_counts(path: Path, models: int, use_best: bool = True) -> Array:
    """How often each model was added, up to the best step or to the last."""
    end, best = len(path), np.inf
    for step, (_, loss) in enumerate(path if use_best else [], start=1):
        if loss < best - _TIE * abs(loss):
            end, best = step, loss
    return np.bincount(np.array([model for model, _ in path[:end]], dtype=np.intp), minlength=models).astype(np.float64)


def selected(problem: BlendProblem, folds: Sequence[int] | None, kind: Kind, clip: float, steps: int) -> Path:
    """:func:`select` from all models; its steps are remembered, as several methods take the first of the same."""
    chosen = problem.folds if folds is None else folds
    key = ("greedy", frozenset(chosen), kind, clip)
    path: Path = problem.remembered.get(key, [])
    if len(path) < steps:
        path = problem.remembered[key] = select(problem.objective(folds, kind, clip), steps, path=path)
    return path[:steps]


@dataclass
class Stepwise(MeanSolver):
    """Common part of :class:`Grow` and :class:`Remove`.

    Attributes:
        shrink: Take the loss at its best shrink (log loss only).
    """

    complexity = 2
    quick = False
    shrink: bool = False

    def evaluations(self, models: int) -> int:
        """Every model that is left, in every step."""
        return models * (models + 1) // 2

    def _losses(self, problem: BlendProblem, folds: Sequence[int] | None) -> Callable[[Array], Array]:
        objective = problem.objective(folds, self.kind, self.clip, reduce=not self.shrink)
        if not self.shrink:
            return objective.losses
        if not isinstance(objective, ProbabilityLoss):
            raise BankError(f"--shrink shrinks probabilities; metric {problem.metric.name} has none")
        return lambda W: objective.shrunk_losses(W, SHRINKS)

    def _result(self, problem: BlendProblem, chosen: list[int], path: list[dict[str, Any]]) -> Weights:
        values = np.zeros(len(problem.names))
        values[chosen] = 1.0 / len(chosen)
        return self.weights(problem, values, path=path)


@register
@dataclass
class Grow(Stepwise):
    """Add one model at a time.

    Attributes:
        most: Size of the largest set.
    """

    name = "grow"
    summary = "forward selection without replacement, equal weights, best set on the path"
    most: int = 30

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """The best of the nested sets; the first model wins a tie."""
        losses_of = self._losses(problem, folds)
        models = len(problem.names)
        chosen: list[int] = []
        best, best_loss, path = chosen, np.inf, []
        for size in range(1, min(self.most, models) + 1):
            rest = [k for k in range(models) if k not in chosen]
            W = np.zeros((len(rest), models))
            W[:, chosen] = 1.0 / size
            W[np.arange(len(rest)), rest] = 1.0 / size
            losses = losses_of(W)
            place = int(np.argmin(losses))
            chosen = [*chosen, rest[place]]
            path.append({"added": problem.names[rest[place]], "loss": float(losses[place])})
            if losses[place] < best_loss:
                best, best_loss = chosen, float(losses[place])
        return self._result(problem, best, path)


@register
@dataclass
class Remove(Stepwise):
    """Drop one model at a time."""

    name = "remove"
    summary = "backward elimination from all models, equal weights, best set on the path"

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """The best of the nested sets; the first model goes on a tie."""
        losses_of = self._losses(problem, folds)
        models = len(problem.names)
        chosen = list(range(models))
        best, best_loss = chosen, float(losses_of(np.full((1, models), 1.0 / models))[0])
        path: list[dict[str, Any]] = [{"removed": None, "loss": best_loss}]
        while len(chosen) > 1:
            W = np.zeros((len(chosen), models))
            W[:, chosen] = 1.0 / (len(chosen) - 1)
            W[np.arange(len(chosen)), chosen] = 0.0
            losses = losses_of(W)
            place = int(np.argmin(losses))
            path.append({"removed": problem.names[chosen[place]], "loss": float(losses[place])})
            chosen = chosen[:place] + chosen[place + 1 :]
            if losses[place] < best_loss:
                best, best_loss = chosen, float(losses[place])
        return self._result(problem, best, path)
