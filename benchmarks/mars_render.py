"""GC-MS tables to images: this project's rendering against pandas with a group-by per file.

    python benchmarks/mars_render.py                      # synthetic files of the competition's usual size
    python benchmarks/mars_render.py --data_dir DIR       # real files, as metadata.csv lists them

All read, filter, bin, sum and normalise the same files in the page cache and must end with the same pixels. The group-by
is what the sources did (``read_csv``, ``round``, ``groupby(["mass", "column"]).sum()``, one process) and checks nothing;
the rendering finds out how the file is written, looks for bad rows and, unless its line says otherwise, compares the md5, which
alone runs at about 700 MB/s. ``to the cache`` starts processes, writes checksums and waits for the disk; ``from the cache`` is
what every later epoch, fold and experiment pays. ``times`` compares clocks, ``per core`` processor time (user and system), which
other work on the machine disturbs less.
"""

# ruff: noqa: E402  (the path must be set before the project is imported)

from __future__ import annotations

import argparse
import hashlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]  # this file is not the package of its name

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from datamodules.mars.render import Image, image_of, rendered
from datamodules.mars.rendering import Rendering
from datamodules.mars.tables import Samples, read_metadata

SCANS, MASSES = 1600, 500  # of the competition's sample S0002: 804,332 rows, about 25 MB
RENDERING = Rendering()


def write_files(folder: Path, files: int) -> Samples:
    paths, md5 = [], []
    for number in range(files):
        random = np.random.default_rng(number)
        minutes = np.repeat(np.round(7.002083 + np.arange(SCANS) / 53.3, 6), MASSES)
        masses = np.tile(np.arange(33, 33 + MASSES), SCANS) + random.normal(0, 0.08, SCANS * MASSES)
        counts = np.exp(random.normal(8, 2, SCANS * MASSES)).astype(np.int64) + 500
        frame = pd.DataFrame({"time": minutes, "mass": masses.round(6), "intensity": counts})
        frame.to_csv(folder / f"S{number:04d}.csv", index=False)
        paths.append(f"S{number:04d}.csv")
        md5.append(hashlib.md5((folder / paths[-1]).read_bytes()).hexdigest())
    return Samples(
        folder,
        np.array([path[:-4] for path in paths]),
        np.full(files, "train"),
        np.zeros(files, np.int8),
        np.array(paths),
        np.array(md5),
    )


def group_by(samples: Samples, number: int) -> Image:
    """One file as the sources' notebooks render it."""
    frame = pd.read_csv(samples.data_dir / samples.paths[number]).fillna(0)
    frame["mass"] = frame["mass"].round().astype(int)
    frame = frame[(frame["mass"] >= 0) & (frame["mass"] < RENDERING.m_bins) & (frame["mass"] != 4)]
    scaled = (frame["time"] - frame["time"].min()) / (frame["time"].max() - frame["time"].min())
    frame = frame.assign(column=(scaled * (RENDERING.t_bins - 1)).round().astype(int))
    sums = frame.groupby(["mass", "column"])["intensity"].sum().reset_index()
    image = np.zeros((RENDERING.m_bins, RENDERING.t_bins))
    image[sums["mass"], sums["column"]] = sums["intensity"]
    return (image / image.max()).astype(np.float32)


def render_file(samples: Samples, number: int, check_md5: bool = True) -> Image:
    """One file as this project renders it."""
    return image_of(samples.data_dir / samples.paths[number], RENDERING, str(samples.md5[number]) if check_md5 else "")


def processor_seconds() -> float:
    """Of this process and its finished children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


def timed(work: Callable[[], object], repeats: int = 3) -> tuple[float, float]:
    """Best seconds of the clock and of the processor."""
    clock, processor = [], []
    for _ in range(repeats):
        before, start = processor_seconds(), time.perf_counter()
        work()
        clock.append(time.perf_counter() - start)
        processor.append(processor_seconds() - before)
    return min(clock), min(processor)


def to_cache(samples: Samples, folder: Path, processes: int) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        rendered(samples, RENDERING, Path(cache), processes=processes)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="folder with metadata.csv; default: synthetic files")
    parser.add_argument("--files", type=int, default=6)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        samples = read_metadata(arguments.data_dir) if arguments.data_dir else write_files(folder, arguments.files)
        samples = samples.take(np.arange(min(len(samples), arguments.files)))
        sizes = [(samples.data_dir / path).stat().st_size for path in samples.paths]
        rows = measure(samples, folder, arguments.processes)
    show(rows, len(samples), sum(sizes) / 1e6)


def measure(samples: Samples, folder: Path, processes: int) -> dict[str, tuple[float, float | None]]:
    """Seconds of the clock and of the processor, by way of rendering."""
    numbers = range(len(samples))
    for number in numbers:
        np.testing.assert_allclose(group_by(samples, number), render_file(samples, number), rtol=1e-6, atol=1e-12)
    rows: dict[str, tuple[float, float | None]] = {
        "pandas, group-by per file": timed(lambda: [group_by(samples, n) for n in numbers]),
        "rendering": timed(lambda: [render_file(samples, n) for n in numbers]),
        "rendering, without md5": timed(lambda: [render_file(samples, n, False) for n in numbers]),
    }
    rows[f"to the cache, {processes} processes"] = timed(lambda: to_cache(samples, folder, processes))
    store = rendered(samples, RENDERING, folder / "cache", processes=1)
    rows["from the cache"] = timed(lambda: [store.arrays["image"][n].copy() for n in numbers])
    return rows


def show(rows: dict[str, tuple[float, float | None]], files: int, megabytes: float) -> None:
    table = Table(title=f"{files} files, {megabytes:.0f} MB, best of three, same pixels")
    for name in ("", "files/s", "MB/s", "times", "per core"):
        table.add_column(name, justify="left" if not name else "right")
    clock_of_naive, naive = rows["pandas, group-by per file"]
    assert naive is not None
    for name, (clock, processor) in rows.items():
        per_core = "" if processor is None else f"{naive / max(processor, 1e-4):.1f}"
        table.add_row(
            name, f"{files / clock:.2f}", f"{megabytes / clock:.0f}", f"{clock_of_naive / clock:.1f}", per_core
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
