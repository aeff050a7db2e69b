"""Faulted ground as OpenFWI drew it, found on 1,000 real maps of FlatFault_A.

Layers are drawn on a grid of twice the resolution. What lies below a fault slips along it by whole cells of that grid. The columns of all
that are then leant by 0.105 rad towards the fault's foot, triangles between the leant points give the cells of the grid again, and where
there is no point the layers lie as they lay before. A normal distribution of half a cell blurs the grid, every second cell of it is kept,
and of those each becomes the median of the nine around it: hence traces whose neighbouring cells are equal to the bit.
So a block is 0.55 % lower than its throw says, ends at slanting walls, and every fault shows ground that did not move.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from datamodules.gwi.generate.layers import Array, Rng
from datamodules.gwi.schema import SIDE

Whole = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

FINE = 2 * SIDE - 1
"""Cells of the fine grid in each direction; the even ones are the map's."""
_LEAN = 0.105  # rad; real walls and depths agree to four digits
_BLUR = 0.5  # fine cells
_HANGING = 25.0  # fine cells
_MARGIN, _BAND = 40, 6  # cells of the map: beyond its edges, and beside a fault of a B family
_UP = 0.45  # share of real faults
# shares of a far layer in cells beside a fault: their medians, and the spread of their logarithms
_TRACE = {
    -6: 1.6e-5,
    -5: 3.2e-5,
    -4: 2.4e-4,
    -3: 0.0016,
    -2: 0.0064,
    -1: 0.04,
    0: 0.04,
    1: 0.0064,
    2: 3.2e-4,
    3: 1.6e-5,
}
_TRACES, _NEAR = 0.5, 0.15  # the spread of their logarithms, and the share of runs that show the nearer end
_RUN = 14  # fine rows that show one end of the fault
_SPOTS, _SPOT_SHARES = (0.0, 0.06, 0.13, 0.28), (0.3, 0.15, 0.25, 0.3)  # the same beside walls
_FAINT = 6e-5  # beside all of a wall, in even columns


@dataclass(frozen=True)
class Fault:
    """One fault, in cells of the fine grid.

    Args:
        column: Where the fault's line crosses the middle depth.
        slope: Columns to the right for each row downwards, at least 0: what is left of the line lies below the fault, and moves.
        throw: Rows that the part below moves downwards, along the line; negative = upwards.
        mirrored: Whether left and right change places.
    """

    column: float
    slope: float
    throw: int
    mirrored: bool = False

    @property
    def shift(self) -> int:
        """Columns to the right that the part below moves by."""
        return round(self.slope * self.throw)


@dataclass(frozen=True)
class _Lean:
    """For each cell of the fine grid: where it came from, as a triangle of points.

    Args:
        rows, columns: The upper left of four points.
        weights: Of the upper left, upper right, lower left and lower right one; one of the two in between is 0.
        inside: Whether there are points around.
    """

    rows: Whole
    columns: Whole
    weights: Array
    inside: Mask


@lru_cache(maxsize=1)
def _lean() -> _Lean:
    y, x = np.mgrid[:FINE, :FINE].astype(np.float64)
    y = y / math.cos(_LEAN)
    x = x + y * math.sin(_LEAN)
    inside = (x <= FINE - 1) & (y <= FINE - 1)
    rows, columns = (np.minimum(np.floor(at), FINE - 2).astype(np.int64) for at in (y, x))
    down, right = np.clip(y - rows, 0.0, 1.0), np.clip(x - columns, 0.0, 1.0)
    both = np.minimum(down, right)
    weights = np.stack([1.0 - np.maximum(down, right), right - both, down - both, both])
    return _Lean(rows, columns, weights, inside)


@lru_cache(maxsize=1)
def _blur() -> Array:
    """Blurs and keeps every second cell, ``(70, 139)``."""
    steps = 2.0 * np.arange(SIDE)[:, None] - np.arange(FINE)[None, :]
    weights = np.where(np.abs(steps) <= 2, np.exp(-0.5 * (steps / _BLUR) ** 2), 0.0)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def draw(ground: Array, faults: tuple[Fault, ...], rng: Rng | None = None) -> Array:
    """The map ``(70, 70)`` of ground that breaks along one fault after the other.

    Args:
        ground: Layers before they broke, ``(70, 70)``.
        faults: In the order in which they happened.
        rng: Draws the traces of faraway layers that real maps show along faults and walls; None leaves them out.
    """
    fine = np.empty((FINE, FINE))
    fine[::2, ::2] = ground
    fine[1::2, ::2] = (ground[1:] + ground[:-1]) / 2
    fine[:, 1::2] = (fine[:, :-2:2] + fine[:, 2::2]) / 2
    spots = np.zeros((FINE, FINE))
    for fault in faults:
        way = -1 if fault.mirrored else 1
        broken, beside = _break(fine[:, ::way], fault, rng)
        fine, spots = broken[:, ::way], spots + beside[:, ::way]
    kept = median_filter(_blur() @ fine @ _blur().T, 3, mode="nearest")
    return np.asarray(kept + _blur() @ spots @ _blur().T)


def _break(ground: Array, fault: Fault, rng: Rng | None) -> tuple[Array, Array]:
    y, x = np.mgrid[:FINE, :FINE]
    line = fault.column + fault.slope * (y - (FINE - 1) / 2)
    above = x >= line
    rows, columns = y - fault.throw, x - fault.shift
    there = (rows >= 0) & (rows < FINE) & (columns >= 0) & (columns < FINE)
    rows, columns = np.clip(rows, 0, FINE - 1), np.clip(columns, 0, FINE - 1)
    moved = there & ~above[rows, columns]
    points = np.where(moved, ground[rows, columns], np.where(above, ground, np.nan))
    if fault.throw > 0:  # the top layer of a block that sank is seen through beside the fault
        sunk = moved & (line - x <= _HANGING) & (points == ground.min())
        points = np.where(sunk, (points + ground) / 2, points)
    _bridge(points, line[:, 0], fault.shift)
    lean = _lean()
    around = (points[lean.rows + i, lean.columns + j] for i in (0, 1) for j in (0, 1))
    leant = np.sum([weight * value for weight, value in zip(lean.weights, around, strict=True)], axis=0)
    left_over = ~lean.inside | np.isnan(leant)
    broken = np.where(left_over, ground, leant)
    if rng is None:
        return broken, np.zeros_like(broken)
    _trace_fault(broken, fault, rng)
    return broken, _spots(broken, left_over, rng)


def _bridge(points: Array, line: Array, shift: int) -> None:
    """Cells between the last point below the fault and the first one above lie on a line between both: only every second cell is a point."""
    right = np.ceil(line / 2).astype(np.int64) * 2
    left = np.ceil((line - shift) / 2).astype(np.int64) * 2 - 2 + shift
    rows = np.flatnonzero((left >= 0) & (right < FINE))
    left, right = left[rows], right[rows]
    ends = points[rows, left], points[rows, right]
    for step in range(1, 5):
        at = left + step
        share = step / np.maximum(right - left, 1)
        between = (at < right) & ~np.isnan(ends[0]) & ~np.isnan(ends[1])
        points[rows[between], at[between]] = ((1.0 - share) * ends[0] + share * ends[1])[between]


def _trace_fault(broken: Array, fault: Fault, rng: Rng) -> None:
    """Layers at the ends of the fault show faintly along it, where triangles between far points were long and thin."""
    rows = np.arange(FINE)
    depth = rows / math.cos(_LEAN)
    column = fault.column + fault.slope * (depth - (FINE - 1) / 2) - depth * math.sin(_LEAN)
    on = (column >= 0) & (column < FINE - 1) & (rows >= fault.throw) & (rows < FINE + fault.throw)
    if not on.any():
        return
    rows, column = rows[on], column[on]
    ends = broken[rows[[0, -1]], np.floor(column[[0, -1]]).astype(np.int64)]
    run = np.cumsum(rng.random(len(rows)) < 1.0 / _RUN)
    way = rows / (FINE - 1)
    lower = ((way < 0.5) ^ (rng.random(run[-1] + 1) < _NEAR)[run]).astype(np.int64)  # the other end mostly
    end = ends[lower]
    # deeper down and in some maps more than in others
    spread = _TRACES * (rng.normal() + (1.0 + way) * rng.normal(size=run[-1] + 1)[run])
    strength = (0.3 + np.where(lower, way, 1.0 - way)) * (1.0 + way) * np.exp(spread)
    fringe = rng.uniform(0.3, 1.0)
    for beside, share in _TRACE.items():
        columns = np.floor(column).astype(np.int64) + beside
        here = (columns >= 0) & (columns < FINE)
        if share < 0.01:
            here &= rng.random(len(rows)) < fringe
        y, x = rows[here], columns[here]
        broken[y, x] += np.minimum(share * strength[here], 0.9) * (end[here] - broken[y, x])


def _spots(broken: Array, left_over: Mask, rng: Rng) -> Array:
    """Cells just outside a wall show the top layer, in odd columns at both ends of their run of the digital line.

    They are what real maps show after the median, and are added after it.
    """
    beside = np.zeros_like(left_over)
    beside[:, 1:] |= left_over[:, 1:] & ~left_over[:, :-1]
    beside[:, :-1] |= left_over[:, :-1] & ~left_over[:, 1:]
    odd = np.arange(FINE) % 2 == 1
    first, last = beside & odd, beside & odd
    first[2:] &= ~beside[:-2] & beside[1:-1]
    last[:-1] &= ~beside[1:]
    y, x = np.nonzero(first[:-1] | last[:-1])
    spots = np.zeros_like(broken)
    spots[y, x] = rng.choice(_SPOTS, len(y), p=_SPOT_SHARES) * (broken[0, x] - broken[y, x])
    y, x = np.nonzero(beside & (rng.random(beside.shape) < rng.uniform(0.2, 1.0)))
    x -= x % 2
    spots[y, x] += _FAINT * np.exp(0.5 * rng.normal(size=len(y))) * (broken[0, x] - broken[y, x])
    return spots


def faults_a(rng: Rng) -> tuple[Fault, ...]:
    """FlatFault_A and CurveFault_A: one fault with a throw of 5 to 10 cells, as 54 fitted maps of FlatFault_A have it."""
    throw, mirrored = int(rng.integers(10, 20)), bool(rng.random() < 0.5)
    if rng.random() < _UP:
        angle, column = np.clip(rng.normal(0.67, 0.2), 0.2, 1.2), rng.uniform(18, 122)
        return (Fault(column, math.tan(angle), -throw - 1, mirrored),)
    return (Fault(12.0 + 118.0 * rng.random() ** 1.2, math.tan(rng.uniform(-0.3, 1.35)), throw, mirrored),)


def slip(ground: Array, faults: tuple[Fault, ...]) -> Array:
    """The map ``(70, 70)`` of the B families: sharp edges, nothing left over, and beside each fault a band that shows the mean of both sides.

    Only two maps that were inverted from real gathers say what these families look like.

    Args:
        ground: Layers before they broke, ``(70, 70)``; its edges go on outwards.
        faults: In cells of the map, in the order in which they happened.
    """
    tall = np.pad(ground, _MARGIN, mode="edge")
    y, x = np.mgrid[: len(tall), : len(tall)] - _MARGIN
    for fault in faults:
        tall = tall[:, ::-1] if fault.mirrored else tall
        line = fault.column + fault.slope * (y - SIDE / 2)
        rows, columns = (np.clip(at + _MARGIN, 0, len(tall) - 1) for at in (y - fault.throw, x - fault.shift))
        below = np.where(x < line - _BAND, tall[rows, columns], (tall[rows, columns] + tall) / 2)
        tall = np.where(x < line, below, tall)
        tall = tall[:, ::-1] if fault.mirrored else tall
    return tall[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def faults_b(rng: Rng) -> tuple[Fault, ...]:
    """FlatFault_B and CurveFault_B: two or three steep faults that may cross, throws of 5 to 15 cells."""
    return tuple(
        Fault(
            rng.uniform(8, 62),
            math.tan(abs(rng.normal(0.35, 0.25))),
            int(rng.choice([-1, 1]) * rng.integers(5, 16)),
            bool(rng.random() < 0.5),
        )
        for _ in range(int(rng.integers(2, 4)))
    )
