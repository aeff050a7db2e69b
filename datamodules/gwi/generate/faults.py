"""Faulted ground: what lies on one side of an oblique line has slipped along it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from datamodules.gwi.generate.layers import Array, Ground, Rng, grid
from datamodules.gwi.schema import SIDE

_LINE_WIDTH = 1.5  # cells over which one side turns into the other
_ONE_FAULT, _TWO_FAULTS = 0.72, 0.19  # shares of real FlatFault_A maps; the rest shows no fault


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        column: Where its line crosses the middle depth.
        dip: Angle from the vertical in radians, positive to the right with depth.
        throw: Cells by which the moved side lies deeper (above 0) or higher.
        side: 1 = the right side moved, -1 = the left one.
        tip: Depth at which the fault ends; above it nothing moved.
    """

    column: float
    dip: float
    throw: float
    side: int
    tip: float = 0.0

    def share(self, x: Array, y: Array) -> Array:
        """How much of a cell belongs to the moved side, 0 to 1."""
        across = (x - self.column) * math.cos(self.dip) - (y - SIDE / 2) * math.sin(self.dip)
        moved = np.clip(self.side * across / _LINE_WIDTH + 0.5, 0.0, 1.0)
        return np.asarray(moved * np.clip((y - self.tip) / _LINE_WIDTH + 0.5, 0.0, 1.0))


def draw(ground: Ground, faults: tuple[Fault, ...]) -> Array:
    """The map ``(70, 70)``; a later fault also moves an earlier one."""
    return _at(ground, faults, *grid())


def _at(ground: Ground, faults: tuple[Fault, ...], x: Array, y: Array) -> Array:
    if not faults:
        return ground.at(x, y)
    *earlier, last = faults
    rest = tuple(earlier)
    # the slip follows the fault: what is seen here lay higher by the throw, and aside by its share of the dip
    moved = _at(ground, rest, x - last.throw * math.tan(last.dip), y - last.throw)
    share = last.share(x, y)
    return (1.0 - share) * _at(ground, rest, x, y) + share * moved


def faults_a(rng: Rng, ground: Ground) -> tuple[Fault, ...]:
    """FlatFault_A and CurveFault_A: one oblique fault, two that bound a moved block, or none; throws of 5 to 10 cells."""
    kind = rng.random()
    throw = rng.uniform(5.0, 10.0) * rng.choice([-1, 1])
    # the shallowest interface is sometimes left whole
    tip = float(ground.interfaces[0]) + 5.0 if rng.random() < 0.25 and len(ground.interfaces) > 1 else -SIDE
    if kind < _ONE_FAULT:
        column, dip = float(np.clip(rng.normal(SIDE / 2, 11.0), 9, 61)), _dip(rng, 28.0)
        return (Fault(column, dip, throw, int(rng.choice([-1, 1])), tip),)
    if kind > _ONE_FAULT + _TWO_FAULTS:
        return ()
    left, width = rng.uniform(8, 32), rng.uniform(15, 30)
    dip = abs(_dip(rng, 28.0))
    # moved outside of the left line and moved back outside of the right one: only the block between keeps its depth
    return (Fault(left, dip, throw, -1, tip), Fault(left + width, -dip, throw, 1, tip))


def faults_b(rng: Rng) -> tuple[Fault, ...]:
    """FlatFault_B and CurveFault_B: one or two steep faults, that may cross; throws of 10 to 20 cells."""
    faults = []
    for _ in range(int(rng.integers(1, 3))):
        throw = rng.uniform(10.0, 20.0) * rng.choice([-1, 1])
        faults.append(
            Fault(float(np.clip(rng.normal(SIDE / 2, 13.0), 9, 61)), _dip(rng, 15.0), throw, int(rng.choice([-1, 1])))
        )
    return tuple(faults)


def _dip(rng: Rng, spread: float) -> float:
    return math.radians(float(np.clip(rng.normal(0.0, spread), -60.0, 60.0)))
