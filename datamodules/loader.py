"""One loader for all domains: whole batches from a vectorised reader, prefetched by threads, resumable in mid-epoch."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import torch
from torch import Tensor

from datamodules.batches import BatchOrder, Rows

Read = Callable[[Rows], dict[str, Tensor]]


class BatchLoader:
    """Iterate over the batches of a :class:`BatchOrder`, reading ahead in threads.

    Reading copies from memory maps with NumPy and torch calls that release the interpreter lock, so threads do what
    worker processes would without copying batches between processes. Own code because a DataLoader has no threads, and
    because its order cannot be gone on with in mid-epoch; what either gives is in ``benchmarks/leap_loader.py``.

    An epoch that was broken off goes on where it stood: ``first`` says with which batch, and because an order is a
    function of seed and epoch, nothing else has to be remembered.

    Args:
        read: Row positions to a batch of tensors, without state of its own (it is called from threads).
        order: Which rows form which batch. Lightning sets its epoch (it looks for ``loader.sampler``).
        threads: read-ahead threads; 0 reads in the caller.
        pin: Copy batches to page-locked memory, so that their copy to the GPU overlaps with computing.
        first: Number of the batch that an iteration begins with, asked for when its first batch is.
    """

    def __init__(
        self, read: Read, order: BatchOrder, threads: int = 2, pin: bool = False, first: Callable[[], int] = int
    ) -> None:
        self.read = read
        self.sampler = order
        self.batch_sampler = None  # Lightning asks for it where there is a sampler
        self.threads = threads
        self.pin = pin
        self.first = first

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        # the rows of a batch are chosen in this thread: orders keep the group they are in
        rows = (self.sampler.batch(index) for index in range(self.first(), len(self)))
        yield from self._ahead(rows)

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
