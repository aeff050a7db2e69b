"""ClimSim rows for training: raw files or Kaggle tables, to a memory-mapped store, to time folds, to batches."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from datamodules.base import BaseDataModule
from datamodules.batches import BatchOrder, Rows, ShuffledBatches
from datamodules.errors import DataError
from datamodules.folds import TRAIN, VALID
from datamodules.leap.convert import convert, describe_bad_rows, row_names
from datamodules.leap.settings import LeapData
from datamodules.leap.split import split_steps
from datamodules.leap.statistics import training_statistics
from datamodules.store import Store

_FULL_SHUFFLE_ROWS = 5_000_000
_VAL_SEED = 42
_FEATURES = ("profiles", "scalars", "targets")


class LeapDataModule(BaseDataModule):
    """Batches of raw physical columns: ``profiles`` (B, 9, 60), ``scalars`` (B, 16), ``targets`` (B, 368), SI units.

    Everything is handed over as it is stored (float64 by default); scaling and repeating the scalars on the levels is
    the task's, on the device. Folds are time blocks or month ranges with a gap (:mod:`datamodules.leap.split`).
    """

    settings: LeapData

    def read_data(self) -> None:
        """Convert what ``data_dir`` holds, or open the store it was converted into."""
        s = self.settings
        self.store = convert(
            self.data_dir,
            self.cache_dir,
            columns=s.columns,
            stride=s.stride,
            drop_last_file=s.drop_last_file,
            dtype=s.store_dtype,
            processes=s.processes,
        )
        self.threads = s.threads
        self.data_hash = self.store.hash
        if "targets" not in self.store.arrays:
            raise DataError(f"{self.data_dir} holds inputs without targets (a test set); train on files that have them")
        self._step = np.asarray(self.store.arrays["step"])
        self._usable = self._check_bad_rows()
        steps = np.unique(self._step)
        self.folds = split_steps(steps, s)
        self._steps = steps

    def _check_bad_rows(self) -> npt.NDArray[np.bool_]:
        bad = np.asarray(self.store.arrays["bad"])
        if bad.any() and self.settings.on_bad_row == "error":
            raise DataError(
                f"{self.data_dir}: {describe_bad_rows(self.store)}; mend the file or pass --data.on_bad_row drop"
            )
        return ~bad

    def rows(self, role: str) -> Rows:
        """Row positions with a role; all usable rows to train on with ``--fold full``."""
        if not self.has_validation:
            return np.flatnonzero(self._usable) if role == TRAIN else np.empty(0, dtype=np.int64)
        chosen = np.zeros(len(self._steps), dtype=bool)
        chosen[self.folds.where(self.role_fold, role)] = True
        rows = np.flatnonzero(chosen[np.searchsorted(self._steps, self._step)] & self._usable)
        if role == VALID and 0 < self.settings.val_rows < len(rows):
            rows = np.sort(np.random.default_rng(_VAL_SEED).choice(rows, self.settings.val_rows, replace=False))
        return rows

    def train_order(self, rows: Rows, rank: int, world: int) -> BatchOrder:
        """Full permutation, or blocks mixed in a buffer where the store is larger than memory."""
        s = self.settings
        full = s.shuffle == "full" or (s.shuffle == "auto" and len(rows) < _FULL_SHUFFLE_ROWS)
        block, mix = (1, 0) if full else (s.block_rows, s.mix_blocks)
        return ShuffledBatches(rows, self.micro_batch, self.seed, rank, world, block, mix)

    def read(self, rows: Rows) -> dict[str, Tensor]:
        """Raw columns of some rows."""
        return {"row_id": torch.from_numpy(rows)} | read_rows(self.store, rows, _FEATURES)

    def index(self, rows: Rows) -> pd.DataFrame:
        """Text ids, and the month as the group."""
        names = row_names(self.store, rows)
        return pd.DataFrame({"row_id": names, "group": self._months(rows)})

    def _months(self, rows: Rows) -> npt.NDArray[np.str_]:
        months = np.array([str(key)[:7] for key in self.folds.keys])
        return months[np.searchsorted(self._steps, self._step[rows])]

    def truth(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Raw tendencies and fluxes, ``(rows, 368)``."""
        return np.asarray(self.store.arrays["targets"][rows], dtype=np.float64)

    def statistics(self) -> dict[str, npt.NDArray[Any]]:
        """Means, spreads and target weights of this fold's training rows."""
        return training_statistics(self.store, self.rows(TRAIN), self.cache_dir)


def read_rows(store: Store, rows: Rows, names: tuple[str, ...]) -> dict[str, Tensor]:
    """Rows of a store as tensors; a contiguous run is one sequential read."""
    contiguous = len(rows) > 0 and rows[-1] - rows[0] + 1 == len(rows)
    out = {}
    for name in names:
        array = store.arrays[name]
        if contiguous:
            out[name] = torch.from_numpy(np.array(array[rows[0] : rows[-1] + 1]))
        else:
            # index_select copies with all of torch's threads, np.take with one
            out[name] = torch.index_select(_as_tensor(array), 0, torch.from_numpy(rows))
    return out


def _as_tensor(array: npt.NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)  # only read from
