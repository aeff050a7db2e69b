"""New maps from old ones: cut-mix, zoom, shift (4th place). Gathers are never warped along; changed maps are shot again."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import map_coordinates

from datamodules.gwi.generate.families import Maps, generate_map, generator
from datamodules.gwi.generate.layers import Rng
from datamodules.gwi.schema import FAMILIES, SIDE, VMAX, VMIN, family_name, is_style

_ACROSS_FAMILIES = 0.5


def cut_mix(a: Maps, b: Maps, rng: Rng) -> Maps:
    """A rectangle of ``b`` (10 to 60 cells a side) or what lies on one side of a line, laid into ``a``."""
    if rng.random() < 0.5:
        height, width = rng.integers(10, 61, 2)
        top, left = rng.integers(0, SIDE - height + 1), rng.integers(0, SIDE - width + 1)
        out = a.copy()
        out[top : top + height, left : left + width] = b[top : top + height, left : left + width]
        return out
    y, x = np.mgrid[:SIDE, :SIDE]
    angle, (row, column) = rng.uniform(0.0, 2.0 * np.pi), rng.uniform(10, SIDE - 10, 2)
    return np.where((x - column) * np.cos(angle) + (y - row) * np.sin(angle) > 0, b, a)


def zoom(velocity: Maps, rng: Rng) -> Maps:
    """Enlarge or shrink 0.7 to 1.4 times around the middle; the edges are repeated outwards, plateaus stay plateaus."""
    factor = rng.uniform(0.7, 1.4)
    cells = (np.arange(SIDE) - (SIDE - 1) / 2) / factor + (SIDE - 1) / 2
    # nearest cells: new velocities between two layers would be no velocities of the ground
    where = np.clip(np.round(cells), 0, SIDE - 1).astype(np.int64)
    return velocity[where][:, where]


def zoom_smooth(velocity: Maps, rng: Rng) -> Maps:
    """As :func:`zoom`, interpolated, for maps without plateaus."""
    factor = rng.uniform(0.7, 1.4)
    cells = (np.arange(SIDE) - (SIDE - 1) / 2) / factor + (SIDE - 1) / 2
    where = np.meshgrid(cells, cells, indexing="ij")
    return np.asarray(map_coordinates(velocity, where, order=1, mode="nearest"), dtype=np.float32)


def shift(velocity: Maps, rng: Rng) -> Maps:
    """Move up to 20 cells in both directions; the edges are repeated."""
    rows, columns = (np.clip(np.arange(SIDE) - step, 0, SIDE - 1) for step in rng.integers(-20, 21, 2))
    result: Maps = velocity[rows][:, columns]
    return result


def generate_augmented(family: str, seed: int, index: int, share: float) -> Maps:
    """Map ``index`` of a family, which with probability ``share`` is mixed, zoomed or shifted; a function of its arguments.

    Style maps are mixed with maps of their own family only.

    Args:
        family: Family of the map, and of what is laid into it in half of the mixed maps.
        seed: Seed of the data set.
        index: Index of the map.
        share: Share of changed maps, 0 to 1.
    """
    family = family_name(family)
    velocity = generate_map(family, seed, index)
    rng = generator(family, seed, index, f"augment {family}")
    if rng.random() >= share:
        return velocity
    kind = rng.integers(3)
    if kind == 0:
        across = not is_style(family) and rng.random() < _ACROSS_FAMILIES
        other = FAMILIES[int(rng.integers(len(FAMILIES)))] if across else family
        partner = generate_map(other, int(rng.integers(2**31)), int(rng.integers(2**31)))
        velocity = cut_mix(velocity, partner, rng)
    elif kind == 1:
        velocity = (zoom_smooth if is_style(family) else zoom)(velocity, rng)
    else:
        velocity = shift(velocity, rng)
    return np.clip(velocity, VMIN, VMAX)
