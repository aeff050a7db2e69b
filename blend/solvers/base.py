"""The interface of all solvers, and the registry that lists them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from blend.problem import BlendProblem
from blend.weights import LOGIT_CLIP, Kind, Weights
from datamodules.banks.bank import BankError
from datamodules.errors import UsageError, nearest_name


@dataclass
class Solver(ABC):
    """Finds weights.

    Attributes:
        name: On the command line.
        complexity: Rank from simple to flexible, for choosing among blends of about equal score.
        quick: Cheap enough to be fitted again without each model, to tell what each one adds.
        convex_only: Whether the metric must be convex in the weights.
        summary: One line for ``--help`` and the docs.
    """

    name: ClassVar[str] = ""
    complexity: ClassVar[int] = 0
    quick: ClassVar[bool] = True
    convex_only: ClassVar[bool] = False
    summary: ClassVar[str] = ""

    @abstractmethod
    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights fitted on the rows of some nested folds (None: all)."""

    def refusal(self, problem: BlendProblem) -> str | None:
        """Why it cannot work on a problem, None if it can."""
        if self.convex_only and not problem.metric.convex:
            return f"method {self.name} needs a metric that is convex in the weights, {problem.metric.name} is not: take greedy, coordinate or optuna"
        return None

    def evaluations(self, models: int) -> int:
        """About how often a metric without an exact solution is evaluated by one fit; 0 where that does not count."""
        return models

    def check(self, problem: BlendProblem) -> None:
        """Refuse a problem it cannot work on.

        Raises:
            BankError: with the reason.
        """
        reason = self.refusal(problem)
        if reason:
            raise BankError(reason)


@dataclass
class MeanSolver(Solver):
    """A solver whose blend can be a mean of predictions, logits or ranks.

    Attributes:
        kind: Kind of the mean.
        clip: Probabilities are clipped to ``[clip, 1 - clip]`` first.
    """

    kind: Kind = "arithmetic"
    clip: float = 0.0

    def weights(self, problem: BlendProblem, values: Any, **more: Any) -> Weights:
        """The result, with this solver's kind of mean."""
        kind = problem.mean_kind(self.kind)
        clip = self.clip or (LOGIT_CLIP if kind in ("logit", "softmax") else 0.0)
        return Weights(self.name, list(problem.names), values, kind=kind, clip=clip, **more)


_REGISTRY: dict[str, type[Solver]] = {}
S = TypeVar("S", bound=type[Solver])


def register(solver: S) -> S:
    """Class decorator: make a solver known by its name."""
    _REGISTRY[solver.name] = solver
    return solver


def list_solvers() -> dict[str, type[Solver]]:
    """All solvers by name, from simple to flexible."""
    return dict(sorted(_REGISTRY.items(), key=lambda item: (item[1].complexity, item[0])))


def make_solver(name: str, options: dict[str, Any]) -> Solver:
    """A solver by name with those of the options that it knows.

    Raises:
        UsageError: there is no such solver.
    """
    if name not in _REGISTRY:
        near = nearest_name(name, _REGISTRY)
        hint = f"; did you mean {near}?" if near else ";"
        raise UsageError(f"there is no method {name!r}{hint} the methods are {', '.join(list_solvers())}")
    known = {field.name for field in fields(_REGISTRY[name])}
    return _REGISTRY[name](**{key: value for key, value in options.items() if key in known})
