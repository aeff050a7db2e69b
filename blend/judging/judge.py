"""Exact scores of blends: what is reported, as opposed to what solvers minimise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import Judged, Metric, TruthSums
from blend.problem import Problem
from blend.weights import Weights, blend_rows

Array = npt.NDArray[np.float64]
Assignment = Weights | Mapping[int, Weights]
"""One set of weights for all rows, or one per nested fold."""
Steps = Callable[[Array, npt.NDArray[np.str_] | None], Array]
"""Post-processing of blended rows ``(rows, *shape)`` in the judge's units."""
_MOST_SAMPLES = 100


def judge(problem: Problem, assignments: Sequence[Assignment], steps: Steps | None = None) -> list[Judged]:
    """The judge's score of blends, exactly, in one pass over the predictions.

    Args:
        problem: The models and their truth.
        assignments: Weights, or weights per nested fold.
        steps: post-processing to apply before scoring.
    """
    if problem.metric.function is not None:
        return [_judge_function(problem, assignment, steps) for assignment in assignments]
    if problem.metric.name == "r2" and steps is None and all(_plain(a) for a in assignments):
        return [_judge_moments(problem, assignment) for assignment in assignments]
    return _judge_rows(problem, assignments, steps)


def _judge_moments(problem: Problem, assignment: Assignment) -> Judged:
    moments, blocks = problem.moments(), problem.stack.blocks
    errors = np.empty((len(blocks), problem.width))
    for fold, weights in _by_fold(problem, assignment).items():
        if weights.level != "rows":
            chosen = np.flatnonzero(blocks.fold == fold)
            errors[chosen] = moments.squared_errors(weights.by_target(problem.width), chosen)
            continue
        for code, values in enumerate(weights.values):
            chosen = np.flatnonzero((blocks.fold == fold) & (blocks.group == code))
            errors[chosen] = moments.squared_errors(values, chosen)
    return Judged(problem.metric, errors, moments.truth_sums())


def _judge_rows(problem: Problem, assignments: Sequence[Assignment], steps: Steps | None) -> list[Judged]:
    by_fold = [_by_fold(problem, assignment) for assignment in assignments]
    blocks, scale = problem.stack.blocks, problem.stack.target_scale
    errors = np.zeros((len(assignments), len(blocks), problem.width))
    ranked = {
        fold: {i: problem.blend_fold(w[fold], fold) for i, w in enumerate(by_fold) if w[fold].kind == "rank"}
        for fold in problem.folds
    }
    first_row = {int(f): int(blocks.start[blocks.fold == f].min()) for f in problem.folds}
    sums = problem.truth_sums()
    groups = problem.stack.rows["group"].to_numpy(dtype=str) if "group" in problem.stack.rows else None
    for chunk in problem.stack.chunks():
        fold = int(blocks.fold[chunk.block])
        own = groups[chunk.rows] if groups is not None else None
        for i, weights in enumerate(by_fold):
            if i in ranked[fold]:
                blended = ranked[fold][i][chunk.rows.start - first_row[fold] : chunk.rows.stop - first_row[fold]]
            else:
                blended = blend_rows(weights[fold], chunk.predictions, own)
            if steps is not None:
                shaped = (blended * scale).reshape(-1, *problem.stack.shape)
                blended = steps(shaped, own).reshape(blended.shape) / scale
            errors[i, chunk.block] += problem.metric.error_sums(chunk.truth, blended, scale)
    return [Judged(problem.metric, e, sums) for e in errors]


def _judge_function(problem: Problem, assignment: Assignment, steps: Steps | None) -> JudgedByFunction:
    """Score one blend with the problem's function."""
    stack = problem.stack
    by_fold = _by_fold(problem, assignment)
    blended = np.concatenate([problem.blend_fold(by_fold[fold], fold) for fold in problem.folds])
    shape = (-1, *stack.shape)
    shaped = (blended * stack.target_scale).reshape(shape)
    if steps is not None:
        shaped = steps(shaped, stack.rows["group"].to_numpy(dtype=str) if "group" in stack.rows else None)
    truth = (problem.everything()[1] * stack.target_scale).reshape(shape)
    block = np.repeat(np.arange(len(stack.blocks)), stack.blocks.counts)
    return JudgedByFunction(problem.metric, truth, shaped, block)


def _plain(assignment: Assignment) -> bool:
    weights = [assignment] if isinstance(assignment, Weights) else list(assignment.values())
    return all(w.kind == "arithmetic" and w.clip == 0 for w in weights)


def _by_fold(problem: Problem, assignment: Assignment) -> dict[int, Weights]:
    if isinstance(assignment, Weights):
        return dict.fromkeys(problem.folds, assignment)
    return {fold: assignment[fold] for fold in problem.folds}


class JudgedByFunction(Judged):
    """A blend scored by a function: a bootstrap calls it again on the sampled rows.

    Args:
        metric: With its function.
        truth: ``(rows, *shape)`` in the judge's units.
        blended: The same shape.
        block: ``(rows,)`` block of each row.
    """

    def __init__(
        self,
        metric: Metric,
        truth: npt.NDArray[np.floating],
        blended: npt.NDArray[np.floating],
        block: npt.NDArray[np.int64],
    ) -> None:
        blocks = int(block.max()) + 1
        counts = np.bincount(block, minlength=blocks).astype(np.float64)
        super().__init__(metric, np.zeros((blocks, 1)), TruthSums(counts, np.zeros((blocks, 1)), np.zeros((blocks, 1))))
        self._true, self._blended, self._block = truth, blended, block

    def score(self) -> float:
        """The function's value on all rows."""
        assert self.metric.function is not None
        return float(self.metric.function(self._true, self._blended))

    def per_target(self) -> Array:
        """Functions have no score per target: the whole score for each."""
        return np.full(1, self.score())

    def resampled(self, weights: Array) -> Array:
        """Scores of bootstrap samples, of which no more than a hundred are drawn; the rest repeat them."""
        assert self.metric.function is not None
        scores = []
        for sample in weights[:_MOST_SAMPLES]:
            rows = np.repeat(np.arange(len(self._block)), sample[self._block].astype(np.int64))
            scores.append(float(self.metric.function(self._true[rows], self._blended[rows])))
        return np.resize(np.array(scores), len(weights))
