"""One small file per solver; :func:`list_solvers` names them all."""

from blend.solvers import exact, greedy, optuna, per_group, per_target, simple, stack, stepwise
from blend.solvers.base import Solver, list_solvers, make_solver, register

__all__ = [
    "Solver",
    "exact",
    "greedy",
    "list_solvers",
    "make_solver",
    "optuna",
    "per_group",
    "per_target",
    "register",
    "simple",
    "stack",
    "stepwise",
]
