"""metadata.csv and the label files: which samples there are, where their features lie, what they contain."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError, nearest_name

METADATA = "metadata.csv"
METADATA_COLUMNS = ("sample_id", "split", "derivatized", "features_path", "features_md5_hash")
SPLITS = ("train", "val", "test")
UNKNOWN, NO, YES = -1, 0, 1
_DERIVATIZED = {"": UNKNOWN, "0": NO, "0.0": NO, "False": NO, "1": YES, "1.0": YES, "True": YES}


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
    path = Path(data_dir) / METADATA
    frame = _read(path)
    for name in METADATA_COLUMNS[:4]:
        if name not in frame:
            near = nearest_name(name, frame.columns)
            raise DataError(
                f"{path} has no column {name!r}{f' (is {near!r} meant?)' if near else ''}; its columns must be {','.join(METADATA_COLUMNS)}"
            )
    _refuse_repeated(path, frame["sample_id"])
    _refuse_others(path, frame, "split", SPLITS)
    _refuse_others(path, frame, "derivatized", tuple(_DERIVATIZED))
    md5 = frame["features_md5_hash"] if "features_md5_hash" in frame else pd.Series("", index=frame.index)
    return Samples(
        Path(data_dir),
        frame["sample_id"].to_numpy(dtype=str),
        frame["split"].to_numpy(dtype=str),
        np.array([_DERIVATIZED[cell] for cell in frame["derivatized"]], dtype=np.int8),
        frame["features_path"].to_numpy(dtype=str),
        md5.to_numpy(dtype=str),
    )


def read_labels(samples: Samples) -> Labels:
    """Labels of ``samples`` from train_labels.csv and, where it is there, val_labels.csv.

    Raises:
        DataError: no train_labels.csv, headers that differ, a cell that is not 0 or 1, a label row of a sample that is
            not in metadata.csv, or a training sample without one.
    """
    classes: tuple[str, ...] = ()
    values = np.empty((0, 0), dtype=np.int8)
    for split in ("train", "val"):
        path = samples.data_dir / f"{split}_labels.csv"
        if split == "val" and not path.is_file():
            continue
        frame = _read(path)
        own = tuple(frame.columns[1:])
        if frame.columns[0] != "sample_id" or not own:
            raise DataError(
                f"{path} has the wrong header: it must be sample_id and the classes, got {','.join(frame.columns)!r}"
            )
        if classes and own != classes:
            raise DataError(
                f"{path} names the classes {','.join(own)}, train_labels.csv {','.join(classes)}; both need the same, in the same order"
            )
        if not classes:
            classes, values = own, np.full((len(samples), len(own)), -1, dtype=np.int8)
        values[_positions(path, frame, samples, split)] = _zero_or_one(path, frame, own)
    missing = (samples.splits == "train") & (values[:, 0] < 0)
    if missing.any():
        raise DataError(
            f"{samples.data_dir / 'train_labels.csv'} has no row for sample {str(samples.ids[np.argmax(missing)])!r} of the training split "
            f"({int(missing.sum())} such samples); add the labels or take the samples out of {METADATA}"
        )
    return Labels(classes, values)


def _read(path: Path) -> pd.DataFrame:
    if not path.is_file():
        raise DataError(
            f"{path} does not exist; --data_dir must be a folder with {METADATA}, train_labels.csv and features"
        )
    try:
        return pd.read_csv(path, dtype=str, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as CSV: {str(error).strip()}") from None


def _refuse_repeated(path: Path, ids: pd.Series) -> None:
    repeated = ids.duplicated()
    if repeated.any():
        raise DataError(f"{path}: sample_id {ids[repeated].iloc[0]!r} stands more than once; ids must be unique")


def _refuse_others(path: Path, frame: pd.DataFrame, column: str, allowed: tuple[str, ...]) -> None:
    wrong = ~frame[column].isin(allowed)
    if wrong.any():
        row = int(np.argmax(wrong.to_numpy()))
        raise DataError(
            f"{path}, row {row + 2} (sample {frame['sample_id'].iloc[row]!r}): {column} is {frame[column].iloc[row]!r}; "
            f"it must be {' or '.join(value or 'empty' for value in allowed[:3])}"
        )


def _positions(path: Path, frame: pd.DataFrame, samples: Samples, split: str) -> npt.NDArray[np.int64]:
    """Where the label rows stand in metadata."""
    _refuse_repeated(path, frame["sample_id"])
    positions = pd.Index(samples.ids).get_indexer(pd.Index(frame["sample_id"].to_numpy(dtype=str)))
    for wrong, why in (
        (positions < 0, "is not in"),
        (samples.splits[positions] != split, f"is not of split {split!r} in"),
    ):
        if wrong.any():
            row = int(np.argmax(wrong))
            raise DataError(
                f"{path}, row {row + 2}: sample {frame['sample_id'].iloc[row]!r} {why} {METADATA}, so it has no features to train on; remove the row or complete {METADATA}"
            )
    return positions.astype(np.int64)


def _zero_or_one(path: Path, frame: pd.DataFrame, classes: tuple[str, ...]) -> npt.NDArray[np.int8]:
    cells = frame[list(classes)]
    wrong = ~cells.isin(["0", "1", "0.0", "1.0"]).to_numpy()
    if wrong.any():
        row, column = divmod(int(np.argmax(wrong)), len(classes))
        raise DataError(
            f"{path}, row {row + 2}, column {classes[column]!r}: {cells.iloc[row, column]!r} is neither 0 nor 1"
        )
    return cells.isin(["1", "1.0"]).to_numpy(dtype=np.int8)
