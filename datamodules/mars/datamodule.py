"""GC-MS runs for training: feature files, to cached images, to stratified folds, to batches."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from datamodules.base import BaseDataModule
from datamodules.batches import Rows
from datamodules.folds import TRAIN
from datamodules.mars.render import rendered
from datamodules.mars.rendering import Rendering
from datamodules.mars.settings import MarsData
from datamodules.mars.split import split_samples
from datamodules.mars.tables import Labels, read_labels, read_metadata

_BAND = 32  # rows that the last feature map of the usual backbones sees as one


class MarsDataModule(BaseDataModule):
    """Batches of linear images: ``image`` (B, m_bins, t_bins) in [0, 1], ``derivatized`` (B,), ``labels`` (B, classes).

    ``derivatized`` is -1 (unknown), 0 or 1. Rows are the labelled samples in metadata's order; normalisation, logarithm
    and augmentation are the task's, on the device.
    """

    settings: MarsData

    def read_data(self) -> None:
        """Read the tables, render what has labels (or open the cache), split."""
        s = self.settings
        everyone = read_metadata(self.data_dir)
        labels = read_labels(everyone)
        known = np.flatnonzero(labels.known)
        self.samples = everyone.take(known)
        self.labels = Labels(labels.classes, labels.values[known])
        self.rendering = rendering_of(s)
        self.store = rendered(self.samples, self.rendering, self.cache_dir, s.check_md5, s.processes, self.progress)
        self.threads = s.threads
        self.folds = split_samples(self.samples, self.labels, s)
        self.data_hash = self._content_hash()

    def _content_hash(self) -> str:
        digest = hashlib.sha256(self.store.hash.encode())
        digest.update("\t".join([*self.labels.classes, *self.samples.ids, *self.samples.splits]).encode())
        digest.update(self.labels.values.tobytes() + self.samples.derivatized.tobytes())
        return digest.hexdigest()

    def rows(self, role: str) -> Rows:
        """Row positions with a role; every labelled sample to train on with ``--fold full``."""
        if not self.has_validation:
            return np.arange(len(self.samples) if role == TRAIN else 0, dtype=np.int64)
        return self.folds.where(self.role_fold, role)

    def read(self, rows: Rows) -> dict[str, Tensor]:
        """Images and labels of some samples."""
        return {
            "row_id": torch.from_numpy(rows),
            "image": torch.from_numpy(self.store.arrays["image"][rows]),
            "derivatized": torch.from_numpy(self.samples.derivatized[rows]),
            "labels": torch.from_numpy(self.labels.values[rows].astype(np.float32)),
        }

    def index(self, rows: Rows) -> pd.DataFrame:
        """Sample ids."""
        return pd.DataFrame({"row_id": self.samples.ids[rows]})

    def truth(self, rows: Rows) -> npt.NDArray[np.float64]:
        """Labels, ``(rows, classes)``."""
        return self.labels.values[rows].astype(np.float64)

    def statistics(self) -> dict[str, npt.NDArray[Any]]:
        """Class names and sizes of the images; nothing is fitted, every image is scaled by itself."""
        r = self.rendering
        sizes = [r.m_bins, r.t_bins, r.min_mass, int(r.drop_helium)]
        if self.settings.trim_masses:
            held = self.store.arrays["image"][...].max(axis=2) > 0
            largest = r.m_bins - 1 - held[:, ::-1].argmax(axis=1)
            sizes.append(min(r.m_bins, _BAND * (int(np.median(largest)) // _BAND + 1)))
        return {"classes": np.array(self.labels.classes), "rendering": np.array(sizes)}


def rendering_of(settings: MarsData) -> Rendering:
    """The part of the settings that changes pixels."""
    s = settings
    return Rendering(s.m_bins, s.t_bins, s.min_mass, s.drop_helium, s.on_nan, s.negative_tolerance)
