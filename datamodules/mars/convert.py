"""Runs in other layouts and formats, turned into the one that experiments read, with a report.

Known are the tables of the first Mars competition (``time`` in seconds, ``temp``, ``m/z``, ``abundance``), ANDI/netCDF
(ASTM E1947, seconds) and mzML (through pymzml; survey scans alone), and tables that need no conversion.
"""

from __future__ import annotations

import gzip
import logging
import shutil
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from xml.etree import ElementTree  # nosec B405: for the name of its error alone

import numpy as np
import pandas as pd
from tqdm import tqdm

from datamodules.errors import DataError
from datamodules.files import atomic_path, write_json
from datamodules.mars.features import Run, Values, read_run, write_run
from datamodules.mars.tables import METADATA_COLUMNS, SPLITS
from datamodules.text_tables import find_table, read_table
from datamodules.workers import worker_pool

SUFFIXES = (".csv", ".csv.gz", ".csv.zip", ".cdf", ".nc", ".mzml", ".mzml.gz")
REPORT = "conversion.json"
_TABLES = ("metadata", "train_labels", "val_labels", "submission_format", "solution")
_EGA = ("time", "m/z", "abundance")


@dataclass(frozen=True)
class Converted:
    """What was read of one file.

    Args:
        kind: Its format.
        scans: Number of scans.
        rows: Rows written.
        minutes: First and last time.
        masses: Smallest and largest m/z.
        left_out: What was not carried over, in words.
        md5: Of the table that was written.
    """

    kind: str
    scans: int
    rows: int
    minutes: tuple[float, float]
    masses: tuple[float, float]
    left_out: str
    md5: str


def convert(source: Path, dest: Path, processes: int | None = None) -> Path:
    """Make a data folder of what lies in ``source``, whole or not at all, and print a report.

    Args:
        source: Folder of runs with or without tables, or one file.
        dest: Folder to make.
        processes: Files that are read side by side; by default one per core.

    Raises:
        DataError: nothing to convert, a file that cannot be read, or a destination that is there.
    """
    source, dest = Path(source), Path(dest)
    if dest.exists():
        raise DataError(f"{dest} is there already; give another --dest, or take it away")
    samples = _listed(source)
    targets = [
        f"{split}_features/{sample}.csv" for sample, split in zip(samples["sample_id"], samples["split"], strict=True)
    ]
    paths = [source.parent / p if source.is_file() else source / p for p in samples["features_path"]]
    with atomic_path(dest) as folder:
        for split in SPLITS:
            (folder / f"{split}_features").mkdir(parents=True)
        work = partial(_convert_file, folder)
        if processes == 1:
            done = [work(path, target) for path, target in tqdm(list(zip(paths, targets, strict=True)), unit=" files")]
        else:
            with worker_pool(processes) as pool:
                done = list(tqdm(pool.map(work, paths, targets), total=len(paths), unit=" files"))
        samples["features_path"], samples["features_md5_hash"] = targets, [one.md5 for one in done]
        samples.to_csv(folder / "metadata.csv", index=False)
        if source.is_dir():
            for name in _TABLES[1:]:
                if (table := find_table(source, name)).is_file():
                    shutil.copyfile(table, folder / table.name)
        named = dict(zip(samples["sample_id"], done, strict=True))
        write_json(folder / REPORT, {name: vars(one) | {"md5": None} for name, one in named.items()})
    _print(samples, done, dest)
    return dest


def _listed(source: Path) -> pd.DataFrame:
    """The samples with their files, as metadata.csv will list them."""
    if not source.exists():
        raise DataError(f"{source} does not exist; give a folder of runs or one file")
    metadata = find_table(source, "metadata")
    if source.is_dir() and metadata.is_file():
        table = read_table(metadata, ("sample_id", "split", "features_path"), canonical=str.lower)
        table.unique_ids("sample_id")
        frame = pd.DataFrame({name: table.text(name) for name in table.names})
        frame["split"] = frame["split"].str.lower()
        if not frame["split"].isin(SPLITS).all():
            wrong = frame["split"][~frame["split"].isin(SPLITS)].iloc[0]
            raise DataError(f"{metadata}: split {wrong!r} is none of {', '.join(SPLITS)}")
        frame["features_path"] = frame["features_path"].str.replace("\\", "/")
        if "derivatized" not in frame:
            frame.insert(2, "derivatized", "")
        others = [name for name in frame if name not in METADATA_COLUMNS]
        return frame.reindex(columns=[*METADATA_COLUMNS, *others])
    files = [source] if source.is_file() else sorted(path for path in source.rglob("*") if _is_run(path))
    if not files:
        raise DataError(f"{source} holds no metadata.csv and no file of {', '.join(SUFFIXES)}")
    ids = [_stem(path) for path in files]
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        where = ", ".join(str(path) for path, name in zip(files, ids, strict=True) if name == twice)
        raise DataError(f"two files make one sample {twice!r}: {where}; rename one")
    split_of: dict[str, str] = {}
    for split in SPLITS[:2]:
        table_path = find_table(source, f"{split}_labels")
        if source.is_dir() and table_path.is_file():
            split_of |= dict.fromkeys(map(str, read_table(table_path, ("sample_id",)).text("sample_id")), split)
    root = source.parent if source.is_file() else source
    return pd.DataFrame(
        {
            "sample_id": ids,
            "split": [split_of.get(name, "test") for name in ids],
            "derivatized": "",
            "features_path": [path.relative_to(root).as_posix() for path in files],
        }
    )


def _is_run(path: Path) -> bool:
    return path.is_file() and path.name.lower().endswith(SUFFIXES) and _stem(path) not in _TABLES


def _stem(path: Path) -> str:
    return path.name[: -len(next(s for s in sorted(SUFFIXES, key=len, reverse=True) if path.name.lower().endswith(s)))]


def _convert_file(folder: Path, path: Path, target: str) -> Converted:
    if not path.is_file():
        raise DataError(f"{path} does not exist, but metadata.csv names it; restore it or take its row out")
    kind, reader = kind_of(path)
    run, left_out = reader(path)
    order = np.argsort(run.time, kind="stable")
    run = Run(run.time[order], run.mass[order], run.intensity[order])
    if len(run.time) == 0 or run.time[0] == run.time[-1]:
        raise DataError(f"{path} has fewer than two scans")
    md5 = write_run(folder / target, run)
    minutes, masses = (run.time[0], run.time[-1]), (run.mass.min(), run.mass.max())
    return Converted(
        kind, len(np.unique(run.time)), len(run.time), (float(minutes[0]), float(minutes[1])),
        (float(masses[0]), float(masses[1])), left_out, md5,
    )  # fmt: skip


def kind_of(path: Path) -> tuple[str, Callable[[Path], tuple[Run, str]]]:
    """Format of a file by its first bytes, and what reads it."""
    with path.open("rb") as file:
        head = file.read(1000)
    if head[:2] == b"\x1f\x8b" and ".mzml" in path.name.lower():
        with gzip.open(path) as packed:
            head = packed.read(1000)
    if head[:3] == b"CDF" or head[:4] == b"\x89HDF":
        return "ANDI/netCDF", read_andi
    if head.lstrip(b"\xef\xbb\xbf \r\n\t")[:1] == b"<" and b"mzML" in head:
        return "mzML", read_mzml
    names = {name.lower() for name in read_table(path, quiet=True, only=()).form.fields}
    if set(_EGA) <= names:
        return "first competition", read_ega
    return "table", lambda table: (read_run(table, on_nan="error", negative_tolerance=np.inf), "")


def read_ega(path: Path) -> tuple[Run, str]:
    """A table of the first competition: seconds to minutes, the temperature left out."""
    table = read_table(path, _EGA, text=(), only=_EGA, quiet=True)
    seconds, mass, abundance = (table.numbers(name) for name in _EGA)
    known = np.isfinite(seconds) & np.isfinite(mass) & np.isfinite(abundance)
    lost = f", {int((~known).sum()):,} rows with an absent value" if not known.all() else ""
    return Run(seconds[known] / 60, mass[known], abundance[known]), f"temperatures{lost}"


def read_andi(path: Path) -> tuple[Run, str]:
    """An ANDI/MS file: every point of every scan, its time in minutes.

    Raises:
        DataError: a netCDF file of something else, or counts that do not fit the points.
    """
    from netCDF4 import Dataset

    with Dataset(path) as file:
        needed = ("scan_acquisition_time", "point_count", "mass_values", "intensity_values")
        missing = [name for name in needed if name not in file.variables]
        if missing:
            raise DataError(f"{path} is no ANDI file of a mass spectrometer: it has no variable {missing[0]!r}")
        seconds, count, mass, intensity = (np.ma.filled(file.variables[name][:], np.nan) for name in needed)
    count = count.astype(np.int64)
    if len(count) != len(seconds) or count.sum() > len(mass) or len(mass) != len(intensity):
        raise DataError(
            f"{path}: {len(seconds)} scan times and {count.sum():,} points are told of, {len(count)} and {len(mass):,} are there"
        )
    points = int(count.sum())
    time = np.repeat(seconds.astype(np.float64), count) / 60
    return Run(time, mass[:points].astype(np.float64), intensity[:points].astype(np.float64)), ""


def read_mzml(path: Path) -> tuple[Run, str]:
    """An mzML file: the points of its survey scans (MS level 1), their start times in minutes.

    Raises:
        DataError: pymzml is not installed, the file is cut, or there is no survey scan.
    """
    try:
        reader: Any = import_module("pymzml.run").Reader
    except ModuleNotFoundError:
        raise DataError(f'{path} is an mzML file, which needs pymzml: pip install "podium[ms]"') from None
    time: list[Values] = []
    mass: list[Values] = []
    intensity: list[Values] = []
    others = 0
    logging.getLogger("pymzml").setLevel(logging.ERROR)  # it warns of files without an index
    try:
        for spectrum in reader(str(path)):
            if spectrum.ms_level not in (1, None):
                others += 1
                continue
            mass.append(np.asarray(spectrum.mz, dtype=np.float64))
            intensity.append(np.asarray(spectrum.i, dtype=np.float64))
            time.append(np.full(len(mass[-1]), float(spectrum.scan_time_in_minutes())))
    except (ElementTree.ParseError, zlib.error, EOFError, struct.error) as error:
        raise DataError(f"{path} cannot be read as mzML ({error}); is it cut? get it again") from None
    if not mass:
        raise DataError(f"{path} has no scan of MS level 1")
    left_out = f"{others:,} scans of higher MS levels" if others else ""
    return Run(np.concatenate(time), np.concatenate(mass), np.concatenate(intensity)), left_out


def _print(samples: pd.DataFrame, done: list[Converted], dest: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{len(done):,} runs in {dest}")
    for name in ("format", "runs", "scans", "rows", "minutes", "m/z"):
        table.add_column(name, justify="left" if name == "format" else "right")
    for kind in sorted({one.kind for one in done}):
        own = [one for one in done if one.kind == kind]
        minutes = min(one.minutes[0] for one in own), max(one.minutes[1] for one in own)
        masses = min(one.masses[0] for one in own), max(one.masses[1] for one in own)
        table.add_row(
            kind, f"{len(own):,}", f"{sum(one.scans for one in own):,}", f"{sum(one.rows for one in own):,}",
            f"{minutes[0]:.1f} to {minutes[1]:.1f}", f"{masses[0]:.0f} to {masses[1]:.0f}",
        )  # fmt: skip
    Console(width=110).print(table)
    for left_out in sorted({one.left_out for one in done if one.left_out}):
        print(f"left out of {sum(one.left_out == left_out for one in done):,} runs: {left_out}")
    splits = samples["split"].value_counts()
    print(", ".join(f"{splits.get(split, 0):,} {split}" for split in SPLITS) + f"; every run in {dest / REPORT}")
