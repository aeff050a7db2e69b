"""Shrinking a finished blend's probabilities to the middle, ``p (1 - 2 c) + c``: what it is worth, and with which c.

The 2nd place of "Mars Spectrometry 2: Gas Chromatography" reported its blends at the c that was best on the same
out-of-fold rows, and exported them without. Here the two are told apart: the scores of a search never contain the shrink,
its own are printed beside them, and a nested one chooses c without the rows that it is judged on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blend.judging.judge import Steps
from blend.judging.steps import shrink
from blend.metrics.scores import SHRINKS, ColumnLogLoss, JudgedSums
from blend.problem import Problem
from blend.weights import Weights
from datamodules.banks.bank import BankError

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Shrunk:
    """What a shrink is worth.

    Attributes:
        c: Best on all rows; the first of equals.
        in_sample: Score on all rows without, and with ``c``.
        nested: Score without, and with each fold's own c, both of nested weights; None without nested weights.
        fold_c: The c of every nested fold, chosen on the other folds.
    """

    c: float
    in_sample: tuple[float, float]
    nested: tuple[float, float] | None
    fold_c: dict[int, float]


def best_shrink(
    problem: Problem, weights: Weights, nested: Mapping[int, Weights], steps: Steps | None = None
) -> Shrunk:
    """Find c for a blend, on all rows and for each nested fold.

    Args:
        problem: The models and their truth.
        weights: Fitted on all rows.
        nested: Weights by held-out fold, may be empty.
        steps: post-processing that comes before the shrink.

    Raises:
        BankError: the metric is not a log loss of probabilities.
    """
    if not isinstance(problem.metric, ColumnLogLoss):
        raise BankError(f"--post_shrink shrinks probabilities; metric {problem.metric.name} has none")
    errors = _errors(problem, weights, steps)
    total = [_score(problem, e) for e in errors]
    place = int(np.argmin(total))
    if not nested:
        return Shrunk(float(SHRINKS[place]), (total[0], total[place]), None, {})
    fold_of = problem.stack.blocks.fold
    live = None if set(nested) == set(problem.folds) else np.isin(fold_of, list(nested)).astype(np.float64)
    chosen: dict[int, float] = {}
    plain, shrunk = np.zeros_like(errors[0]), np.zeros_like(errors[0])
    for fold, own in nested.items():
        errors = _errors(problem, own, steps)
        held = fold_of == fold
        others = np.isin(fold_of, problem.stack.others(fold))
        best = int(np.argmin(errors[:, others].sum(axis=(1, 2))))  # rows and targets weigh alike in a column mean
        chosen[fold] = float(SHRINKS[best])
        plain[held], shrunk[held] = errors[0, held], errors[best, held]
    scores = (_score(problem, plain, live), _score(problem, shrunk, live))
    return Shrunk(float(SHRINKS[place]), (total[0], total[place]), scores, chosen)


def _score(problem: Problem, errors: Array, live: Array | None = None) -> float:
    assert isinstance(problem.metric, ColumnLogLoss)
    return JudgedSums(problem.metric, errors, problem.truth_sums(), live).score()


def _errors(problem: Problem, weights: Weights, steps: Steps | None) -> Array:
    """Error sums ``(shrinks, blocks, targets)`` of one blend."""
    stack, scale, blocks = problem.stack, problem.stack.target_scale, problem.stack.blocks
    groups = stack.rows["group"].to_numpy(dtype=str) if "group" in stack.rows else None
    truth, metric = problem.everything()[1], problem.metric
    assert isinstance(metric, ColumnLogLoss)
    errors = np.zeros((len(SHRINKS), len(blocks), problem.width))
    for fold in problem.folds:
        own = np.flatnonzero(blocks.fold == fold)
        first, last = int(blocks.start[own].min()), int(blocks.stop[own].max())  # the rows of a fold are one range
        blended = problem.blend_fold(weights, fold)
        if steps is not None:
            shaped = (blended * scale).reshape(-1, *stack.shape)
            blended = steps(shaped, None if groups is None else groups[first:last]).reshape(blended.shape) / scale
        for block in own:
            rows = slice(blocks.start[block], blocks.stop[block])
            probabilities = blended[rows.start - first : rows.stop - first]
            for i, c in enumerate(SHRINKS):
                errors[i, block] = metric.error_sums(truth[rows], shrink(probabilities, float(c)), scale)
    return errors
