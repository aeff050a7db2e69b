"""Losses as functions of the weights, for some rows and targets of a problem."""

from blend.objectives.absolute import AbsoluteLoss
from blend.objectives.base import Objective
from blend.objectives.composed import Composed
from blend.objectives.function import FunctionLoss
from blend.objectives.prior import WithPrior
from blend.objectives.probability import LogitLoss, LogLoss, ProbabilityLoss
from blend.objectives.quadratic import QuadraticLoss

__all__ = [
    "AbsoluteLoss",
    "Composed",
    "FunctionLoss",
    "LogLoss",
    "LogitLoss",
    "Objective",
    "ProbabilityLoss",
    "QuadraticLoss",
    "WithPrior",
]
