"""MoA rows for training: the CSV files, folds of the treated rows, batches from memory."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from filelock import FileLock
from torch import Tensor

from datamodules.base import BaseDataModule
from datamodules.batches import Rows
from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.folds import TRAIN
from datamodules.moa.features import FeaturePipeline, conditions, encode_names, positions
from datamodules.moa.settings import MoaData
from datamodules.moa.split import split
from datamodules.moa.tables import Signatures, find, read_signatures, read_training

VERSION = 1


class MoaDataModule(BaseDataModule):
    """Batches of raw measurements: ``values`` (B, genes + cells), ``time``, ``dose``, ``control`` (B,), ``labels`` (B, targets).

    The tables are small (82 MB for all of ``lish-moa``) and stay in memory. Features are made by the task on the device,
    from the pipeline that :meth:`statistics` fits to the training rows. Only treated rows are validated on.
    """

    settings: MoaData
    convention = "NC"
    threads = 1

    def read_data(self) -> None:
        """Read and join the files, make the folds."""
        self.tables = read_training(self.data_dir)
        rows = self.tables.signatures
        self.data_hash = self.tables.hash
        self._test = self._read_test() if self.settings.transductive else None
        if self._test is not None:
            self.data_hash = hashlib.sha256((self.data_hash + _content(self._test)).encode()).hexdigest()
        self.folds = split(self.tables, self.settings, self.cache_dir)
        self.times, self.doses = conditions(rows.time), conditions(rows.dose)
        self._tensors = {
            "values": torch.from_numpy(rows.values),
            "time": positions(rows.time, self.times, "cp_time", rows.ids),
            "dose": positions(rows.dose, self.doses, "cp_dose", rows.ids),
            "control": torch.from_numpy(rows.control),
            "labels": torch.from_numpy(self.tables.scored.values.astype(np.float32)),
        }

    def _read_test(self) -> Signatures:
        path = find(self.data_dir, "test_features")
        if path is None:
            raise DataError(f"{self.data_dir} has no test_features.csv, which --data.transductive fits on too")
        return read_signatures(path)

    @property
    def controls(self) -> Rows:
        """Positions of the control rows."""
        return np.flatnonzero(self.tables.signatures.control)

    def rows(self, role: str) -> Rows:
        """Treated rows with a role; controls are trained on where the settings keep them."""
        ids = self.tables.signatures.ids
        if not self.has_validation:
            chosen = np.flatnonzero(~self.tables.signatures.control) if role == TRAIN else np.empty(0, dtype=np.int64)
        else:
            chosen = np.searchsorted(ids, self.folds.keys[self.folds.where(self.role_fold, role)])
        if role == TRAIN and self.settings.keep_controls:
            chosen = np.concatenate([chosen, self.controls])
        return np.sort(chosen)

    def read(self, rows: Rows) -> dict[str, Tensor]:
        """Raw measurements, conditions and labels of some rows."""
        at = torch.from_numpy(rows)
        return {"row_id": at} | {name: tensor[at] for name, tensor in self._tensors.items()}

    def index(self, rows: Rows) -> pd.DataFrame:
        """``sig_id`` of rows."""
        return pd.DataFrame({"row_id": self.tables.signatures.ids[rows]})

    def truth(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Labels, ``(rows, targets)``."""
        return self.tables.scored.values[rows].astype(np.float64)

    def statistics(self) -> dict[str, npt.NDArray[Any]]:
        """The fitted feature pipeline, target names, share of treated rows, share of positives among the trained ones.

        The pipeline is fitted to the training rows and all controls (without ``transductive``), the shares to the
        training rows.
        """
        control = self.tables.signatures.control
        train = self.rows(TRAIN)
        state = {f"features.{name}": value for name, value in self._fitted().items()}
        return state | {
            "targets_utf8": encode_names(self.tables.scored.names),
            "treated_share": np.asarray(1 - control.mean()),
            "prior": self.truth(train[~control[train]]).mean(axis=0),
        }

    def _fitted(self) -> dict[str, npt.NDArray[Any]]:
        """State of the pipeline, fitted once for these rows and settings and kept in the cache folder."""
        s = self.settings
        rows = np.union1d(self.rows(TRAIN), self.controls)
        key = f"{VERSION}|{self.data_hash}|{s.features}|{s.feature_seed}|{s.transductive}|"
        digest = hashlib.sha256(key.encode() + rows.tobytes()).hexdigest()[:16]
        path = self.cache_dir / f"moa-features-{digest}.npz"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(path) + ".lock"):
            if not path.is_file():
                state = self._fit(rows).state()
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    np.savez(file, **state)  # type: ignore[arg-type]
            with np.load(path, allow_pickle=False) as saved:
                return dict(saved)

    def _fit(self, rows: Rows) -> FeaturePipeline:
        s, signatures = self.settings, self.tables.signatures
        more = None
        if s.transductive and self._test is not None:
            rest = signatures.take(np.setdiff1d(np.arange(len(signatures.ids)), rows))
            more = rest.join(self._test)
        return FeaturePipeline.fit(
            s.features,
            signatures.take(rows),
            s.feature_seed,
            self.tables.scored.values[rows],
            more,
            self.times,
            self.doses,
        )


def _content(rows: Signatures) -> str:
    return hashlib.sha256("".join(rows.ids).encode() + rows.values.tobytes()).hexdigest()
