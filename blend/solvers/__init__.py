"""One small file per solver; :func:`list_solvers` names them all."""

from blend.solvers import exact, greedy, per_group, per_target, search, simple, stack, stepwise
from blend.solvers.base import Solver, list_solvers, make_solver, register

__all__ = [
    "Solver",
    "exact",
    "greedy",
    "list_solvers",
    "make_solver",
    "per_group",
    "per_target",
    "register",
    "search",
    "simple",
    "stack",
    "stepwise",
]
