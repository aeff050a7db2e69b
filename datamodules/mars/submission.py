"""Mars submissions: a probability for every sample and class, in the judge's rows and columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.text_tables import read_table

ID_COLUMN = "sample_id"


class Predictions(Protocol):
    """What is needed of a prediction bank."""

    index: pd.DataFrame
    manifest: Any

    def in_judge_units(self, rows: slice) -> npt.NDArray[np.float64]:
        """Probabilities of some samples."""


def submit_bank(bank: Predictions, path: Path, form: Path | None = None) -> None:
    """Write a (blended) test bank as a submission, whole or not at all.

    Args:
        bank: Probabilities ``(samples, classes)`` of the samples outside the training split.
        path: CSV file to write.
        form: The judge's ``submission_format.csv``, whose rows, columns and order are taken; joined by id. Without it the
            bank's own.

    Raises:
        DataError: a value that is no probability, or a form that asks for other samples or classes.
    """
    ids = bank.index["row_id"].to_numpy(dtype=str)
    values = bank.in_judge_units(slice(None)).astype(np.float64)
    wrong = ~((values >= 0) & (values <= 1))  # NaN is wrong too
    if wrong.any():
        row, column = np.argwhere(wrong)[0]
        raise DataError(
            f"the prediction of {ids[row]}, {bank.manifest.targets[column]!r}, is {values[row, column]}, not a probability; nothing was written"
        )
    table = pd.DataFrame(values, columns=list(bank.manifest.targets), index=pd.Index(ids, name=ID_COLUMN))
    if form is not None:
        table = _in_form(table, Path(form))
    with atomic_path(Path(path)) as temporary:
        table.to_csv(temporary, float_format="%.9g")


def _in_form(table: pd.DataFrame, form: Path) -> pd.DataFrame:
    if not form.is_file():
        raise DataError(f"{form} does not exist; give the judge's submission_format.csv")
    asked = read_table(form, (ID_COLUMN,))
    ids, classes = asked.unique_ids(ID_COLUMN), [name for name in asked.names if name != ID_COLUMN]
    for what, own, wanted in (
        ("sample", table.index, pd.Index(ids)),
        ("class", table.columns, pd.Index(classes)),
    ):
        missing, extra = wanted.difference(list(own)), own.difference(list(wanted))
        if len(missing):
            raise DataError(
                f"{form} asks for {what} {missing[0]!r}, which was not predicted ({len(missing)} of {len(wanted)})"
            )
        if len(extra):
            raise DataError(
                f"{form} does not ask for {what} {extra[0]!r}, which was predicted ({len(extra)} of {len(own)})"
            )
    return table.reindex(index=ids, columns=classes)
