"""MoA submissions: a probability for every row and target, exactly 0 for controls."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.moa.demo import write_table
from datamodules.moa.tables import CONTROL, ID, Text, read_form


def write_submission(
    path: Path,
    ids: Text,
    targets: tuple[str, ...],
    probabilities: npt.NDArray[np.floating],
    control: npt.NDArray[np.bool_],
    form: Path | None = None,
) -> None:
    """Write the file, whole or not at all, for any number of rows.

    Args:
        path: CSV file to write.
        ids: ``sig_id`` of each row.
        targets: Names of the columns of ``probabilities``.
        probabilities: ``(rows, targets)``.
        control: Which rows are controls; they become 0, whatever was predicted.
        form: The judge's ``sample_submission.csv``, whose rows, columns and order are taken; joined by id.

    Raises:
        DataError: probabilities that are not in [0, 1], or a form that asks for other rows or columns.
    """
    values = np.where(control[:, None], 0.0, probabilities.astype(np.float64))
    wrong = ~((values >= 0) & (values <= 1))  # NaN is wrong too
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"the prediction of {ids[row]!s}, {targets[column]!r}, is {values[row, column]}, not a probability; nothing was written"
        )
    if form is not None:
        wanted_ids, wanted_targets = read_form(form)
        rows = _order(form, "row", ids, wanted_ids)
        columns = _order(form, "column", np.asarray(targets), np.asarray(wanted_targets))
        ids, targets, values = wanted_ids, wanted_targets, values[rows][:, columns]
    with atomic_path(Path(path)) as temporary:
        write_table(temporary, {ID: ids} | dict(zip(targets, values.T, strict=True)))


class Predictions(Protocol):
    """What is needed of a prediction bank."""

    path: Path
    index: pd.DataFrame
    manifest: Any

    def in_judge_units(self, rows: slice) -> npt.NDArray[np.float64]:
        """Probabilities of some rows."""


def submit_bank(bank: Predictions, path: Path, form: Path | None = None) -> None:
    """Write a (blended) bank as a submission.

    Args:
        bank: Predictions; of a test file, its ``group`` tells the controls, which become exactly 0.
        path: CSV file to write.
        form: The judge's ``sample_submission.csv``, as for :func:`write_submission`.

    Raises:
        DataError: a test bank that does not tell the controls, predictions that are no probabilities, or another form.
    """
    ids = bank.index["row_id"].to_numpy(dtype=str)
    control = np.zeros(len(ids), dtype=bool)  # out-of-fold rows are all treated
    if "group" in bank.index:
        control = bank.index["group"].to_numpy(dtype=str) == CONTROL
    elif bank.manifest.kind == "test":
        raise DataError(
            f"{bank.path} does not say which rows are controls (column 'group' of its index); predict the file again with "
            "python experiments/predict.py"
        )
    write_submission(path, ids, tuple(bank.manifest.targets), bank.in_judge_units(slice(None)), control, form)


def _order(form: Path, what: str, own: Text, wanted: Text) -> npt.NDArray[np.int64]:
    """Positions of the wanted names among the predicted ones; both must hold the same."""
    missing, extra = np.setdiff1d(wanted, own), np.setdiff1d(own, wanted)
    if len(missing):
        raise DataError(
            f"{form} asks for {what} {str(missing[0])!r}, which was not predicted ({len(missing)} such {what}s)"
        )
    if len(extra):
        raise DataError(f"{form} has no {what} {str(extra[0])!r}, which was predicted ({len(extra)} such {what}s)")
    order = np.argsort(own)
    return order[np.searchsorted(own, wanted, sorter=order)]
