"""What a blend is worth on rows that did not choose it.

*Nested* score: for each fold, weights are fitted on the other folds and judge this one; the score is taken over all rows
together. Differences between blends carry a bootstrap over blocks of rows, the same blocks for both.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from blend.aligned.view import CHUNK_VALUES
from blend.judging.judge import Steps, judge
from blend.metrics.scores import R2, Judged
from blend.metrics.tables import TableMetric, best_thresholds
from blend.problem import Problem, subset
from blend.solvers.base import Solver
from blend.weights import Weights

Array = npt.NDArray[np.float64]
SAMPLES = 1000
ADDS_SECONDS = 20.0
_MOST_VALUES = 2**29  # that are blended once for each model
_AS_GIVEN = ("equal", "stack")  # methods whose weights mean something as they are
_QUARTILES = 1.349  # distance of a normal distribution's quartiles in standard deviations


@dataclass
class Fitted:
    """A solver's result on all rows, and on all folds but one.

    Attributes:
        weights: Fitted on all rows.
        nested: Weights by held-out fold; empty when nesting was not asked for.
        seconds: Seconds of the fit on all rows.
        nested_seconds: Nested seconds of all fits of the nested weights.
        in_sample, held_out: Judged errors; ``held_out`` is None without nested weights.
    """

    weights: Weights
    nested: dict[int, Weights]
    seconds: float
    nested_seconds: float
    in_sample: Judged | None = None
    held_out: Judged | None = None

    @property
    def honest(self) -> Judged:
        """The nested errors, or where there are none the in-sample ones."""
        judged = self.held_out or self.in_sample
        assert judged is not None, "judge_all comes first"
        return judged


def fit(solver: Solver, problem: Problem, nested: bool = True, nested_solver: Solver | None = None) -> Fitted:
    """Fit on all rows, and on all folds but each.

    Args:
        solver: Finds the weights.
        problem: What to blend.
        nested: Also fit the weights of the nested score.
        nested_solver: A solver with other settings for these (fewer trials, no logs).
    """
    start = time.perf_counter()
    weights = with_thresholds(problem, on_the_first(problem, solver.fit(problem)), None)
    middle = time.perf_counter()
    inner = nested_solver or solver
    held: dict[int, Weights] = {}
    if nested and len(problem.folds) > 1:
        rest = {fold: problem.stack.others(fold) for fold in problem.folds}
        held = {
            fold: with_thresholds(problem, on_the_first(problem, inner.fit(problem, own)), own)
            for fold, own in rest.items()
            if own
        }
    return Fitted(weights, held, middle - start, time.perf_counter() - middle)


def on_the_first(problem: Problem, weights: Weights) -> Weights:
    """Of models with the same predictions let the first have their weight; how a method shares it out is chance."""
    groups = problem.twins() if weights.method not in _AS_GIVEN else []
    if not any(weights.values[..., group[1:]].any() for group in groups):
        return weights
    values = weights.values.copy()
    for first, *others in groups:
        values[..., first] += values[..., others].sum(axis=-1)
        values[..., others] = 0.0
    return replace(weights, values=values)


def with_thresholds(problem: Problem, weights: Weights, folds: Sequence[int] | None) -> Weights:
    """Add the decision thresholds that are best on the rows the weights were fitted on, where the metric has some."""
    metric = problem.metric
    if not isinstance(metric, TableMetric) or not metric.thresholds:
        return weights
    chosen = problem.folds if folds is None else list(folds)
    blended = np.concatenate([problem.blend_fold(weights, fold) for fold in problem.folds if fold in chosen])
    found = best_thresholds(problem.rows_of(folds)[1].astype(np.float64), blended)
    return weights if found is None else replace(weights, thresholds=found)


def judge_all(problem: Problem, fits: Sequence[Fitted], steps: Steps | None = None) -> None:
    """Fill in the exact errors of many fits, in one pass over the predictions."""
    assignments = [fitted.weights for fitted in fits] + [fitted.nested for fitted in fits if fitted.nested]
    judged = judge(problem, assignments, steps)
    held_out = iter(judged[len(fits) :])
    for fitted, in_sample in zip(fits, judged, strict=False):
        fitted.in_sample = in_sample
        fitted.held_out = next(held_out) if fitted.nested else None


@dataclass
class Difference:
    """Score of one blend minus another's.

    Attributes:
        value: On all rows.
        low, high: 95 % bootstrap interval.
        error: Standard error.
    """

    value: float
    low: float
    high: float
    error: float


def difference(ours: Judged, theirs: Judged, samples: int = SAMPLES, seed: int = 0) -> Difference:
    """Bootstrap the difference of two blends over blocks of rows."""
    blocks = ours.blocks
    draws = np.random.default_rng(seed).multinomial(blocks, np.full(blocks, 1.0 / blocks), size=samples)
    weights = draws.astype(np.float64)
    gaps = ours.resampled(weights) - theirs.resampled(weights)
    low, quarter, upper, high = np.quantile(gaps, [0.025, 0.25, 0.75, 0.975])
    # by quartiles: one outlying row or column makes the standard deviation of the samples as large as it likes
    return Difference(ours.score() - theirs.score(), float(low), float(high), float(upper - quarter) / _QUARTILES)


def what_each_adds(
    problem: Problem, solver: Solver, fitted: Fitted, budget: float = ADDS_SECONDS
) -> tuple[dict[str, float], str]:
    """Loss in score when a model is left out, per model, and how it was measured.

    Quick solvers are fitted again without the model, nested; for the others, where that would take too long, and for metrics
    that every fit evaluates again and again, its weight is spread over the rest.

    Args:
        problem: The models and their truth.
        solver: Found the weights.
        fitted: Its fit, judged.
        budget: Seconds that fitting again may take, by the time of the first fit.
    """
    models = problem.models
    if models == 1:
        return {}, "one model only"
    took = models * max(fitted.seconds, fitted.nested_seconds)
    assert fitted.in_sample is not None
    evaluated = isinstance(problem.metric, TableMetric) or fitted.weights.kind == "rank"
    refit = bool(fitted.nested) and solver.quick and not evaluated and took <= budget
    if refit and solver.refusal(problem) is None:
        judged = judge(problem, [_without(problem, solver, k) for k in range(models)])
        how, base = "nested score, fitted again without the model", fitted.honest.score()
        scores = [without.score() for without in judged]
    else:
        how, base = "in-sample score, its weight spread over the others", fitted.in_sample.score()
        others = [_renormalised(fitted.weights, k) for k in range(models)]
        weights = fitted.weights
        if weights.level == "global" and weights.kind != "rank" and not weights.intercept:
            losses = problem.objective(None, weights.kind, weights.clip).losses(np.array([w.values for w in others]))
            scores = [problem.metric.score_of_loss(float(loss)) for loss in losses]
        elif models * models * len(problem.stack.rows) * problem.width > _MOST_VALUES:
            return {}, "not measured: it would take longer than the search"
        else:
            scores = [problem.score_of(without) for without in others]
    return {name: problem.metric.sign * (score - base) for name, score in zip(problem.names, scores, strict=True)}, how


def _without(problem: Problem, solver: Solver, left_out: int) -> dict[int, Weights]:
    keep = [k for k in range(problem.models) if k != left_out]
    rest = subset(problem, keep)
    folds = problem.folds
    if len(folds) == 1:
        return {folds[0]: solver.fit(rest).restore(problem.names, keep)}
    others = {f: problem.stack.others(f) for f in folds}
    return {f: solver.fit(rest, own).restore(problem.names, keep) for f, own in others.items() if own}


def _renormalised(weights: Weights, left_out: int) -> Weights:
    values = weights.values.copy()
    values[..., left_out] = 0.0
    total = values.sum(axis=-1, keepdims=True) / weights.values.sum(axis=-1, keepdims=True)
    others = np.full(values.shape[-1], 1.0 / max(1, values.shape[-1] - 1))
    others[left_out] = 0.0
    return weights.with_values(np.where(total > 0, values / np.where(total > 0, total, 1.0), others))


def error_correlations(problem: Problem) -> Array:
    """``(models, models)`` correlation of the models' errors (prediction minus truth), targets of equal weight."""
    if isinstance(problem.metric, R2):
        moments = problem.moments()
        gram = moments.gram.sum(axis=0)
        sst = moments.truth_sums().pooled(np.ones((1, len(moments.counts)))).total_squares()[0]
        counts, live = moments.counts.sum(), sst > 0
        means = gram[live][:, :-2, -1] / counts
        covariance = gram[live][:, :-2, :-2] - counts * means[:, :, None] * means[:, None, :]
        return _correlation(np.einsum("tkl,t->kl", covariance, 1.0 / sst[live]))
    total, first, cells = np.zeros((problem.models, problem.models)), np.zeros(problem.models), 0
    scale = problem.stack.target_scale
    for chunk in problem.stack.chunks(CHUNK_VALUES // 4):
        e = np.subtract(chunk.predictions, chunk.truth, dtype=np.float64) * scale
        e = e.reshape(problem.models, -1)
        total, first, cells = total + e @ e.T, first + e.sum(axis=1), cells + e.shape[1]
    return _correlation(total - np.outer(first, first) / cells)


def _correlation(covariance: Array) -> Array:
    deviation = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    result: Array = covariance / np.outer(deviation, deviation)
    return result
