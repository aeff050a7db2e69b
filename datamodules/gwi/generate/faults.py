"""Faulted ground as OpenFWI drew it, found on real maps of FlatFault_A, which come out of it cell by cell.

Velocities go from 0 to 1, -1 says that nothing is there, and the grid has 140 cells in each direction. What lies below a fault is cut out
and shifted along it by cubic splines (`scipy.ndimage.shift`): down by whole cells, aside by a fraction of one, so that splines ring at the
cut, from -1 to the ground. All of that is sheared by six degrees with linear interpolation, which mixes the last cell at a wall with -1.
Wherever the outcome is slower than the slowest ground, the ground lies as it lay before. A normal distribution of half a cell blurs the
grid, the mean of four cells is a cell of the map, and of those each becomes the median of the nine around it.

So spots along walls are cells that -1 slowed down, but not below the top layer; traces along a fault are its ringing; and a top layer that
sank shows the ground behind it up to 25 cells beside the fault, because ringing makes it slower in every second cell until the last digit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import affine_transform, gaussian_filter, median_filter, shift

from datamodules.gwi.generate.layers import Array, Rng
from datamodules.gwi.schema import SIDE, VMAX, VMIN

Mask = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]

FINE = 2 * SIDE
"""Cells of the fine grid in each direction."""
_LEAN = math.radians(6.0)
_NOTHING = -1.0
_ROUNDING = 4e-16  # ringing below this is none: as far from faults as real maps show it
_BLUR = 0.5  # fine cells
_DOWN, _ASIDE = 70, 105  # fine cells of the border, from its corner, where a fault may begin
_MARGIN = 40  # cells of the map beyond its edges


@dataclass(frozen=True)
class Fault:
    """A fault of the A families, in cells of the fine grid; what is below its line moves.

    Args:
        start, end: Row and column of the line's upper and lower end; what is left of the line, or not above its lower end, lies below it.
        throw: Rows that this part moves downwards, along the line; negative = upwards.
        mirrored: Whether left and right change places.
    """

    start: tuple[int, int]
    end: tuple[int, int]
    throw: int
    mirrored: bool = False

    @property
    def slope(self) -> float:
        """Columns to the right for each row downwards."""
        return (self.end[1] - self.start[1]) / (self.end[0] - self.start[0])

    def below(self) -> Mask:
        """Cells of the fine grid that move."""
        y, x = np.mgrid[:FINE, :FINE]
        line = self.start[1] + self.slope * (y - self.start[0])
        moves: Mask = ((x < np.floor(line + 1e-9)) & (y > self.start[0])) | (y >= self.end[0])
        return moves


def draw(ground: Array, faults: tuple[Fault, ...]) -> Array:
    """The map ``(70, 70)`` of ground that breaks along one fault after the other.

    Args:
        ground: Layers before they broke, ``(70, 70)``.
        faults: In the order in which they happened.
    """
    fine: Array = np.repeat(np.repeat((ground - VMIN) / (VMAX - VMIN), 2, axis=0), 2, axis=1)
    for fault in faults:
        way = -1 if fault.mirrored else 1
        fine = _break(fine[:, ::way], fault)[:, ::way]
    blurred = gaussian_filter(fine, _BLUR, mode="mirror")
    kept = median_filter(blurred.reshape(SIDE, 2, SIDE, 2).mean((1, 3)), 3, mode="nearest")
    return np.asarray(VMIN + (VMAX - VMIN) * np.clip(kept, 0.0, 1.0))


def _break(ground: Array, fault: Fault) -> Array:
    below = fault.below()
    way = fault.throw, fault.throw * fault.slope
    moved = shift(np.where(below, ground, _NOTHING), way, cval=_NOTHING)
    leant = affine_transform(
        np.where(below, moved, ground),
        [[1.0 / math.cos(_LEAN), 0.0], [math.tan(_LEAN), 1.0]],
        order=1,
        mode="grid-constant",
        cval=_NOTHING,
    )
    return np.where(leant < ground.min() - _ROUNDING, ground, leant)


def faults_a(rng: Rng) -> tuple[Fault, ...]:
    """FlatFault_A and CurveFault_A: one fault with a throw of 5 to 10 cells.

    It goes from a cell of the border around the upper left corner to one around the lower right corner, as fitted maps of FlatFault_A have
    it: from the upper half of the left edge or the first three quarters of the upper edge to the same, turned by half a circle.
    """
    start, end = (_border(int(rng.integers(_DOWN + _ASIDE))) for _ in range(2))
    throw, mirrored = int(rng.integers(10, 20)), bool(rng.random() < 0.5)
    if rng.random() < 0.5:
        throw = -throw - 1
    return (Fault(start, (FINE - 1 - end[0], FINE - 1 - end[1]), throw, mirrored),)


def _border(at: int) -> tuple[int, int]:
    """Row and column of a cell of the left edge, or of the upper edge."""
    return (_DOWN - 1 - at, 0) if at < _DOWN else (0, at - _DOWN)


@dataclass(frozen=True)
class Offset:
    """A line of the B families, in cells of the map.

    Args:
        column: Where it crosses the middle depth.
        slope: Columns to the right for each row downwards.
        throw: Rows that what is left of it moves downwards, along the line; negative = upwards.
        mirrored: Whether left and right change places.
    """

    column: float
    slope: float
    throw: int = 0
    mirrored: bool = False

    def left(self, rows: Whole, columns: Whole) -> Mask:
        """Cells to its left."""
        mask: Mask = columns < self.column + self.slope * (rows - SIDE / 2)
        return mask


def slip(ground: Array, faults: tuple[Offset, ...]) -> Array:
    """The map ``(70, 70)`` of ground that slips by whole cells along one line after the other, with sharp edges and nothing left over.

    Args:
        ground: Layers before they broke, ``(70, 70)``; its edges go on outwards.
        faults: In the order in which they happened.
    """
    tall = np.pad(ground, _MARGIN, mode="edge")
    y, x = np.mgrid[: len(tall), : len(tall)] - _MARGIN
    for fault in faults:
        way = -1 if fault.mirrored else 1
        tall = tall[:, ::way]
        aside = round(fault.slope * fault.throw)
        rows, columns = (np.clip(at + _MARGIN, 0, len(tall) - 1) for at in (y - fault.throw, x - aside))
        tall = np.where(fault.left(y, x), tall[rows, columns], tall)[:, ::way]
    return tall[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]


def faults_b(rng: Rng) -> tuple[Offset, ...]:
    """The faults of one side of FlatFault_B and CurveFault_B: one or two with throws of 5 to 15 cells."""
    return tuple(
        Offset(
            rng.uniform(8, 62),
            math.tan(np.clip(rng.normal(0.6, 0.2), 0.0, 1.0)),
            int(rng.choice([-1, 1]) * rng.integers(5, 16)),
            bool(rng.random() < 0.5),
        )
        for _ in range(int(rng.integers(1, 3)))
    )


def join(one: Array, other: Array, rng: Rng) -> Array:
    """Two grounds ``(70, 70)`` that meet at a steep line, as the inverted map of FlatFault_B shows it."""
    line = Offset(rng.uniform(15, 55), math.tan(abs(rng.normal(0.2, 0.1))))
    way = -1 if rng.random() < 0.5 else 1
    return np.where(line.left(*np.mgrid[:SIDE, :SIDE])[:, ::way], one, other)
