"""Demo data sets on disk, in the layout and format of the real ones."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.errors import DataError
from datamodules.files import read_json, write_json
from datamodules.leap import schema
from datamodules.leap.calendar import steps_to_dates
from datamodules.leap.demo.spec import GENERATOR_VERSION, DemoSpec, Step
from datamodules.leap.demo.teacher import State, after, before, expand, noise_ceiling

INFO_FILE = "demo.json"
_ATTRIBUTES = {"ne": np.int32(4), "fv_nphys": np.int32(2), "calendar": "NO_LEAP"}
# variables in the order of the real files
_SURFACE = sorted([*schema.SCALARS, "cam_in_SNOWHICE"])
_SURFACE.remove("state_ps")
_ORDER = {
    "mli": [*_SURFACE, "state_pmid", "state_ps", *schema.STATE_PROFILES, *sorted(schema.GAS_PROFILES)],
    "mlo": [*sorted(schema.FLUXES), *schema.STATE_PROFILES],
}
_ORDER["ml2steploc"] = [*_ORDER["mli"], *schema.EXPANDED_PROFILES, *schema.PLACES]


def generate(root: Path, spec: DemoSpec | None = None, progress: bool = True) -> Path:
    """Make a synthetic ClimSim data set below ``root``, or find it there.

    ``<root>/<name>/train/YYYY-MM/E3SM-MMF.{mli,mlo}.YYYY-MM-DD-SSSSS.nc`` holds the rows; ``demo.json`` beside ``train``
    holds the specification and the noise ceiling (see :func:`datamodules.leap.demo.teacher.noise_ceiling`).
    States follow real climate statistics, what a step does to them is invented: R2 is not comparable with any leaderboard.

    The files depend on ``spec`` alone, to the byte. Work is done in ``<name>.partial``, which takes
    its name when all is written; what a killed run left is made anew. Several processes may call this at once: one
    works, the others wait.

    Args:
        root: Folder of generated data sets.
        spec: Size and seed; the defaults if absent.
        progress: Show a progress bar.

    Returns:
        The folder of the data set.

    Raises:
        DataError: a folder that is no demo data set has its name.
        OSError: the disk is full.
    """
    from filelock import FileLock

    spec = spec or DemoSpec()
    folder = Path(root) / spec.name
    if _finished(folder):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not _finished(folder):
            partial = folder.with_name(f"{folder.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            _make(partial, spec, progress)
            partial.rename(folder)
    return folder


def expanded_twin(folder: Path) -> Path:
    """The same demo data set with expanded files, made beside it if it is not there; any other folder stays itself."""
    info = read_info(folder)
    if info is None or info["spec"].get("expanded"):
        return folder
    return generate(folder.parent, replace(DemoSpec(**info["spec"]), expanded=True))


def _finished(folder: Path) -> bool:
    if not folder.exists():
        return False
    if not (folder / INFO_FILE).is_file():
        raise DataError(f"{folder} has the name of a demo data set but no {INFO_FILE}: move it away or delete it")
    return True


def read_info(folder: Path) -> dict[str, Any] | None:
    """``demo.json`` of a data set (keys ``generator_version``, ``spec``, ``rows``, ``ceiling``); None if it is no demo."""
    path = Path(folder) / INFO_FILE
    return dict(read_json(path)) if path.is_file() else None


def _make(partial: Path, spec: DemoSpec, progress: bool) -> None:
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    from tqdm import tqdm

    steps = spec.steps()
    with threadpool_limits(1):  # sums in the same order on every machine
        ceiling = noise_ceiling(spec)
        for step in tqdm(steps, unit=" steps", desc="generating demo files", disable=not progress):
            state = before(spec, step)
            outcome = after(spec, step, state)
            folder = partial / "train" / step.stamp[:7]
            folder.mkdir(parents=True, exist_ok=True)
            inputs = ("ml2steploc", state | expand(spec, step, state)) if spec.expanded else ("mli", state)
            for kind, variables in (inputs, ("mlo", outcome)):
                ordered = {name: variables[name] for name in _ORDER[kind]}
                _write_file(folder / f"E3SM-MMF.{kind}.{step.stamp}.nc", step, ordered)
    info = {
        "what": "synthetic ClimSim files; scores on them are not comparable with any leaderboard",
        "generator_version": GENERATOR_VERSION,
        "spec": asdict(spec),
        "rows": len(steps) * spec.columns,
        "ceiling": ceiling,
    }
    write_json(partial / INFO_FILE, info)


def _write_file(path: Path, step: Step, variables: State) -> None:
    """One raw file: profiles as (lev, ncol), everything else as (ncol,), float64."""
    import netCDF4

    date, second = steps_to_dates(np.array([step.number]))
    temporary = path.with_name(f".{path.name}.tmp")
    with netCDF4.Dataset(temporary, "w", format="NETCDF3_64BIT_DATA") as dataset:  # CDF-5
        dataset.setncatts(_ATTRIBUTES)
        dataset.createDimension("ncol", len(variables["state_t"]))
        dataset.createDimension("lev", schema.LEVELS)
        for name, value in (("ymd", date[0]), ("tod", second[0])):
            dataset.createVariable(name, "i4", ())[...] = value
        for name, values in variables.items():
            dimensions = ("lev", "ncol") if values.ndim == 2 else ("ncol",)
            dataset.createVariable(name, "f8", dimensions, fill_value=False)
        dataset.set_fill_off()
        for name, values in variables.items():
            dataset[name][...] = values.T
    temporary.replace(path)
