"""Layered ground: interfaces, velocities, curve shapes, and what a cell shows of them.

Recipes and figures come from the 22nd place's write-up and from counts on 13,000 real maps of FlatVel_A, CurveVel_A and
FlatFault_A; OpenFWI's own paper describes the maps only roughly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datamodules.gwi.schema import SIDE, VMAX, VMIN

Array = npt.NDArray[np.float64]
Rng = np.random.Generator

_MIDDLE = 3000

# Curves of real CurveVel_A maps: three waves over the line that grow towards its right end. Least squares on the
# shared shape of the interfaces of 5707 maps explains 94 % of their variance with these.
_CYCLES = np.array([0.97, 1.95, 2.99])
_GROWTH = np.array([0.43, 1.39, 1.90])
_SPREAD = np.array([2.2, 1.4, 1.45])
_SINE_COSINE_CORRELATION = np.array([0.0, 0.0, -0.88])


@dataclass(frozen=True)
class Ground:
    """Layers, each with its own velocity, between interfaces that are parallel to one curve.

    Args:
        interfaces: Depths in cells, ascending, ``(layers - 1,)``.
        velocities: m/s, ``(layers,)``.
        curve: Depth of an interface below its nominal one at every column, ``(70,)``.
        blur: Cells over which a velocity changes into the next; 0 = from one cell to the next.
    """

    interfaces: Array
    velocities: Array
    curve: Array
    blur: float = 0.0

    def at(self, x: Array, y: Array) -> Array:
        """Velocity at cells (column, depth), fractional ones and ones beyond the edge too."""
        depth = y - np.interp(x, np.arange(SIDE), self.curve)
        value = np.full(np.broadcast_shapes(x.shape, y.shape), self.velocities[0])
        for interface, jump in zip(self.interfaces, np.diff(self.velocities), strict=True):
            below = depth - interface
            value += jump * (np.clip(below / self.blur + 0.5, 0.0, 1.0) if self.blur > 0 else below >= 0)
        return value

    def all_visible(self) -> bool:
        """Whether every layer fills a cell of the map."""
        depth = np.arange(SIDE)[:, None] - self.curve
        return bool(np.isin(np.arange(len(self.velocities)), np.searchsorted(self.interfaces, depth, "right")).all())


def grid() -> tuple[Array, Array]:
    """Columns ``(1, 70)`` and depths ``(70, 1)`` of the cells."""
    cells = np.arange(SIDE, dtype=np.float64)
    return cells[None, :], cells[:, None]


def evenly_spaced(rng: Rng, n: int) -> Array:
    """The n interfaces of the Vel families: the first in the middle of its layer, the next ones about 70 / n cells apart."""
    spacing = SIDE / n
    steps = np.r_[rng.uniform(0.5, 1.5) * spacing, spacing + rng.uniform(-1.0, 1.0, n - 1)]
    return np.asarray(np.round(np.cumsum(steps)))


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
    """A curve of CurveVel, in cells: peak to peak 9 to 48 (5 to 95 %), larger towards the right end."""
    x = np.arange(SIDE) / SIDE
    sine = rng.normal(size=3)
    rest = np.sqrt(1.0 - _SINE_COSINE_CORRELATION**2)
    cosine = _SINE_COSINE_CORRELATION * sine + rest * rng.normal(size=3)
    angle = 2.0 * math.pi * _CYCLES[:, None] * x
    waves = sine[:, None] * np.sin(angle) + cosine[:, None] * np.cos(angle)
    return np.asarray((_SPREAD[:, None] * np.exp(_GROWTH[:, None] * x) * waves).sum(0))


def single_wave(rng: Rng) -> Array:
    """A curve of CurveFault_A: about one period over the line."""
    phase, cycles = rng.uniform(-math.pi, math.pi), rng.uniform(0.7, 1.5)
    return rng.uniform(4.0, 10.0) * np.sin(2.0 * math.pi * cycles * np.arange(SIDE) / SIDE + phase)


def many_waves(rng: Rng) -> Array:
    """A curve of CurveFault_B: several waves, 15 to 20 cells from peak to peak."""
    curve = vel_curve(rng)
    return curve * (rng.uniform(15.0, 20.0) / np.ptp(curve))
