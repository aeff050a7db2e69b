"""Raw ClimSim files to training rows: this project's conversion against loops over the files with xarray.

    python benchmarks/leap_convert.py                        # synthetic files of the real shapes
    python benchmarks/leap_convert.py --data_dir DIR         # raw files

Everything is measured in one run with the files in the page cache, each contestant in a process of its own. The loops
save one array of rows for every pair; the conversion looks for bad rows, writes its store, computes checksums and waits
until the disk has it all. The ratio is of rows per second of processor time (user and system, of all processes), which
other work on the machine does not disturb; rows per second of the clock stand beside it. With several processes a small
set of files is dominated by starting them.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from datamodules.files import usable_cores
from datamodules.leap.calendar import step_to_stamp
from datamodules.leap.convert import RawSource
from datamodules.leap.listing import Listing
from datamodules.leap.raw import Pair, find_pairs
from datamodules.leap.schema import FLUXES, GAS_PROFILES, LEVELS, PROFILES, SCALARS, STATE_PROFILES, TENDENCIES
from datamodules.stores.build import build_store

Timing = tuple[int, float, float]
COLUMNS = 384
LOOP_PAIRS = 24  # enough to know the rate of a loop


# --- Contestants: each returns rows, seconds, seconds of processor time -------------------------------------------


def climsim_loop(pairs: list[Pair], folder: Path) -> Timing:
    """As ClimSim's own tools: data sets, differences, then ``stack`` and ``to_stacked_array``."""
    import xarray

    def to_matrix(data: xarray.Dataset, names: tuple[str, ...]) -> np.ndarray:
        return data[list(names)].stack(batch=["ncol"]).to_stacked_array("mlvar", sample_dims=["batch"]).values

    def read(pair: Pair) -> int:
        with xarray.open_dataset(pair.mli) as before, xarray.open_dataset(pair.mlo) as after:
            for name in TENDENCIES:
                state = name.replace("ptend", "state")
                after[name] = (after[state] - before[state]) / 1200
            inputs = to_matrix(before, STATE_PROFILES + SCALARS + GAS_PROFILES)
            rows = np.concatenate([inputs, to_matrix(after, TENDENCIES + FLUXES)], axis=1)
        return save(rows, folder / f"{pair.stamp}.npy")

    return timed(lambda: sum(map(read, pairs[:LOOP_PAIRS])))


def plain_loop(pairs: list[Pair], folder: Path) -> Timing:
    """The same by hand: values, transpose, one concatenation."""
    import xarray

    def by_row(values: np.ndarray) -> np.ndarray:
        return values.T if values.ndim == 2 else values[:, None]

    def read(pair: Pair) -> int:
        with xarray.open_dataset(pair.mli) as before, xarray.open_dataset(pair.mlo) as after:
            parts = [by_row(before[name].values) for name in STATE_PROFILES + SCALARS + GAS_PROFILES]
            for name in TENDENCIES:
                state = name.replace("ptend", "state")
                parts.append(((after[state] - before[state]) / 1200).values.T)
            parts += [by_row(after[name].values) for name in FLUXES]
            rows = np.concatenate(parts, axis=1)
        return save(rows, folder / f"{pair.stamp}.npy")

    return timed(lambda: sum(map(read, pairs[:LOOP_PAIRS])))


def save(rows: np.ndarray, path: Path) -> int:
    np.save(path, rows)
    return len(rows)


def conversion(pairs: list[Pair], folder: Path, processes: int) -> Timing:
    """Files to a finished store."""
    source = RawSource(Path(pairs[0].mli).parents[1], COLUMNS)
    source.listing = Listing.of(source.root, pairs)
    with tempfile.TemporaryDirectory(dir=folder) as destination:
        return timed(lambda: build_store(source, Path(destination) / "store", processes, progress=False).rows)


def timed(work: Callable[[], int]) -> Timing:
    start, processor = time.perf_counter(), processor_seconds()
    rows = work()
    return rows, time.perf_counter() - start, processor_seconds() - processor


def processor_seconds() -> float:
    """Of this process and its finished children."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage)


# --- Measuring ------------------------------------------------------------------------------------------------------


def measure(name: str, contestant: str, pairs: list[Pair], folder: Path, **options: Any) -> dict[str, Any]:
    """Run a contestant in a fresh process three times; the best time, and the peak memory of it and its children."""
    context = multiprocessing.get_context("spawn")
    best: dict[str, Any] = {}
    for _ in range(3):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=contend, args=(contestant, pairs, folder, options, sender))
        process.start()
        sender.close()  # so that a contestant that dies ends the wait below
        with peak_memory(process.pid or 0) as peak:
            rows, seconds, processor = receiver.recv()
            process.join()
        best["peak"] = max(peak[0], best.get("peak", 0))
        best["rate"] = max(rows / seconds, best.get("rate", 0))
        best["core_rate"] = max(rows / processor, best.get("core_rate", 0))
        best["rows"], best["name"] = rows, name
    return best


def contend(contestant: str, pairs: list[Pair], folder: Path, options: dict[str, Any], sender: Any) -> None:
    globals()[contestant](pairs[:2], folder, **options)  # imports are not what is measured
    sender.send(globals()[contestant](pairs, folder, **options))


@contextmanager
def peak_memory(pid: int) -> Iterator[list[int]]:
    """Largest sum, over a process and all its children, of the memory that is theirs alone (bytes)."""
    peak, stop = [0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.01):
            total = 0
            try:
                for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
                    total += process.memory_full_info().uss
            except psutil.Error:
                continue
            peak[0] = max(peak[0], total)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


# --- Files ----------------------------------------------------------------------------------------------------------


def write_files(folder: Path, count: int) -> None:
    """Random pairs of the shapes, names and format of the real files."""
    import netCDF4

    random = np.random.default_rng(0)
    states = {name: random.random((LEVELS, COLUMNS)) for name in STATE_PROFILES}
    inputs = {name: random.random((LEVELS, COLUMNS)) for name in (*PROFILES, "state_pmid")} | states
    inputs |= {name: random.random(COLUMNS) for name in (*SCALARS, "cam_in_SNOWHICE")}
    outputs = {name: v + 1e-3 for name, v in states.items()} | {name: random.random(COLUMNS) for name in FLUXES}
    for step in range(2232, 2232 + count):
        stamp = step_to_stamp(step)
        month = folder / stamp[:7]
        month.mkdir(exist_ok=True)
        for kind, variables in (("mli", inputs), ("mlo", outputs)):
            path = month / f"E3SM-MMF.{kind}.{stamp}.nc"
            with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_DATA") as file:
                file.createDimension("ncol", COLUMNS)
                file.createDimension("lev", LEVELS)
                date = stamp.replace("-", "")
                file.createVariable("ymd", "i4")[...] = int(date[:8])
                file.createVariable("tod", "i4")[...] = int(date[8:])
                made = [file.createVariable(n, "f8", ("lev", "ncol")[2 - v.ndim :]) for n, v in variables.items()]
                for variable, values in zip(made, variables.values(), strict=True):
                    variable[...] = values


def warm(pairs: list[Pair]) -> None:
    for pair in pairs:
        Path(pair.mli).read_bytes()
        Path(pair.mlo).read_bytes()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data_dir", type=Path, help="folder of raw files; synthetic ones are written without it")
    parser.add_argument("--pairs", type=int, default=96, help="number of synthetic file pairs")
    parser.add_argument("--processes", type=int, default=usable_cores(), help="for the parallel figure")
    parser.add_argument("--work_dir", type=Path, help="where stores (and synthetic files) are written for a moment")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.work_dir) as temporary:
        folder = Path(temporary)
        if chosen.data_dir is None:
            write_files(folder, chosen.pairs)
        pairs = find_pairs(chosen.data_dir or folder)
        warm(pairs)
        results = [
            measure("xarray loop, ClimSim's way", "climsim_loop", pairs, folder),
            measure("xarray loop, plain", "plain_loop", pairs, folder),
            measure("conversion, 1 process", "conversion", pairs, folder, processes=1),
        ]
        if chosen.processes > 1:
            name = f"conversion, {chosen.processes} processes"
            results.append(measure(name, "conversion", pairs, folder, processes=chosen.processes))
    report(results, len(pairs), "real" if chosen.data_dir else "synthetic")
    if chosen.json:
        chosen.json.write_text(json.dumps(results, indent=1))


def report(results: list[dict[str, Any]], pairs: int, kind: str) -> None:
    print(f"{pairs} {kind} file pairs, {results[2]['rows']:,} rows, {psutil.cpu_count()} cores; best of three runs")
    print(f"{'':28}{'rows/s':>10}{'rows/s/core':>13}{'peak memory':>13}{'x ClimSim':>11}{'x plain':>9}")
    for result in results:
        ratios = [result["core_rate"] / loop["core_rate"] for loop in results[:2]]
        memory = f"{result['peak'] / 2**20:,.0f} MiB"
        print(f"{result['name']:28}{result['rate']:10,.0f}{result['core_rate']:13,.0f}{memory:>13}", end="")
        print(f"{ratios[0]:10.1f}x{ratios[1]:8.1f}x")


if __name__ == "__main__":
    main()
