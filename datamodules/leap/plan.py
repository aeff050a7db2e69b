"""What a conversion reads, writes and takes, before it starts."""

from __future__ import annotations

import shutil
import tempfile
import time
from copy import copy
from pathlib import Path

import numpy as np

from datamodules.files import usable_cores
from datamodules.leap.convert import RawSource, StoreDtype, listing_path
from datamodules.leap.listing import Listing
from datamodules.stores.build import build_store


def make_plan(
    root: Path,
    destination: Path,
    columns: int,
    months: str | None,
    stride: int,
    drop_last_file: bool,
    dtype: StoreDtype,
    processes: int | None,
    parts: int,
    sample: int,
) -> str:
    """List the files (for the parts of the conversion too), convert some of them, and say what all will take.

    Args:
        root: Folder of the raw files.
        destination: Folder of stores; the sample is converted in it and removed.
        columns: See :class:`datamodules.leap.convert.RawSource`, as the three that follow.
        months: Which months.
        stride: Every n-th file.
        drop_last_file: Without the last one.
        dtype: Of the store.
        processes: Worker processes of a part; by default one per core.
        parts: Machines that share the work.
        sample: Time steps to convert, spread evenly over all.

    Returns:
        Some lines for a person.

    Raises:
        DataError: As :class:`RawSource`, or a file of the sample that cannot be used.
    """
    destination.mkdir(parents=True, exist_ok=True)
    listing = listing_path(root, destination, months, stride, drop_last_file)
    source = RawSource(root, columns, months, stride, drop_last_file, dtype, listing=listing)
    steps = len(source.pairs)
    rows = steps * source.columns
    row_bytes = sum(spec.row_bytes for spec in source.arrays().values())
    raw, store, free = source.listing.bytes, rows * row_bytes, shutil.disk_usage(destination).free
    seconds, sampled = _measure(
        source, np.unique(np.linspace(0, steps - 1, min(sample, steps)).round().astype(int)), destination
    )
    rate = sampled * source.columns / seconds
    workers = processes or usable_cores()
    hours = rows / rate / workers / parts / 3600
    fits = "" if store <= free else f": {_size(store - free)} too little; store_dtype float32 or a stride needs less"
    read_rate = raw / rows * rate * workers
    return "\n".join(
        [
            f"files   {2 * steps:,} of {_size(raw)}, {steps:,} time steps, {source.pairs[0].stamp} to {source.pairs[-1].stamp}",
            f"rows    {rows:,} of {row_bytes:,} bytes",
            f"store   {_size(store)} in {destination}, {_size(free)} free{fits}",
            f"rate    {rate:,.0f} rows/s and process, measured on {sampled} time steps in {seconds:.1f} s",
            f"time    {_duration(hours)} with {workers} processes{f' in each of {parts} parts' if parts > 1 else ''}, "
            f"if the disk reads {_size(read_rate)}/s and writes {_size(rate * row_bytes * workers)}/s on each machine",
            f"listed  {listing} (read by convert --part)",
        ]
    )


def _measure(source: RawSource, chosen: np.ndarray, destination: Path) -> tuple[float, int]:
    """Seconds that one process takes for some time steps, written to the disk like all others."""
    with tempfile.TemporaryDirectory(prefix=".plan-", dir=destination) as folder:
        for steps in (chosen[:1], chosen):  # the first time for what only a first time takes
            part = copy(source)
            kept = ([kept[i] for i in steps] for kept in (source.pairs, source.listing.marks))
            part.listing = Listing(source.root, *kept)
            start = time.perf_counter()
            build_store(part, Path(folder) / f"{len(steps)}-steps", 1, progress=False)
        return time.perf_counter() - start, len(chosen)


def _size(size: float) -> str:
    for unit in ("bytes", "kB", "MB", "GB", "TB"):
        if size < 1000 or unit == "TB":
            return f"{size:,.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1000
    raise AssertionError


def _duration(hours: float) -> str:
    if hours < 1 / 30:
        return f"{hours * 3600:.0f} s"
    return f"{hours * 60:.0f} min" if hours < 2 else f"{hours:.1f} h"
