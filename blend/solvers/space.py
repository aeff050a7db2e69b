"""The search space of a study: weights, and where asked for the kind of mean, the clip and the subset of models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from blend.objectives import Objective
from blend.objectives.simplex import frank_wolfe_gap
from blend.problem import BlendProblem
from blend.solvers.exact import exact_minimum
from blend.weights import LOGIT_CLIP, Kind

if TYPE_CHECKING:
    import optuna

Array = npt.NDArray[np.float64]
_SMOOTH = ("r2", "column_log_loss")
_EXACT = (*_SMOOTH, "mae")


class Space:
    """Parameters to a blend, and its score.

    Args:
        problem: What is blended.
        folds: Nested folds whose rows count, None for all.
        kinds: Kinds of mean to choose among.
        clips: Clips to choose among.
        subsets: Search also which models take part.
    """

    def __init__(
        self,
        problem: BlendProblem,
        folds: Sequence[int] | None,
        kinds: Sequence[Kind],
        clips: Sequence[float],
        subsets: bool,
    ) -> None:
        self.names, self.problem = list(problem.names), problem
        self.subsets = subsets and len(self.names) > 1
        self.kinds, self.clips = list(kinds), list(clips)
        self.objectives = {
            (kind, clip): problem.objective(folds, kind, clip) for kind in self.kinds for clip in self.clips
        }

    def blend(self, parameters: dict[str, Any]) -> tuple[Kind, float, Array]:
        """Kind, clip and weights of a trial: shares in [0, 1], divided by their sum."""
        shares = np.array([parameters[f"weight/{name}"] for name in self.names])
        if self.subsets:
            shares = shares * np.array([parameters[f"use/{name}"] for name in self.names], dtype=np.float64)
        total = shares.sum()
        values = shares / total if total > 0 else np.full(len(shares), 1.0 / len(shares))
        kind = parameters.get("kind", self.kinds[0])
        clip = parameters.get("clip", self.clips[0])
        return kind, clip or (LOGIT_CLIP if kind == "logit" else 0.0), values

    def objective(self, parameters: dict[str, Any]) -> Objective:
        """Loss of the kind and clip that a trial drew."""
        return self.objectives[parameters.get("kind", self.kinds[0]), parameters.get("clip", self.clips[0])]

    def gap(self, parameters: dict[str, Any]) -> float | None:
        """Certificate of a trial's weights among all of its kind, where the loss is smooth and convex."""
        objective = self.objective(parameters)
        if not objective.convex or self.problem.metric.name not in _SMOOTH:
            return None
        _, _, values = self.blend(parameters)
        return frank_wolfe_gap(values, objective.derivatives(values)[1])

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw a trial's parameters."""
        drawn: dict[str, Any] = {
            f"weight/{name}": trial.suggest_float(f"weight/{name}", 0.0, 1.0) for name in self.names
        }
        if self.subsets:
            drawn |= {f"use/{name}": trial.suggest_categorical(f"use/{name}", [True, False]) for name in self.names}
        if len(self.kinds) > 1:
            drawn["kind"] = trial.suggest_categorical("kind", self.kinds)
        if len(self.clips) > 1:
            drawn["clip"] = trial.suggest_categorical("clip", self.clips)
        return drawn

    def evaluate(self, trial: optuna.Trial) -> float:
        """Score of a trial."""
        drawn = self.suggest(trial)
        _, _, values = self.blend(drawn)
        return self.problem.metric.score_of_loss(self.objective(drawn).loss(values))

    def starts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Equal weights, the best single model, and the exact solution of every kind and clip that has one."""
        first = self.objectives[self.kinds[0], self.clips[0]]
        yield "equal", self._parameters(first.equal(), self.kinds[0], self.clips[0])
        single = np.eye(first.size)[int(np.argmin(first.singles()))]
        yield "best single", self._parameters(single, self.kinds[0], self.clips[0])
        for (kind, clip), objective in self.objectives.items():
            if objective.convex and self.problem.metric.name in _EXACT:
                yield f"exact {kind}", self._parameters(exact_minimum(objective)[0], kind, clip)

    def _parameters(self, values: Array, kind: Kind, clip: float) -> dict[str, Any]:
        shares = values / values.max()
        out: dict[str, Any] = {f"weight/{name}": float(share) for name, share in zip(self.names, shares, strict=True)}
        if self.subsets:
            out |= {f"use/{name}": bool(share > 0) for name, share in zip(self.names, shares, strict=True)}
        if len(self.kinds) > 1:
            out["kind"] = kind
        if len(self.clips) > 1:
            out["clip"] = clip
        return out

    def mark(self) -> str:
        """What tells a study of other predictions or choices apart."""
        objective: Objective = self.objectives[self.kinds[0], self.clips[0]]
        equal = objective.loss(objective.equal())
        return f"{self.problem.metric.name} {self.kinds} {self.clips} {self.subsets} {self.names} {equal:.10g}"
