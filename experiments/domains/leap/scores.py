"""The scores of a LEAP bank: per target, as means that hold on few rows, and how far they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datamodules.banks.bank import PredictionBank
from datamodules.leap.effective_rows import estimable
from datamodules.leap.schema import TARGET_GROUPS, TARGET_NAMES
from datamodules.scoring import r2_of_sums

MOST_BLOCKS = 20
_CHUNK = 16_384
_DRAWS = 1000
_COVERAGE = (2.5, 97.5)  # percent

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BlockSums:
    """Sums of truth and errors by contiguous blocks of time, all that R2 needs.

    Args:
        rows: Rows of each block, ``(blocks,)``.
        total: Sums of the true values in bank units, ``(blocks, targets)``.
        squares: Sums of their squares.
        errors: Sums of squared errors.
        constant: Targets that never vary, ``(targets,)``.
    """

    rows: Array
    total: Array
    squares: Array
    errors: Array
    constant: npt.NDArray[np.bool_]

    def r2(self, counts: Array | None = None) -> Array:
        """R2 of every target, ``(draws, targets)``.

        Args:
            counts: How often each block counts in each draw, ``(draws, blocks)``; once each by default.
        """
        counts = np.ones((1, len(self.rows))) if counts is None else counts
        rows, total, squares, errors = (counts @ sums for sums in (self.rows, self.total, self.squares, self.errors))
        spread = squares - total**2 / rows[:, None]
        # a draw may hold none of the blocks in which a target varies
        flat = self.constant | (spread <= 1e-12 * squares)
        return r2_of_sums(errors, spread, flat)


def block_sums(bank: PredictionBank, times: npt.NDArray[np.int64]) -> BlockSums:
    """Read a bank and its truth once.

    Args:
        bank: Out-of-fold predictions.
        times: Time step of every row.
    """
    steps, place = np.unique(times, return_inverse=True)
    blocks = place * min(MOST_BLOCKS, len(steps)) // len(steps)
    truth, n_blocks = bank.truth(), int(blocks.max()) + 1
    n_targets = int(np.prod(bank.shape))
    sums = np.zeros((3, n_blocks, n_targets))
    low, high = np.full(n_targets, np.inf), np.full(n_targets, -np.inf)
    for start in range(0, len(place), _CHUNK):
        rows = slice(start, start + _CHUNK)
        true = truth.in_judge_units(rows) / bank.scale
        error = bank.in_judge_units(rows) / bank.scale - true
        low, high = np.minimum(low, true.min(axis=0)), np.maximum(high, true.max(axis=0))
        for block in np.unique(blocks[rows]):
            inside = blocks[rows] == block
            for part, values in zip(sums, (true, true**2, error**2), strict=True):
                part[block] += values[inside].sum(axis=0)
    total, squares, errors = sums
    return BlockSums(np.bincount(blocks).astype(np.float64), total, squares, errors, low == high)


def intervals(sums: BlockSums, effective: Array) -> dict[str, tuple[float, float]]:
    """Bootstrap intervals (95 %) of the three means, drawing blocks of time with replacement.

    Drawn blocks repeat, which lowers the spread of a target and with it every R2 a little; the intervals are moved so that
    the median of the draws lies on the score itself.

    Args:
        sums: Of a bank.
        effective: Effective rows of every target.
    """
    blocks = len(sums.rows)
    counts = np.random.default_rng(0).multinomial(blocks, np.full(blocks, 1.0 / blocks), _DRAWS).astype(np.float64)
    drawn = sums.r2(counts)
    kept = {"all": (drawn, sums.r2()), "clipped": (drawn.clip(-1, 1), sums.r2().clip(-1, 1))}
    known = estimable(effective)
    if known.any():
        kept["estimable"] = (drawn[:, known], sums.r2()[:, known])
    limits = {}
    for name, (draws, own) in kept.items():
        means = draws.mean(axis=1)
        low, high = np.percentile(means, _COVERAGE) - np.median(means) + own.mean()
        limits[name] = (float(low), float(high))
    return limits


def score_means(per_target: npt.ArrayLike, effective: Array) -> dict[str, float]:
    """The judge's mean (``all``), ``clipped`` with every target's R2 held to [-1, 1], ``estimable`` over the targets that
    these rows can tell, and the mean of each variable group, plain and clipped (``t``, ``t_clipped``, ...).

    Args:
        per_target: R2 of every target.
        effective: Effective rows of every target.
    """
    plain = np.asarray(per_target, dtype=np.float64)
    clipped, known = plain.clip(-1, 1), estimable(effective)
    means = {"all": plain.mean(), "clipped": clipped.mean()}
    means |= {"estimable": plain[known].mean()} if known.any() else {}
    means |= {name: plain[where].mean() for name, where in TARGET_GROUPS.items()}
    means |= {f"{name}_clipped": clipped[where].mean() for name, where in TARGET_GROUPS.items()}
    return {name: float(value) for name, value in means.items()}


def worst_targets(per_target: npt.ArrayLike, count: int = 10) -> dict[str, float]:
    """The targets of the lowest R2, the lowest first."""
    values = np.asarray(per_target, dtype=np.float64)
    return {TARGET_NAMES[i]: float(values[i]) for i in np.argsort(values)[:count]}
