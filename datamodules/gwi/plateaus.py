"""Plateaus of layered velocity maps: near-equal values become one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
WITHOUT_PLATEAUS = ("Style_A", "Style_B")
"""Families of OpenFWI whose values are no grid, whatever a recipe says."""


def bucket(values: Array, width: float, fewest: int) -> Array:
    """Give near-equal values of a map one value, the most frequent of them ("restoring bias", 4th place of OpenFWI).

    Layered maps hold few distinct integers. Values are rounded; the most frequent one takes all others within ``width``, then
    the most frequent one of the rest, until fewer than ``fewest`` values would follow. Blurred edges between plateaus stay.

    Args:
        values: One map of any shape.
        width: Largest distance of a value that follows.
        fewest: Values of a bucket, at least.
    """
    rounded = np.round(values).astype(np.int64)
    low = int(rounded.min())
    flat = rounded.ravel() - low
    counts = np.bincount(flat)
    becomes, reach = np.arange(len(counts)), int(width)
    left = counts.copy()
    while left.any():
        peak = int(left.argmax())
        window = slice(max(0, peak - reach), peak + reach + 1)
        if left[window].sum() < fewest:
            break
        free = left[window] > 0
        becomes[window][free] = peak
        left[window] = 0
    return (becomes[flat] + low).reshape(values.shape).astype(np.float64)
