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
from datamodules.moa.features.meta import MetaRankGauss
from datamodules.moa.features.pipeline import parse_recipe
from datamodules.moa.meta import MetaFeatures, read_meta
from datamodules.moa.settings import MoaData
from datamodules.moa.split import split
from datamodules.moa.tables import Labels, Signatures, find, read_signatures, read_training

VERSION = 2


class MoaDataModule(BaseDataModule):
    """Batches of raw measurements: ``values`` (B, genes + cells), ``time``, ``dose``, ``control`` (B,), ``labels`` (B, targets).

    With an earlier stage also its out-of-fold predictions, ``meta`` (B, predictions).

    After :meth:`serve_features` also ``features`` (B, width), what the task's pipeline makes of a row.

    The tables are small (82 MB for all of ``lish-moa``) and stay in memory. Only treated rows are validated on.
    """

    settings: MoaData
    convention = "NC"
    threads = 1

    @classmethod
    def check_settings(cls, settings: MoaData) -> None:
        """Refuse unknown feature steps."""
        parse_recipe(settings.features)

    def read_data(self) -> None:
        """Read and join the files, make the folds."""
        self.tables = read_training(self.data_dir)
        rows = self.tables.signatures
        self.data_hash = self.tables.hash
        self._test = self._read_test() if self.settings.transductive else None
        if self._test is not None:
            self.data_hash = hashlib.sha256((self.data_hash + _content(self._test)).encode()).hexdigest()
        self.folds = split(self.tables, self.settings, self.cache_dir)
        self.targets = self._targets()
        self.meta = self._read_meta(rows)
        self.previous_runs = () if self.meta is None else self.meta.runs
        self.times, self.doses = conditions(rows.time), conditions(rows.dose)
        self._tensors = {
            "values": torch.from_numpy(rows.values),
            "time": positions(rows.time, self.times, "cp_time", rows.ids),
            "dose": positions(rows.dose, self.doses, "cp_dose", rows.ids),
            "control": torch.from_numpy(rows.control),
            "labels": torch.from_numpy(self.targets.values.astype(np.float32)),
        }
        if self.meta is not None:
            self._tensors["meta"] = torch.from_numpy(self.meta.values)

    def _targets(self) -> Labels:
        if self.settings.targets == "scored":
            return self.tables.scored
        if self.tables.nonscored is None:
            raise DataError(
                f"{self.data_dir} has no train_targets_nonscored.csv, which --data.targets nonscored trains on; "
                "add it or run an experiment without a stage on these targets"
            )
        kept = np.flatnonzero(self.tables.nonscored.values.any(axis=0))
        if len(kept) == 0:
            raise DataError(
                f"{self.data_dir}: no non-scored target has a positive row, so there is nothing to train on"
            )
        names = tuple(self.tables.nonscored.names[i] for i in kept)
        return Labels(names, self.tables.nonscored.values[:, kept])

    def _read_meta(self, rows: Signatures) -> MetaFeatures | None:
        s = self.settings
        if s.meta is None:
            return None
        if not any(text.partition(":")[0] == MetaRankGauss.name for text in s.features):
            raise DataError(
                f"data.features has no step {MetaRankGauss.name!r} for the predictions of {s.meta}; add it, or run an "
                "experiment without an earlier stage"
            )
        return read_meta(s.meta, rows, self.folds)

    def _read_test(self) -> Signatures:
        path = find(self.data_dir, "test_features")
        if path is None:
            raise DataError(f"{self.data_dir} has no test_features.csv, which --data.transductive fits on too")
        return read_signatures(path)

    @property
    def training_hash(self) -> str:
        """Of the files and of the earlier stage's predictions."""
        if self.meta is None:
            return self.data_hash
        return hashlib.sha256((self.data_hash + self.meta.hash).encode()).hexdigest()

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

    def serve_features(self, pipeline: FeaturePipeline) -> None:
        """Compute the features of all rows once, so that no batch computes its own again.

        They are kept in the cache folder under the content of the tables and of the pipeline: other seeds of a fold, and a
        run that goes on, find them there.
        """
        digest = hashlib.sha256(self.training_hash.encode())
        for name, value in sorted(pipeline.state().items()):
            digest.update(f"{name}|{value.dtype}|{value.shape}|".encode() + np.ascontiguousarray(value).data)
        path = self.cache_dir / f"moa-rows-{digest.hexdigest()[:16]}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(str(path) + ".lock"):
            if not path.is_file():
                parts = np.array_split(np.arange(len(self._tensors["time"])), len(self._tensors["time"]) // 2048 + 1)
                features = np.concatenate([pipeline.of_batch(self.read(rows)).cpu().numpy() for rows in parts])
                with atomic_path(path) as temporary, temporary.open("wb") as file:
                    np.save(file, features)
            self._tensors["features"] = torch.from_numpy(np.load(path, allow_pickle=False))

    def index(self, rows: Rows) -> pd.DataFrame:
        """``sig_id`` of rows."""
        return pd.DataFrame({"row_id": self.tables.signatures.ids[rows]})

    def truth(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Labels, ``(rows, targets)``."""
        return self.targets.values[rows].astype(np.float64)

    def statistics(self) -> dict[str, npt.NDArray[Any]]:
        """The fitted feature pipeline, target names, share of treated rows, positives among the trained ones, the controls.

        The pipeline is fitted to the training rows and all controls (without ``transductive``), the shares to the
        training rows.
        """
        control = self.tables.signatures.control
        train = self.rows(TRAIN)
        state = {f"features.{name}": value for name, value in self._fitted().items()}
        return state | {
            "targets_utf8": encode_names(self.targets.names),
            "treated_share": np.asarray(1 - control.mean()),
            "prior": self.truth(train[~control[train]]).mean(axis=0),
            "positives": self.truth(train).sum(axis=0),
            **self._control_rows(),
        }

    def _control_rows(self) -> dict[str, npt.NDArray[Any]]:
        """Measurements of the controls, which are in no fold, and the number of each one's time and dose."""
        controls = self.read(self.controls)
        condition = controls["time"] * len(self.doses) + controls["dose"]
        return {"control_values": controls["values"].numpy(), "control_condition": condition.numpy()}

    def _fitted(self) -> dict[str, npt.NDArray[Any]]:
        """State of the pipeline, fitted once for these rows and settings and kept in the cache folder."""
        s = self.settings
        rows = np.union1d(self.rows(TRAIN), self.controls)
        key = f"{VERSION}|{self.training_hash}|{s.features}|{s.feature_seed}|{s.transductive}|"
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
        meta = None if self.meta is None else self.meta.values[rows]
        more = None
        if s.transductive and self._test is not None:
            others = np.setdiff1d(np.arange(len(signatures.ids)), rows)
            more = signatures.take(others).join(self._test)
            if self.meta is not None:  # the earlier stage did not predict the test file yet
                unknown = np.full((len(self._test.ids), len(self.meta.names)), np.nan, dtype=np.float32)
                meta = np.concatenate([self.meta.values[rows], self.meta.values[others], unknown])
        return FeaturePipeline.fit(
            s.features,
            signatures.take(rows),
            s.feature_seed,
            # columns are chosen by the scored labels in all stages, so that weights of one stage fit the features of the next
            self.tables.scored.values[rows],
            more,
            self.times,
            self.doses,
            meta,
            () if self.meta is None else self.meta.names,
        )


def _content(rows: Signatures) -> str:
    return hashlib.sha256("".join(rows.ids).encode() + rows.values.tobytes()).hexdigest()
