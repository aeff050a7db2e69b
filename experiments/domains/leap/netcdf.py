"""Predicted tendencies and fluxes as a CF NetCDF file: dimensions time, lev and ncol, as climate tools read them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.leap.calendar import stamp_to_step
from datamodules.leap.demo.climate import load_climate
from datamodules.leap.hybrid_levels import HYAM, HYBM, REFERENCE_PRESSURE
from datamodules.leap.schema import FLUXES, GRID_COLUMNS, LEVELS, STEP_SECONDS, TARGET_NAMES, TENDENCIES, UNITS
from experiments.domains.leap.places import reference_levels, rows_in_space_and_time

if TYPE_CHECKING:
    import netCDF4

Floats = npt.NDArray[np.float64]
_CF_UNITS = {"K/s": "K s-1", "kg/kg/s": "kg kg-1 s-1", "m/s2": "m s-2", "W/m2": "W m-2", "m/s": "m s-1"}
_NAMES = {
    "ptend_t": ("tendency of air temperature by the column physics", "tendency_of_air_temperature"),
    "ptend_q0001": ("tendency of specific humidity by the column physics", "tendency_of_specific_humidity"),
    "ptend_q0002": ("tendency of cloud liquid mixing ratio by the column physics", None),
    "ptend_q0003": ("tendency of cloud ice mixing ratio by the column physics", None),
    "ptend_u": ("tendency of eastward wind by the column physics", "tendency_of_eastward_wind"),
    "ptend_v": ("tendency of northward wind by the column physics", "tendency_of_northward_wind"),
    "cam_out_NETSW": ("net shortwave flux at the surface", "surface_net_downward_shortwave_flux"),
    "cam_out_FLWDS": ("downward longwave flux at the surface", "surface_downwelling_longwave_flux_in_air"),
    "cam_out_PRECSC": ("snow rate, liquid water equivalent", "lwe_snowfall_rate"),
    "cam_out_PRECC": ("rain and snow rate, liquid water equivalent", "lwe_precipitation_rate"),
    "cam_out_SOLS": ("downward direct visible shortwave flux at the surface", None),
    "cam_out_SOLL": ("downward direct near-infrared shortwave flux at the surface", None),
    "cam_out_SOLSD": ("downward diffuse visible shortwave flux at the surface", None),
    "cam_out_SOLLD": ("downward diffuse near-infrared shortwave flux at the surface", None),
}
"""Long name, and CF standard name where there is one, of every output."""


def write_netcdf(
    bank: PredictionBank,
    path: Path,
    surface_pressure: Floats,
    places: Floats | None,
    attributes: Mapping[str, str],
) -> None:
    """Write predictions of raw files, whole or not at all.

    Args:
        bank: Predictions of whole time steps, in time order, every grid column in each.
        path: File to write.
        surface_pressure: Of every row, in Pa.
        places: Latitude and longitude of the grid columns, (columns, 2); None where they are not known.
        attributes: Provenance, added to the file's global attributes.

    Raises:
        DataError: The rows are not whole time steps, or do not say when and where they are.
    """
    import netCDF4

    stamps, columns = rows_in_space_and_time(bank.index["row_id"], bank.path)
    n_columns = int(columns.max()) + 1
    steps = stamps[::n_columns]
    whole = len(columns) == len(steps) * n_columns
    if not whole or (columns.reshape(-1, n_columns) != np.arange(n_columns)).any():
        raise DataError(f"{bank.path} does not hold whole time steps of {n_columns:,} columns, as {path} would")
    with atomic_path(path) as temporary, netCDF4.Dataset(temporary, "w", format="NETCDF4") as file:
        _write_grid(file, steps, n_columns, places)
        pressure = file.createVariable("PS", "f8", ("time", "ncol"))
        pressure.setncatts({"long_name": "surface pressure", "standard_name": "surface_air_pressure", "units": "Pa"})
        pressure[:] = surface_pressure.reshape(len(steps), n_columns)
        outputs = [_create(file, name, places is not None) for name in (*TENDENCIES, *FLUXES)]
        for i in range(len(steps)):
            values = bank.in_judge_units(slice(i * n_columns, (i + 1) * n_columns)).T
            for j, variable in enumerate(outputs):
                first = j * LEVELS if j < len(TENDENCIES) else len(TARGET_NAMES) - len(FLUXES) + j - len(TENDENCIES)
                variable[i] = values[first : first + LEVELS] if j < len(TENDENCIES) else values[first]
        file.setncatts(
            {
                "Conventions": "CF-1.11",
                "title": "Tendencies and surface fluxes of the column physics of E3SM-MMF, emulated",
                "comment": f"state after the step = state before it + {STEP_SECONDS} s * tendency; level 0 is the model top",
                "references": "ClimSim (Yu et al. 2023, arXiv:2306.08754)",
                **attributes,
            }
        )


def _create(file: netCDF4.Dataset, name: str, placed: bool) -> Any:
    dimensions = ("time", "lev", "ncol") if name in TENDENCIES else ("time", "ncol")
    # float64, since cloud tendencies aloft reach 1e-58
    variable = file.createVariable(name, "f8", dimensions, zlib=True, complevel=1)
    long_name, standard_name = _NAMES[name]
    variable.setncatts({"long_name": long_name, "units": _CF_UNITS[UNITS[name]], "cell_methods": "time: mean"})
    if standard_name:
        variable.standard_name = standard_name
    if placed:
        variable.coordinates = "lat lon"
    return variable


def _write_grid(file: netCDF4.Dataset, steps: npt.NDArray[np.str_], n_columns: int, places: Floats | None) -> None:
    for name, size in (("time", None), ("lev", LEVELS), ("ncol", n_columns), ("bnds", 2)):
        file.createDimension(name, size)
    time = file.createVariable("time", "f8", ("time",))
    time.setncatts(
        {
            "standard_name": "time", "long_name": "beginning of the step", "units": "days since 0001-01-01 00:00:00",
            "calendar": "noleap", "axis": "T", "bounds": "time_bnds",
        }
    )  # fmt: skip
    days = np.array([stamp_to_step(str(stamp)) for stamp in steps]) * (STEP_SECONDS / 86_400)
    time[:] = days
    file.createVariable("time_bnds", "f8", ("time", "bnds"))[:] = days[:, None] + [0.0, STEP_SECONDS / 86_400]
    level = file.createVariable("lev", "f8", ("lev",))
    level.setncatts(
        {
            "standard_name": "atmosphere_hybrid_sigma_pressure_coordinate",
            "long_name": "hybrid level at midpoints (1000 * (hyam + hybm))", "units": "hPa", "positive": "down",
            "axis": "Z", "formula_terms": "a: hyam b: hybm p0: P0 ps: PS",
        }
    )  # fmt: skip
    level[:] = reference_levels()
    for name, values, text in (("hyam", HYAM, "A"), ("hybm", HYBM, "B")):
        variable = file.createVariable(name, "f8", ("lev",))
        variable.setncatts({"long_name": f"hybrid {text} coefficient at midpoints", "units": "1"})
        variable[:] = values
    reference = file.createVariable("P0", "f8", ())
    reference.setncatts({"long_name": "reference pressure", "units": "Pa"})
    reference[...] = REFERENCE_PRESSURE
    if places is None:
        return
    for i, (name, long_name, unit) in enumerate(
        (("lat", "latitude", "degrees_north"), ("lon", "longitude", "degrees_east"))
    ):
        variable = file.createVariable(name, "f8", ("ncol",))
        variable.setncatts({"standard_name": long_name, "long_name": long_name, "units": unit})
        variable[:] = places[:, i]
    if n_columns == GRID_COLUMNS:
        area = file.createVariable("area", "f8", ("ncol",))
        area.setncatts({"long_name": "area of the column on the unit sphere", "units": "steradian"})
        area[:] = load_climate(GRID_COLUMNS).area
