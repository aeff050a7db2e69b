"""OpenFWI maps and gathers for training: files found and checked, split by file, compact batches."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from datamodules.base import BaseDataModule
from datamodules.batches import BatchOrder, Rows
from datamodules.errors import DataError
from datamodules.files import read_json, write_json
from datamodules.folds import TRAIN, FoldTable
from datamodules.gwi.files import MapFile, check_values, find_files
from datamodules.gwi.gathers import COMPACT_SAMPLES, resize_time, zero_last_sample
from datamodules.gwi.sampling import WeightedBatches, parse_weights
from datamodules.gwi.schema import FAMILIES, N_SAMPLES, family_name
from datamodules.gwi.settings import GwiData
from datamodules.gwi.shards import verify_shard
from datamodules.gwi.simulated import mirrored_central_shots, simulated_gathers
from datamodules.gwi.simulator import CENTRAL_SHOT, mirror

_MEDIAN_ROWS = 2000


class GwiDataModule(BaseDataModule):
    """Batches of ``gathers`` (B, 5, 288 or 1000, 70), ``velocity`` (B, 70, 70) in m/s and ``family`` (B,), the number of the family.

    The last time sample of full gathers is zero before they are resized to 288; compact shards hold them so already.
    Folds hold out whole files: neighbours in a file, and Style_A and Style_B of one number, share what made them, so
    file k of every family falls into the same fold.

    With ``exact_mirror`` row ``n + i`` of n is the mirror image of row i, true to the last sample; only training uses these.
    """

    settings: GwiData

    def read_data(self) -> None:
        """Find and check the files, shoot what is not shot, assign folds."""
        s = self.settings
        self.threads = s.threads
        self.files = self._chosen(find_files(self.data_dir))
        digests = [self._known(file) for file in self.files]
        self._maps = [file.maps() for file in self.files]
        self._gathers = [self._recorded(file, digest) for file, digest in zip(self.files, digests, strict=True)]
        self._central = []
        if s.exact_mirror:
            pairs = zip(self.files, digests, strict=True)
            self._central = [mirrored_central_shots(file, digest, self.cache_dir, self._full) for file, digest in pairs]
        self._starts = np.concatenate([[0], np.cumsum([file.rows for file in self.files])])
        self._family = np.array([FAMILIES.index(file.family) for file in self.files])
        self._weights = parse_weights(s.weights)
        self.data_hash = self._hash(digests)
        self.folds = split_by_file(self.files, s.n_folds)

    @property
    def _full(self) -> bool:
        return self.settings.samples == N_SAMPLES

    @property
    def n_maps(self) -> int:
        """Maps of all files, mirror images not counted."""
        return int(self._starts[-1])

    def _chosen(self, files: list[MapFile]) -> list[MapFile]:
        if self.settings.families == "all":
            return files
        wanted = [family_name(name.strip()) for name in self.settings.families.split(",")]
        there = {file.family for file in files}
        for name in wanted:
            if name not in there:
                raise DataError(f"{self.data_dir} holds no maps of {name}, only of {', '.join(sorted(there))}")
        return [file for file in files if file.family in wanted]

    def _known(self, file: MapFile) -> str:
        """SHA-256 of the maps; computed, and the values checked, when a file is first seen or has changed."""
        stamp = {"velocity": _stamp(file.velocity), "gathers": file.gathers and _stamp(file.gathers)}
        name = hashlib.sha256(str(file.velocity.resolve()).encode()).hexdigest()[:16]
        mark = self.cache_dir / "gwi" / f"checked-{name}.json"
        if mark.is_file():
            known = read_json(mark)
            if known["stamp"] == stamp and known["values"] >= self.settings.check_values:
                return str(known["sha256"])
        if self.settings.check_values:
            if file.name.startswith("shard-"):
                verify_shard(file.velocity.parent)
            check_values(file)
        digest = hashlib.sha256(file.maps().tobytes()).hexdigest()
        content = {"file": str(file.velocity), "stamp": stamp, "values": self.settings.check_values, "sha256": digest}
        write_json(mark, content)
        return digest

    def _recorded(self, file: MapFile, digest: str) -> npt.NDArray[Any]:
        if file.gathers is not None:
            gathers = file.recorded()
            if self._full and gathers.shape[2] != N_SAMPLES:
                raise DataError(
                    f"{file.gathers} holds compact gathers, of which {N_SAMPLES} samples cannot be had; pass --data.samples {COMPACT_SAMPLES} or generate full ones"
                )
            return gathers
        if not self.settings.simulate:
            raise DataError(f"{file.velocity} has no gathers beside it; shoot it with --data.simulate true")
        return simulated_gathers(file, digest, self.cache_dir, self._full)

    def _hash(self, digests: list[str]) -> str:
        lines = [f"{f.family}/{f.name}|{f.rows}|{digest}\n" for f, digest in zip(self.files, digests, strict=True)]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def rows(self, role: str) -> Rows:
        """Row positions with a role; mirror images follow their originals' role in training."""
        if self.has_validation:
            files = self.folds.where(self.role_fold, role)
        else:
            files = np.arange(len(self.files)) if role == TRAIN else np.empty(0, dtype=np.int64)
        ranges = [np.arange(self._starts[f], self._starts[f + 1]) for f in files]
        rows = np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)
        return np.concatenate([rows, rows + self.n_maps]) if role == TRAIN and self._central else rows

    def train_order(self, rows: Rows, rank: int, world: int) -> BatchOrder:
        """Every row once an epoch, or as often as its family's weight says."""
        if not self._weights:
            return super().train_order(rows, rank, world)
        of_family = np.array([self._weights.get(name, 1.0) for name in FAMILIES])
        return WeightedBatches(rows, of_family[self.family(rows)], self.micro_batch, self.seed, rank, world)

    def family(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Number of each row's family."""
        return np.asarray(self._family[self._file(rows)])

    def _file(self, rows: Rows) -> npt.NDArray[np.int64]:
        return np.searchsorted(self._starts, rows % self.n_maps, side="right") - 1

    def read(self, rows: Rows) -> dict[str, Tensor]:
        """One batch."""
        files = self._file(rows)
        pairs = [self._one(int(row), int(file)) for row, file in zip(rows, files, strict=True)]
        gathers, velocity = (torch.stack(values) for values in zip(*pairs, strict=True))
        return {
            "row_id": torch.from_numpy(rows),
            "gathers": gathers,
            "velocity": velocity,
            "family": torch.from_numpy(self._family[files]),
        }

    def _one(self, row: int, file: int) -> tuple[Tensor, Tensor]:
        local = row % self.n_maps - int(self._starts[file])
        velocity = torch.from_numpy(np.array(self._maps[file][local]))
        gathers = torch.from_numpy(np.array(self._gathers[file][local]))
        if gathers.shape[1] == N_SAMPLES:
            gathers = zero_last_sample(gathers)
        gathers = resize_time(gathers[None], self.settings.samples)[0]
        if row >= self.n_maps:
            velocity, gathers = velocity.flip(-1), mirror(gathers)
            gathers[CENTRAL_SHOT] = torch.from_numpy(np.array(self._central[file][local, 0])).float()
        return gathers, velocity

    def index(self, rows: Rows) -> pd.DataFrame:
        """Ids ``family/file/index`` (``/mirrored`` for mirror images), and the family as the group."""
        files = self._file(rows)
        names = [
            f"{self.files[f].family}/{self.files[f].name}/{row % self.n_maps - self._starts[f]}"
            + ("/mirrored" if row >= self.n_maps else "")
            for row, f in zip(rows, files, strict=True)
        ]
        return pd.DataFrame({"row_id": names, "group": [self.files[f].family for f in files]})

    def truth(self, rows: Rows) -> npt.NDArray[np.float64]:
        """True maps in m/s, ``(rows, 70, 70)``."""
        maps = [self._one_map(int(row), int(file)) for row, file in zip(rows, self._file(rows), strict=True)]
        return np.stack(maps).astype(np.float64)

    def _one_map(self, row: int, file: int) -> npt.NDArray[np.float32]:
        velocity = self._maps[file][row % self.n_maps - int(self._starts[file])]
        return velocity[:, ::-1] if row >= self.n_maps else velocity

    def statistics(self) -> dict[str, npt.NDArray[Any]]:
        """``median_map`` (70, 70) of the training maps (of 2,000 of them at most), the predictor that knows no gather."""
        rows = self.rows(TRAIN)
        some = rows[np.linspace(0, len(rows) - 1, min(len(rows), _MEDIAN_ROWS)).astype(np.int64)]
        return {"median_map": np.median(self.truth(some), axis=0)}


def split_by_file(files: list[MapFile], n_folds: int) -> FoldTable:
    """Folds of whole files: the k-th file of every family goes to fold k modulo the number of folds.

    Raises:
        DataError: a family of one file, which cannot be both trained on and validated.
    """
    number: dict[str, int] = {}
    place = []
    for file in files:
        place.append(number.get(file.family, 0))
        number[file.family] = place[-1] + 1
    family, fewest = min(number.items(), key=lambda item: item[1])
    if fewest < 2:
        raise DataError(
            f"{family} has one file only, and whole files are held out; give a second one or leave it out with --data.families"
        )
    keys = np.array([f"{file.family}/{file.name}" for file in files])
    return FoldTable.from_assignment(keys, np.array(place) % min(n_folds, fewest))


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
