"""What somebody with experience would say on seeing these predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import R2
from blend.metrics.tables import FunctionMetric
from blend.problem import Problem
from blend.weights import Weights

Array = npt.NDArray[np.float64]
_IMPLAUSIBLE = 0.1  # of the second best model's loss
_SCATTER = 5.0  # times what the models' scores do from fold to fold
_VISIBLE = 0.02  # of the loss
_PER_CENT = (30.0, 300.0)  # times the other models' size
_SHIFT = 0.1  # Kolmogorov-Smirnov distance, beyond what the other models have
_CELLS = 50_000
_ROUNDING = 1e-6  # of float32, and of text files


def warnings_of(
    problem: Problem, weights: Weights | None = None, tests: Mapping[str, npt.NDArray[np.floating]] | None = None
) -> list[str]:
    """One sentence for everything that is odd about some models.

    Args:
        problem: The models and their truth.
        weights: A blend, whose share of duplicates is told.
        tests: Predictions of new rows by model, where there are some.
    """
    found = [*_leaks(problem), *_scattered(problem)]
    if problem.in_memory:
        found += [*_duplicates(problem, weights), *_per_cent(problem), *_constant(problem)]
        found += _shifted(problem, tests or {})
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _leaks(problem: Problem) -> list[str]:
    """A model that knows the labels."""
    if problem.in_memory:
        predictions, truth = problem.everything()
        near = [np.abs(values - truth).max() <= _ROUNDING * np.abs(truth).max() for values in predictions]
        if any(near):
            same = [name for name, equal in zip(problem.names, near, strict=True) if equal]
            return [
                f"{_listed(same)}: equal to the labels. Are these the true values, or was the model trained on the rows that it predicts?"
            ]
    if problem.models < 2 or isinstance(problem.metric, FunctionMetric):  # of unknown range, and perhaps slow
        return []
    losses = problem.objective().singles()
    if problem.metric.higher_is_better and not isinstance(problem.metric, R2):  # whose loss is 1 - R2 already
        losses = losses + 1.0
    first, second = np.argsort(losses)[:2]
    if 0 <= losses[first] < _IMPLAUSIBLE * losses[second]:
        return [
            f"{problem.names[first]} has {losses[first] / losses[second]:.1%} of the loss of the next best model, "
            f"{problem.names[second]}: a leak? Its out-of-fold rows may be rows that it was trained on"
        ]
    return []


def _duplicates(problem: Problem, weights: Weights | None) -> list[str]:
    found = []
    for group in problem.twins():
        first, *others = [problem.names[k] for k in group]
        share = ""
        if weights is not None:
            share = f"; together they weigh {float(weights.mean()[group].sum()):.3f}, put on the first"
        found.append(f"{_listed(others)} repeat{'s' if len(others) == 1 else ''} the predictions of {first}{share}")
    return found


def _per_cent(problem: Problem) -> list[str]:
    """A model a hundred times the size of the others."""
    size = np.abs(problem.everything()[0].reshape(problem.models, -1)).mean(axis=1)
    if problem.models < 2:
        return []
    found = []
    for k, name in enumerate(problem.names):
        others = float(np.median(np.delete(size, k)))
        if others > 0 and _PER_CENT[0] < size[k] / others < _PER_CENT[1]:
            found.append(
                f"{name} is {size[k] / others:.0f} times the size of the other models: in per cent? Divide it by 100"
            )
    return found


def _constant(problem: Problem) -> list[str]:
    """Models without variance, over all rows or in a fold, where others have some."""
    predictions, truth = problem.everything()
    nested = problem.stack.rows["nested"].to_numpy()
    live = truth.min(axis=0) < truth.max(axis=0)
    found = []
    for name, values in zip(problem.names, predictions, strict=True):
        if not (values.min(axis=0) < values.max(axis=0)).any():
            found.append(f"{name} is constant: it adds no more than an intercept")
            continue
        empty = []
        for fold in problem.folds:
            own = values[nested == fold][:, live]
            if len(own) > 1 and own.size and (own.min(axis=0) == own.max(axis=0)).all():
                empty.append(str(fold))
        if empty:
            where = f"fold {empty[0]}" if len(empty) == 1 else f"folds {', '.join(empty)}"
            found.append(f"{name} is constant in {where}: was it never predicted there?")
    return found


def _scattered(problem: Problem) -> list[str]:
    """A model whose scores go up and down from fold to fold far more than the others'."""
    if problem.models < 3 or len(problem.folds) < 3 or isinstance(problem.metric, FunctionMetric):
        return []
    losses = np.array([problem.objective([fold]).singles() for fold in problem.folds])
    known = np.isfinite(losses).all(axis=1)  # not the AUC of a fold with one class
    folds, losses = np.array(problem.folds)[known], losses[known]
    if len(losses) < 3:
        return []
    apart = losses - np.median(losses, axis=1, keepdims=True)  # hard folds are hard for all
    spread = apart.std(axis=0) / np.maximum(np.abs(losses.mean(axis=0)), 1e-300)  # and bad models go up and down more
    found = []
    for k, name in enumerate(problem.names):
        usual = float(np.median(np.delete(spread, k)))
        if spread[k] > max(_SCATTER * usual, _VISIBLE):
            worst = folds[int(np.argmax(np.abs(apart[:, k] - np.median(apart[:, k]))))]
            found.append(
                f"the scores of {name} scatter over the folds {spread[k] / max(usual, 1e-300):.0f} times as much as the other "
                f"models', most in fold {worst}: did a fold fail?"
            )
    return found


def _shifted(problem: Problem, tests: Mapping[str, npt.NDArray[np.floating]]) -> list[str]:
    """Models whose predictions of new rows are distributed otherwise than those of the known rows."""
    if not tests:
        return []
    from scipy.stats import ks_2samp

    rng = np.random.default_rng(0)
    known = dict(zip(problem.names, problem.everything()[0], strict=True))
    distance, certain = {}, {}
    for name, values in tests.items():
        if name not in known:
            continue
        ours, theirs = (np.asarray(v, dtype=np.float64).reshape(-1) for v in (known[name], values))
        ours, theirs = (s if len(s) <= _CELLS else rng.choice(s, _CELLS, replace=False) for s in (ours, theirs))
        result = ks_2samp(ours, theirs)
        distance[name], certain[name] = float(result.statistic), float(result.pvalue) < 1e-4
    found = []
    usual = float(np.median(list(distance.values()))) if distance else 0.0
    if usual > _SHIFT and len(distance) > 1 and 2 * sum(certain.values()) > len(certain):
        found.append(
            f"the test rows differ from the known ones: half of the models' predictions have a Kolmogorov-Smirnov distance of "
            f"{usual:.2f} or more between them, so that nested scores may not hold there"
        )
        base = usual
    else:
        base = 0.0
    found += [
        f"{name} predicts the test rows otherwise than the known ones (Kolmogorov-Smirnov distance {d:.2f}, the median model's is "
        f"{usual:.2f}): were its test predictions made and scaled in the same way?"
        for name, d in distance.items()
        if certain[name] and d > base + _SHIFT
    ]
    return found
