"""Rows per second from a LEAP store to batches, beside source A's per-item Dataset, in one run.

The naive reference is what the 8th place's training script does, rewritten: all rows in memory as scaled float32, one
Python call a row that repeats the sixteen scalars on the 60 levels and joins them with the profiles, PyTorch's default
collation and shuffling. Ours reads raw rows from the memory-mapped store in whole batches; scaling and repeating are
the task's, on the device (the last rows of the table count them in, on this machine's CPU).

    python benchmarks/leap_loader.py [--data_dir FOLDER_OF_RAW_FILES] [--batch_size 4096] [--seconds 5]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from datamodules.batches import BatchOrder, ShuffledBatches
from datamodules.leap.convert import convert
from datamodules.leap.datamodule import read_rows
from datamodules.leap.demo import generate
from datamodules.leap.schema import LEVELS
from datamodules.leap.statistics import training_statistics
from datamodules.loader import BatchLoader
from datamodules.stores.store import Store
from lit_modules.leap.representations import StandardColumns
from lit_modules.leap.targets import TargetScaler

FIELDS = ("profiles", "scalars", "targets")


class PerItemDataset(Dataset):
    """Source A's Dataset: one scaled row at a time, scalars repeated on the levels."""

    def __init__(self, sequences: np.ndarray, scalars: np.ndarray, targets: np.ndarray) -> None:
        self.sequences, self.scalars, self.targets = sequences, scalars, targets

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        repeated = np.repeat(self.scalars[index][None, :], LEVELS, axis=0)
        row = np.concatenate([self.sequences[index], repeated], axis=1)
        return torch.from_numpy(row), torch.from_numpy(self.targets[index])


def measure(batches: Callable[[], Iterable[int]], seconds: float) -> float:
    """Rows per second; an iterable gives the rows of each batch, the first batch is a warm-up."""
    rows, start = 0, None
    while True:
        for count in batches():
            now = time.perf_counter()
            if start is None:
                start = now
                continue
            rows += count
            if now - start >= seconds:
                return rows / (now - start)


def ours(
    store: Store, order: BatchOrder, threads: int, work: Callable[[dict[str, torch.Tensor]], None] | None = None
) -> Callable[[], Iterable[int]]:
    """Batches of this project's loader."""

    def read(rows: np.ndarray) -> dict[str, torch.Tensor]:
        return {"row_id": torch.from_numpy(rows)} | read_rows(store, rows, FIELDS)

    def batches() -> Iterable[int]:
        for batch in BatchLoader(read, order, threads=threads):
            if work is not None:
                work(batch)
            yield len(batch["row_id"])

    return batches


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="folder of raw files; default: the demo data set")
    parser.add_argument("--cache_dir", type=Path, default=Path("runs/cache"), help="folder of stores")
    parser.add_argument("--batch_size", type=int, default=4096, help="rows of a batch")
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring per line")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the naive loader's second line")
    arguments = parser.parse_args()
    data_dir = arguments.data_dir or generate(arguments.cache_dir / "demo")
    stores = {dtype: convert(data_dir, arguments.cache_dir, dtype=dtype) for dtype in ("float64", "float32")}
    size = arguments.batch_size
    rows = np.arange(stores["float64"].rows)
    statistics = training_statistics(stores["float64"], rows, arguments.cache_dir)
    features, scaler = StandardColumns(statistics), TargetScaler(statistics)

    def scale(batch: dict[str, torch.Tensor]) -> None:
        features(batch["profiles"].double(), batch["scalars"].double())
        scaler.encode(batch["targets"])

    print(f"{len(rows):,} rows, batches of {size}, torch threads {torch.get_num_threads()}, page cache warm")
    arrays = stores["float64"].arrays
    x = features(torch.tensor(arrays["profiles"]), torch.tensor(arrays["scalars"])).numpy()
    naive = PerItemDataset(
        np.ascontiguousarray(x[:, :, :9]),
        np.ascontiguousarray(x[:, 0, 9:]),
        scaler.encode(torch.tensor(arrays["targets"])).numpy(),
    )
    results: dict[str, float] = {}
    for workers in (0, arguments.workers):
        loader = DataLoader(naive, size, shuffle=True, num_workers=workers)
        results[f"naive per-item Dataset, in memory, scaled, {workers} workers"] = measure(
            lambda loader=loader: (len(y) for _, y in loader), arguments.seconds
        )
    block = max(1, min(1024, len(rows) // 16))
    orders = {
        "full shuffle": ShuffledBatches(rows, size, seed=0),
        "block shuffle": ShuffledBatches(rows, size, seed=0, block=block, mix=16),
    }
    for dtype, store in stores.items():
        for name, order in orders.items():
            for threads in (0, 2):
                key = f"ours, {dtype} store, {name}, {threads} read-ahead threads"
                results[key] = measure(ours(store, order, threads), arguments.seconds)
        key = f"ours, {dtype} store, full shuffle, 2 threads, with scaling and repeating on the CPU"
        results[key] = measure(ours(store, orders["full shuffle"], 2, scale), arguments.seconds)
    reference = max(value for key, value in results.items() if key.startswith("naive"))
    print(f"{'rows/s':>10}  {'x best naive':>12}")
    for key, value in results.items():
        print(f"{value:10,.0f}  {value / reference:12.1f}  {key}")


if __name__ == "__main__":
    main()
