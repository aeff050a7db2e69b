"""Batches of two sources at a fixed ratio: one is repeated every epoch, the other goes on where it stood."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from datamodules.batches import BatchOrder, BlockShuffle, Rows, check_batch_size
from datamodules.errors import DataError

_WALK = (0, 0, 1)  # sets the walk's seed apart from those of all epochs


@dataclass
class MixedBatches(BatchOrder):
    """Training batches that hold rows of two sources, a function of (seed, epoch, rank) like all orders.

    An epoch takes every *repeated* row once, in a new :class:`~datamodules.batches.BlockShuffle`. The *walked* rows have
    one shuffled order for the whole training: each epoch goes on where the one before ended, so that its rows are new,
    and begins again only when all have been seen. The 1st place of LEAP fed high-resolution rows so, low : high = 2 : 1.

    The ratio holds for the rows so far at every batch (batches differ by one row where the size does not divide). The
    global batches do not depend on the number of processes; the incomplete last batch of an epoch is left out.

    Args:
        repeated: Positions of the rows that every epoch repeats, ascending.
        walked: Positions of the rows that are walked through, ascending, all after those of ``repeated``.
        ratio: Shares of the two in a batch, such as ``(2, 1)``.
        batch_size: Rows of a global batch, both sources and all processes together.
        seed: Seed of the shuffling.
        rank: This process.
        world: Number of processes; must divide ``batch_size``.
        block: Rows of a block.
        mix: Blocks whose rows are mixed together; 0 for all.

    Raises:
        DataError: sizes that do not divide, too few rows for one batch, or no row to walk through.
    """

    repeated: Rows
    walked: Rows
    ratio: tuple[int, int]
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1
    block: int = 1
    mix: int = 0

    def __post_init__(self) -> None:
        check_batch_size(self.batch_size, self.world)
        if len(self) == 0:
            need = self.batch_size - self._walked_until(1)
            raise DataError(
                f"--batch_size {self.batch_size} takes {need} rows of the repeated source, more than its "
                f"{len(self.repeated)} training rows; choose a smaller one"
            )
        if len(self.walked) == 0:
            raise DataError(
                "the second source has no training row; its times are all held out or outside the training time"
            )
        self._walk = BlockShuffle(self.walked, (self.seed, *_WALK), self.block, self.mix)
        self.set_epoch(0)

    def __len__(self) -> int:
        first, second = self.ratio
        return len(self.repeated) * (first + second) // (self.batch_size * first)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle the repeated rows for an epoch, and go to where its walked rows begin."""
        self._order = BlockShuffle(self.repeated, (self.seed, epoch), self.block, self.mix)
        self._begin = epoch * self._walked_until(len(self))

    def batch(self, index: int) -> Rows:
        """Rows of this process in global batch ``index``, ascending."""
        before, after = self._walked_until(index), self._walked_until(index + 1)
        start, stop = index * self.batch_size - before, (index + 1) * self.batch_size - after
        rows = [self._order.stretch(start, stop), *self._on_the_walk(self._begin + before, self._begin + after)]
        return np.sort(np.concatenate(rows))[self.rank :: self.world]

    def _walked_until(self, batches: int) -> int:
        """Walked rows in the first so many batches of an epoch."""
        first, second = self.ratio
        return batches * self.batch_size * second // (first + second)

    def _on_the_walk(self, start: int, stop: int) -> list[Rows]:
        pieces = []
        while start < stop:
            local = start % len(self._walk)
            take = min(stop - start, len(self._walk) - local)
            pieces.append(self._walk.stretch(local, local + take))
            start += take
        return pieces


def parse_ratio(text: str) -> tuple[int, int]:
    """The two shares of a ratio such as ``2:1``.

    Raises:
        ValueError: not two whole numbers above 0.
    """
    match = re.fullmatch(r"(\d+):(\d+)", text.strip())
    if match is None or not int(match[1]) or not int(match[2]):
        raise ValueError(f"{text!r} is not a ratio of two whole numbers above 0, such as 2:1")
    return int(match[1]), int(match[2])
