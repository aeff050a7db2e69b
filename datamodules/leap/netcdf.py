"""Variables of a netCDF file of any format, unpacked: the fast reader where it can, the netCDF library where not."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError, nearest_name
from datamodules.files import refuse_lfs_pointer
from datamodules.leap import cdf5

Values = npt.NDArray[Any]


def read_variables(path: str | Path, names: Collection[str]) -> dict[str, Values]:
    """Read some variables of a file.

    Args:
        path: The file.
        names: The variables that are wanted.

    Returns:
        Values by name, possibly big-endian and read-only. Packed variables (``scale_factor``, ``add_offset``) are
        unpacked; NaN stands where none was recorded (``_FillValue``, ``missing_value``).

    Raises:
        DataError: The file is missing, truncated or no netCDF file, or lacks a variable (with the nearest name).
    """
    try:
        content, header = cdf5.read(path)
        _refuse_missing(path, names, header)
        return {name: cdf5.values(content, header[name]) for name in names}
    except cdf5.UnsupportedError:
        return _read_with_library(path, names)
    except cdf5.TruncatedError as error:
        raise DataError(f"{path} is truncated ({error}): fetch it again") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _read_with_library(path: str | Path, names: Collection[str]) -> dict[str, Values]:
    """The same through the netCDF library, which knows the other formats (netCDF-4 on HDF5) as well."""
    import netCDF4

    refuse_lfs_pointer(path)
    try:
        with netCDF4.Dataset(os.fspath(path)) as file:
            file.set_auto_maskandscale(False)
            _refuse_missing(path, names, file.variables)
            return {name: _values(file.variables[name]) for name in names}
    except (OSError, RuntimeError) as error:
        raise DataError(f"{path} is not a netCDF file, or a damaged one ({error}): fetch it again") from error


def _values(variable: Any) -> Values:
    packing = {name: variable.getncattr(name) for name in variable.ncattrs() if name in cdf5.PACKING}
    stored: Values = np.asarray(variable[...])
    return cdf5.unpack(stored, packing) if packing else stored


def _refuse_missing(path: str | Path, names: Collection[str], present: Collection[str]) -> None:
    for name in names:
        if name not in present:
            near = nearest_name(name, set(present).difference(names))
            hint = f": the nearest name in it is '{near}'" if near else ""
            raise DataError(f"{path} has no variable '{name}'{hint}")
