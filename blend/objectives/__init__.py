"""Losses as functions of the weights, for some rows and targets of a problem."""

from blend.objectives.base import Objective, TableLoss
from blend.objectives.cells import AbsoluteLoss, CellLoss, LogitLoss, LogLoss, ProbabilityLoss, SoftmaxLoss
from blend.objectives.composed import Composed, WithPrior
from blend.objectives.quadratic import QuadraticLoss, RootQuadraticLoss

__all__ = [
    "AbsoluteLoss",
    "CellLoss",
    "Composed",
    "LogLoss",
    "LogitLoss",
    "Objective",
    "ProbabilityLoss",
    "QuadraticLoss",
    "RootQuadraticLoss",
    "SoftmaxLoss",
    "TableLoss",
    "WithPrior",
]
