"""Rows per second from a LEAP store to batches, beside source A's per-item Dataset, in one run.

The naive reference is what the 8th place's training script does, rewritten: all rows in memory as scaled float32, one
Python call a row that repeats the sixteen scalars on the 60 levels and joins them with the profiles, PyTorch's default
collation and shuffling. Ours reads raw rows from the memory-mapped store in whole batches; scaling and repeating are
the task's, on the device (the last rows of a store's part of the table count them in, on this machine's CPU). The honest
rival is the same vectorised reader under PyTorch's DataLoader, ``batch_size=None``, in this process and with two workers.

The last part of the table is what decides ``--data.threads``: the same loaders while a small bidirectional LSTM trains on
what they give, so that reading competes with computing for the cores.

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


class Batches(Dataset):
    """Whole batches of a reader, for a DataLoader that does not collate."""

    def __init__(self, store: Store, order: BatchOrder) -> None:
        self.store, self.order = store, order

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return read_batch(self.store, self.order.batch(index))


def read_batch(store: Store, rows: np.ndarray) -> dict[str, torch.Tensor]:
    return {"row_id": torch.from_numpy(rows)} | read_rows(store, rows, FIELDS)


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


Work = Callable[[dict[str, torch.Tensor]], None]


def counted(loader: Iterable[dict[str, torch.Tensor]], work: Work | None = None) -> Callable[[], Iterable[int]]:
    """Rows of each batch of a loader, after some work on it."""

    def batches() -> Iterable[int]:
        for batch in loader:
            if work is not None:
                work(batch)
            yield len(batch["row_id"])

    return batches


def ours(store: Store, order: BatchOrder, threads: int) -> BatchLoader:
    """This project's loader."""
    return BatchLoader(lambda rows: read_batch(store, rows), order, threads=threads)


def rival(store: Store, order: BatchOrder, workers: int) -> DataLoader:
    """PyTorch's, around the same reader."""
    return DataLoader(Batches(store, order), batch_size=None, shuffle=False, num_workers=workers)


class Training:
    """Optimiser steps of a small net: a bidirectional LSTM of 32 units over the levels, a linear head."""

    def __init__(self, features: torch.nn.Module, scaler: torch.nn.Module) -> None:
        self.features, self.scaler = features, scaler
        self.lstm = torch.nn.LSTM(25, 32, batch_first=True, bidirectional=True)
        self.head = torch.nn.Linear(64, 14)
        self.optimizer = torch.optim.AdamW([*self.lstm.parameters(), *self.head.parameters()])

    def __call__(self, batch: dict[str, torch.Tensor]) -> None:
        """One step."""
        x = self.features(batch["profiles"].double(), batch["scalars"].double()).float()
        maps = self.head(self.lstm(x)[0])
        predicted = torch.cat([maps[:, :, :6].transpose(1, 2).flatten(1), maps[:, :, 6:].mean(1)], dim=1)
        loss = torch.nn.functional.smooth_l1_loss(predicted, self.scaler.encode(batch["targets"]).float())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data_dir", type=Path, help="folder of raw files; default: the demo data set")
    parser.add_argument("--cache_dir", type=Path, default=Path("runs/cache"), help="folder of stores")
    parser.add_argument("--batch_size", type=int, default=4096, help="rows of a batch")
    parser.add_argument("--seconds", type=float, default=5.0, help="of measuring per line")
    parser.add_argument("--workers", type=int, default=2, help="worker processes of the naive loader's second line")
    parser.add_argument("--train_batch", type=int, default=512, help="rows of a batch that the small net trains on")
    parser.add_argument("--turns", type=int, default=3, help="times that each loader trains; the best counts")
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
            for threads in (0, 1, 2):
                key = f"ours, {dtype} store, {name}, {threads} read-ahead threads"
                results[key] = measure(counted(ours(store, order, threads)), arguments.seconds)
        for workers in (0, 2):
            key = f"DataLoader(batch_size=None), the same reader, {dtype} store, full shuffle, {workers} workers"
            results[key] = measure(counted(rival(store, orders["full shuffle"], workers)), arguments.seconds)
        key = f"ours, {dtype} store, full shuffle, 2 threads, with scaling and repeating on the CPU"
        results[key] = measure(counted(ours(store, orders["full shuffle"], 2), scale), arguments.seconds)
    train = Training(features, scaler)
    order = ShuffledBatches(rows, arguments.train_batch, seed=0)
    store = stores["float64"]
    loaders = {f"ours, {threads} read-ahead threads": ours(store, order, threads) for threads in (0, 1, 2)}
    loaders |= {f"DataLoader, {workers} workers": rival(store, order, workers) for workers in (0, 2)}
    for _ in range(arguments.turns):  # in turns, so that other work on the machine hits all alike
        for name, loader in loaders.items():
            key = f"training a small BiLSTM, {name}"
            results[key] = max(results.get(key, 0), measure(counted(loader, train), arguments.seconds))
    reference = max(value for key, value in results.items() if key.startswith("naive"))
    print(f"{'rows/s':>10}  {'x best naive':>12}")
    for key, value in results.items():
        print(f"{value:10,.0f}  {value / reference:12.1f}  {key}")


if __name__ == "__main__":
    main()
