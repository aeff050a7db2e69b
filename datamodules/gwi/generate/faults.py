"""Faulted ground: what lies on one side of an oblique line has slipped along it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

from datamodules.gwi.generate.layers import Array, Ground, Rng, grid
from datamodules.gwi.schema import SIDE

_LINE_WIDTH = 0.6  # standard deviation, in cells, of where one side turns into the other
_TRACE = 0.03  # share of the next layer's velocity that shows along a fault inside a layer, at most
_TRACED = 0.25  # of the cells of such a line
_REACH = 17.0  # cells downwards to the layer that shows
_WALLS = (6.0, 67.0)  # upright ends of blocks, as most of real FlatFault_A have them; beyond nothing moved
_HALF_MOVED = 0.4  # share of blocks with a sliver that shows the mean of what moved and what did not
_ONE_SIDE, _BLOCK = 0.5, 0.42  # shares of real FlatFault_A maps, judged by eye; the rest shows no fault


@dataclass(frozen=True)
class Fault:
    """One fault.

    Args:
        column: Where its line crosses the middle depth.
        dip: Angle from the vertical in radians, positive to the right with depth.
        throw: Cells by which the moved side lies deeper (above 0) or higher.
        side: 1 = the right side moved, -1 = the left one.
        tip: Depth at which the fault ends; above it nothing moved.
        sliver: Cells beside the line that moved by half: they show the mean of both.
        walls: Whether what moved ends at upright walls near both ends of the map.
    """

    column: float
    dip: float
    throw: float
    side: int
    tip: float = 0.0
    sliver: float = 0.0
    walls: bool = False

    def across(self, x: Array, y: Array) -> Array:
        """Distance from the line in cells, above 0 on the right."""
        return np.asarray((x - self.column) * math.cos(self.dip) - (y - SIDE / 2) * math.sin(self.dip))

    def share(self, x: Array, y: Array) -> Array:
        """How much of a cell belongs to the moved side, 0 to 1."""
        across = self.side * self.across(x, y)
        moved = ndtr(across / _LINE_WIDTH)
        if self.sliver > 0:
            moved = 0.5 * (moved + ndtr((across - self.sliver) / _LINE_WIDTH))
        if self.walls:
            moved = moved * ndtr(np.minimum(x - _WALLS[0], _WALLS[1] - x) / _LINE_WIDTH)
        return np.asarray(moved * ndtr((y - self.tip) / _LINE_WIDTH))


def draw(ground: Ground, faults: tuple[Fault, ...], rng: Rng | None = None) -> Array:
    """The map ``(70, 70)``; a later fault also moves an earlier one.

    Args:
        ground: Layers before they broke.
        faults: In the order in which they happened.
        rng: Draws the faint traces that real maps show where a fault runs inside a layer; None leaves them out.
    """
    x, y = grid()
    velocity = _at(ground, faults, x, y)
    if rng is None:
        return velocity
    lines = [(np.abs(fault.across(x, y)) < 1.0) & (y > fault.tip) for fault in faults]
    lines += [(np.abs(x - wall) < 1.5) & (y > 0) for wall in _WALLS]  # also where nothing moved
    for line in lines:
        shown = line & (rng.random(velocity.shape) < _TRACED)
        share = _TRACE * 10.0 ** rng.uniform(-3.0, 0.0, velocity.shape)
        velocity = velocity + np.where(shown, share * (_at(ground, faults, x, y + _REACH) - velocity), 0.0)
    return velocity


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
    """FlatFault_A and CurveFault_A: one oblique fault that moves a whole side or a block with upright ends, or none; throws of 5 to 10 cells."""
    kind = rng.random()
    if kind > _ONE_SIDE + _BLOCK:
        return ()
    block = kind > _ONE_SIDE
    throw = rng.uniform(5.0, 10.0) * (1 if block else rng.choice([-1, 1]))  # blocks are dropped
    # the shallowest interface is sometimes left whole
    whole = rng.random() < 0.25 and len(ground.interfaces) > 1
    column, dip = float(np.clip(rng.normal(SIDE / 2, 14.0 if block else 11.0), 5, 65)), _dip(rng, 28.0)
    return (
        Fault(
            column, dip, throw, int(rng.choice([-1, 1])), tip=float(ground.interfaces[0]) + 5.0 if whole else -SIDE,
            sliver=rng.uniform(8.0, 16.0) if block and rng.random() < _HALF_MOVED else 0.0, walls=block,
        ),
    )  # fmt: skip


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
