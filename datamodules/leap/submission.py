"""LEAP submissions: physical predictions times the judge's weights, in the rows and columns that the judge asks for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.leap.schema import TARGET_NAMES, zero_weight_mask
from datamodules.text_tables import TableForm, read_table, table_form, table_names

ID_COLUMN = "sample_id"
_CHUNK = 8192


class SubmissionForm:
    """What the judge's file looks like: column order, weights, and the ids row by row.

    Args:
        weights_file: ``sample_submission.csv`` of the competition, old (1 / std) or new (0 or 1): every row holds the
            weights of the columns. None: the new rule in this project's column order, ids as they come.

    Raises:
        DataError: the file is missing, or its columns are not ``sample_id`` and the 368 targets.
    """

    def __init__(self, weights_file: Path | None = None) -> None:
        self.file = weights_file
        if weights_file is None:
            self.columns = list(TARGET_NAMES)
            self.weights = np.where(zero_weight_mask(), 0.0, 1.0)
            self.ids: npt.NDArray[Any] | None = None
            return
        if not Path(weights_file).is_file():
            raise DataError(f"{weights_file} does not exist; give the competition's sample_submission.csv")
        form = table_form(weights_file)
        names = table_names(form, (ID_COLUMN, *TARGET_NAMES))
        self.columns = [name for name in names if name != ID_COLUMN]
        if unknown := sorted(set(self.columns) - set(TARGET_NAMES)):
            raise DataError(
                f"{weights_file} has the unknown column {unknown[0]!r} ({len(unknown)} in all); give the competition's sample_submission.csv"
            )
        ids = read_table(weights_file, (ID_COLUMN,), text=(ID_COLUMN,), only=(ID_COLUMN,), form=form)
        self.ids = ids.unique_ids(ID_COLUMN)
        if not len(ids):
            raise DataError(f"{weights_file} has no rows; give the competition's sample_submission.csv")
        first = dict(zip(names, form.first_row(), strict=True))
        self.weights = np.array([_weight(form, name, first[name]) for name in self.columns])

    def ordered(self, physical: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Predictions ``(rows, 368)`` in target order to submission values in the file's column order."""
        if self.file is None:
            return physical * self.weights
        position = {name: i for i, name in enumerate(TARGET_NAMES)}
        return physical[:, [position[name] for name in self.columns]] * self.weights

    def check_ids(self, ids: npt.NDArray[Any], start: int) -> None:
        """Refuse ids that are not the file's at these rows.

        Raises:
            DataError: names the first row that differs.
        """
        if self.ids is None:
            return
        expected = self.ids[start : start + len(ids)]
        if len(expected) == len(ids) and (expected == ids).all():
            return
        differs = np.flatnonzero(expected != ids[: len(expected)])
        row = start + (int(differs[0]) if len(differs) else len(expected))
        there = str(self.ids[row]) if row < len(self.ids) else "nothing"
        raise DataError(
            f"row {row} is {str(ids[row - start])!r} in the input but {there!r} in {self.file}; both files must list the same ids in order"
        )

    def check_complete(self, rows: int) -> None:
        """Refuse to end before the file's last id.

        Raises:
            DataError: names the first id that was not predicted.
        """
        if self.ids is not None and rows < len(self.ids):
            raise DataError(
                f"{self.file} asks for {len(self.ids)} rows but the input has {rows}; first missing {str(self.ids[rows])!r}"
            )


class SubmissionWriter:
    """Rows of one submission, streamed; see :func:`open_submission`."""

    def __init__(self, path: Path, form: SubmissionForm) -> None:
        import pyarrow as pa
        import pyarrow.csv

        self.form = form
        self.rows = 0
        self._schema = pa.schema([(ID_COLUMN, pa.string()), *((name, pa.float64()) for name in form.columns)])
        options = pyarrow.csv.WriteOptions(quoting_style="none")
        self._writer = pyarrow.csv.CSVWriter(path, self._schema, write_options=options)

    def append(self, ids: npt.NDArray[Any], physical: npt.NDArray[np.float64]) -> None:
        """Add predictions in SI units, ``(rows, 368)``, in target order."""
        import pyarrow as pa

        self.form.check_ids(ids, self.rows)
        values = self.form.ordered(physical)
        if not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0]
            raise DataError(
                f"the prediction of {str(ids[row])!r}, {self.form.columns[column]}, is not finite; nothing was written"
            )
        arrays = [pa.array(ids.astype(str)), *(pa.array(column) for column in values.T)]
        self._writer.write_batch(pa.record_batch(arrays, schema=self._schema))
        self.rows += len(ids)

    def close(self) -> None:
        """Finish the file."""
        self._writer.close()


@contextmanager
def open_submission(path: Path, form: SubmissionForm) -> Iterator[SubmissionWriter]:
    """A submission that appears under its name only when it is complete."""
    with atomic_path(Path(path)) as temporary:
        writer = SubmissionWriter(temporary, form)
        try:
            yield writer
            form.check_complete(writer.rows)
        finally:
            writer.close()


class Predictions(Protocol):
    """What is needed of a prediction bank."""

    index: pd.DataFrame

    def in_judge_units(self, rows: slice) -> npt.NDArray[np.float64]:
        """Physical predictions of some rows."""


def submit_bank(bank: Predictions, path: Path, sample: Path | None = None) -> None:
    """Write a (blended) test bank as a submission.

    Args:
        bank: Predictions of the test rows, in the order of the judge's file.
        path: CSV file to write.
        sample: The judge's sample submission, for weights, ids and column order.

    Raises:
        DataError: ids or columns do not fit the sample.
    """
    ids = bank.index["row_id"].to_numpy()
    with open_submission(path, SubmissionForm(sample)) as writer:
        for start in range(0, len(ids), _CHUNK):
            rows = slice(start, start + _CHUNK)
            writer.append(ids[rows].astype(str), bank.in_judge_units(rows))


def _weight(form: TableForm, name: str, cell: str) -> float:
    try:
        return float(cell.replace(form.decimal, "."))
    except ValueError:
        raise DataError(f"{form.path}, row 0, column {name!r}: {cell!r} is no weight, a number") from None
