"""Scores of metrics that are given as a function on whole arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from blend.scores import Array, Judged, Metric, TruthSums

if TYPE_CHECKING:
    from blend.problem import Assignment, Problem, Steps

_MOST_SAMPLES = 100


class JudgedByFunction(Judged):
    """A blend scored by a function: a bootstrap calls it again on the sampled rows.

    Args:
        metric: with its function.
        truth: ``(rows, *shape)`` in the judge's units.
        blended: the same shape.
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


def judge_with_function(problem: Problem, assignment: Assignment, steps: Steps | None) -> JudgedByFunction:
    """Score one blend with the problem's function."""
    stack = problem.stack
    by_fold = problem._by_fold(assignment)
    blended = np.concatenate([problem._blend_fold(by_fold[fold], fold) for fold in problem.folds])
    shape = (-1, *stack.shape)
    shaped = (blended * stack.target_scale).reshape(shape)
    if steps is not None:
        shaped = steps(shaped, stack.rows["group"].to_numpy(dtype=str) if "group" in stack.rows else None)
    truth = (problem.everything()[1] * stack.target_scale).reshape(shape)
    block = np.repeat(np.arange(len(stack.blocks)), stack.blocks.counts)
    return JudgedByFunction(problem.metric, truth, shaped, block)
