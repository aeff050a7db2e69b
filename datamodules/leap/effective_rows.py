"""How many rows the spread of a target rests on: where few carry it, its R2 on these data says little."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from datamodules.batches import Rows
from datamodules.files import read_json, write_json
from datamodules.leap.schema import N_TARGETS, PTEND_TRICK_TARGETS, zero_weight_mask
from datamodules.stores.store import Store

FEWEST_EFFECTIVE_ROWS = 25.0
"""Below this a target is not estimable: its sum of squares, and with it 1 - R2, is known to a fifth at best."""

_CHUNK = 16_384
_VERSION = 2

Array = npt.NDArray[np.float64]


def effective_rows(store: Store, rows: Rows, shift: Array, scale: Array, cache: Path) -> Array:
    """``(sum d^2)^2 / sum d^4`` of every target, with d the distance from the mean; computed once and cached.

    That is the number of rows that would carry the sum of squares if all carried the same: a third of the rows of a
    Gaussian target, 1 where a single row holds it all. What is known without data - targets of weight 0, and those that
    post-processing computes from the state - counts all rows, and is estimable on any number of them.

    Args:
        store: The converted rows.
        rows: Positions of the rows, ascending.
        shift: Roughly the mean of each target, ``(368,)``.
        scale: Roughly the standard deviation of each target, ``(368,)``; keeps fourth powers in range.
        cache: Folder of the cached file.
    """
    key = hashlib.sha256(f"{_VERSION}|{store.hash}|".encode() + rows.tobytes()).hexdigest()[:16]
    path = cache / f"effective-rows-{key}.json"
    with FileLock(str(path) + ".lock"):
        if not path.is_file():
            write_json(path, _compute(store, rows, shift, np.where(scale > 0, scale, 1.0)).tolist())
        return np.asarray(read_json(path), dtype=np.float64)


def estimable(effective: Array) -> npt.NDArray[np.bool_]:
    """Targets whose score these rows can tell, boolean ``(368,)``."""
    return effective >= FEWEST_EFFECTIVE_ROWS


def _compute(store: Store, rows: Rows, shift: Array, scale: Array) -> Array:
    targets = store.arrays["targets"]
    sums = np.zeros((4, N_TARGETS))
    low, high = np.full(N_TARGETS, np.inf), np.full(N_TARGETS, -np.inf)
    for start in range(0, len(rows), _CHUNK):
        z = (np.asarray(targets[rows[start : start + _CHUNK]], dtype=np.float64) - shift) / scale
        low, high = np.minimum(low, z.min(axis=0)), np.maximum(high, z.max(axis=0))
        power = np.ones_like(z)
        for total in sums:
            power *= z
            total += power.sum(axis=0)
    count = float(len(rows))
    mean = sums[0] / count
    second = sums[1] - count * mean**2
    fourth = sums[3] - 4 * mean * sums[2] + 6 * mean**2 * sums[1] - 3 * count * mean**4
    known = zero_weight_mask() | (low == high)
    known[PTEND_TRICK_TARGETS] = True
    return np.where(known, max(count, FEWEST_EFFECTIVE_ROWS), second**2 / np.where(known | (fourth <= 0), 1.0, fourth))
