"""One loader for all domains: whole batches from a vectorised reader, prefetched by threads, resumable in mid-epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor

from datamodules.batches import BatchOrder, Rows

Read = Callable[[Rows], dict[str, Tensor]]


class BatchLoader:
    """Iterate over the batches of a :class:`BatchOrder`, reading ahead in threads.

    Reading copies from memory maps with NumPy and torch calls that release the interpreter lock, so threads do what
    worker processes would without copying batches between processes.

    The position is part of a training checkpoint through ``state_dict``: a restored loader goes on with the batch
    after the last one it gave out.

    Args:
        read: row positions to a batch of tensors, without state of its own (it is called from threads).
        order: which rows form which batch. Lightning sets its epoch (it looks for ``loader.sampler``).
        threads: read-ahead threads; 0 reads in the caller.
        pin: copy batches to page-locked memory, so that their copy to the GPU overlaps with computing.
    """

    def __init__(self, read: Read, order: BatchOrder, threads: int = 2, pin: bool = False) -> None:
        self.read = read
        self.sampler = order
        self.batch_sampler = None  # Lightning asks for it where there is a sampler
        self.threads = threads
        self.pin = pin
        self._epoch = -1
        self._given = 0
        self._resume: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        self._epoch = getattr(self.sampler, "epoch", 0)
        self._given = 0
        if self._resume is not None and self._resume[0] == self._epoch and self._resume[1] < len(self):
            self._given = self._resume[1]
        self._resume = None
        # the rows of a batch are chosen in this thread: orders keep the group they are in
        rows = (self.sampler.batch(index) for index in range(self._given, len(self)))
        for batch in self._ahead(rows):
            self._given += 1
            yield batch

    def _ahead(self, rows: Iterator[Rows]) -> Iterator[dict[str, Tensor]]:
        if self.threads == 0:
            yield from map(self._load, rows)
            return
        with ThreadPoolExecutor(self.threads, thread_name_prefix="read") as pool:
            waiting: deque[Future[dict[str, Tensor]]] = deque()
            try:
                for batch_rows in rows:
                    waiting.append(pool.submit(self._load, batch_rows))
                    if len(waiting) > self.threads:
                        yield waiting.popleft().result()
                while waiting:
                    yield waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()

    def _load(self, rows: Rows) -> dict[str, Tensor]:
        batch = self.read(rows)
        if self.pin and torch.cuda.is_available():
            batch = {name: value.pin_memory() for name, value in batch.items()}
        return batch

    def state_dict(self) -> dict[str, Any]:
        """Epoch, and batches given out in it."""
        return {"epoch": self._epoch, "given": self._given}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on after the batches that were given out."""
        self._resume = (state["epoch"], state["given"])
