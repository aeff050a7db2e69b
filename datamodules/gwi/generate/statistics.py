"""What maps look like in numbers, so that generated ones can be held beside real ones."""

from __future__ import annotations

import numpy as np

from datamodules.gwi.files import MapFile
from datamodules.gwi.generate.families import Maps
from datamodules.gwi.schema import SIDE

_PLATEAU_CELLS = 35  # half a row


def map_statistics(maps: Maps) -> dict[str, float]:
    """Means over maps ``(maps, 70, 70)``.

    * ``mean``, ``std``, ``slowest``, ``fastest``: velocities in m/s
    * ``at row r``: mean velocity of a row
    * ``layers``: velocities (to the nearest m/s) that fill 35 cells or more with the same above or below them
    * ``thickness``: cells between two changes of layer in the middle column
    * ``curve``: range of the first interface's depth over the columns, in cells
    * ``blurred``: share of cells more than 0.5 m/s from every layer's velocity
    * ``integer``: share of whole velocities
    * ``increasing``: share of maps whose layers get faster with depth in the middle column
    """
    maps = np.asarray(maps, dtype=np.float64)
    each = np.array([_of_one(velocity) for velocity in maps])
    names = ("layers", "thickness", "curve", "blurred", "increasing")
    return {
        "mean": float(maps.mean()),
        "std": float(maps.std()),
        "slowest": float(maps.min((1, 2)).mean()),
        "fastest": float(maps.max((1, 2)).mean()),
        **{f"at row {row}": float(maps[:, row].mean()) for row in (0, 20, 40, 60)},
        **{name: _mean(each[:, i]) for i, name in enumerate(names)},
        "integer": float((maps == np.round(maps)).mean()),
    }


def _mean(values: np.ndarray) -> float:
    """Mean of the maps that have the figure, NaN if none has."""
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _of_one(velocity: np.ndarray) -> tuple[float, ...]:
    rounded = np.round(velocity)
    same = rounded[1:] == rounded[:-1]  # a blurred interface has rows of one velocity too, but never two of the same
    flat = np.pad(same, ((1, 0), (0, 0))) | np.pad(same, ((0, 1), (0, 0)))
    values, counts = np.unique(rounded[flat], return_counts=True)
    plateaus = values[counts >= _PLATEAU_CELLS]
    if len(plateaus) < 2:
        return (float(len(plateaus)), np.nan, np.nan, np.nan, np.nan)
    nearest = np.abs(velocity[..., None] - plateaus)
    layer = nearest.argmin(-1)
    column = layer[:, velocity.shape[1] // 2]
    changes = np.flatnonzero(np.diff(column))
    thickness = float(np.diff(changes).mean()) if len(changes) > 1 else np.nan
    first = (layer != layer[0]).argmax(0)
    return (
        float(len(plateaus)),
        thickness,
        float(np.ptp(first)),
        float((nearest.min(-1) > 0.5).mean()),
        float((np.diff(plateaus[column]) >= 0).all()),
    )


def first_maps(files: list[MapFile], samples: int) -> dict[str, Maps]:
    """The first maps of every family that some files hold."""
    out: dict[str, Maps] = {}
    for file in files:
        held = out.get(file.family, np.empty((0, SIDE, SIDE), np.float32))
        out[file.family] = np.concatenate([held, file.maps()[: samples - len(held)]])
    return out
