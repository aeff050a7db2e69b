"""Layered ground: interfaces, velocities, curve shapes, and what a cell shows of them.

Recipes and figures come from the 22nd place's write-up and from counts on 13,000 real maps of FlatVel_A, CurveVel_A and
FlatFault_A; OpenFWI's own paper describes the maps only roughly.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.interpolate import BSpline

from datamodules.gwi.schema import SIDE, VMAX, VMIN

Array = npt.NDArray[np.float64]
Rng = np.random.Generator

_MIDDLE = 3000

# A curved interface of CurveVel is a quadratic spline through eight depths. Its second derivative, as 4,924 real interfaces show it, is
# constant between these columns, and the depths are free at those (the last, beyond the line, to within a cell).
_BREAKS = (20.0, 30.0, 40.0, 50.0, 60.0)
_KNOTS = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 77.0)
CURVE_KNOTS = len(_KNOTS)
"""Depths that make a curved interface."""


def evenly_spaced(rng: Rng, n: int, places: int = 1) -> Array:
    """Depths of the n interfaces of the Vel families in cells, ``(n, places)``, at each place drawn for itself.

    The first lies in the middle of its layer, anywhere from half to one and a half spacings of 70 / n cells deep, the next ones a
    spacing below, a cell more or less.
    """
    spacing = SIDE / n
    steps = np.vstack([rng.uniform(0.5, 1.5, (1, places)) * spacing, spacing + rng.uniform(-1.0, 1.0, (n - 1, places))])
    return np.asarray(np.cumsum(steps, axis=0))


def curved(depths: Array) -> Array:
    """Interfaces of CurveVel through eight depths each: ``(n, 8)`` to ``(n, 70)``, a depth for every column."""
    return np.asarray(depths @ _spline().T)


@lru_cache(maxsize=1)
def _spline() -> Array:
    """Depths at the knots to depths at the columns, ``(70, 8)``."""
    ends = (_KNOTS[0],) * 3, (_KNOTS[-1],) * 3
    knots = np.array([*ends[0], *_BREAKS, *ends[1]])
    at_knots, at_columns = (
        BSpline.design_matrix(np.asarray(x), knots, 2).toarray() for x in (_KNOTS, np.arange(SIDE, dtype=float))
    )
    return np.asarray(at_columns @ np.linalg.inv(at_knots))


def fill(interfaces: Array, velocities: Array) -> Array:
    """The map ``(70, columns)`` of layers between interfaces ``(n, columns)``; where they cross, the deeper layer shows."""
    below = np.arange(SIDE)[:, None] >= np.round(interfaces)[:, None, :]
    layer = np.where(below.any(0), len(below) - below[::-1].argmax(0), 0)
    return np.asarray(velocities[layer])


def stick_breaking(rng: Rng, layers: int) -> Array:
    """Interfaces of the Fault families: layers of at least 60 / layers cells share what is left of 70 by stick breaking."""
    least = 60 // layers
    left = SIDE - least * layers
    extra = np.zeros(layers)
    for i in range(layers - 1):
        extra[i] = rng.integers(0, left + 1)
        left -= int(extra[i])
    extra[-1] = left
    return np.cumsum(least + rng.permutation(extra))[:-1]


def distinct_integers(rng: Rng, n: int, low: float = VMIN, high: float = VMAX) -> Array:
    """Different whole velocities between two bounds, both included, in random order."""
    return int(low) + rng.choice(int(high) - int(low) + 1, n, replace=False).astype(np.float64)


def both_halves(rng: Rng, layers: int) -> Array:
    """Ascending velocities, half of them below 3000 m/s and half above; one of three layers falls on either side."""
    slow = layers // 2 + (layers % 2) * int(rng.integers(0, 2))
    halves = distinct_integers(rng, slow, VMIN, _MIDDLE - 1), distinct_integers(rng, layers - slow, _MIDDLE, VMAX)
    return np.sort(np.concatenate(halves))


def vel_curve(rng: Rng) -> Array:
    """One curve of CurveVel, in cells, for interfaces that are parallel to it."""
    curve: Array = curved(rng.uniform(-7.0, 7.0, (1, len(_KNOTS))))[0]
    return curve


def single_wave(rng: Rng) -> Array:
    """A curve of CurveFault_A: about one period over the line."""
    phase, cycles = rng.uniform(-math.pi, math.pi), rng.uniform(0.7, 1.5)
    return rng.uniform(4.0, 10.0) * np.sin(2.0 * math.pi * cycles * np.arange(SIDE) / SIDE + phase)


def many_waves(rng: Rng) -> Array:
    """A curve of CurveFault_B: several waves, 15 to 20 cells from peak to peak."""
    curve = vel_curve(rng)
    return curve * (rng.uniform(15.0, 20.0) / np.ptp(curve))
