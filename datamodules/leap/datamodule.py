"""ClimSim rows for training: raw files or Kaggle tables, to a memory-mapped store, to time folds, to batches."""

from __future__ import annotations

import hashlib
import warnings
from functools import cached_property
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
from datamodules.leap.calendar import parse_months
from datamodules.leap.convert import convert, join_more, row_names, usable_rows
from datamodules.leap.demo.write import expanded_twin
from datamodules.leap.effective_rows import FEWEST_EFFECTIVE_ROWS, effective_rows
from datamodules.leap.grid import grid_coordinates
from datamodules.leap.high_res import HighResRows
from datamodules.leap.schema import VARIABLE_SETS, ZERO_WEIGHT_TARGETS
from datamodules.leap.settings import LeapData
from datamodules.leap.split import may_train_on, split_steps
from datamodules.leap.statistics import training_statistics
from datamodules.mixed_batches import MixedBatches, parse_ratio
from datamodules.stores.store import Store

_FULL_SHUFFLE_ROWS = 5_000_000
_VAL_SEED = 42
_FEATURES = ("profiles", "scalars", "targets", "step", "column")
_MORE = ("more_profiles", "more_scalars")


class LeapDataModule(BaseDataModule):
    """Batches of raw physical columns: ``profiles`` (B, 9, 60), ``scalars`` (B, 16), ``targets`` (B, 368), SI units.

    A larger set of variables (``--data.variables``) has more profiles and scalars behind those of the competition, in the
    order of :class:`datamodules.leap.schema.VariableSet`.

    Everything is handed over as it is stored (float64 by default); scaling and repeating the scalars on the levels is
    the task's, on the device. ``step`` and ``column`` (B,) say when and where a row is. Folds are time blocks or month
    ranges with a gap (:mod:`datamodules.leap.split`).

    With ``--data.high_res_dir`` training batches hold rows of a second store too, which ``high_res`` (B,) flags. Their
    positions go on after those of the first store. Everything else, validation and statistics above all, is the first
    store's alone.
    """

    settings: LeapData
    truth_rule = "targets of weight 0 are 0"

    @classmethod
    def check_settings(cls, settings: LeapData) -> None:
        """Refuse months that are none."""
        for name in ("train_months", "val_months"):
            try:
                parse_months(getattr(settings, name))
            except ValueError as error:
                raise DataError(f"--data.{name}: {error}") from None

    def read_data(self) -> None:
        """Convert what ``data_dir`` holds, or open the store it was converted into."""
        s = self.settings
        if VARIABLE_SETS[s.variables].expanded:
            self.data_dir = expanded_twin(self.data_dir)
        self.store = convert(
            self.data_dir,
            self.cache_dir,
            columns=s.columns,
            stride=s.stride,
            drop_last_file=s.drop_last_file,
            dtype=s.store_dtype,
            processes=s.processes,
            variables=s.variables,
            grid_file=s.grid_file,
        )
        self._features = _FEATURES + tuple(name for name in _MORE if name in self.store.arrays)
        self.threads = s.threads
        self.data_hash = self.store.hash
        if "targets" not in self.store.arrays:
            raise DataError(f"{self.data_dir} holds inputs without targets (a test set); train on files that have them")
        self._step = np.asarray(self.store.arrays["step"])
        self._usable = usable_rows(self.store, self.data_dir, s.on_bad_row)
        steps = np.unique(self._step)
        self.folds = split_steps(steps, s)
        self._steps = steps
        self._high_res = HighResRows(s, self.data_dir, self.cache_dir) if s.mix_ratio is not None else None

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
        high_res = self.high_res_rows()
        full = s.shuffle == "full" or (s.shuffle == "auto" and len(rows) + len(high_res) < _FULL_SHUFFLE_ROWS)
        block, mix = (1, 0) if full else (s.block_rows, s.mix_blocks)
        if s.mix_ratio is None:
            return ShuffledBatches(rows, self.micro_batch, self.seed, rank, world, block, mix)
        ratio = parse_ratio(s.mix_ratio)
        return MixedBatches(rows, high_res, ratio, self.micro_batch, self.seed, rank, world, block, mix)

    def high_res_rows(self) -> Rows:
        """Positions of the high-resolution rows that this fold may train on; none without a second store."""
        if self._high_res is None:
            return np.empty(0, dtype=np.int64)
        usable = self._high_res.usable
        if self.has_validation:
            held_out = self._steps[self.folds.where(self.role_fold, VALID)]
            usable = usable & may_train_on(self._high_res.step, self._steps, held_out, self.settings)
        return np.flatnonzero(usable) + len(self.store)

    @property
    def training_hash(self) -> str:
        """Of both stores where there are two; ``data_hash`` stays the first's, whose rows are validated and blended."""
        if self._high_res is None:
            return self.data_hash
        return hashlib.sha256(f"{self.data_hash}|{self._high_res.store.hash}".encode()).hexdigest()

    def read(self, rows: Rows) -> dict[str, Tensor]:
        """Raw columns of some rows, those of the first store before those of the second."""
        n_own = int(np.searchsorted(rows, len(self.store))) if self._high_res is not None else len(rows)
        parts = [read_rows(self.store, rows[:n_own], self._features)]
        if self._high_res is not None and n_own < len(rows):
            parts.append(read_rows(self._high_res.store, rows[n_own:] - len(self.store), self._features))
        batch = (
            parts[0]
            if len(parts) == 1
            else {name: torch.cat([part[name] for part in parts]) for name in self._features}
        )
        batch = join_more(batch, torch.cat)
        for where in ZERO_WEIGHT_TARGETS:
            batch["targets"][:, where] = 0.0
        row_id = torch.from_numpy(rows)
        return {"row_id": row_id, **batch, "high_res": row_id >= len(self.store)}

    def index(self, rows: Rows) -> pd.DataFrame:
        """Text ids, and the month as the group."""
        names = row_names(self.store, rows)
        return pd.DataFrame({"row_id": names, "group": self._months(rows)})

    def _months(self, rows: Rows) -> npt.NDArray[np.str_]:
        months = np.array([str(key)[:7] for key in self.folds.keys])
        return months[np.searchsorted(self._steps, self._step[rows])]

    def truth(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Tendencies and fluxes as the judge weighs them, ``(rows, 368)``: those of weight 0 are 0, whatever the files hold."""
        targets = np.array(self.store.arrays["targets"][rows], dtype=np.float64)
        for where in ZERO_WEIGHT_TARGETS:
            targets[:, where] = 0.0
        return targets

    def statistics(self) -> dict[str, npt.NDArray[Any]]:
        """Means, spreads and target weights of this fold's training rows, and where the grid columns lie if that is known.

        The grids are ``grid`` and, with a second store of ``high_res_columns`` columns, ``high_res_grid``: ``(columns, 2)``,
        degrees north and east.
        """
        columns = int(self.store.info["grid_columns"])
        facts: dict[str, npt.NDArray[Any] | None] = {
            "grid": grid_coordinates(self.data_dir, columns, self.settings.grid_file)
        }
        if self._high_res is not None:
            facts |= {"high_res_grid": self._high_res.grid(), "high_res_columns": np.asarray(self._high_res.columns)}
        facts["effective_rows"] = self.effective_rows
        if self.settings.variables != "kaggle":
            facts["variables"] = np.asarray(self.settings.variables)
        known = {name: value for name, value in facts.items() if value is not None}
        return self._fitted | known

    @cached_property
    def _fitted(self) -> dict[str, npt.NDArray[Any]]:
        variables = VARIABLE_SETS[self.settings.variables]
        return training_statistics(self.store, self.rows(TRAIN), self.cache_dir, variables)

    @cached_property
    def effective_rows(self) -> npt.NDArray[np.float64]:
        """Rows that the spread of each target rests on, in training or in validation, whichever has fewer; ``(368,)``."""
        roles = (TRAIN, VALID) if self.has_validation else (TRAIN,)
        shift, scale = self._fitted["target_mean"], self._fitted["target_std"]
        counts = [effective_rows(self.store, self.rows(role), shift, scale, self.cache_dir) for role in roles]
        fewest: npt.NDArray[np.float64] = np.min(counts, axis=0)
        return fewest

    def bank_notes(self) -> dict[str, Any]:
        """Which targets a blend can tell apart on these rows."""
        return {"effective_rows": self.effective_rows.tolist(), "fewest_effective_rows": FEWEST_EFFECTIVE_ROWS}

    def times(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Time step of every row."""
        return self._step[rows].astype(np.int64)


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
