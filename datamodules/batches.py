"""Which rows form which batch: pure functions of (seed, epoch, rank), so that training can go on from any batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError

Rows = npt.NDArray[np.int64]


class BatchOrder:
    """Row positions of batch ``b``; what a loader iterates over."""

    def __len__(self) -> int:
        """Batches of one epoch."""
        return 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches follow; Lightning calls it through ``loader.sampler``."""

    def batch(self, index: int) -> Rows:
        """Row positions of one batch of this process."""
        raise IndexError(index)


class BlockShuffle:
    """Rows in shuffled order, of which any stretch can be had: blocks are shuffled, then the rows of ``mix`` blocks.

    With ``block=1`` this is a full permutation. With larger blocks the reads stay sequential inside a buffer of
    ``block * mix`` rows, for stores larger than memory.

    Args:
        rows: Positions of the rows, ascending.
        key: Seed of the order; equal keys give equal orders.
        block: Rows of a block.
        mix: Blocks whose rows are mixed together; 0 for all.
    """

    def __init__(self, rows: Rows, key: tuple[int, ...], block: int = 1, mix: int = 0) -> None:
        self.rows, self.key, self.block = rows, key, block
        n_blocks = -(-len(rows) // block)
        self.mix = mix if mix > 0 else n_blocks
        self._blocks = np.random.default_rng(key).permutation(n_blocks)
        sizes = np.full(n_blocks, block, dtype=np.int64)
        sizes[self._blocks == n_blocks - 1] = len(rows) - (n_blocks - 1) * block
        group_sizes = np.add.reduceat(sizes, np.arange(0, n_blocks, self.mix))
        self._offsets = np.concatenate([[0], np.cumsum(group_sizes)])
        self._group: tuple[int, Rows] = (-1, np.empty(0, dtype=np.int64))

    def __len__(self) -> int:
        return len(self.rows)

    def stretch(self, start: int, stop: int) -> Rows:
        """Rows ``start`` to ``stop`` (exclusive) of the order; remembers the group it ends in."""
        pieces = []
        group = int(np.searchsorted(self._offsets, start, side="right")) - 1
        while start < stop:
            rows = self._mixed(group)
            local = start - int(self._offsets[group])
            take = min(stop - start, len(rows) - local)
            pieces.append(rows[local : local + take])
            start += take
            group += 1
        return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)

    def _mixed(self, group: int) -> Rows:
        if self._group[0] != group:
            blocks = self._blocks[group * self.mix : (group + 1) * self.mix]
            positions = (blocks[:, None] * self.block + np.arange(self.block)).ravel() if self.block > 1 else blocks
            rows = self.rows[positions[positions < len(self.rows)]]
            self._group = (group, np.random.default_rng((*self.key, group)).permutation(rows))
        return self._group[1]


@dataclass
class ShuffledBatches(BatchOrder):
    """Training batches in a new :class:`BlockShuffle` every epoch.

    The global batches do not depend on the number of processes: each process takes every ``world``-th row of the same
    global batch. The incomplete last batch of an epoch is left out, another one in each epoch.

    Args:
        rows: Positions of the training rows, ascending.
        batch_size: Rows of a global batch (all processes together).
        seed: Seed of the shuffling.
        rank: This process.
        world: Number of processes; must divide ``batch_size``.
        block: Rows of a block.
        mix: Blocks whose rows are mixed together; 0 for all.

    Raises:
        DataError: sizes that do not divide, or fewer rows than one batch.
    """

    rows: Rows
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    block: int = 1
    mix: int = 0

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size, self.world)
        if len(self.rows) < self.batch_size:
            raise DataError(
                f"--batch_size {self.batch_size} is more than the {len(self.rows)} training rows; choose a smaller one"
            )
        self.set_epoch(0)

    def __len__(self) -> int:
        return len(self.rows) // self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Shuffle for an epoch."""
        self._order = BlockShuffle(self.rows, (self.seed, epoch), self.block, self.mix)

    def batch(self, index: int) -> Rows:
        """Rows of this process in global batch ``index``, ascending (reads are faster so, and order has no effect)."""
        rows = self._order.stretch(index * self.batch_size, (index + 1) * self.batch_size)
        return np.sort(rows)[self.rank :: self.world]


def check_batch_size(batch_size: int, world: int) -> None:
    """Refuse a global batch that the processes cannot share evenly.

    Raises:
        DataError: the number of processes does not divide it.
    """
    if batch_size % world:
        raise DataError(
            f"--batch_size {batch_size} is the batch of all processes together and must divide by their number {world}"
        )


@dataclass
class OrderedBatches(BatchOrder):
    """Evaluation batches: every row exactly once over all processes, never padded.

    Args:
        rows: Positions of the rows.
        batch_size: Rows of a batch of this process.
        rank: This process.
        world: Number of processes.
    """

    rows: Rows
    batch_size: int
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if len(self.rows) < self.world:
            raise DataError(
                f"{len(self.rows)} rows to evaluate cannot be shared by {self.world} processes; use fewer --devices"
            )
        self._own = np.array_split(self.rows, self.world)[self.rank]

    def __len__(self) -> int:
        return -(-len(self._own) // self.batch_size)

    def batch(self, index: int) -> Rows:
        """Rows of batch ``index`` in their order."""
        return self._own[index * self.batch_size : (index + 1) * self.batch_size]
