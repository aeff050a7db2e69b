"""The CSV files of ``lish-moa``: read by their header, checked, joined by ``sig_id``.

Nothing about widths is assumed: genes are the ``g-<n>`` columns of a header, cells its ``c-<n>`` columns, targets whatever
stands beside ``sig_id`` (names may be quoted and hold commas).
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError, nearest_name

ID = "sig_id"
TYPE, TIME, DOSE, DRUG = "cp_type", "cp_time", "cp_dose", "drug_id"
TREATED, CONTROL = "trt_cp", "ctl_vehicle"
_MEASURED = re.compile(r"[gc]-\d+")

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
        """These rows and then the other's, which must have the same columns.

        Raises:
            DataError: other columns, such as those of a test file of another data set.
        """
        if (self.genes, self.cells) != (other.genes, other.cells):
            raise DataError(
                f"two feature files have different columns: {len(self.genes)} genes and {len(self.cells)} cells against "
                f"{len(other.genes)} and {len(other.cells)}; give train and test features of one data set"
            )
        return Signatures(
            np.concatenate([self.ids, other.ids]), np.concatenate([self.control, other.control]),
            np.concatenate([self.time, other.time]), np.concatenate([self.dose, other.dose]),
            np.concatenate([self.values, other.values]), self.genes, self.cells,
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
    """``<name>.csv`` or ``<name>.csv.gz`` in a folder, None if neither is there."""
    return next((path for suffix in (".csv", ".csv.gz") if (path := Path(folder) / (name + suffix)).is_file()), None)


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
    header = _header(path, (ID, TYPE, TIME, DOSE))
    unknown = [name for name in header if name not in (ID, TYPE, TIME, DOSE) and not _MEASURED.fullmatch(name)]
    if unknown:
        raise DataError(
            f"{path}: column {unknown[0]!r} is no feature; a feature file has {ID}, {TYPE}, {TIME}, {DOSE}, g-<n> and c-<n>"
        )
    genes = tuple(name for name in header if name.startswith("g-"))
    cells = tuple(name for name in header if name.startswith("c-"))
    if not genes:
        raise DataError(f"{path} has no gene column (g-0, g-1, ...); give a file of features")
    table = _read(path, header, numbers=(*genes, *cells))
    ids = _ids(table, path)
    values = np.empty((len(ids), len(genes) + len(cells)), dtype=np.float32)
    for i, name in enumerate((*genes, *cells)):
        values[:, i] = _numbers(table, name)
    _refuse_not_finite(path, values, ids, (*genes, *cells))
    kinds = _text(table, TYPE)
    wrong = ~np.isin(kinds, (TREATED, CONTROL))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(f"{path}: {TYPE} of {ids[row]!s} is {str(kinds[row])!r}; it must be {TREATED} or {CONTROL}")
    return Signatures(ids, kinds == CONTROL, _text(table, TIME), _text(table, DOSE), values, genes, cells)


def read_labels(path: Path) -> tuple[Text, Labels]:
    """Ids and labels of a target file, in its order.

    Raises:
        DataError: no ``sig_id`` column, a repeated id, or a label other than 0 and 1.
    """
    header = _header(path, (ID,))
    names = tuple(name for name in header if name != ID)
    if not names:
        raise DataError(f"{path} has no target column beside {ID}")
    table = _read(path, header, numbers=names)
    ids = _ids(table, path)
    values = np.empty((len(ids), len(names)), dtype=np.uint8)
    for i, name in enumerate(names):
        column = _numbers(table, name)
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
    header = _header(path, (ID,))
    return _ids(_read(path, header, numbers=()), path), tuple(name for name in header if name != ID)


def _required(folder: Path, name: str) -> Path:
    path = find(folder, name)
    if path is None:
        raise DataError(f"{folder} has no {name}.csv (nor {name}.csv.gz); give the folder of the lish-moa files")
    return path


def _labels(path: Path, ids: Text) -> Labels:
    own, labels = read_labels(path)
    return Labels(labels.names, labels.values[_positions(path, own, ids)])


def _drugs(path: Path, ids: Text) -> Text:
    table = _read(path, _header(path, (ID, DRUG)), numbers=())
    return _text(table, DRUG)[_positions(path, _ids(table, path), ids)]


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


def _header(path: Path, required: Sequence[str]) -> list[str]:
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    opener: Any = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", newline="", encoding="utf-8") as file:
        header = next(csv.reader(file), [])
    repeated = {name for name in header if header.count(name) > 1}
    if repeated:
        raise DataError(f"{path}: column {min(repeated)!r} stands more than once in the header")
    for name in required:
        if name not in header:
            near = nearest_name(name, header)
            hint = f" (is it {near!r}?)" if near else ""
            raise DataError(f"{path} has no column {name!r}{hint}; give the file in the competition's form")
    return header


def _read(path: Path, header: Sequence[str], numbers: Sequence[str]) -> Any:
    import pyarrow as pa
    import pyarrow.csv

    kinds = dict.fromkeys(header, pa.string()) | dict.fromkeys(numbers, pa.float64())
    try:
        table = pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=kinds))
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} cannot be read as CSV: {_reason(error, header)}; mend or download it again") from None
    if table.num_rows == 0:
        raise DataError(f"{path} has a header but no row")
    return table


def _reason(error: Exception, header: Sequence[str]) -> str:
    """Arrow's first line with the column's name in the place of its number."""
    reason = str(error).splitlines()[0]
    if number := re.search(r"column #(\d+)", reason):
        reason = reason.replace(number.group(0), f"column {header[int(number.group(1))]!r}")
    return reason


def _text(table: Any, name: str) -> Text:
    return np.asarray(table[name].to_numpy(), dtype=str)


def _numbers(table: Any, name: str) -> npt.NDArray[np.float64]:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)  # an empty cell becomes NaN


def _ids(table: Any, path: Path) -> Text:
    ids = _text(table, ID)
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        raise DataError(
            f"{path}: {ID} {str(unique[np.argmax(counts)])!r} stands {counts.max()} times; ids must be unique"
        )
    return ids


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
