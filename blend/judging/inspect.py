"""What a report shows of a blend besides its score: folds, classes, calibration, spread of weights, ranks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from blend.judging.nested import Fitted
from blend.problem import Problem
from blend.weights import Weights

Array = npt.NDArray[np.float64]
_CELLS = 20_000  # that ranks are taken of
_BINS = 10


def weight_spread(fitted: Fitted) -> tuple[Array, Array]:
    """Least and largest weight ``(models,)`` of every model over the nested folds (without them: the weights)."""
    every = np.array([weights.mean() for weights in fitted.nested.values()] or [fitted.weights.mean()])
    return every.min(axis=0), every.max(axis=0)


def fold_scores(problem: Problem, fitted: Fitted) -> dict[int, float]:
    """Score of every judged nested fold by itself."""
    judged = [fold for fold in problem.folds if fold in fitted.nested] or problem.folds
    fold = problem.stack.blocks.fold
    scores = fitted.honest.resampled(np.array([(fold == f).astype(np.float64) for f in judged]))
    return {f: float(score) for f, score in zip(judged, scores, strict=True) if np.isfinite(score)}


def held_out_rows(problem: Problem, fitted: Fitted) -> tuple[Array, Array]:
    """Blended rows by nested weights (else those of all rows) and their truth, both ``(rows, targets)``."""
    assignment: dict[int, Weights] = fitted.nested or dict.fromkeys(problem.folds, fitted.weights)
    blended = [problem.blend_fold(assignment[fold], fold) for fold in problem.folds if fold in assignment]
    held = np.isin(problem.stack.rows["nested"].to_numpy(), list(assignment))
    return np.concatenate(blended), problem.everything()[1][held].astype(np.float64)


@dataclass(frozen=True)
class ClassScore:
    """How a blend does on the rows of one class.

    Attributes:
        name: Of the class.
        rows: How many there are.
        loss: Mean log loss of their true label.
        recall: Share of them decided rightly (largest class, or 0.5).
    """

    name: str
    rows: int
    loss: float
    recall: float


def class_scores(problem: Problem, fitted: Fitted) -> list[ClassScore]:
    """By class, for one 0/1 label or a column per class; empty for other problems."""
    metric = problem.metric
    if not (metric.probabilities or metric.labels == "binary") or not problem.in_memory:
        return []
    blended, truth = held_out_rows(problem, fitted)
    if problem.width == 1:
        names = ["0", "1"]
        blended, truth = np.hstack([1 - blended, blended]), np.hstack([1 - truth, truth])
    elif problem.one_hot:
        names = problem.stack.manifest.targets or [str(c) for c in range(problem.width)]
    else:
        return []
    true, decided = truth.argmax(axis=1), blended.argmax(axis=1)
    given = np.clip(np.take_along_axis(blended, true[:, None], axis=1)[:, 0], 1e-15, 1.0)
    return [
        ClassScore(name, int(own.sum()), float(-np.log(given[own]).mean()), float((decided[own] == c).mean()))
        for c, name in enumerate(names)
        if (own := true == c).any()
    ]


def calibration(blended: Array, truth: Array, probabilities: bool) -> tuple[Array, Array]:
    """Mean prediction and mean truth in ten bins: of equal width for probabilities, else of equal size.

    Most probabilities of classes lie near 0, where bins of equal size would all be.
    """
    p, y = blended.reshape(-1), truth.reshape(-1)
    order = np.argsort(p, kind="stable")
    edges = np.searchsorted(p[order], np.linspace(0, 1, _BINS + 1)[1:-1]) if probabilities else _BINS
    parts = [part for part in np.array_split(order, edges) if len(part)]
    return np.array([p[part].mean() for part in parts]), np.array([y[part].mean() for part in parts])


def rank_correlations(problem: Problem) -> Array:
    """``(models, models)`` Spearman correlations of predictions, on up to 20,000 cells."""
    flat = problem.everything()[0].reshape(problem.models, -1)
    if flat.shape[1] > _CELLS:
        flat = flat[:, np.random.default_rng(0).choice(flat.shape[1], _CELLS, replace=False)]
    ranks = pd.DataFrame(flat.T).rank().to_numpy().T.copy()  # scipy.stats takes half a second to import
    ranks -= ranks.mean(axis=1, keepdims=True)
    deviation = np.sqrt((ranks**2).sum(axis=1))
    ranks /= np.where(deviation > 0, deviation, 1.0)[:, None]  # a constant model goes with nobody
    result: Array = ranks @ ranks.T
    np.fill_diagonal(result, 1.0)
    return result


def side_by_side(correlations: Array) -> list[int]:
    """Order of the models in which those alike stand together: by the Fiedler vector of their likeness (Atkins et al. 1998)."""
    alike = np.clip((correlations + correlations.T) / 2, 0.0, None)
    vectors = np.linalg.eigh(np.diag(alike.sum(axis=1)) - alike)[1]
    return [int(k) for k in np.argsort(vectors[:, 1], kind="stable")]
