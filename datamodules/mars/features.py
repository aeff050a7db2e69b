"""One GC-MS run from its table of ``time``, ``mass`` and ``intensity``, checked; other columns are not read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.text_tables import TextTable, read_table

COLUMNS = ("time", "mass", "intensity")
NEGATIVE_TOLERANCE = 100.0
"""Baselines around zero go as far below it as above (1.6 times in a real run); only a changed sign goes further."""
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
    negative_tolerance: float = NEGATIVE_TOLERANCE,
) -> Run:
    """Read and check one feature file.

    Args:
        path: Path of the file.
        md5: What its bytes must hash to; empty for no check.
        on_nan: An absent or NaN intensity is an error, or 0.
        negative_tolerance: How far below zero an intensity may lie, in multiples of the file's largest. What is below
            zero counts against its pixel, and a pixel below zero is drawn as empty.

    Raises:
        DataError: the file is missing, empty, of another md5 or header; a value is not a number; time is not sorted;
            no intensity is above zero, or one far below; there are not two scans.
    """
    content = _content(path, md5)
    refuse_other_layouts(path, content)
    # one process reads one file, so the reader's own threads would only get in the way
    table = read_table(path, COLUMNS, text=(), content=content, only=COLUMNS, threads=False, quiet=True)
    if len(table) == 0:
        raise DataError(f"{path} is empty: it has a header but no row; restore it or take the sample out of the tables")
    time, mass, intensity = (table.numbers(name) for name in COLUMNS)
    _check_finite(table, "time", time)
    _check_finite(table, "mass", mass)
    if on_nan == "zero":
        intensity = np.nan_to_num(intensity, nan=0.0, posinf=np.inf, neginf=-np.inf)
    _check_finite(table, "intensity", intensity)
    _check_intensity(table, intensity, negative_tolerance)
    _check_time(table, time)
    return Run(time, mass, intensity)


def write_run(path: Path, run: Run) -> str:
    """Write a run as a feature file; its md5. Whole numbers of an integer array are written as such."""
    import pyarrow as pa
    from pyarrow import csv

    text = pa.BufferOutputStream()
    text.write((",".join(COLUMNS) + "\n").encode())  # pyarrow's own header is quoted, the competition's is not
    table = pa.table([run.time, run.mass, run.intensity], names=list(COLUMNS))
    csv.write_csv(table, text, csv.WriteOptions(include_header=False))
    content: bytes = text.getvalue().to_pybytes()
    path.write_bytes(content)
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def refuse_other_layouts(path: Path, content: bytes) -> None:
    """Name what ``python -m datamodules.mars convert`` can read and this reader does not.

    Raises:
        DataError: a netCDF or mzML file, or the first competition's columns.
    """
    head = content[:_START].lstrip(b"\xef\xbb\xbf \r\n\t")
    if head[:3] == b"CDF" or head[:4] == b"\x89HDF":
        what = "a netCDF file (ANDI?)"
    elif head[:1] == b"<" and b"mzML" in head:
        what = "an mzML file"
    elif b"m/z" in (header := head.splitlines()[0].lower() if head else b"") and b"abundance" in header:
        what = "in the layout of the first competition (time,temp,m/z,abundance)"
    else:
        return
    raise DataError(f"{path} is {what}; python -m datamodules.mars convert turns it into {','.join(COLUMNS)}")


def _content(path: Path, md5: str) -> bytes:
    try:
        content = Path(path).read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"{path} does not exist, but metadata.csv names it; restore the file or take its sample out of the tables"
        ) from None
    if md5 and (found := hashlib.md5(content, usedforsecurity=False).hexdigest()) != md5.strip().lower():
        raise DataError(
            f"{path} has md5 {found}, metadata.csv says {md5}; the file was changed or cut, get it again (or --data.check_md5 false)"
        )
    return content


def _check_finite(table: TextTable, name: str, values: Values) -> None:
    with np.errstate(invalid="ignore", over="ignore"):
        if np.isfinite(values.sum()):
            return
    bad = ~np.isfinite(values)
    if bad.any():
        hint = " (--data.on_nan zero reads NaN intensities as 0)" if name == "intensity" else ""
        raise DataError(
            f"{table.row(int(np.argmax(bad)))}: {name} is absent or not finite ({int(bad.sum())} such rows); mend the file{hint}"
        )


def _check_intensity(table: TextTable, intensity: Values, tolerance: float) -> None:
    row, largest = int(np.argmin(intensity)), float(intensity.max())
    if largest <= 0:
        raise DataError(f"{table.path}: no intensity is above zero; the run recorded nothing")
    if intensity[row] < -tolerance * largest:
        raise DataError(
            f"{table.row(row)}: intensity {intensity[row]:g} is negative far beyond the largest, {largest:g}, which no baseline "
            "is (a changed sign?); mend the file or raise --data.negative_tolerance"
        )


def _check_time(table: TextTable, time: Values) -> None:
    falls = time[1:] < time[:-1]
    if falls.any():
        row = int(np.argmax(falls))
        raise DataError(
            f"{table.row(row + 1)}: time {time[row + 1]:g} comes after {time[row]:g}; rows must be sorted by time"
        )
    if time[0] == time[-1]:
        raise DataError(
            f"{table.path} has one scan only (time {time[0]:g}); a run needs at least two to be stretched over the image"
        )
