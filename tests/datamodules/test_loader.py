from __future__ import annotations

import threading
import time

import numpy as np
import pytest
import torch

from datamodules.batches import OrderedBatches, ShuffledBatches
from datamodules.loader import BatchLoader


def read(rows: np.ndarray) -> dict[str, torch.Tensor]:
    time.sleep(0.001 * float(rows[0] % 3))  # later batches may be read sooner
    return {"row_id": torch.from_numpy(rows)}


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_come_in_order_whatever_the_threads(threads: int) -> None:
    loader = BatchLoader(read, OrderedBatches(np.arange(103), 10), threads=threads)
    batches = [batch["row_id"].tolist() for batch in loader]
    assert len(batches) == len(loader) == 11
    assert [row for batch in batches for row in batch] == list(range(103))


def test_an_epoch_goes_on_where_it_stood() -> None:
    order = ShuffledBatches(np.arange(100), 10, seed=3)
    done = 0
    loader = BatchLoader(read, order, threads=2, first=lambda: done)
    whole = [batch["row_id"].tolist() for batch in loader]
    done = 4
    assert [batch["row_id"].tolist() for batch in loader] == whole[4:]


def test_a_reader_error_reaches_the_caller_and_threads_end() -> None:
    def broken(rows: np.ndarray) -> dict[str, torch.Tensor]:
        if rows[0] >= 30:
            raise RuntimeError("row 30 is damaged")
        return read(rows)

    with pytest.raises(RuntimeError, match="row 30 is damaged"):
        list(BatchLoader(broken, OrderedBatches(np.arange(100), 10), threads=2))
    assert not [t for t in threading.enumerate() if t.name.startswith("read")]


def test_leaving_early_ends_the_threads() -> None:
    for _ in BatchLoader(read, OrderedBatches(np.arange(1000), 10), threads=2):
        break
    deadline = time.monotonic() + 5
    while [t for t in threading.enumerate() if t.name.startswith("read")] and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not [t for t in threading.enumerate() if t.name.startswith("read")]
