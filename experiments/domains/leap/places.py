"""Where the rows of a bank lie: time, grid column, latitude, longitude, area and pressure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.leap.demo.climate import load_climate
from datamodules.leap.grid import grid_coordinates, read_grid
from datamodules.leap.hybrid_levels import HYAM, HYBM, REFERENCE_PRESSURE
from datamodules.leap.schema import GRID_COLUMNS

Floats = npt.NDArray[np.float64]
_RAW_ID = re.compile(r"\d{4}-\d{2}-\d{2}-\d{5}_\d+")


@dataclass(frozen=True)
class Grid:
    """The grid columns of a data set.

    Args:
        lat: Degrees north, (columns,).
        lon: Degrees east, (columns,).
        area: Share in the sum of all columns, (columns,).
        surface_pressure: Time mean in Pa, (columns,); 1e5 where the grid file does not say it.
    """

    lat: Floats
    lon: Floats
    area: Floats
    surface_pressure: Floats

    @classmethod
    def of(cls, data_dir: Path, columns: int, grid_file: Path | None = None) -> Grid:
        """The grid of a data set: that of the grid file, else the packaged one of the Earth at low resolution.

        Raises:
            DataError: It is not known, or the grid file lacks the areas.
        """
        places = grid_coordinates(data_dir, columns, grid_file)
        if places is None:
            raise DataError(
                f"the places of {columns:,} grid columns are not known: give their ClimSim grid-info file with --grid_file"
            )
        if grid_file is None:
            climate = load_climate(columns)
            area, pressure = climate.area, climate.surface_pressure
        else:
            area = read_grid(grid_file, columns, ("area",))["area"]
            try:
                pressure = read_grid(grid_file, columns, ("PS",))["PS"]
            except DataError:  # not every grid file holds it
                pressure = np.full(columns, REFERENCE_PRESSURE)
        return cls(places[:, 0], places[:, 1], area / area.sum(), pressure)

    @cached_property
    def pressure(self) -> Floats:
        """Time-mean pressure at the mid-levels in Pa, (columns, 60)."""
        pressure: Floats = np.array(HYAM) * REFERENCE_PRESSURE + np.array(HYBM) * self.surface_pressure[:, None]
        return pressure

    @cached_property
    def mass(self) -> Floats:
        """Share of the atmosphere's mass in every cell, (columns, 60): area times thickness of the layer in Pa."""
        table = load_climate(GRID_COLUMNS).table
        interfaces = table["grid/hyai"] * REFERENCE_PRESSURE + table["grid/hybi"] * self.surface_pressure[:, None]
        mass: Floats = np.diff(interfaces, axis=1) * self.area[:, None]
        mass /= mass.sum()
        return mass


def reference_levels() -> Floats:
    """Pressure of the 60 mid-levels over a surface of 1000 hPa, in hPa."""
    return np.array([(a + b) * REFERENCE_PRESSURE / 100 for a, b in zip(HYAM, HYBM, strict=True)])


def rows_in_space_and_time(row_ids: pd.Series, where: Path) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.int64]]:
    """Time stamps and grid columns of rows of raw files.

    Raises:
        DataError: The rows do not say it, as those of a Kaggle table.
    """
    first = str(row_ids.iloc[0])
    if not _RAW_ID.fullmatch(first):
        raise DataError(f"{where}: the row {first!r} does not say when and where it is; only rows of raw files do")
    parts = row_ids.astype(str).str.rsplit("_", n=1, expand=True)
    return parts[0].to_numpy(dtype=str), parts[1].to_numpy(dtype=np.int64)
