"""Exact scores of blends: what is reported, as opposed to what solvers minimise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import Judged, JudgedSums, SquaredMetric, SumMetric
from blend.metrics.tables import JudgedTable, TableMetric
from blend.problem import Problem
from blend.weights import Weights, blend_rows

Array = npt.NDArray[np.float64]
Assignment = Weights | Mapping[int, Weights]
"""One set of weights for all rows, or one per nested fold; folds without weights are not judged."""
Steps = Callable[[Array, npt.NDArray[np.str_] | None], Array]
"""Post-processing of blended rows ``(rows, *shape)`` in the judge's units."""


def judge(problem: Problem, assignments: Sequence[Assignment], steps: Steps | None = None) -> list[Judged]:
    """The judge's score of blends, exactly, in one pass over the predictions.

    Args:
        problem: The models and their truth.
        assignments: Weights, or weights per nested fold.
        steps: Post-processing to apply before scoring.
    """
    metric = problem.metric
    if isinstance(metric, TableMetric):
        return [_judge_table(problem, metric, assignment, steps) for assignment in assignments]
    assert isinstance(metric, SumMetric)
    if isinstance(metric, SquaredMetric) and steps is None and all(map(_plain, assignments)):
        return [_judge_moments(problem, metric, assignment) for assignment in assignments]
    return _judge_rows(problem, metric, assignments, steps)


def _judge_moments(problem: Problem, metric: SquaredMetric, assignment: Assignment) -> Judged:
    moments, blocks = problem.moments(), problem.stack.blocks
    errors = np.zeros((len(blocks), problem.width))
    by_fold = _by_fold(problem, assignment)
    for fold, weights in by_fold.items():
        if weights.level != "rows":
            chosen = np.flatnonzero(blocks.fold == fold)
            errors[chosen] = moments.squared_errors(weights.by_target(problem.width), chosen)
            continue
        for code, values in enumerate(weights.values):
            chosen = np.flatnonzero((blocks.fold == fold) & (blocks.group == code))
            errors[chosen] = moments.squared_errors(values, chosen)
    errors *= metric.unit(problem.stack.target_scale) ** 2
    return JudgedSums(metric, errors, problem.truth_sums(), _live(problem, by_fold))


def _judge_rows(
    problem: Problem, metric: SumMetric, assignments: Sequence[Assignment], steps: Steps | None
) -> list[Judged]:
    by_fold = [_by_fold(problem, assignment) for assignment in assignments]
    blocks, scale = problem.stack.blocks, problem.stack.target_scale
    errors = np.zeros((len(assignments), len(blocks), metric.columns(problem.width)))
    ranked = {
        fold: {
            i: problem.blend_fold(w[fold], fold) for i, w in enumerate(by_fold) if fold in w and w[fold].kind == "rank"
        }
        for fold in problem.folds
    }
    first_row = {int(f): int(blocks.start[blocks.fold == f].min()) for f in problem.folds}
    groups = problem.stack.rows["group"].to_numpy(dtype=str) if "group" in problem.stack.rows else None
    for chunk in problem.stack.chunks():
        fold = int(blocks.fold[chunk.block])
        own = groups[chunk.rows] if groups is not None else None
        for i, weights in enumerate(by_fold):
            if fold not in weights:
                continue
            if i in ranked[fold]:
                blended = ranked[fold][i][chunk.rows.start - first_row[fold] : chunk.rows.stop - first_row[fold]]
            else:
                blended = blend_rows(weights[fold], chunk.predictions, own)
            if steps is not None:
                shaped = (blended * scale).reshape(-1, *problem.stack.shape)
                blended = steps(shaped, own).reshape(blended.shape) / scale
            errors[i, chunk.block] += metric.error_sums(chunk.truth, blended, scale)
    sums = problem.truth_sums()
    return [JudgedSums(metric, e, sums, _live(problem, w)) for e, w in zip(errors, by_fold, strict=True)]


def _judge_table(problem: Problem, metric: TableMetric, assignment: Assignment, steps: Steps | None) -> Judged:
    """Score one blend on whole columns."""
    stack = problem.stack
    by_fold = _by_fold(problem, assignment)
    pieces = []
    for fold, weights in by_fold.items():
        blended = problem.blend_fold(weights, fold)
        pieces.append((blended >= weights.thresholds).astype(np.float64) if weights.thresholds else blended)
    blended = np.concatenate(pieces) * stack.target_scale
    held = np.isin(stack.rows["nested"].to_numpy(), list(by_fold))
    if steps is not None:
        groups = stack.rows["group"].to_numpy(dtype=str)[held] if "group" in stack.rows else None
        blended = steps(blended.reshape(-1, *stack.shape), groups).reshape(blended.shape)
    truth = problem.everything()[1][held] * stack.target_scale
    block = np.repeat(np.arange(len(stack.blocks)), stack.blocks.counts)[held]
    return JudgedTable(metric, truth, blended, block, len(stack.blocks))


def _plain(assignment: Assignment) -> bool:
    weights = [assignment] if isinstance(assignment, Weights) else list(assignment.values())
    return all(w.kind == "arithmetic" and w.clip == 0 and not w.intercept for w in weights)


def _by_fold(problem: Problem, assignment: Assignment) -> dict[int, Weights]:
    if isinstance(assignment, Weights):
        return dict.fromkeys(problem.folds, assignment)
    return {fold: assignment[fold] for fold in problem.folds if fold in assignment}


def _live(problem: Problem, by_fold: Mapping[int, Weights]) -> Array | None:
    if len(by_fold) == len(problem.folds):
        return None
    return np.isin(problem.stack.blocks.fold, list(by_fold)).astype(np.float64)
