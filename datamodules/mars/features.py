"""One GC-MS run from its CSV file ``time,mass,intensity``, checked."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import csv

from datamodules.errors import DataError

COLUMNS = ("time", "mass", "intensity")
_HEADER = ",".join(COLUMNS)
_START = 1000
Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Run:
    """A GC-MS run in long form, ordered by time.

    Args:
        time: Minutes since the start (any unit does, runs are stretched), ``(points,)``.
        mass: mass-to-charge ratio m/z, ``(points,)``.
        intensity: Ion counts per second, ``(points,)``.
    """

    time: Values
    mass: Values
    intensity: Values


def read_run(
    path: Path,
    md5: str = "",
    on_nan: Literal["error", "zero"] = "error",
    negative_tolerance: float = 1e-3,
) -> Run:
    """Read and check one feature file.

    Args:
        path: Path of the file.
        md5: What its bytes must hash to; empty for no check.
        on_nan: An absent or NaN intensity is an error, or 0.
        negative_tolerance: How far below zero an intensity may lie, as a share of the file's largest.

    Raises:
        DataError: the file is missing, empty, of another md5 or header; a value is not a number; time is not sorted;
            an intensity is negative; there are not two scans.
    """
    content = _content(path, md5)
    if not content[:_START].strip():
        raise DataError(f"{path} is empty; a run needs the header {_HEADER} and at least two scans")
    header = io.BytesIO(content).readline().decode(errors="replace").strip()
    if header != _HEADER:
        raise DataError(f"{path} has the wrong header {header[:80]!r}; it must be {_HEADER}")
    run = Run(*_parse(path, content))
    if len(run.time) == 0:
        raise DataError(f"{path} is empty: it has a header but no row; restore it or take the sample out of the tables")
    _check_finite(path, "time", run.time)
    _check_finite(path, "mass", run.mass)
    if on_nan == "zero":
        run = Run(run.time, run.mass, np.nan_to_num(run.intensity, nan=0.0, posinf=np.inf, neginf=-np.inf))
    _check_finite(path, "intensity", run.intensity)
    _check_intensity(path, run.intensity, negative_tolerance)
    _check_time(path, run.time)
    return run


def _content(path: Path, md5: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist, but metadata.csv names it; restore the file or take its sample out of the tables"
        ) from None
    if md5 and (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5:
        raise DataError(
            f"{path} has md5 {found}, metadata.csv says {md5}; the file was changed or cut, get it again (or --data.check_md5 false)"
        )
    return content


def _parse(path: Path, content: bytes) -> tuple[Values, Values, Values]:
    # one process reads one file, so the reader's own threads would only get in the way
    try:
        table = csv.read_csv(
            pa.BufferReader(content),
            read_options=csv.ReadOptions(use_threads=False),
            convert_options=csv.ConvertOptions(column_types=dict.fromkeys(COLUMNS, pa.float64())),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} holds a cell or row that cannot be read: {error}") from None
    time, mass, intensity = (column.to_numpy() for column in table.columns)
    return time, mass, intensity


def _check_finite(path: Path, name: str, values: Values) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(values.sum()):
            return
    bad = ~np.isfinite(values)
    if bad.any():
        row = int(np.argmax(bad))
        hint = " (--data.on_nan zero reads NaN intensities as 0)" if name == "intensity" else ""
        raise DataError(
            f"{path}, row {row + 2}: {name} is absent or not finite ({int(bad.sum())} such rows); mend the file{hint}"
        )


def _check_intensity(path: Path, intensity: Values, tolerance: float) -> None:
    row = int(np.argmin(intensity))
    largest = float(intensity.max())
    if intensity[row] < 0 and intensity[row] < -tolerance * max(largest, 0.0):
        raise DataError(
            f"{path}, row {row + 2}: intensity {intensity[row]:g} is negative beyond baseline noise (largest {largest:g}); "
            "mend the file or raise --data.negative_tolerance"
        )
    if largest <= 0:
        raise DataError(f"{path}: no intensity is above zero; the run recorded nothing")


def _check_time(path: Path, time: Values) -> None:
    falls = time[1:] < time[:-1]
    if falls.any():
        row = int(np.argmax(falls))
        raise DataError(
            f"{path}, row {row + 3}: time {time[row + 1]:g} comes after {time[row]:g}; rows must be sorted by time"
        )
    if time[0] == time[-1]:
        raise DataError(
            f"{path} has one scan only (time {time[0]:g}); a run needs at least two to be stretched over the image"
        )
