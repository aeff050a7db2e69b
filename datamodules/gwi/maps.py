"""Velocity maps and their families: files found and checked, split by file. What trains on maps alone needs no gathers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import replace
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
from datamodules.gwi.predicted import PredictedMaps
from datamodules.gwi.sampling import WeightedBatches, parse_weights
from datamodules.gwi.schema import FAMILIES, family_name
from datamodules.gwi.settings import FamilyMaps, GwiMaps
from datamodules.gwi.shards import verify_shard

_SHARD = re.compile(r"shard-s\d+-(\d+)")
_FAULT = re.compile(r"vel(\d+)_\d+_(\d+)")


class MapDataModule(BaseDataModule):
    """Batches of ``velocity`` (B, 70, 70) in m/s and ``family`` (B,), the number of the family.

    Folds hold out whole files: neighbours in a file, and Style_A and Style_B of one number, share what made them, so
    files of one number fall into the same fold in every family.
    """

    settings: GwiMaps

    @classmethod
    def check_settings(cls, settings: GwiMaps) -> None:
        """Refuse families that there are not."""
        if settings.families != "all":
            for name in settings.families.split(","):
                family_name(name.strip())
        parse_weights(settings.weights)

    def read_data(self) -> None:
        """Find and check the files, assign folds."""
        s = self.settings
        self.threads = s.threads
        self.files = self._chosen(find_files(self.data_dir))
        self.digests = [self._known(file) for file in self.files]
        self._maps = [file.maps() for file in self.files]
        self._starts = np.concatenate([[0], np.cumsum([file.rows for file in self.files])])
        self._family = np.array([FAMILIES.index(file.family) for file in self.files])
        self._weights = parse_weights(s.weights)
        lines = [f"{f.family}/{f.name}|{f.rows}|{d}\n" for f, d in zip(self.files, self.digests, strict=True)]
        self.data_hash = hashlib.sha256("".join(lines).encode()).hexdigest()
        self.folds = split_by_file(self.files, s.n_folds)

    @property
    def n_maps(self) -> int:
        """Maps of all files, mirror images not counted."""
        return int(self._starts[-1])

    def _chosen(self, files: list[MapFile]) -> list[MapFile]:
        if self.settings.maps_per_file:
            files = [replace(file, rows=min(file.rows, self.settings.maps_per_file)) for file in files]
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
        stamp = {"velocity": _stamp(file.velocity), "gathers": file.gathers and _stamp(file.gathers), "rows": file.rows}
        name = hashlib.sha256(str(file.velocity.resolve()).encode()).hexdigest()[:16]
        mark = self.cache_dir / "gwi" / f"checked-{name}.json"
        if mark.is_file():
            known = read_json(mark)
            if known["stamp"] == stamp and known["values"] >= self.thoroughness:
                return str(known["sha256"])
        self.check(file)
        digest = hashlib.sha256(file.maps().tobytes()).hexdigest()
        content = {"file": str(file.velocity), "stamp": stamp, "values": self.thoroughness, "sha256": digest}
        write_json(mark, content)
        return digest

    @property
    def thoroughness(self) -> int:
        """What :meth:`check` looks at, as a number: a file that was checked more thoroughly is not checked again."""
        return int(self.settings.check_values)

    def check(self, file: MapFile) -> None:
        """Read all values of a file that is seen for the first time, if that is wanted."""
        if self.settings.check_values:
            if file.name.startswith("shard-"):
                verify_shard(file.velocity.parent)
            check_values(file)

    def rows(self, role: str) -> Rows:
        """Row positions with a role."""
        if self.has_validation:
            files = self.folds.where(self.role_fold, role)
        else:
            files = np.arange(len(self.files)) if role == TRAIN else np.empty(0, dtype=np.int64)
        ranges = [np.arange(self._starts[f], self._starts[f + 1]) for f in files]
        return np.concatenate(ranges) if ranges else np.empty(0, dtype=np.int64)

    def train_order(self, rows: Rows, rank: int, world: int) -> BatchOrder:
        """Every row as often an epoch as the settings and its family's weight say."""
        if not self._weights and self.settings.repeat == 1:
            return super().train_order(rows, rank, world)
        of_family = self.settings.repeat * np.array([self._weights.get(name, 1.0) for name in FAMILIES])
        return WeightedBatches(rows, of_family[self.family(rows)], self.micro_batch, self.seed, rank, world)

    def family(self, rows: Rows) -> npt.NDArray[np.int64]:
        """Number of each row's family."""
        return np.asarray(self._family[self._file(rows)])

    def _file(self, rows: Rows) -> npt.NDArray[np.int64]:
        return np.searchsorted(self._starts, rows % self.n_maps, side="right") - 1

    def read(self, rows: Rows) -> dict[str, Tensor]:
        """One batch."""
        return {
            "row_id": torch.from_numpy(rows),
            "velocity": torch.from_numpy(self.maps(rows)),
            "family": torch.from_numpy(self.family(rows)),
        }

    def index(self, rows: Rows) -> pd.DataFrame:
        """Ids ``family/file/index`` (``/mirrored`` for mirror images), and the family as the group."""
        files = self._file(rows)
        names = [
            f"{self.files[f].family}/{self.files[f].name}/{row % self.n_maps - self._starts[f]}"
            + ("/mirrored" if row >= self.n_maps else "")
            for row, f in zip(rows, files, strict=True)
        ]
        return pd.DataFrame({"row_id": names, "group": [self.files[f].family for f in files]})

    def maps(self, rows: Rows) -> npt.NDArray[np.float32]:
        """Maps in m/s, ``(rows, 70, 70)``."""
        return np.stack([self._one_map(int(row), int(file)) for row, file in zip(rows, self._file(rows), strict=True)])

    def _one_map(self, row: int, file: int) -> npt.NDArray[np.float32]:
        velocity = self._maps[file][row % self.n_maps - int(self._starts[file])]
        result: npt.NDArray[np.float32] = velocity[:, ::-1] if row >= self.n_maps else velocity
        return result

    def truth(self, rows: Rows) -> npt.NDArray[np.float64]:
        """True maps in m/s, ``(rows, 70, 70)``."""
        return self.maps(rows).astype(np.float64)

    def statistics(self) -> dict[str, npt.NDArray[Any]]:
        """Nothing is fitted to maps."""
        return {}


class FamilyDataModule(MapDataModule):
    """Maps whose family is to be told.

    With a net's predictions also ``predicted`` (B, 70, 70), and ``is_predicted`` (B,) for the maps that have one.
    """

    settings: FamilyMaps
    predicted: PredictedMaps | None = None

    def read_data(self) -> None:
        """Find and check the files, assign folds, find the predictions."""
        super().read_data()
        if self.settings.predicted is not None:
            row_ids = self.index(np.arange(self.n_maps))["row_id"]
            self.predicted = PredictedMaps(self.settings.predicted, self.folds, row_ids)

    @property
    def training_hash(self) -> str:
        """Of the maps and of their predictions."""
        if self.predicted is None:
            return self.data_hash
        return hashlib.sha256((self.data_hash + self.predicted.hash).encode()).hexdigest()

    def read(self, rows: Rows) -> dict[str, Tensor]:
        """One batch."""
        batch = super().read(rows)
        if self.predicted is not None:
            maps, known = self.predicted.read(rows)
            batch |= {"predicted": torch.from_numpy(maps), "is_predicted": torch.from_numpy(known)}
        return batch

    def truth(self, rows: Rows) -> npt.NDArray[np.float64]:
        """1 in the column of the family, ``(rows, 10)``."""
        return np.eye(len(FAMILIES))[self.family(rows)]


def split_by_file(files: list[MapFile], n_folds: int) -> FoldTable:
    """Folds of whole files: file number k of every family goes to fold k modulo the number of folds, whichever others are there.

    OpenFWI counts files from 1 and this program's shards from 0; the first of each goes to fold 0.

    Raises:
        DataError: a family of one file, or whose files all fall into one fold: it cannot be both trained on and validated.
    """
    numbers = _numbers(files)
    of_family: dict[str, set[int]] = {}
    for file, number in zip(files, numbers, strict=True):
        of_family.setdefault(file.family, set()).add(number)
    family, fewest = min(((name, len(known)) for name, known in of_family.items()), key=lambda item: item[1])
    if fewest < 2:
        raise DataError(
            f"{family} has one file only, and whole files are held out; give a second one or leave it out with --data.families"
        )
    most = min(n_folds, fewest)
    # numbers with gaps, such as 1 and 3, may all be alike modulo one number of folds, not modulo another
    for folds in (*range(most, n_folds + 1), *range(most - 1, 1, -1)):
        if all(len({number % folds for number in known}) > 1 for known in of_family.values()):
            keys = np.array([f"{file.family}/{file.name}" for file in files])
            return FoldTable.from_assignment(keys, np.unique(np.array(numbers) % folds, return_inverse=True)[1])
    raise DataError(
        f"the numbers of {family}'s files, {', '.join(str(n + 1) for n in sorted(of_family[family]))}, leave it in one fold of {n_folds} or fewer; "
        "give more files or a larger --data.n_folds"
    )


def _numbers(files: list[MapFile]) -> list[int]:
    """Number of each file, from 0; files of one number share what made them, or may."""
    shards = [file.rows for file in files if _SHARD.fullmatch(file.name)]
    out, nameless = [], Counter[str]()
    for file in files:
        if shard := _SHARD.fullmatch(file.name):
            # the largest shard's size: a smaller one belongs to the number of the large one that would hold its maps
            out.append(int(shard[1]) // max(shards))
        elif fault := _FAULT.fullmatch(file.name):
            # one number of a file for each number of layers (2, 3, 4 or 6, 7, 8): Kaggle's sample has the first of two only
            out.append(int(fault[1]) // 2 + int(fault[2]) - 1)
        elif number := re.search(r"(\d+)\D*$", file.name):
            out.append(int(number[1]) - 1)
        else:
            out.append(nameless[file.family])
            nameless[file.family] += 1
    return out


def _stamp(path: Path) -> list[int]:
    stat = path.stat()
    return [stat.st_size, stat.st_mtime_ns]
