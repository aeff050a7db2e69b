"""Where the grid columns lie: latitude and longitude by column number."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.leap.demo.climate import load_climate
from datamodules.leap.demo.write import read_info
from datamodules.leap.netcdf import read_variables
from datamodules.leap.schema import GRID_COLUMNS

_NAMES = ("lat", "lon")


def grid_coordinates(data_dir: Path, columns: int, grid_file: Path | None = None) -> npt.NDArray[np.float64] | None:
    """Latitude and longitude of a data set's grid columns.

    The low-resolution grid is packaged with this project and a demo data set says which part of it it uses; any other
    grid needs its ClimSim grid-info file.

    Args:
        data_dir: Folder of the raw files, or a table.
        columns: Grid columns of the data set.
        grid_file: Such as ``ClimSim_high-res_grid-info.nc``; read first where given.

    Returns:
        ``(columns, 2)``, degrees north and degrees east; None where the grid is not known.

    Raises:
        DataError: the grid file cannot be read or describes another grid.
    """
    if grid_file is not None:
        return np.stack(list(read_grid(grid_file, columns, _NAMES).values()), axis=1)
    if read_info(data_dir) is not None or columns == GRID_COLUMNS:
        climate = load_climate(columns)
        return np.stack([climate.lat, climate.lon], axis=1)
    return None


def read_grid(path: Path, columns: int, names: Collection[str]) -> dict[str, npt.NDArray[np.float64]]:
    """Variables of a ClimSim grid-info file, ``(columns,)`` each; a first dimension of one time is left out.

    Args:
        path: The file.
        columns: Grid columns of the data set.
        names: Such as ``lat``, ``area`` or ``PS``.

    Raises:
        DataError: the file cannot be read, lacks a variable, or describes another grid.
    """
    try:
        values = read_variables(path, names)
    except DataError as error:
        raise DataError(f"the grid file cannot be used: {error}; give a ClimSim grid-info file") from None
    for name in names:
        if values[name].size != columns:
            raise DataError(
                f"{path} describes {values[name].size} grid columns but the data have {columns}: give their own grid file"
            )
    return {name: values[name].ravel().astype(np.float64) for name in names}
