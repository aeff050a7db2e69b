"""Families shown more or less often than they are there."""

from __future__ import annotations

import numpy as np

from datamodules.batches import BatchOrder, Rows, ShuffledBatches
from datamodules.errors import DataError
from datamodules.gwi.schema import family_name


def parse_weights(text: str) -> dict[str, float]:
    """``Style_A=3,Style_B=2.5`` as a dictionary.

    Raises:
        DataError: not written so, an unknown family, or a weight that is not above 0.
    """
    weights: dict[str, float] = {}
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        name, _, value = part.partition("=")
        try:
            weights[family_name(name.strip())] = float(value)
        except DataError:
            raise
        except ValueError:
            raise DataError(f"--data.weights: {part!r} is not written as Family=number") from None
        if not 0 < weights[family_name(name.strip())] < np.inf:
            raise DataError(f"--data.weights: the weight in {part!r} must be above 0")
    return weights


class WeightedBatches(BatchOrder):
    """Shuffled batches of an epoch in which rows come as often as their weights say.

    A weight of 2.5 shows every row twice and another half of them, newly drawn each epoch, a third time.

    Args:
        rows: Positions of the training rows, ascending.
        weights: Weights of each row.
        batch_size: Rows of a global batch.
        seed: Seed of drawing and shuffling.
        rank: This process.
        world: Number of processes.
    """

    def __init__(
        self, rows: Rows, weights: np.ndarray, batch_size: int, seed: int = 0, rank: int = 0, world: int = 1
    ) -> None:
        self.rows, self.weights = rows, weights
        self.batch_size, self.seed, self.rank, self.world = batch_size, seed, rank, world
        self.set_epoch(0)

    def __len__(self) -> int:
        return len(self._batches)

    def set_epoch(self, epoch: int) -> None:
        """Draw and shuffle for an epoch; its number of rows is the same in all."""
        rng = np.random.default_rng((self.seed, epoch, 1))
        drawn = []
        for weight in np.unique(self.weights):
            rows = self.rows[self.weights == weight]
            whole, part = int(weight), weight - int(weight)
            drawn += [rows] * whole + [rng.choice(rows, round(part * len(rows)), replace=False)]
        shown = np.sort(np.concatenate(drawn))
        self._batches = ShuffledBatches(shown, self.batch_size, self.seed, self.rank, self.world)
        self._batches.set_epoch(epoch)

    def batch(self, index: int) -> Rows:
        """Row positions of one batch of this process."""
        return self._batches.batch(index)
