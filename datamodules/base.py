"""The LightningDataModule that all domains share: prepare once, split by fold table, feed whole batches."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from datamodules.batches import BatchOrder, OrderedBatches, Rows, ShuffledBatches
from datamodules.errors import DataError
from datamodules.folds import TRAIN, VALID, FoldTable
from datamodules.loader import BatchLoader

FULL = "full"


class BaseDataModule(LightningDataModule, ABC):
    """Rows with ids, folds and batches of one domain.

    A sub-class reads its files in :meth:`prepare` and then knows ``folds`` and ``data_hash``.

    Args:
        settings: The experiment's ``--data.*`` settings.
        data_dir: Folder of the raw files.
        cache_dir: Folder for what is derived from them.
        batch_size: Rows of one optimiser step, all processes and accumulated micro-batches together.
        fold: Fold number, or ``full`` to fit on all rows.
        seed: Seed of shuffling.
        accumulate: micro-batches of one optimiser step.

    Attributes:
        folds: Who trains and validates on what.
        data_hash: Data hash of the content of the data.
        threads: read-ahead threads of a loader.
        progress: Whether to show bars while data are prepared.
        convention: What counts as a row, where a domain knows several ways; blends refuse to mix them.
        truth_rule: How truth differs from what the files hold, where it does; a bank of truth written under another rule is
            never taken for this one.
        previous_runs: Run directories whose out-of-fold predictions are inputs here (a later stage).
    """

    folds: FoldTable
    data_hash: str
    threads: int = 2
    progress: bool = True
    convention: str = ""
    truth_rule: str = ""
    previous_runs: Sequence[Path] = ()

    def __init__(
        self,
        settings: Any,
        data_dir: Path,
        cache_dir: Path,
        batch_size: int,
        fold: int | str = 0,
        seed: int = 0,
        accumulate: int = 1,
    ) -> None:
        super().__init__()
        self.settings = settings
        self.data_dir = Path(data_dir)
        self.cache_dir = Path(cache_dir)
        self.fold = fold
        self.seed = seed
        if batch_size % accumulate:
            raise DataError(f"--batch_size {batch_size} must divide by --train.accumulate {accumulate}")
        self.micro_batch = batch_size // accumulate
        self._prepared = False

    @classmethod
    def check_settings(cls, settings: Any) -> None:
        """Refuse names in the ``--data.*`` settings that do not exist, before any data are read.

        Args:
            settings: The settings.

        Raises:
            DataError: One sentence that names the flag.
        """

    def prepare(self) -> None:
        """Read, check and index the data; every process calls it, one does the work, a second call does nothing."""
        if not self._prepared:
            self.read_data()
            self._prepared = True

    def prepare_data(self) -> None:
        """Lightning's door to :meth:`prepare`, on one process of each machine."""
        self.prepare()

    def setup(self, stage: str) -> None:
        """Lightning's door to :meth:`prepare`, on every process."""
        self.prepare()

    @abstractmethod
    def read_data(self) -> None:
        """Make the derived files (under a lock), set ``folds`` and ``data_hash``."""

    @abstractmethod
    def rows(self, role: str) -> Rows:
        """Row positions that this fold trains (``train``) or validates (``valid``) on, ascending."""

    @abstractmethod
    def read(self, rows: Rows) -> dict[str, Tensor]:
        """One batch: ``row_id`` (the positions) and whatever the task needs; called from threads."""

    @abstractmethod
    def index(self, rows: Rows) -> pd.DataFrame:
        """Text ids of rows: ``row_id`` and optionally ``group``."""

    @abstractmethod
    def truth(self, rows: Rows) -> npt.NDArray[np.float64]:
        """True values of rows in the judge's units, ``(rows, *shape)``."""

    @abstractmethod
    def statistics(self) -> dict[str, npt.NDArray[Any]]:
        """What the task's buffers are fitted to: arrays of the training rows only."""

    def bank_notes(self) -> dict[str, Any]:
        """Plain values that every out-of-fold bank of this fold keeps in its manifest's ``extra``."""
        return {}

    @property
    def training_hash(self) -> str:
        """Of everything that is trained on, where that is more than ``data_hash`` covers (a second source of rows)."""
        return self.data_hash

    @property
    def role_fold(self) -> int:
        """The fold whose roles count; ``full`` has none and borrows nothing."""
        if self.fold == FULL:
            raise DataError("--fold full has no validation rows")
        return int(self.fold)

    @property
    def has_validation(self) -> bool:
        """Whether some rows are held out."""
        return self.fold != FULL

    def train_dataloader(self) -> BatchLoader:
        """Shuffled training batches of this process; every training row once, in order, for a task that solves in one pass."""
        rank, world = self._processes()
        if self.trainer is not None and getattr(self.trainer.lightning_module, "one_pass", False):
            return self._loader(_whole_pass(self.rows(TRAIN), self.micro_batch, rank, world), self._batches_done)
        return self._loader(self.train_order(self.rows(TRAIN), rank, world), self._batches_done)

    def val_dataloader(self) -> BatchLoader | list[Any]:
        """Every validation row exactly once over all processes."""
        return self.eval_loader(self.rows(VALID)) if self.has_validation else []

    def predict_dataloader(self) -> BatchLoader:
        """The validation fold again, for out-of-fold predictions."""
        return self.eval_loader(self.rows(VALID))

    def eval_loader(self, rows: Rows) -> BatchLoader:
        """Unpadded loader over given rows."""
        rank, world = self._processes()
        return self._loader(OrderedBatches(rows, max(1, self.micro_batch // world), rank, world))

    def train_order(self, rows: Rows, rank: int, world: int) -> BatchOrder:
        """Batches of one epoch; a domain with other sampling overrides it."""
        return ShuffledBatches(rows, self.micro_batch, self.seed, rank, world)

    def _loader(self, order: BatchOrder, first: Callable[[], int] = int) -> BatchLoader:
        return BatchLoader(self.read, order, threads=self.threads, pin=torch.cuda.is_available(), first=first)

    def _batches_done(self) -> int:
        """Batches of this epoch that were trained on already; above 0 only after going on in mid-epoch."""
        return 0 if self.trainer is None else int(self.trainer.fit_loop.epoch_loop.batch_idx) + 1

    def _processes(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer is not None else (0, 1)


def _whole_pass(rows: Rows, batch_size: int, rank: int, world: int) -> OrderedBatches:
    """Every row once, in equally many batches on all processes, which step together."""
    size, smallest = max(1, batch_size // world), len(rows) // world
    while len(rows) % world and smallest % size == 0 and smallest >= size:
        size += 1
    return OrderedBatches(rows, size, rank, world)
