"""The prediction bank: one folder of predictions, joined by row id, that blends, reports and submissions read.

A bank folder holds

* ``predictions.npy``: float32 ``(rows, *shape)``, memory-mappable. ``predictions * scale`` are the judge's units
  (float64); ``scale`` is 1 unless a domain's units fall out of float32's range (LEAP's cloud-liquid tendencies reach
  1e-58), and the blend's metrics do not change under it;
* ``index.parquet``: ``row_id`` (text, unique), ``fold`` and optionally ``group`` (such as a family), one row each;
* ``manifest.json``: who made it, the metric, target names, the hashes of data, folds, config and checkpoint;
* ``scale.npy`` and further arrays with the same rows (such as ``confidence.npy``) where there are any.

The *truth* of a fold is a bank of the same form (``kind: "truth"``), written once per data set and fold table and
named by every bank that answers to it. Nothing here is ever pickled, and loading refuses pickles.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.files import atomic_path, fsync, read_record, scratch_folder, write_json, writing
from datamodules.stores.arrays import ArrayFile, ArraySpec, FileSums, open_array, sums_of

FORMAT_VERSION = 1
MANIFEST, INDEX = "manifest.json", "index.parquet"
_CHUNK_BYTES = 64 * 2**20
_REMEDY = "predict this bank again, or restore it"


class BankError(DataError):
    """A bank is incomplete, damaged, or does not fit the others; the message names the bank and the row."""


@dataclass
class Manifest:
    """What a bank says of itself.

    Attributes:
        kind: ``out_of_fold``, ``test`` or ``truth``.
        domain: ``leap``, ``moa``, ``mars`` or ``gwi``.
        experiment, variant, seed: The run that predicted (empty for a truth bank).
        folds: The folds whose rows are in it.
        metric: The judge's metric, ``r2``, ``column_log_loss`` or ``mae``.
        targets: Names of the targets in order, empty for maps.
        groups: Named contiguous target ranges ``{name: [start, stop]}`` of the score tables.
        convention: Free text of what counts as a row, such as ``NC`` (no control rows) or ``ALL``; must agree in a blend.
        hashes: Hashes of ``data``, ``folds``, ``config`` and ``checkpoint``.
        truth: Path of the truth bank, relative to the bank's folder.
        extra: Anything else worth keeping (plain JSON).
    """

    kind: str
    domain: str
    metric: str
    experiment: str = ""
    variant: str = ""
    seed: int | None = None
    folds: list[int] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    groups: dict[str, list[int]] = field(default_factory=dict)
    convention: str = ""
    hashes: dict[str, str] = field(default_factory=dict)
    truth: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass
class _BankFile:
    """The schema of a bank's ``manifest.json``; banks of version 0.1 have no checksums."""

    format_version: int
    manifest: Manifest
    files: dict[str, FileSums] = field(default_factory=dict)


Mark = tuple[int, int, int, int]
_verified: set[tuple[Mark, tuple[int, ...]]] = set()
"""Files, each with the checksums that this process has made or compared already."""


def _mark(path: Path) -> Mark | None:
    """What tells a file from another that takes its name: device, number, size and time of change."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class PredictionBank:
    """One opened bank folder.

    Predictions and further arrays are checked when they are first asked for: a bank in another order, byte order or
    dtype than :func:`write_bank` gives is converted, and the bytes must be those that were written.

    Attributes:
        path: The folder.
        manifest: What it says of itself.
        files: Checksums of its files.
        index: Columns ``row_id``, ``fold`` and, where given, ``group``.
        scale: float64, broadcastable to ``shape``; ``predictions * scale`` are the judge's units.

    Raises:
        BankError: A file is missing, cut or damaged, or an entry is; names file and entry.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / MANIFEST).is_file():
            raise BankError(
                f"{self.path} is not a prediction bank: it has no {MANIFEST}; give a run directory or a bank folder"
            )
        try:
            content = read_record(self.path / MANIFEST, _BankFile, _REMEDY, ("format_version", FORMAT_VERSION))
        except DataError as error:
            raise BankError(str(error)) from None
        self.manifest, self.files = content.manifest, content.files
        self.index = self._read_index()
        scale = self.path / "scale.npy"
        self.scale: npt.NDArray[np.float64] = self._array(scale.name, np.float64) if scale.exists() else np.ones(())
        header = self._open("predictions.npy", None)
        if len(self.index) != len(header):
            raise BankError(
                f"{self.path}: {INDEX} has {len(self.index)} rows but predictions.npy has {len(header)}; {_REMEDY}"
            )
        self._shape = tuple(header.shape[1:])
        _refuse_repeated(self.index["row_id"], str(self.path))

    def _read_index(self) -> pd.DataFrame:
        mark = self._verify(INDEX)
        try:
            index = pd.read_parquet(self.path / INDEX)
        except (OSError, ValueError) as error:
            raise BankError(f"{self.path / INDEX} cannot be read ({error}); {_REMEDY}") from None
        self._refuse_exchanged(INDEX, mark)
        for name in ("row_id", "fold"):
            if name not in index.columns:
                raise BankError(f"{self.path / INDEX} has no column {name!r}; {_REMEDY}")
        return index

    def _open(self, name: str, dtype: npt.DTypeLike | None) -> npt.NDArray[Any]:
        try:
            return open_array(self.path / name, dtype, _REMEDY)
        except DataError as error:
            raise BankError(str(error)) from None

    def _array(self, name: str, dtype: npt.DTypeLike = np.float32) -> npt.NDArray[Any]:
        mark = self._verify(name)
        array = self._open(name, dtype)
        self._refuse_exchanged(name, mark)
        return array

    def _refuse_exchanged(self, name: str, mark: Mark | None) -> None:
        if mark and mark != _mark(self.path / name):
            raise BankError(f"{self.path} was exchanged for another bank while it was read; run again")

    def verify(self) -> None:
        """Read all files and compare their checksums; a bank of version 0.1 has none, its predictions must be finite.

        Raises:
            BankError: A file is missing, or not what was written.
        """
        for name, sums in self.files.items():
            if damage := sums.damage(self.path / name):
                raise BankError(f"{self.path / name} {damage}: it was damaged or changed since; {_REMEDY}")
        step = max(1, _CHUNK_BYTES // max(1, 4 * int(np.prod(self.shape, dtype=np.int64))))
        for start in range(0, 0 if self.files else len(self.index), step):
            if not np.isfinite(self.predictions[start : start + step]).all():
                raise BankError(f"{self.path / 'predictions.npy'} holds numbers that are not finite; {_REMEDY}")

    def _verify(self, name: str) -> Mark | None:
        if name not in self.files:
            return None
        path = self.path / name
        if (mark := _mark(path)) is None:
            raise BankError(f"{path} is missing: {_REMEDY}")
        known = (mark, tuple(self.files[name].crc32))
        if known not in _verified:
            if damage := self.files[name].damage(path):
                raise BankError(f"{path} {damage}: it was damaged or changed since; {_REMEDY}")
            self._refuse_exchanged(name, mark)
            _verified.add(known)
        return mark

    @cached_property
    def predictions(self) -> npt.NDArray[np.float32]:
        """``(rows, *shape)`` float32, a read-only memory map of what :func:`write_bank` wrote."""
        return self._array("predictions.npy")

    @property
    def shape(self) -> tuple[int, ...]:
        """Trailing shape of one prediction."""
        return self._shape

    @property
    def name(self) -> str:
        """Short label for tables: experiment, and variant where it is not the default."""
        m = self.manifest
        return m.experiment if m.variant in ("", "default", "demo") else f"{m.experiment}/{m.variant}"

    def extra(self, name: str) -> npt.NDArray[np.float32]:
        """A further array with the same rows, such as ``confidence``."""
        return self._array(f"{name}.npy")

    def truth(self) -> PredictionBank:
        """The bank of true values that this bank answers to.

        Raises:
            BankError: the manifest names none, or it was moved away.
        """
        if self.manifest.truth is None:
            raise BankError(f"{self.path} names no truth bank (predictions of a test set have none)")
        return PredictionBank((self.path / self.manifest.truth).resolve())

    def in_judge_units(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Predictions of some rows, float64, times ``scale``."""
        return self.predictions[rows].astype(np.float64) * self.scale


# --- Writing ------------------------------------------------------------------------------------------------------


def write_bank(
    path: Path,
    predictions: npt.NDArray[Any],
    index: pd.DataFrame,
    manifest: Manifest,
    scale: npt.NDArray[np.float64] | None = None,
    extras: Mapping[str, npt.NDArray[Any]] | None = None,
) -> PredictionBank:
    """Write one bank folder, whole or not at all.

    Args:
        path: The folder to make; an older bank there is replaced.
        predictions: ``(rows, *shape)``, in units of ``scale``; written as float32 in chunks.
        index: ``row_id``, ``fold`` and optionally ``group``, one row per prediction.
        manifest: What the bank says of itself.
        scale: float64, broadcastable to ``shape``.
        extras: Further arrays with the same rows.

    Raises:
        BankError: repeated ids, a NaN or an infinity (the row is named), or sizes that do not fit.
    """
    if len(index) != len(predictions):
        raise BankError(f"{path}: {len(predictions)} predictions for {len(index)} row ids")
    _refuse_repeated(index["row_id"], str(path))
    with writing(path), scratch_folder(path) as parts:
        writer = PartWriter(parts, 0, len(index))
        arrays = {"predictions": predictions, **(extras or {})}
        step = max(1, _CHUNK_BYTES // max(1, 4 * int(np.prod(predictions.shape[1:], dtype=np.int64))))
        for start in range(0, max(1, len(index)), step):
            chunk = {name: values[start : start + step] for name, values in arrays.items()}
            writer.append(np.arange(start, start + len(chunk["predictions"])), chunk)
        writer.close()
        return merge_parts(parts, 1, path, index, manifest, scale)


@dataclass
class _Part:
    """What one process says of its share of a bank."""

    shapes: dict[str, list[int]] = field(default_factory=dict)
    not_finite: dict[str, list[int]] = field(default_factory=dict)  # first such row and how many, by array


class PartWriter:
    """One process's share of a bank, put where it belongs while it predicts, so that every number is written once.

    All processes write into the same files, each its own rows; memory does not grow.

    Args:
        folder: Folder that all processes share, see :func:`datamodules.files.scratch_folder`.
        rank: This process's number.
        total: Rows of the whole bank.
    """

    def __init__(self, folder: Path, rank: int, total: int) -> None:
        self._folder, self._rank, self._total = folder, rank, total
        self._files: dict[str, ArrayFile] = {}
        self._rows: list[npt.NDArray[np.int64]] = []
        self._part = _Part()

    def append(self, rows: npt.NDArray[np.int64], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add predictions of some rows.

        Args:
            rows: ``(batch,)`` positions in the list of expected row ids.
            arrays: ``predictions`` and any extras, each ``(batch, *shape)``.
        """
        self._rows.append(rows)
        breaks = [0, *(np.flatnonzero(np.diff(rows) != 1) + 1), len(rows)]
        with writing(self._folder):
            for name, values in arrays.items():
                if name not in self._files:
                    self._part.shapes[name] = list(values.shape[1:])
                    spec = ArraySpec(tuple(values.shape[1:]), "float32")
                    self._files[name] = ArrayFile(self._folder / f"{name}.npy", spec, self._total)
                numbers = np.asarray(values, dtype=np.float32)
                self._note_not_finite(name, rows, numbers)
                for start, stop in pairwise(breaks):
                    if stop > start and rows[start] < self._total:
                        self._files[name].write(numbers[start:stop], int(rows[start]))

    def _note_not_finite(self, name: str, rows: npt.NDArray[np.int64], numbers: npt.NDArray[np.float32]) -> None:
        finite = np.isfinite(numbers).reshape(len(rows), -1).all(axis=1)
        if not finite.all():
            first, count = self._part.not_finite.get(name, [int(rows[np.argmin(finite)]), 0])
            self._part.not_finite[name] = [first, count + int((~finite).sum())]

    def close(self) -> None:
        """Wait until all is on the disk, and say which rows are there."""
        with writing(self._folder):
            for file in self._files.values():
                file.sync()
                file.close()
            rows = np.concatenate(self._rows) if self._rows else np.empty(0, dtype=np.int64)
            np.save(self._folder / f"{self._rank}.rows.npy", rows, allow_pickle=False)
            write_json(self._folder / f"{self._rank}.json", asdict(self._part))


def merge_parts(
    parts: Path,
    ranks: int,
    path: Path,
    index: pd.DataFrame,
    manifest: Manifest,
    scale: npt.NDArray[np.float64] | None = None,
) -> PredictionBank:
    """Make what all ranks wrote one bank that covers every expected row exactly once; its arrays are moved, not copied.

    Args:
        parts: Folder of :class:`PartWriter` files, on the same file system as ``path``.
        ranks: How many processes wrote.
        path: Bank folder to make.
        index: Every expected row (``row_id``, ``fold``, optionally ``group``), in the bank's order.
        manifest: What the bank says of itself.
        scale: See :func:`write_bank`.

    Raises:
        BankError: a row is missing, predicted twice or not finite, named by its id.
    """
    _refuse_repeated(index["row_id"], str(path))
    names: set[str] = set()
    rows = []
    for rank in range(ranks):
        if not (parts / f"{rank}.json").is_file():
            raise BankError(f"{parts}: process {rank} of {ranks} left no finished part; predict again")
        part = read_record(parts / f"{rank}.json", _Part, "predict again")
        for name, (row, count) in part.not_finite.items():
            raise BankError(
                f"{name} of row {index['row_id'].iloc[row]!r} are not finite ({count} such rows); the net diverged or "
                "its input was not finite"
            )
        names.update(part.shapes)
        rows.append(np.load(parts / f"{rank}.rows.npy", allow_pickle=False))
    _refuse_gaps(np.concatenate(rows), index, path)
    with atomic_path(path) as folder:
        folder.mkdir()
        files = [f"{name}.npy" for name in sorted(names)]
        for name in files:
            shutil.move(parts / name, folder / name)
        if scale is not None:
            np.save(folder / "scale.npy", np.asarray(scale, dtype=np.float64), allow_pickle=False)
            files.append("scale.npy")
        index.reset_index(drop=True).to_parquet(folder / INDEX)
        content = _BankFile(FORMAT_VERSION, manifest, sums_of(folder, [*files, INDEX]))
        write_json(folder / MANIFEST, asdict(content), sealed=True)
        fsync(folder)
        for name, sums in content.files.items():
            if mark := _mark(folder / name):
                _verified.add((mark, tuple(sums.crc32)))
        bank = PredictionBank(folder)  # before another process can put its own there
    bank.path = Path(path)
    return bank


def _refuse_gaps(rows: npt.NDArray[np.int64], index: pd.DataFrame, path: Path) -> None:
    seen = np.bincount(rows, minlength=len(index))
    if len(seen) > len(index):
        raise BankError(f"{path}: row position {len(seen) - 1} was predicted but only {len(index)} rows were expected")
    if (seen != 1).any():
        row = int(np.argmax(seen != 1))
        problem = "is missing" if seen[row] == 0 else f"was predicted {seen[row]} times"
        raise BankError(
            f"{path}: row {index['row_id'].iloc[row]!r} {problem} ({int((seen == 0).sum())} rows missing, {int((seen > 1).sum())} repeated)"
        )


def _refuse_repeated(row_ids: pd.Series, where: str) -> None:
    repeated = row_ids.duplicated()
    if repeated.any():
        raise BankError(
            f"{where}: row id {row_ids[repeated].iloc[0]!r} stands {int((row_ids == row_ids[repeated].iloc[0]).sum())} times"
        )


def hash_ids(row_ids: Sequence[str] | pd.Series) -> str:
    """Order-free SHA-256 of a set of row ids, for naming truth banks and fold tables."""
    digest = hashlib.sha256()
    for row_id in sorted(map(str, row_ids)):
        digest.update(row_id.encode())
        digest.update(b"\n")
    return digest.hexdigest()
