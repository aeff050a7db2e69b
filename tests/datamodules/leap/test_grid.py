from __future__ import annotations

from pathlib import Path

import netCDF4
import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.leap.grid import grid_coordinates


def write_grid(
    path: Path, columns: int, file_format: str = "NETCDF3_64BIT_DATA", names: tuple[str, ...] = ("lat", "lon")
) -> Path:
    with netCDF4.Dataset(path, "w", format=file_format) as file:
        file.createDimension("ncol", columns)
        for i, name in enumerate(names):
            file.createVariable(name, "f8", ("ncol",))[:] = np.linspace(-80, 80, columns) + i
    return path


@pytest.mark.parametrize("file_format", ["NETCDF3_64BIT_DATA", "NETCDF4"])
def test_a_grid_file_is_read_in_either_format(tmp_path: Path, file_format: str) -> None:
    grid = grid_coordinates(tmp_path, 12, write_grid(tmp_path / "grid.nc", 12, file_format))
    assert grid is not None
    np.testing.assert_allclose(grid, np.stack([np.linspace(-80, 80, 12), np.linspace(-79, 81, 12)], axis=1))


def test_the_low_resolution_grid_is_known_and_no_other(tmp_path: Path) -> None:
    grid = grid_coordinates(tmp_path, 384)
    assert grid is not None
    assert grid.shape == (384, 2)
    assert grid[:, 0].max() == pytest.approx(82.06, abs=0.01)
    assert grid_coordinates(tmp_path, 21_600) is None


def test_the_packaged_grid_is_that_of_the_real_file(real_data: Path, tmp_path: Path) -> None:
    files = sorted(real_data.rglob("ClimSim_low-res_grid-info.nc"))
    if not files:
        pytest.skip("no grid file among the real files")
    packaged, real = grid_coordinates(tmp_path, 384), grid_coordinates(tmp_path, 384, files[0])
    np.testing.assert_allclose(packaged, real, rtol=0, atol=6e-3)  # degrees; the package keeps five digits


def test_a_wrong_grid_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="describes 12 grid columns but the data have 8"):
        grid_coordinates(tmp_path, 8, write_grid(tmp_path / "grid.nc", 12))
    with pytest.raises(DataError, match="has no variable 'lon'"):
        grid_coordinates(tmp_path, 8, write_grid(tmp_path / "half.nc", 8, names=("lat",)))
    with pytest.raises(DataError, match="the grid file cannot be used: cannot read"):
        grid_coordinates(tmp_path, 8, tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("not a grid")
    with pytest.raises(DataError, match="is not a netCDF file"):
        grid_coordinates(tmp_path, 8, tmp_path / "text.nc")
