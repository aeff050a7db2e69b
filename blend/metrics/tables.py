"""Metrics of whole columns: ranks, decisions, and functions of the user.

None is convex in the weights. Each gives an *evaluator*, a function of blended rows with everything about the truth done
beforehand, which greedy, coordinate and Optuna search call thousands of times. AUC, average precision and F1 sort each
column once, labels and values in one word (``benchmarks/blend.py --cases auc`` times it beside scikit-learn's).
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from blend.aligned.view import Labels
from blend.metrics.scores import Judged, Metric
from datamodules.errors import DataError

Array = npt.NDArray[np.float64]
Evaluator = Callable[[Array], float]
_SAMPLES, _FUNCTION_SAMPLES = 200, 50  # of a bootstrap; the metric is evaluated again for each
_HALF = 0.5
_BINS, _FEWEST_BINNED = 2**16, 2**13  # rows from which counting in bins is faster than sorting
_ROUNDING = 1e-12


class TableMetric(Metric, ABC):
    """A metric that needs whole columns at once."""

    samples = _SAMPLES
    """Bootstrap samples that are drawn at most."""
    by_order = False
    """Whether only the order of a column counts, so that logits do for their probabilities."""
    thresholds = False
    """Whether a blend's decision thresholds are chosen with its weights."""

    @abstractmethod
    def score(self, truth: Array, blended: Array) -> float:
        """The judge's number.

        Args:
            truth: ``(rows, targets)`` in the judge's units.
            blended: The same shape.
        """

    def evaluator(self, truth: Array) -> Evaluator:
        """A score of blended rows, for one truth."""
        return lambda blended: self.score(truth, blended)

    def many(self, truth: Array) -> Callable[[Array], Array]:
        """Scores ``(candidates,)`` of blends ``(candidates, rows, targets)``, for one truth."""
        score = self.evaluator(truth)
        return lambda blends: np.array([score(blended) for blended in blends])

    def bounds(self, truth: Array) -> Callable[[Array], tuple[Array, Array]] | None:
        """Least and largest scores ``(candidates,)`` that blends can have, where these are much cheaper than the scores."""
        return None

    def per_target(self, truth: Array, blended: Array) -> Array:
        """``(targets,)`` scores, or one for all."""
        return np.array([self.score(truth, blended)])


class ColumnMetric(TableMetric):
    """A mean over columns of a score of one."""

    @abstractmethod
    def column(self, truth: Array, blended: Array) -> float:
        """Score of one column; NaN where it has none (such as the AUC of a single class)."""

    def per_target(self, truth: Array, blended: Array) -> Array:
        """``(targets,)`` scores."""
        return np.array([self.column(y, p) for y, p in zip(truth.T, blended.T, strict=True)])

    def score(self, truth: Array, blended: Array) -> float:
        """Mean over the columns that have a score."""
        scores = self.per_target(truth, blended)
        held = np.isfinite(scores)
        return float(scores[held].mean()) if held.any() else float("nan")


def _sorted_keys(values: Array, labels: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Values as integers of the same order, sorted along the last axis, each with its label as the last bit.

    One sort of integers (which numpy does with vector instructions) orders both, without the gather that an ``argsort`` needs.
    """
    key = (values + 0.0).view(np.int64)  # minus zero becomes zero
    if key.size and key.min() < 0:
        key ^= (key >> 63) & np.int64(0x7FFFFFFFFFFFFFFF)
    key &= ~np.int64(1)
    key |= labels
    key.sort(axis=-1)
    return key


def _sorted_labels(values: Array, labels: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.intp]]:
    """Labels in the order of their values, ascending, and the last place of every run of equal values."""
    key = _sorted_keys(values, labels)
    ends = np.append(np.flatnonzero(np.diff(key >> 1)), len(key) - 1)
    return key & 1, ends


class AreaUnderCurve(ColumnMetric):
    """Area under the ROC curve, mean over targets; a target of one label does not count."""

    name = "auc"
    higher_is_better = True
    by_order = True
    labels: Labels = "binary"

    def column(self, truth: Array, blended: Array) -> float:
        """By ranks, ties count a half."""
        labels, ends = _sorted_labels(blended, truth > _HALF)
        positive = np.cumsum(labels)[ends]
        negative = ends + 1 - positive
        pairs = float(positive[-1]) * float(negative[-1])
        below = np.append(0, negative[:-1]) + negative
        return 0.5 * float(np.diff(positive, prepend=0) @ below) / pairs if pairs else float("nan")

    def many(self, truth: Array) -> Callable[[Array], Array]:
        """By ranks of all candidates at once; blends with ties, which a column alone takes care of, one by one."""
        labels = (truth > _HALF).T
        found, ranks = labels.sum(axis=1), np.arange(1.0, len(truth) + 1)
        live = np.flatnonzero((found > 0) & (found < len(truth)))

        def scores(blends: Array) -> Array:
            columns = np.full((len(blends), len(live)), np.nan)
            for i, t in enumerate(live):
                values = np.ascontiguousarray(blends[:, :, t])
                key = _sorted_keys(values, labels[t])
                apart = (key[:, 1:] ^ key[:, :-1]).view(np.uint64)  # at most the label differs where values are equal
                key &= 1
                above = key @ ranks - 0.5 * found[t] * (found[t] + 1)
                columns[:, i] = above / (float(found[t]) * float(len(truth) - found[t]))
                if apart.size and apart.min() < 2:
                    tied = (apart < 2).any(axis=1)
                    columns[tied, i] = [self.column(truth[:, t], blended) for blended in values[tied]]
            return np.asarray(columns.mean(axis=1)) if len(live) else np.full(len(blends), np.nan)

        return scores

    def bounds(self, truth: Array) -> Callable[[Array], tuple[Array, Array]] | None:
        """Of many rows: pairs in different ones of 65,536 bins are counted, those in one may go either way."""
        labels = (truth > _HALF).T
        live = np.flatnonzero(labels.any(axis=1) & ~labels.all(axis=1))
        if len(truth) < _FEWEST_BINNED or not len(live):
            return None
        places = [(t, np.flatnonzero(labels[t]), np.flatnonzero(~labels[t])) for t in live]

        def of(values: Array, positive: npt.NDArray[np.intp], negative: npt.NDArray[np.intp]) -> tuple[int, int]:
            low = values.min()
            scale = (_BINS - 1) / max(values.max() - low, 1e-300)
            bins = ((values - low) * scale).astype(np.intp)
            counts = np.bincount(bins[negative], minlength=_BINS)
            of_positive = bins[positive]
            return int(np.cumsum(counts)[of_positive].sum()), int(counts[of_positive].sum())

        def between(blends: Array) -> tuple[Array, Array]:
            found = np.array([[of(b[:, t], *rows) for t, *rows in places] for b in blends], dtype=np.float64)
            pairs = np.array([float(len(positive)) * len(negative) for _, positive, negative in places])
            most, same = found[..., 0] / pairs, found[..., 1] / pairs
            return (most - same).mean(axis=1) - _ROUNDING, most.mean(axis=1) + _ROUNDING

        return between


class AveragePrecision(ColumnMetric):
    """Average precision, mean over targets; a target without positives does not count."""

    name = "average_precision"
    higher_is_better = True
    by_order = True
    labels: Labels = "binary"

    def column(self, truth: Array, blended: Array) -> float:
        """Sum of precision times the step in recall, over distinct values."""
        labels, ends = _sorted_labels(-blended, truth > _HALF)
        found = np.cumsum(labels)[ends]
        if not found[-1]:
            return float("nan")
        return float(np.diff(found, prepend=0) @ (found / (ends + 1.0))) / float(found[-1])


class Spearman(ColumnMetric):
    """Spearman's rank correlation, mean over targets."""

    name = "spearman"
    higher_is_better = True
    by_order = True
    labels: Labels = "any"

    def column(self, truth: Array, blended: Array) -> float:
        """Pearson's correlation of mean ranks; 0 for a constant."""
        from scipy.stats import rankdata

        y, p = rankdata(truth), rankdata(blended)
        y, p = y - y.mean(), p - p.mean()
        scale = float(np.sqrt((y @ y) * (p @ p)))
        return float(y @ p) / scale if scale else 0.0


class RootMeanSquaredLogError(ColumnMetric):
    """Root mean squared error of ``log(1 + value)``; predictions below 0 count as 0."""

    name = "rmsle"

    def column(self, truth: Array, blended: Array) -> float:
        """Of one target."""
        return float(np.sqrt(np.mean((np.log1p(np.maximum(blended, 0.0)) - np.log1p(np.maximum(truth, 0.0))) ** 2)))


def is_one_hot(truth: npt.NDArray[Any]) -> bool:
    """Whether the columns are classes of which every row has exactly one."""
    return truth.shape[1] > 1 and bool(((truth == 0) | (truth == 1)).all() and (truth.sum(axis=1) == 1).all())


class DecisionMetric(TableMetric):
    """A metric of decisions: the largest class, or for 0/1 labels whether a probability reaches the threshold."""

    labels: Labels = "binary"
    probabilities = True

    @abstractmethod
    def of_confusion(self, confusion: Array) -> float:
        """Score of a confusion matrix ``(true class, decided class)``."""

    def score(self, truth: Array, blended: Array) -> float:
        """Of the largest class, or the mean over 0/1 targets."""
        return float(self.per_target(truth, blended).mean())

    def per_target(self, truth: Array, blended: Array) -> Array:
        """``(targets,)`` scores, one for classes."""
        if is_one_hot(truth):
            pairs = [(truth.argmax(axis=1), blended.argmax(axis=1), truth.shape[1])]
        else:
            decided = (blended >= _HALF).astype(np.int64)
            pairs = [(y, d, 2) for y, d in zip((truth > _HALF).astype(np.int64).T, decided.T, strict=True)]
        return np.array(
            [
                self.of_confusion(np.bincount(y * n + d, minlength=n * n).reshape(n, n).astype(float))
                for y, d, n in pairs
            ]
        )


class Accuracy(DecisionMetric):
    """Share of right decisions; the threshold of 0/1 labels is 0.5."""

    name = "accuracy"
    higher_is_better = True

    def of_confusion(self, confusion: Array) -> float:
        """The diagonal's share."""
        return float(np.trace(confusion) / confusion.sum())


class BalancedAccuracy(DecisionMetric):
    """Mean recall over classes; the threshold of 0/1 labels is 0.5."""

    name = "balanced_accuracy"
    higher_is_better = True

    def of_confusion(self, confusion: Array) -> float:
        """Mean over the classes that occur."""
        total = confusion.sum(axis=1)
        return float((np.diag(confusion)[total > 0] / total[total > 0]).mean())


class F1(DecisionMetric):
    """F1 of label 1 with the best threshold of the rows that weights are fitted on; macro F1 of classes."""

    name = "f1"
    higher_is_better = True
    thresholds = True

    def of_confusion(self, confusion: Array) -> float:
        """Of label 1, or the mean over classes."""
        true = np.diag(confusion)
        scores = 2 * true / np.maximum(confusion.sum(axis=0) + confusion.sum(axis=1), 1e-300)
        return float(scores[1]) if len(scores) == 2 else float(scores.mean())

    def evaluator(self, truth: Array) -> Evaluator:
        """The score at the best thresholds."""
        if is_one_hot(truth):
            return super().evaluator(truth)
        columns = list(truth.T > _HALF)
        return lambda blended: float(
            np.mean([_f1_by_threshold(p, y)[0].max() for y, p in zip(columns, blended.T, strict=True)])
        )


def _f1_by_threshold(values: Array, labels: npt.NDArray[np.bool_]) -> tuple[Array, npt.NDArray[np.intp]]:
    """F1 of deciding 1 from each distinct value on, from the largest down, and the runs' last places in that order."""
    ordered, ends = _sorted_labels(-values, labels)
    found = np.cumsum(ordered)[ends]
    return 2.0 * found / np.maximum(ends + 1.0 + float(found[-1]), 1.0), ends


def best_thresholds(truth: Array, blended: Array) -> list[float] | None:
    """The threshold of every 0/1 target with the best F1, half-way to the next value below; None for classes."""
    if is_one_hot(truth):
        return None
    chosen = []
    for y, p in zip(truth.T, blended.T, strict=True):
        scores, ends = _f1_by_threshold(p, y > _HALF)
        descending, place = -np.sort(-p), int(ends[int(np.argmax(scores))])
        below = descending[place + 1] if place + 1 < len(descending) else descending[place]
        chosen.append(float(0.5 * (descending[place] + below)))
    return chosen


class QuadraticKappa(TableMetric):
    """Cohen's kappa with quadratic weights: values are rounded to ratings, of classes the largest counts."""

    name = "quadratic_kappa"
    higher_is_better = True
    labels: Labels = "any"

    def score(self, truth: Array, blended: Array) -> float:
        """Mean over targets."""
        if is_one_hot(truth):
            return _kappa(truth.argmax(axis=1), blended.argmax(axis=1))
        low, high = truth.min(), truth.max()
        decided = np.clip(np.round(blended), low, high)
        return float(
            np.mean(
                [_kappa((y - low).astype(int), (d - low).astype(int)) for y, d in zip(truth.T, decided.T, strict=True)]
            )
        )


def _kappa(truth: npt.NDArray[np.int_], decided: npt.NDArray[np.int_]) -> float:
    n = int(max(truth.max(), decided.max())) + 1
    confusion = np.bincount(truth * n + decided, minlength=n * n).reshape(n, n) / len(truth)
    weights = np.subtract.outer(np.arange(n), np.arange(n)) ** 2.0
    expected = float((weights * np.outer(confusion.sum(axis=1), confusion.sum(axis=0))).sum())
    return 1.0 - float((weights * confusion).sum()) / expected if expected else 0.0


class MeanAveragePrecisionAtK(TableMetric):
    """Mean over rows of the average precision of the k largest columns.

    Args:
        k: Number of columns that are listed.
    """

    labels: Labels = "binary"
    higher_is_better = True

    def __init__(self, k: int) -> None:
        self.k, self.name = k, f"map@{k}"

    def score(self, truth: Array, blended: Array) -> float:
        """Rows without a true label do not count."""
        k = min(self.k, truth.shape[1])
        top = (
            np.argpartition(-blended, k - 1, axis=1)[:, :k]
            if k < truth.shape[1]
            else np.tile(np.arange(k), (len(truth), 1))
        )
        order = np.argsort(-np.take_along_axis(blended, top, axis=1), axis=1, kind="stable")
        hits = np.take_along_axis(truth, np.take_along_axis(top, order, axis=1), axis=1) > _HALF
        precision = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
        relevant = np.minimum((truth > _HALF).sum(axis=1), self.k)
        held = relevant > 0
        return float(((precision * hits).sum(axis=1)[held] / relevant[held]).mean())


class FunctionMetric(TableMetric):
    """A function of the user, from the command line.

    Args:
        name: ``package.module:function``.
        function: ``function(truth, predictions)`` on arrays ``(rows, *shape)`` in the judge's units, ``(rows,)`` for one
            target.
        higher_is_better: Its direction.
        shape: Trailing shape of one prediction.
    """

    labels: Labels = "any"
    samples = _FUNCTION_SAMPLES

    def __init__(
        self, name: str, function: Callable[..., float], higher_is_better: bool, shape: tuple[int, ...] | None = None
    ) -> None:
        self.name, self.function, self.higher_is_better, self.shape = name, function, higher_is_better, shape

    def score(self, truth: Array, blended: Array) -> float:
        """The function's value.

        Raises:
            DataError: the function raised; its file and line are named.
        """
        shape: tuple[int, ...] = (-1, *(self.shape or truth.shape[1:]))
        if truth.shape[1] == 1:
            shape = (-1,)
        return float(call_user(f"metric {self.name}", self.function, truth.reshape(shape), blended.reshape(shape)))


def call_user(what: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function of the user; what it raises is named with its file and line.

    Args:
        what: Name for the message.
        function: The function.
        arguments: Its arguments.

    Raises:
        DataError: the function raised.
    """
    try:
        return function(*arguments)
    except DataError:
        raise
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)[1:]
        own = getattr(getattr(function, "__code__", None), "co_filename", "")
        place = next((frame for frame in reversed(frames) if frame.filename == own), frames[-1] if frames else None)
        where = f" ({place.filename}, line {place.lineno})" if place else ""
        raise DataError(f"{what} raised {type(error).__name__}: {error}{where}") from error


@dataclass
class JudgedTable(Judged):
    """A blend scored on whole columns: a bootstrap scores the sampled rows again.

    Attributes:
        metric: The judge's.
        truth: ``(rows, targets)`` in the judge's units.
        blended: The same shape.
        block: ``(rows,)`` block of each row.
        blocks: Number of blocks.
    """

    metric: TableMetric
    truth: Array
    blended: Array
    block: npt.NDArray[np.int64]
    blocks: int
    _score: float | None = None
    _samples: dict[bytes, Array] = field(default_factory=dict, repr=False)

    def score(self) -> float:
        """See :class:`Judged`."""
        if self._score is None:
            self._score = self.metric.score(self.truth, self.blended)
        return self._score

    def per_target(self) -> Array:
        """See :class:`Judged`."""
        return self.metric.per_target(self.truth, self.blended)

    def resampled(self, weights: Array) -> Array:
        """Scores of bootstrap samples, of which no more than two hundred are drawn; the rest repeat them."""
        weights, wanted = weights[: self.metric.samples], len(weights)
        key = weights.tobytes()  # one blend is compared with several, on the same samples
        if key not in self._samples:
            counts = (sample[self.block].astype(np.int64) for sample in weights)
            drawn = (np.repeat(np.arange(len(self.block)), count) for count in counts)
            self._samples[key] = np.array([self.metric.score(self.truth[rows], self.blended[rows]) for rows in drawn])
        return np.resize(self._samples[key], wanted)
