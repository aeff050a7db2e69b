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
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.files import atomic_path, read_json, write_json

FORMAT_VERSION = 1
_CHUNK_BYTES = 64 * 2**20


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


class PredictionBank:
    """One opened bank folder.

    Attributes:
        path: The folder.
        manifest: What it says of itself.
        index: Columns ``row_id``, ``fold`` and, where given, ``group``.
        predictions: read-only memory map ``(rows, *shape)`` float32.
        scale: float64, broadcastable to ``shape``; ``predictions * scale`` are the judge's units.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        if not (self.path / "manifest.json").is_file():
            raise BankError(
                f"{self.path} is not a prediction bank: it has no manifest.json; give a run directory or a bank folder"
            )
        content = read_json(self.path / "manifest.json")
        if content.get("format_version") != FORMAT_VERSION:
            raise BankError(
                f"{self.path} is a bank of format {content.get('format_version')}, this program reads {FORMAT_VERSION}; predict it again"
            )
        self.manifest = Manifest(**content["manifest"])
        self.index = pd.read_parquet(self.path / "index.parquet")
        self.predictions = _open_array(self.path / "predictions.npy")
        scale = self.path / "scale.npy"
        self.scale: npt.NDArray[np.float64] = np.load(scale, allow_pickle=False) if scale.exists() else np.ones(())
        if len(self.index) != len(self.predictions):
            raise BankError(
                f"{self.path}: index.parquet has {len(self.index)} rows but predictions.npy has {len(self.predictions)}; predict it again"
            )
        _refuse_repeated(self.index["row_id"], str(self.path))

    @property
    def shape(self) -> tuple[int, ...]:
        """Trailing shape of one prediction."""
        return tuple(self.predictions.shape[1:])

    @property
    def name(self) -> str:
        """Short label for tables: experiment, and variant where it is not the default."""
        m = self.manifest
        return m.experiment if m.variant in ("", "default", "demo") else f"{m.experiment}/{m.variant}"

    def extra(self, name: str) -> npt.NDArray[np.float32]:
        """A further array with the same rows, such as ``confidence``."""
        return _open_array(self.path / f"{name}.npy")

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


def _open_array(path: Path) -> npt.NDArray[np.float32]:
    try:
        result: npt.NDArray[np.float32] = np.load(path, mmap_mode="r", allow_pickle=False)
        return result
    except FileNotFoundError:
        raise BankError(f"{path} is missing; predict this bank again") from None
    except ValueError as error:
        raise BankError(
            f"{path} cannot be read ({error}); pickled arrays are refused, a cut file must be predicted again"
        ) from None


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
    with atomic_path(path) as folder:
        folder.mkdir()
        _write_float32(folder / "predictions.npy", predictions, index)
        for name, values in (extras or {}).items():
            _write_float32(folder / f"{name}.npy", values, index)
        if scale is not None:
            np.save(folder / "scale.npy", np.asarray(scale, dtype=np.float64), allow_pickle=False)
        index.reset_index(drop=True).to_parquet(folder / "index.parquet")
        write_json(folder / "manifest.json", {"format_version": FORMAT_VERSION, "manifest": asdict(manifest)})
    return PredictionBank(path)


def _write_float32(path: Path, values: npt.NDArray[Any], index: pd.DataFrame) -> None:
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=values.shape)
    row_bytes = max(1, 4 * int(np.prod(values.shape[1:], dtype=np.int64)))
    step = max(1, _CHUNK_BYTES // row_bytes)
    for start in range(0, len(values), step):
        chunk = np.asarray(values[start : start + step], dtype=np.float32)
        finite = np.isfinite(chunk).reshape(len(chunk), -1).all(axis=1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise BankError(
                f"{path.stem} of row {index['row_id'].iloc[row]!r} are not finite ({int((~finite).sum())} such rows in this "
                "chunk); the net diverged or its input was not finite"
            )
        out[start : start + len(chunk)] = chunk
    out.flush()


def _refuse_repeated(row_ids: pd.Series, where: str) -> None:
    repeated = row_ids.duplicated()
    if repeated.any():
        raise BankError(
            f"{where}: row id {row_ids[repeated].iloc[0]!r} stands {int((row_ids == row_ids[repeated].iloc[0]).sum())} times"
        )


class PartWriter:
    """One process's share of a bank, streamed to disk while it predicts, so that memory does not grow.

    Args:
        folder: Parts folder shared by all ranks (made by whoever comes first).
        rank: This process's number.
    """

    def __init__(self, folder: Path, rank: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._rank = folder, rank
        self._files: dict[str, Any] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def append(self, rows: npt.NDArray[np.int64], arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Add predictions of some rows.

        Args:
            rows: ``(batch,)`` positions in the list of expected row ids.
            arrays: ``predictions`` and any extras, each ``(batch, *shape)``.
        """
        for name, values in {"rows": rows, **arrays}.items():
            dtype = np.int64 if name == "rows" else np.float32
            if name not in self._files:
                self._files[name] = (self._folder / f"{self._rank}.{name}.bin.partial").open("wb")
                self._shapes[name] = tuple(values.shape[1:])
            self._files[name].write(np.ascontiguousarray(values, dtype=dtype).tobytes())

    def close(self) -> None:
        """Flush, and give the finished files their names."""
        for name, file in self._files.items():
            file.flush()
            os.fsync(file.fileno())
            file.close()
            Path(file.name).rename(self._folder / f"{self._rank}.{name}.bin")
        write_json(self._folder / f"{self._rank}.json", {name: list(shape) for name, shape in self._shapes.items()})


def merge_parts(
    parts: Path,
    ranks: int,
    path: Path,
    index: pd.DataFrame,
    manifest: Manifest,
    scale: npt.NDArray[np.float64] | None = None,
) -> PredictionBank:
    """Join the parts of all ranks into one bank that covers every expected row exactly once.

    Args:
        parts: Folder of :class:`PartWriter` files.
        ranks: How many processes wrote.
        path: Bank folder to make.
        index: Every expected row (``row_id``, ``fold``, optionally ``group``), in the bank's order.
        manifest: What the bank says of itself.
        scale: See :func:`write_bank`.

    Raises:
        BankError: a row is missing or predicted twice, named by its id.
    """
    arrays: dict[str, list[npt.NDArray[Any]]] = {}
    for rank in range(ranks):
        if not (parts / f"{rank}.json").is_file():
            raise BankError(f"{parts}: process {rank} of {ranks} left no finished part; predict again")
        for name, shape in read_json(parts / f"{rank}.json").items():
            dtype = np.int64 if name == "rows" else np.float32
            flat = (
                np.fromfile(parts / f"{rank}.{name}.bin", dtype=dtype)
                if name == "rows"
                else _map_flat(parts / f"{rank}.{name}.bin")
            )
            arrays.setdefault(name, []).append(flat.reshape(-1, *shape))
    rows = np.concatenate(arrays.pop("rows")) if arrays else np.empty(0, dtype=np.int64)
    seen = np.bincount(rows, minlength=len(index))
    if len(seen) > len(index):
        raise BankError(f"{path}: row position {len(seen) - 1} was predicted but only {len(index)} rows were expected")
    if (seen != 1).any():
        row = int(np.argmax(seen != 1))
        problem = "is missing" if seen[row] == 0 else f"was predicted {seen[row]} times"
        raise BankError(
            f"{path}: row {index['row_id'].iloc[row]!r} {problem} ({int((seen == 0).sum())} rows missing, {int((seen > 1).sum())} repeated)"
        )
    with atomic_path(parts / "joined") as joined:
        joined.mkdir()
        ordered = {name: _scatter(joined / f"{name}.npy", rows, pieces) for name, pieces in arrays.items()}
        predictions = ordered.pop("predictions")
        return write_bank(path, predictions, index, manifest, scale=scale, extras=ordered)


def _map_flat(path: Path) -> npt.NDArray[np.float32]:
    return np.memmap(path, dtype=np.float32, mode="r") if path.stat().st_size else np.empty(0, dtype=np.float32)


def _scatter(path: Path, rows: npt.NDArray[np.int64], pieces: list[npt.NDArray[Any]]) -> npt.NDArray[np.float32]:
    out = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(len(rows), *pieces[0].shape[1:]))
    start = 0
    for piece in pieces:
        out[rows[start : start + len(piece)]] = piece
        start += len(piece)
    return out


def hash_ids(row_ids: Sequence[str] | pd.Series) -> str:
    """Order-free SHA-256 of a set of row ids, for naming truth banks and fold tables."""
    digest = hashlib.sha256()
    for row_id in sorted(map(str, row_ids)):
        digest.update(row_id.encode())
        digest.update(b"\n")
    return digest.hexdigest()
