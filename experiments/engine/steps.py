"""How many optimiser steps a run will make, and the batch size that leaves enough of them."""

from __future__ import annotations

from datamodules.base import BaseDataModule
from datamodules.errors import DataError
from datamodules.folds import TRAIN
from experiments.engine.cli import Settings

FEWEST_STEPS = 1000
"""A net that starts from random weights and makes fewer optimiser steps is not trained."""

_SMALLEST_BATCH = 16


def automatic_batch_size(settings: Settings, rows: int) -> int:
    """The largest power of two, up to the experiment's own batch size, that leaves 1,000 optimiser steps or more.

    Args:
        settings: For the experiment, the epochs and what the batch is shared by.
        rows: Training rows.

    Raises:
        DataError: the batch cannot be shared by so many micro-batches.
    """
    size = 1 << (settings.experiment.batch_size.bit_length() - 1)
    while size > _SMALLEST_BATCH and rows // size * settings.daily.epochs < FEWEST_STEPS:
        size //= 2
    if size % settings.train.accumulate:
        raise DataError(
            f"--batch_size auto would be {size}, which --train.accumulate {settings.train.accumulate} does not divide; "
            "accumulate a power of two, or give a batch size"
        )
    return size


def announce_steps(settings: Settings, data: BaseDataModule, trained: bool) -> None:
    """Say how many optimiser steps the run will make; warn where they are too few to train a net.

    Args:
        settings: Settings of the run.
        data: Prepared data.
        trained: Whether the steps train anything; a one-pass fit counts them only.
    """
    if not trained:
        return
    accumulate, epochs = settings.train.accumulate, settings.daily.epochs
    batches = len(data.train_order(data.rows(TRAIN), 0, 1))
    steps = -(-batches // accumulate) * epochs
    size = data.micro_batch * accumulate
    passes = "1 epoch" if epochs == 1 else f"{epochs} epochs"
    print(
        f"{steps:,} optimiser steps: {passes} of {len(data.rows(TRAIN)):,} rows in batches of {size:,}",
        flush=True,
    )
    if steps < FEWEST_STEPS and settings.daily.init_from in (None, "none"):
        print(
            f"warning: fewer than {FEWEST_STEPS:,} optimiser steps hardly train a net from random weights; give more "
            "--epochs, a smaller --batch_size, or --batch_size auto",
            flush=True,
        )
