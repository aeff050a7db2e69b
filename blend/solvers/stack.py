"""Blends of blends, fitted from the models up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from blend.problem import BlendProblem, Projected
from blend.recipe import Node, Recipe
from blend.solvers.base import MeanSolver, make_solver, register
from blend.weights import Level, Weights
from datamodules.banks.bank import BankError

Array = npt.NDArray[np.float64]


@register
@dataclass
class StackSolver(MeanSolver):
    """Fit a recipe from its leaves to its root.

    Attributes:
        recipe: What to fit.
    """

    name = "stack"
    complexity = 4
    quick = False
    summary = "blends of blends from a YAML recipe: fixed, equal or fitted weights at every node"
    recipe: Recipe | None = None

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights of all models, with the nodes' weights multiplied through.

        Raises:
            BankError: there is no recipe, or a fitted node stands on members with weights per group.
        """
        if self.recipe is None:
            raise BankError("method stack needs --recipe FILE.yaml")
        fitted = self._fit_node(self.recipe.root, problem, folds)
        return self.weights(problem, fitted.values, level=fitted.level, segments=fitted.segments, notes=fitted.notes)

    def _fit_node(self, node: Node, problem: BlendProblem, folds: Sequence[int] | None) -> Weights:
        names = list(problem.names)
        if node.leaf is not None:
            return Weights(self.name, names, np.eye(len(names))[node.leaf])
        members = [self._fit_node(member, problem, folds) for member in node.members]
        notes = [note for member in members for note in member.notes]
        if node.method in ("fixed", "equal"):
            shares = np.array(node.weights or [1.0 / len(members)] * len(members))
            level, segments, values = _same_level(members)
            return Weights(self.name, names, np.tensordot(shares, values, axes=1), level, segments, notes=notes)
        if any(member.level != "global" for member in members):
            raise BankError(
                f"{node.name}: method {node.method} cannot weigh members that have weights per group; fix its weights"
            )
        basis = np.array([member.values for member in members])
        solver = make_solver(node.method, {"kind": self.kind, "clip": self.clip} | node.options)
        inner = Projected(problem, basis, [member.name for member in node.members])
        found = solver.fit(inner, folds)
        shown = ", ".join(f"{name} {share:.4f}" for name, share in zip(inner.names, found.mean(), strict=True))
        return Weights(
            self.name, names, found.values @ basis, found.level, found.segments, notes=[*notes, f"{node.name}: {shown}"]
        )


def _same_level(members: list[Weights]) -> tuple[Level, list[Any], Array]:
    """Bring members to the one level (and segments) that any of them has."""
    fine = [member for member in members if member.level != "global"]
    if not fine:
        return "global", [], np.array([member.values for member in members])
    first = fine[0]
    if any((m.level, m.segments) != (first.level, first.segments) for m in fine):
        raise BankError("members of a stack have weights for different groups; fit them for the same groups")
    return first.level, first.segments, np.array([np.broadcast_to(m.values, first.values.shape) for m in members])
