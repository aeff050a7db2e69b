"""Where a wave can be: cells that it has not reached yet, or from which no receiver can hear it any more, need not be computed.

A field of the scheme that falls as exp(-k) from one row to the next cannot grow faster than by g a step, with

    4 cosh g = max (a |s| + |4 + a s|),    s = S(u + i k) + S(w),    S(u) = 8/3 (cos u - 1) - 1/6 (cos 2u - 1),    a = (v dt / dx)^2

over all wave numbers u and w. So what has crossed some rows by step n is below exp(g n - sum of k), whatever g is, and a row is left out while
that is less than rounding. The fastest cell of a row speaks for all of it. The same holds for columns, and, backwards in time,
for the way to the receivers.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit  # type: ignore[import-not-found,import-untyped,unused-ignore]

_GROWTHS = np.geomspace(0.03, 0.8, 8)
_LARGEST = 0.375  # squared Courant number beyond which the scheme is unstable
_FINE = 128


@lru_cache(maxsize=1)
def falls() -> npt.NDArray[np.float64]:
    """The logarithm k by which a field that grows by g a step falls, ``(growths, Courant numbers in even steps up to the largest)``."""
    k, u = np.arange(0.0, 2.8, 0.04)[:, None, None], np.linspace(0.0, np.pi, 91)[:, None] * 1j
    across = np.array([0.0, -16.0 / 3.0])  # S(w) from 0 to pi; the largest sum is at an end, since it is convex
    s = 8.0 / 3.0 * (np.cosh(k + u) - 1.0) - (np.cosh(2.0 * (k + u)) - 1.0) / 6.0 + across
    numbers = _LARGEST * np.linspace(0.0, 1.0, _FINE + 1)[1:] ** 2
    grown = [np.arccosh((np.abs(a * s) + np.abs(4.0 + a * s)).max((1, 2)) / 4.0) for a in numbers]
    return np.stack([np.interp(_GROWTHS, np.maximum.accumulate(g), k[:, 0, 0]) for g in grown], 1)


@njit(nogil=True, cache=True)
def windows(courant: Any, table: Any, source: int, receivers: Any, samples: int) -> Any:
    """Rows (or columns) that each step has to compute, ``(samples, 2)``: from and to, across the edge of the periodic grid if need be.

    Args:
        courant: Squared Courant number of the fastest cell of each row.
        table: Of :func:`falls`.
        source: Row of the source, which is always computed.
        receivers: Rows of the receivers.
        samples: Steps.
    """
    cells = courant.size
    falls, rounding = _falls(courant, table), -np.log(np.finfo(courant.dtype).eps)
    to_source = _steps_between(falls, source, source, rounding)
    to_receivers = _steps_between(falls, receivers.min(), receivers.max(), rounding)
    found = np.empty((samples, 2), np.int64)
    found[:, 0], found[:, 1] = source, source + 1
    for way in range(2):  # upwards, then downwards, from the source to the far side of the periodic grid
        for distance in range(1, cells // 2 + 1):
            row = source + (distance if way == 1 else -distance)
            first, end = to_source[row % cells], samples - to_receivers[row % cells]
            if first < end:
                found[first:end, way] = row + way
    for n in range(samples):
        if found[n, 1] - found[n, 0] >= cells:
            found[n, 0], found[n, 1] = 0, cells
    return found


@njit(nogil=True, cache=True)
def _falls(courant: Any, table: Any) -> Any:
    """The fall of a growing field on its way into each row, ``(growths, rows)``."""
    found = np.empty((_GROWTHS.size, courant.size))
    for row in range(courant.size):
        # of the next larger number: it falls less
        found[:, row] = table[:, min(int(np.sqrt(courant[row] / _LARGEST) * _FINE), _FINE - 1)]
    return found


@njit(nogil=True, cache=True)
def _steps_between(falls: Any, low: int, high: int, rounding: float) -> Any:
    """Steps that a wave needs between each row and the nearest of ``low`` to ``high``, either way round."""
    cells = falls.shape[1]
    steps = np.zeros((2, cells))
    for g in range(_GROWTHS.size):
        for way in range(2):
            crossed = -rounding
            for distance in range(1, cells - (high - low)):
                row = (high + distance if way == 1 else low - distance) % cells
                crossed += falls[g, row]
                steps[way, row] = max(steps[way, row], crossed / _GROWTHS[g])
    return np.minimum(steps[0], steps[1]).astype(np.int64)
