"""The judges' metrics, each a class that scores and that names the loss solvers minimise.

:class:`SumMetric` is a sum of errors over rows, kept per block and target in float64: a score, its folds, its targets and
a bootstrap over blocks come from the same small table. Its subclasses have exact solvers. Metrics of whole columns (AUC,
F1, a user's function) are in :mod:`blend.metrics.tables`; :mod:`blend.metrics.registry` knows all by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from blend.aligned.view import Labels
from datamodules.scoring import r2_of_sums

Array = npt.NDArray[np.float64]
PROBABILITY_FLOOR = 1e-15
_PRODUCTS = 4  # 16 factors of at least 1e-15 stay above float64's smallest number
SHRINKS = np.concatenate([[0.0], np.logspace(-5, -1, 20)])
"""Strengths that probabilities are pulled towards a half with, where one is searched."""


def sum_log(q: Array, axis: int = -1) -> Array:
    """Sum of ``log(q)`` over an axis, ``q >= 1e-15``: one logarithm for 16 values, since products are far cheaper."""
    q = np.moveaxis(q, axis, -1)
    total = np.zeros(q.shape[:-1])
    for _ in range(_PRODUCTS):
        half = q.shape[-1] // 2
        if half == 0:
            break
        if q.shape[-1] % 2:
            total += np.log(q[..., -1])
        q = q[..., :half] * q[..., half : 2 * half]
    return np.asarray(total + np.log(q).sum(axis=-1))


def true_label_probability(truth: npt.NDArray[np.floating], blended: Array) -> Array:
    """``p`` where the label is 1 and ``1 - p`` where it is 0, clipped as the judge clips."""
    return np.asarray(np.clip(np.abs(np.subtract(1.0, truth, dtype=np.float64) - blended), PROBABILITY_FLOOR, 1.0))


@dataclass
class TruthSums:
    """Per block: rows, and sums of the shifted truth and its square per target (for R2).

    Attributes:
        counts: ``(blocks,)``.
        first, second: ``(blocks, targets)``; ``second`` is about a shift near the mean, for the sake of precision.
    """

    counts: Array
    first: Array
    second: Array

    def pooled(self, weights: Array) -> TruthSums:
        """Sums over blocks: ``weights`` is ``(pools, blocks)``, each row a selection or a bootstrap sample."""
        return TruthSums(weights @ self.counts, weights @ self.first, weights @ self.second)

    def total_squares(self) -> Array:
        """Total sum of squares about the mean, exactly 0 where the truth does not vary."""
        sst = self.second - self.first**2 / np.maximum(self.counts, 1)[:, None]
        return np.where(sst > 1e-13 * self.second, sst, 0.0)


class Metric:
    """A judge's metric.

    Attributes:
        name: On the command line and in manifests.
        higher_is_better: Direction.
        labels: What the truth holds: ``values``, ``binary`` (0 or 1), ``classes`` (one column per class, one of them 1),
            or ``any``.
        probabilities: Predictions must lie in [0, 1].
        convex: The loss is convex in the weights, so that exact solvers and certificates exist.
    """

    name: str = ""
    higher_is_better: bool = False
    labels: Labels = "values"
    probabilities: bool = False
    convex: bool = False

    @property
    def sign(self) -> float:
        """-1 where higher is better: solvers minimise."""
        return -1.0 if self.higher_is_better else 1.0

    def score_of_loss(self, loss: float) -> float:
        """The judge's number of a loss that solvers minimise."""
        return self.sign * loss


class SumMetric(Metric, ABC):
    """A metric that follows from sums of errors over rows; convex in the weights."""

    convex = True

    def columns(self, width: int) -> int:
        """Number of sums per block: one per target unless the metric joins them."""
        return width

    @abstractmethod
    def error_sums(self, truth: npt.NDArray[np.float32], blended: Array, scale: Array) -> Array:
        """``(columns,)`` sums of errors over rows.

        Args:
            truth: ``(rows, targets)``, in stored units.
            blended: The same shape.
            scale: ``(targets,)`` judge's units per stored unit.
        """

    def per_target(self, errors: Array, truth: TruthSums) -> Array:
        """Scores ``(pools, columns)`` of pooled error sums."""
        return errors / np.maximum(truth.counts, 1)[:, None]


class SquaredMetric(SumMetric):
    """A metric of squared errors: everything about it follows from the residuals' Gram matrices.

    Attributes:
        root: Roots of mean squares are judged.
        counted: Targets that weights are found with, boolean; None for all.
    """

    root = False
    counted: npt.NDArray[np.bool_] | None = None

    def error_sums(self, truth: npt.NDArray[np.float32], blended: Array, scale: Array) -> Array:
        """Sums of squared residuals, in stored units for R2 and in the judge's for the others."""
        residual = (blended - truth) * self.unit(scale)
        return np.asarray(np.einsum("nt,nt->t", residual, residual))

    def unit(self, scale: Array) -> Array:
        """``(targets,)`` factor from stored units into those of the error."""
        return scale

    def weights(self, total_squares: Array, rows: float, scale: Array) -> Array:
        """``(targets,)`` factor of each target's sum of squared errors (stored units) in its part of the mean loss."""
        return np.asarray(scale**2 / max(rows, 1.0))


class R2(SquaredMetric):
    """Mean over targets of ``1 - SSE / SST``; a target without variance scores 1 if it is matched exactly, else 0."""

    name = "r2"
    higher_is_better = True

    def unit(self, scale: Array) -> Array:
        """R2 does not change with the unit, and stored units keep their precision."""
        return np.ones_like(scale)

    def weights(self, total_squares: Array, rows: float, scale: Array) -> Array:
        """One over the total squares; 0 for a target without variance."""
        return np.divide(1.0, total_squares, out=np.zeros_like(total_squares), where=total_squares > 0)

    def score_of_loss(self, loss: float) -> float:
        """The loss is ``1 - R2``."""
        return 1.0 - loss

    def per_target(self, errors: Array, truth: TruthSums) -> Array:
        """By the rule that the whole project shares."""
        sst = truth.total_squares()
        return r2_of_sums(errors, sst, sst == 0)


class ClippedR2(R2):
    """R2 with every target's held to [-1, 1] before the mean, so that no target's few far rows decide for all.

    Args:
        counted: Targets that weights are found with: those whose spread rests on enough rows. All are judged.
    """

    name = "r2_clipped"

    def __init__(self, counted: npt.NDArray[np.bool_] | None = None) -> None:
        self.counted = counted

    def per_target(self, errors: Array, truth: TruthSums) -> Array:
        """See :class:`R2`."""
        return np.clip(super().per_target(errors, truth), -1.0, 1.0)


class MeanSquaredError(SquaredMetric):
    """Mean squared error, mean over targets."""

    name = "mse"


class RootMeanSquaredError(SquaredMetric):
    """Root mean squared error of each target, mean over targets (scikit-learn's rule; MCRMSE on Kaggle)."""

    name = "rmse"
    root = True

    def per_target(self, errors: Array, truth: TruthSums) -> Array:
        """The root of each target's mean."""
        return np.sqrt(super().per_target(errors, truth))


class ColumnLogLoss(SumMetric):
    """Binary log loss, mean over targets and rows, probabilities clipped to [1e-15, 1 - 1e-15]."""

    name = "column_log_loss"
    labels: Labels = "binary"
    probabilities = True

    def error_sums(self, truth: npt.NDArray[np.float32], blended: Array, scale: Array) -> Array:
        """Sums of log losses."""
        return -sum_log(true_label_probability(truth, blended), axis=0)


class MulticlassLogLoss(SumMetric):
    """Log loss of the true class, probabilities clipped to [1e-15, 1]; the truth has a column per class."""

    name = "multiclass_log_loss"
    labels: Labels = "classes"
    probabilities = True

    def columns(self, width: int) -> int:
        """All classes make one number."""
        return 1

    def error_sums(self, truth: npt.NDArray[np.float32], blended: Array, scale: Array) -> Array:
        """The sum over rows, ``(1,)``."""
        q = np.clip((truth * blended).sum(axis=1) / np.maximum(blended.sum(axis=1), PROBABILITY_FLOOR), 0.0, 1.0)
        return np.array([-sum_log(np.maximum(q, PROBABILITY_FLOOR))])


class Pinball(SumMetric):
    """Pinball loss of a quantile: ``max(q r, (q - 1) r)`` of ``r = truth - prediction``.

    Args:
        level: Quantile between 0 and 1.
    """

    def __init__(self, level: float) -> None:
        self.level, self.name = level, f"pinball@{level:g}"

    @property
    def slopes(self) -> tuple[float, float]:
        """Cost of a unit above the truth and of a unit below it."""
        return 1.0 - self.level, self.level

    def error_sums(self, truth: npt.NDArray[np.float32], blended: Array, scale: Array) -> Array:
        """Sums of costs in the judge's units."""
        over, under = self.slopes
        residual = (blended - truth) * scale
        return np.asarray(np.where(residual > 0, over * residual, -under * residual).sum(axis=0))


class MeanAbsoluteError(Pinball):
    """Mean absolute error in the judge's units, mean over targets."""

    def __init__(self) -> None:
        super().__init__(0.5)
        self.name = "mae"

    @property
    def slopes(self) -> tuple[float, float]:
        """Both sides cost 1."""
        return 1.0, 1.0


class Judged(ABC):
    """A blend's errors, from which every score of it follows.

    Attributes:
        metric: The judge's.
        blocks: Number of blocks of rows that a bootstrap draws from.
    """

    metric: Metric
    blocks: int

    @abstractmethod
    def score(self) -> float:
        """The judge's number over all judged rows."""

    @abstractmethod
    def per_target(self) -> Array:
        """``(targets,)`` scores over all judged rows."""

    @abstractmethod
    def resampled(self, weights: Array) -> Array:
        """Scores ``(pools,)`` for block weights ``(pools, blocks)``."""


@dataclass
class JudgedSums(Judged):
    """Errors of a :class:`SumMetric`.

    Attributes:
        metric: The judge's.
        errors: ``(blocks, columns)`` sums.
        truth: The matching sums of the truth.
        live: ``(blocks,)`` 1 for blocks that are judged, 0 for others.
    """

    metric: SumMetric
    errors: Array
    truth: TruthSums
    live: Array | None = None
    _score: float | None = field(default=None, repr=False)

    @property
    def blocks(self) -> int:  # type: ignore[override]
        """Number of blocks."""
        return len(self.errors)

    def score(self) -> float:
        """See :class:`Judged`."""
        if self._score is None:
            self._score = float(self.resampled(np.ones((1, len(self.errors))))[0])
        return self._score

    def per_target(self) -> Array:
        """See :class:`Judged`."""
        return np.asarray(self._scores(np.ones((1, len(self.errors))))[0])

    def resampled(self, weights: Array) -> Array:
        """See :class:`Judged`."""
        return np.asarray(self._scores(weights).mean(axis=1))

    def _scores(self, weights: Array) -> Array:
        if self.live is not None:
            weights = weights * self.live
        return self.metric.per_target(weights @ self.errors, self.truth.pooled(weights))
