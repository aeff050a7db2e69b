"""metadata.csv and the label files: which samples there are, where their features lie, what they contain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.text_tables import TextTable, find_table, read_table

METADATA = "metadata.csv"
METADATA_COLUMNS = ("sample_id", "split", "derivatized", "features_path", "features_md5_hash")
SPLITS = ("train", "val", "test")
UNKNOWN, NO, YES = -1, 0, 1
_DERIVATIZED = {
    "": UNKNOWN, "0": NO, "1": YES, "false": NO, "true": YES, "0.0": NO, "1.0": YES, "nan": UNKNOWN
}  # fmt: skip
_ID = "sample_id"


@dataclass(frozen=True)
class Samples:
    """Rows of metadata.csv, in its order.

    Args:
        data_dir: Folder that the features' paths start from.
        ids: Sample ids, unique.
        splits: ``train``, ``val`` or ``test``.
        derivatized: -1 unknown (an empty cell), 0 no, 1 yes.
        paths: Paths of the feature files, relative to ``data_dir``.
        md5: Md5 of the feature files, empty where metadata gives none.
    """

    data_dir: Path
    ids: npt.NDArray[np.str_]
    splits: npt.NDArray[np.str_]
    derivatized: npt.NDArray[np.int8]
    paths: npt.NDArray[np.str_]
    md5: npt.NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: npt.NDArray[np.int64]) -> Samples:
        """Some of the samples."""
        return Samples(
            self.data_dir, self.ids[rows], self.splits[rows], self.derivatized[rows], self.paths[rows], self.md5[rows]
        )


@dataclass(frozen=True)
class Labels:
    """Who contains what.

    Args:
        classes: Class names, as the header orders them.
        values: 0 or 1, ``(samples, classes)``; -1 in the rows of samples without labels.
    """

    classes: tuple[str, ...]
    values: npt.NDArray[np.int8]

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """Samples that have labels."""
        return self.values[:, 0] >= 0


def read_metadata(data_dir: Path) -> Samples:
    """Read metadata.csv.

    Raises:
        DataError: the file or a column is missing, an id stands twice, or a cell holds something else than its column's.
    """
    path = find_table(Path(data_dir), "metadata")
    table = _read(path, METADATA_COLUMNS[:4], str.lower)
    ids, splits = table.unique_ids("sample_id"), np.char.lower(table.text("split"))
    derivatized = np.char.lower(table.text("derivatized"))
    _refuse_others(table, "split", splits, SPLITS)
    _refuse_others(table, "derivatized", derivatized, tuple(_DERIVATIZED))
    md5 = table.text("features_md5_hash") if "features_md5_hash" in table.names else np.full(len(ids), "")
    states = np.array([_DERIVATIZED[cell] for cell in derivatized], dtype=np.int8)
    paths = np.char.replace(table.text("features_path"), "\\", "/")
    return Samples(Path(data_dir), ids, splits, states, paths, np.char.lower(md5))


def read_labels(samples: Samples) -> Labels:
    """Labels of ``samples`` from train_labels.csv and, where it is there, val_labels.csv.

    Raises:
        DataError: no train_labels.csv, headers that differ, a cell that is not 0 or 1, a label row of a sample that is
            not in metadata.csv, or a training sample without one.
    """
    classes: tuple[str, ...] = ()
    values = np.empty((0, 0), dtype=np.int8)
    for split in ("train", "val"):
        path = find_table(samples.data_dir, f"{split}_labels")
        if split == "val" and not path.is_file():
            continue
        table = _read(path, (_ID,))
        own = tuple(name for name in table.names if name != _ID)
        if not own:
            raise DataError(f"{path} has no class beside {_ID}; its header must be {_ID} and the classes")
        if classes and set(own) != set(classes):
            raise DataError(
                f"{path} names the classes {','.join(own)}, train_labels.csv {','.join(classes)}; both need the same"
            )
        if not classes:
            classes, values = own, np.full((len(samples), len(own)), -1, dtype=np.int8)
        values[_positions(table, samples, split)] = _zero_or_one(table, classes)
    missing = (samples.splits == "train") & (values[:, 0] < 0)
    if missing.any():
        raise DataError(
            f"{samples.data_dir / 'train_labels.csv'} has no row for sample {str(samples.ids[np.argmax(missing)])!r} of the training split "
            f"({int(missing.sum())} such samples); add the labels or take the samples out of {METADATA}"
        )
    return Labels(classes, values)


def _read(path: Path, required: Sequence[str], canonical: Callable[[str], str] = str) -> TextTable:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; --data_dir must be a folder with {METADATA}, train_labels.csv and features"
        )
    return read_table(path, required, canonical=canonical)


def _refuse_others(table: TextTable, column: str, cells: npt.NDArray[np.str_], allowed: tuple[str, ...]) -> None:
    wrong = ~np.isin(cells, allowed)
    if wrong.any():
        row = int(np.argmax(wrong))
        raise DataError(
            f"{table.row(row)} (sample {str(table.text(_ID)[row])!r}): {column} is {str(cells[row])!r}; "
            f"it must be {' or '.join(value or 'empty' for value in allowed if not value.endswith('.0'))}"
        )


def _positions(table: TextTable, samples: Samples, split: str) -> npt.NDArray[np.int64]:
    """Where the label rows stand in metadata."""
    ids = table.unique_ids(_ID)
    positions = pd.Index(samples.ids).get_indexer(pd.Index(ids))
    for wrong, why in (
        (positions < 0, "is not in"),
        (samples.splits[positions] != split, f"is not of split {split!r} in"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{table.row(row)}: sample {str(ids[row])!r} {why} {METADATA}, so it has no features to train on; remove the row or complete {METADATA}"
            )
    return positions.astype(np.int64)


def _zero_or_one(table: TextTable, classes: tuple[str, ...]) -> npt.NDArray[np.int8]:
    cells = np.stack([table.text(name) for name in classes], axis=1)
    wrong = ~np.isin(cells, ("0", "1", "0.0", "1.0"))
    if wrong.any():
        row, column = divmod(int(np.argmax(wrong)), len(classes))
        raise DataError(f"{table.row(row)}, column {classes[column]!r}: {str(cells[row, column])!r} is neither 0 nor 1")
    return np.isin(cells, ("1", "1.0")).astype(np.int8)
