"""Make ``climate.npz``, the table of real climate statistics behind the demo data set.

For maintainers: ``python -m datamodules.leap.demo.make_climate FOLDER``, where FOLDER holds the ClimSim files
``ClimSim_low-res_grid-info.nc``, ``input_{mean,std,min,max}.nc`` and ``output_scale_std_lowerthred_v5.nc``
(``grid_info`` and ``preprocessing/normalizations`` of the ClimSim repository). The table keeps per-level statistics
rounded to five significant digits, none of the files themselves.

Credit: derived from ClimSim (Yu et al. 2023, arXiv:2306.08754), data set licensed CC BY 4.0
(https://creativecommons.org/licenses/by/4.0/); changes: selected, rounded, and the floored scales filled in.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import netCDF4
import numpy as np

from datamodules.leap import schema

DIGITS = 5
STATISTICS = ("mean", "std", "min", "max")
GRID_VARIABLES = ("lat", "lon", "area", "hyam", "hybm", "hyai", "hybi", "PS")
EXTRA_PROFILES = ("state_pmid",)
EXTRA_SCALARS = ("cam_in_SNOWHICE",)

# The published scales are floored (3e-10 for moisture, 1e-6 for wind), which hides the true size of the uppermost
# tendencies. These anchors, (level, standard deviation), follow the first sample_submission of the competition (its
# weights are 1 / std) and ClimSim's own files of year 0008; levels between them are interpolated in the logarithm.
FLOOR_ANCHORS: dict[str, list[tuple[int, float]]] = {
    "ptend_q0001": [(12, 1.147e-12), (16, 2.2e-11), (20, 1.74e-10)],
    "ptend_q0002": [(28, 7.033e-11), (29, 3.331e-10)],
    "ptend_q0003": [(12, 1.35e-12), (16, 4.3e-10)],
    "ptend_u": [(12, 2.1e-7)],
    "ptend_v": [(12, 1.2e-7)],
}
_FLOORS = {"ptend_q0001": 3e-10, "ptend_q0002": 3e-10, "ptend_q0003": 3e-10, "ptend_u": 1e-6, "ptend_v": 1e-6}


def main() -> None:
    """Parse the folder and write the table beside this script."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of ClimSim grid and normalisation files")
    folder = parser.parse_args().folder
    target = Path(__file__).with_name("climate.npz")
    partial = target.with_name("climate.partial.npz")
    np.savez_compressed(partial, allow_pickle=False, **collect(folder))
    partial.replace(target)
    print(f"{target.name}: {target.stat().st_size} bytes")


def collect(folder: Path) -> dict[str, np.ndarray]:
    """All arrays of the table, keyed ``<variable>/<statistic>`` and ``grid/<variable>``."""
    table: dict[str, np.ndarray] = {}
    for statistic in STATISTICS:
        values = _read(folder / f"input_{statistic}.nc")
        for name in (*schema.PROFILES, *EXTRA_PROFILES, *schema.SCALARS, *EXTRA_SCALARS):
            table[f"{name}/{statistic}"] = _round(values[name])
    grid = _read(folder / "ClimSim_low-res_grid-info.nc")
    for name in GRID_VARIABLES:
        table[f"grid/{name}"] = _round(np.squeeze(grid[name]))
    scales = _read(folder / "output_scale_std_lowerthred_v5.nc")
    for name in schema.TENDENCIES:
        table[f"{name}/std"] = _round(_without_floor(name, 1.0 / scales[name]))
    for name in schema.FLUXES:
        table[f"{name}/std"] = _round(1.0 / scales[name])
    return table


def _without_floor(name: str, std: np.ndarray) -> np.ndarray:
    """Standard deviation per level with the floored levels filled from the anchors; 0 where the host ablated."""
    if name in FLOOR_ANCHORS:
        anchors = FLOOR_ANCHORS[name]
        above_floor = [
            level for level in range(anchors[-1][0] + 1, schema.LEVELS) if std[level] > 1.001 * _FLOORS[name]
        ]
        known = anchors + [(level, float(std[level])) for level in above_floor]
        levels, values = np.array([level for level, _ in known]), np.array([value for _, value in known])
        std = np.exp(np.interp(np.arange(schema.LEVELS), levels, np.log(values)))
        first = levels[0]
        std[:first] = 0.0
    return std


def _read(path: Path) -> dict[str, np.ndarray]:
    with netCDF4.Dataset(path) as dataset:
        return {name: np.asarray(variable[...], dtype=np.float64) for name, variable in dataset.variables.items()}


def _round(values: np.ndarray) -> np.ndarray:
    """Round to :data:`DIGITS` significant digits (float64)."""
    return np.array([float(f"{value:.{DIGITS - 1}e}") for value in np.ravel(values)]).reshape(np.shape(values))


if __name__ == "__main__":
    main()
