"""The CSV files of ``lish-moa``: read by their header, checked, joined by ``sig_id``.

Nothing about widths is assumed: genes are the ``g-<n>`` columns of a header, cells its ``c-<n>`` columns, targets whatever
stands beside ``sig_id`` (names may be quoted and hold commas).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.text_tables import TextTable, find_table, read_table

ID = "sig_id"
TYPE, TIME, DOSE, DRUG = "cp_type", "cp_time", "cp_dose", "drug_id"
TREATED, CONTROL = "trt_cp", "ctl_vehicle"
_MEASURED = re.compile(r"[gc]-\d+")
_HOURS = re.compile(r"(\d+)(?:\.0*)?\s*(?:h|hrs?|hours?)?", re.IGNORECASE)

Text = npt.NDArray[np.str_]


@dataclass(frozen=True)
class Signatures:
    """Rows of a feature file.

    Args:
        ids: ``sig_id`` of each row, unique.
        control: Whether a row is an untreated control (``ctl_vehicle``).
        time: Treatment time as the file writes it, such as ``24``.
        dose: Dose as the file writes it, such as ``D1``.
        values: ``(rows, genes + cells)`` float32, genes first.
        genes: Names of the gene columns in the file's order.
        cells: Names of the cell-viability columns; may be empty.
    """

    ids: Text
    control: npt.NDArray[np.bool_]
    time: Text
    dose: Text
    values: npt.NDArray[np.float32]
    genes: tuple[str, ...]
    cells: tuple[str, ...]

    def take(self, rows: npt.NDArray[np.int64]) -> Signatures:
        """Some of the rows."""
        return Signatures(
            self.ids[rows],
            self.control[rows],
            self.time[rows],
            self.dose[rows],
            self.values[rows],
            self.genes,
            self.cells,
        )

    def join(self, other: Signatures) -> Signatures:
        """These rows and then the other's, whose columns must be the same, in any order.

        Raises:
            DataError: other columns, such as those of a test file of another data set.
        """
        own, there = (*self.genes, *self.cells), (*other.genes, *other.cells)
        if set(own) != set(there):
            raise DataError(
                f"two feature files have different columns: {len(self.genes)} genes and {len(self.cells)} cells against "
                f"{len(other.genes)} and {len(other.cells)}; give train and test features of one data set"
            )
        at = {name: i for i, name in enumerate(there)}
        values = other.values if own == there else other.values[:, [at[name] for name in own]]
        return Signatures(
            np.concatenate([self.ids, other.ids]), np.concatenate([self.control, other.control]),
            np.concatenate([self.time, other.time]), np.concatenate([self.dose, other.dose]),
            np.concatenate([self.values, values]), self.genes, self.cells,
        )  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """Rows of a target file.

    Args:
        names: Names of the targets in the file's order.
        values: ``(rows, targets)`` uint8 of 0 and 1.
    """

    names: tuple[str, ...]
    values: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class TrainingTables:
    """All training files, joined by ``sig_id`` and sorted by it.

    Args:
        signatures: The features.
        scored: Targets that the judge scores.
        nonscored: Further targets, None without their file.
        drugs: Drug of each row, None without ``train_drug.csv``.
        hash: SHA-256 of the content, free of the order of rows.
    """

    signatures: Signatures
    scored: Labels
    nonscored: Labels | None
    drugs: Text | None
    hash: str


def find(folder: Path, name: str) -> Path | None:
    """``<name>.csv``, ``.csv.gz`` or ``.csv.zip`` in a folder, None if none is there."""
    path = find_table(folder, name)
    return path if path.is_file() else None


def read_training(folder: Path) -> TrainingTables:
    """Read ``train_features``, ``train_targets_scored`` and, where they are, ``train_targets_nonscored`` and ``train_drug``.

    Raises:
        DataError: a file or column is missing, an id is repeated or unknown, a value is not finite, a label is not 0 or 1.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; give the folder of the lish-moa files")
    signatures = read_signatures(_required(folder, "train_features"))
    order = np.argsort(signatures.ids)
    signatures = signatures.take(order)
    scored = _labels(_required(folder, "train_targets_scored"), signatures.ids)
    nonscored_path, drug_path = find(folder, "train_targets_nonscored"), find(folder, "train_drug")
    nonscored = _labels(nonscored_path, signatures.ids) if nonscored_path else None
    drugs = _drugs(drug_path, signatures.ids) if drug_path else None
    return TrainingTables(signatures, scored, nonscored, drugs, _hash(signatures, scored, nonscored, drugs))


def read_signatures(path: Path) -> Signatures:
    """Read a feature file.

    Raises:
        DataError: a column is missing, repeated or unknown, an id is repeated, a value is not a finite number.
    """
    conditions = (ID, TYPE, TIME, DOSE)
    table = _read(path, conditions, text=conditions)
    measured = [name for name in table.names if name not in conditions]
    unknown = [name for name in measured if not _MEASURED.fullmatch(name)]
    if unknown:
        raise DataError(
            f"{path}: column {unknown[0]!r} is no feature; a feature file has {ID}, {TYPE}, {TIME}, {DOSE}, g-<n> and c-<n>"
        )
    genes = tuple(name for name in measured if name.startswith("g-"))
    cells = tuple(name for name in measured if name.startswith("c-"))
    if not genes:
        raise DataError(f"{path} has no gene column (g-0, g-1, ...); give a file of features")
    ids = table.unique_ids(ID)
    values = np.empty((len(ids), len(genes) + len(cells)), dtype=np.float32)
    for i, name in enumerate((*genes, *cells)):
        values[:, i] = table.numbers(name)
    _refuse_not_finite(path, values, ids, (*genes, *cells))
    kinds = np.char.lower(table.text(TYPE))
    wrong = ~np.isin(kinds, (TREATED, CONTROL))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{path}: {TYPE} of {ids[row]!s} is {str(kinds[row])!r}; it must be {TREATED} or {CONTROL}")
    time, dose = table.text(TIME), table.text(DOSE)
    for name, column in ((TIME, time), (DOSE, dose)):
        if (empty := column == "").any():
            raise DataError(f"{path}: {name} of {ids[np.argmax(empty)]!s} is empty ({int(empty.sum())} such rows)")
    return Signatures(ids, kinds == CONTROL, spelled(time, same_hours), spelled(dose, same_dose), values, genes, cells)


def spelled(texts: Text, spelling: Callable[[str], str]) -> Text:
    """Texts in one spelling."""
    unique, where = np.unique(texts, return_inverse=True)
    return np.array([spelling(str(text)) for text in unique], dtype=str)[where]


def same_hours(text: str) -> str:
    """A treatment time as the competition writes it: ``24`` of ``24``, ``24.0``, ``24h`` and ``24 hours``."""
    match = _HOURS.fullmatch(text.strip())
    return match[1].lstrip("0") or "0" if match else text


def same_dose(text: str) -> str:
    """A dose as the competition writes it: ``D1`` of ``d1``."""
    return text.upper() if re.fullmatch(r"d\d+", text) else text


def read_labels(path: Path) -> tuple[Text, Labels]:
    """Ids and labels of a target file, in its order.

    Raises:
        DataError: no ``sig_id`` column, a repeated id, or a label other than 0 and 1.
    """
    table = _read(path, (ID,), text=(ID,))
    names = tuple(name for name in table.names if name != ID)
    if not names:
        raise DataError(f"{path} has no target column beside {ID}")
    ids = table.unique_ids(ID)
    values = np.empty((len(ids), len(names)), dtype=np.uint8)
    for i, name in enumerate(names):
        column = table.numbers(name)
        wrong = ~np.isin(column, (0.0, 1.0))
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(f"{path}: label {name!r} of {ids[row]!s} is {column[row]:g}; labels must be 0 or 1")
        values[:, i] = column
    return ids, Labels(names, values)


def read_form(path: Path) -> tuple[Text, tuple[str, ...]]:
    """Ids and target names of a sample submission, in its order.

    Raises:
        DataError: the file is missing, has no ``sig_id`` column, or repeats an id.
    """
    table = _read(path, (ID,), text=None)
    return table.unique_ids(ID), tuple(name for name in table.names if name != ID)


def _required(folder: Path, name: str) -> Path:
    path = find(folder, name)
    if path is None:
        raise DataError(
            f"{folder} has no {name}.csv (nor {name}.csv.gz or .csv.zip); give the folder of the lish-moa files"
        )
    return path


def _labels(path: Path, ids: Text) -> Labels:
    own, labels = read_labels(path)
    return Labels(labels.names, labels.values[_positions(path, own, ids)])


def _drugs(path: Path, ids: Text) -> Text:
    table = _read(path, (ID, DRUG), text=None)
    return table.text(DRUG)[_positions(path, table.unique_ids(ID), ids)]


def _positions(path: Path, own: Text, wanted: Text) -> npt.NDArray[np.int64]:
    """Where in ``own`` each wanted id stands; both must hold the same ids."""
    order = np.argsort(own)
    at = np.searchsorted(own, wanted, sorter=order).clip(max=len(own) - 1)
    positions: npt.NDArray[np.int64] = order[at]
    missing = own[positions] != wanted
    if missing.any():
        raise DataError(
            f"{path} has no row for {ID} {str(wanted[np.argmax(missing)])!r} of the feature file ({int(missing.sum())} such rows)"
        )
    if len(own) != len(wanted):
        extra = np.setdiff1d(own, wanted)
        raise DataError(f"{path}: {ID} {str(extra[0])!r} is not in the feature file ({len(extra)} such rows)")
    return positions


def _read(path: Path, required: Sequence[str], text: Sequence[str] | None) -> TextTable:
    table = read_table(path, required, text=text, canonical=_measurement)
    if len(table) == 0:
        raise DataError(f"{path} has a header but no row")
    return table


def _measurement(name: str) -> str:
    """``g-1`` of ``G-1``; names of targets keep their case."""
    return name.lower() if _MEASURED.fullmatch(name.lower()) else name


def _refuse_not_finite(path: Path, values: npt.NDArray[np.float32], ids: Text, names: Sequence[str]) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise DataError(
            f"{path}: {names[column]} of {ids[row]!s} is missing or not finite ({int(bad.any(axis=1).sum())} such rows); mend the file"
        )


def _hash(signatures: Signatures, scored: Labels, nonscored: Labels | None, drugs: Text | None) -> str:
    digest = hashlib.sha256()
    text = [signatures.ids, signatures.control.astype(str), signatures.time, signatures.dose]
    for column in text if drugs is None else [*text, drugs]:
        digest.update("\n".join(column).encode() + b"\0")
    digest.update("\n".join([*signatures.genes, *signatures.cells]).encode() + b"\0")
    digest.update(signatures.values.tobytes())
    for labels in (scored, nonscored):
        if labels is not None:
            digest.update("\n".join(labels.names).encode() + b"\0" + labels.values.tobytes())
    return digest.hexdigest()
