"""The judges' metrics, exactly, from sums over blocks of rows.

Every metric is a sum of errors over rows, kept per block and target in float64, so that a score, its folds, its
targets and a bootstrap over blocks come from the same small table.

* ``r2``: mean over targets of ``1 - SSE / SST``; a target without variance scores 1 if it is matched exactly, else 0
  (scikit-learn's and Kaggle's rule).
* ``column_log_loss``: mean over targets and rows of the binary log loss, probabilities clipped to [1e-15, 1 - 1e-15].
* ``mae``: mean absolute error in the judge's units.
* ``package.module:function``: any ``function(truth, predictions) -> float`` on whole arrays ``(rows, *shape)``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module

import numpy as np
import numpy.typing as npt

from datamodules.banks.bank import BankError

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
    result: Array = total + np.log(q).sum(axis=-1)
    return result


def true_label_probability(truth: npt.NDArray[np.floating], blended: Array) -> Array:
    """``p`` where the label is 1 and ``1 - p`` where it is 0, clipped as the judge clips."""
    result: Array = np.clip(np.abs(np.subtract(1.0, truth, dtype=np.float64) - blended), PROBABILITY_FLOOR, 1.0)
    return result


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


@dataclass(frozen=True)
class Metric:
    """A judge's metric.

    Attributes:
        name: As in manifests.
        higher_is_better: Direction.
        function: For a metric given as a function, ``function(truth, predictions)``.
    """

    name: str
    higher_is_better: bool
    function: Callable[[npt.NDArray[np.floating], npt.NDArray[np.floating]], float] | None = None

    @property
    def sign(self) -> float:
        """-1 where higher is better: solvers minimise."""
        return -1.0 if self.higher_is_better else 1.0

    def score_of_loss(self, loss: float) -> float:
        """The judge's number of a loss that solvers minimise."""
        return 1.0 - loss if self.name == "r2" else self.sign * loss

    def error_sums(self, truth: npt.NDArray[np.float32], blended: Array, scale: Array) -> Array:
        """``(targets,)`` sums over rows of squared errors, log losses or absolute errors."""
        if self.name == "r2":
            residual = blended - truth
            squares: Array = np.einsum("nt,nt->t", residual, residual)
            return squares
        if self.name == "mae":
            errors: Array = np.abs(blended - truth).sum(axis=0) * np.abs(scale)
            return errors
        return -sum_log(true_label_probability(truth, blended), axis=0)

    def per_target(self, errors: Array, truth: TruthSums) -> Array:
        """Scores ``(pools, targets)`` of pooled error sums."""
        if self.name != "r2":
            return errors / np.maximum(truth.counts, 1)[:, None]
        sst = truth.total_squares()
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(sst > 0, 1.0 - errors / sst, (errors == 0).astype(np.float64))


KNOWN = {
    "r2": Metric("r2", higher_is_better=True),
    "column_log_loss": Metric("column_log_loss", higher_is_better=False),
    "mae": Metric("mae", higher_is_better=False),
}


def find_metric(name: str, direction: str = "minimize") -> Metric:
    """A metric by name, or by ``package.module:function`` with its direction.

    Raises:
        BankError: there is no such metric or function.
    """
    if name in KNOWN:
        return KNOWN[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise BankError(f"metric {name!r} is unknown: use {', '.join(KNOWN)} or package.module:function (--metric)")
    try:
        return Metric(name, direction == "maximize", getattr(import_module(module), function))
    except (ImportError, AttributeError) as error:
        raise BankError(f"metric {name!r} cannot be imported: {error}") from None


@dataclass
class Judged:
    """A blend's errors, from which every score of it follows.

    Attributes:
        metric: The judge's.
        errors: ``(blocks, targets)`` sums.
        truth: The matching sums of the truth.
    """

    metric: Metric
    errors: Array
    truth: TruthSums
    _score: float | None = field(default=None, repr=False)

    def score(self) -> float:
        """The judge's number over all rows."""
        if self._score is None:
            self._score = float(self.resampled(np.ones((1, len(self.errors))))[0])
        return self._score

    def per_target(self) -> Array:
        """``(targets,)`` scores over all rows."""
        everything = np.ones((1, len(self.errors)))
        result: Array = self.metric.per_target(everything @ self.errors, self.truth.pooled(everything))[0]
        return result

    def resampled(self, weights: Array) -> Array:
        """Scores ``(pools,)`` for block weights ``(pools, blocks)``."""
        result: Array = self.metric.per_target(weights @ self.errors, self.truth.pooled(weights)).mean(axis=1)
        return result
