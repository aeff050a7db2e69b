"""Solvers, a file for each family; :func:`list_solvers` names them all."""

from blend.solvers import committee, exact, greedy, optuna, regular, segments, stack
from blend.solvers.base import Solver, list_solvers, make_solver, register

__all__ = [
    "Solver",
    "committee",
    "exact",
    "greedy",
    "list_solvers",
    "make_solver",
    "optuna",
    "register",
    "regular",
    "segments",
    "stack",
]
