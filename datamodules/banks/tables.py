"""Predictions that did not come from a run directory: ``.npz`` and ``.csv`` files with ids.

``.npz``: arrays ``row_id`` (rows) and ``predictions`` (rows, *shape), optionally ``fold`` (rows), ``group`` (rows) and
``targets`` (names). ``.csv``: the first column holds the ids; optional columns ``fold`` and ``group``; every other
column is a target. A truth file has the same form with the true values in place of predictions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.banks.bank import BankError, Manifest, PredictionBank
from datamodules.errors import DataError
from datamodules.text_tables import read_table, table_form, table_names

SUFFIXES = (".npz", ".csv")
_ROLES = ("_oof", "_test", "_valid", "_val", "_truth")


class TableBank(PredictionBank):
    """A table in memory that answers like a bank folder.

    Args:
        path: ``.npz`` or ``.csv`` file.
        kind: What it holds: ``out_of_fold``, ``test`` or ``truth``.

    Raises:
        BankError: a column or array is missing, has the wrong size or is not numeric, or an id is repeated.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self.path = Path(path)
        columns, predictions, targets = _read_npz(self.path) if self.path.suffix == ".npz" else _read_csv(self.path)
        self.predictions, self._shape, self.files = predictions, tuple(predictions.shape[1:]), {}
        self.index = pd.DataFrame(columns)
        self.index["row_id"] = self.index["row_id"].astype(str)
        self.scale = np.ones(())
        self.manifest = Manifest(
            kind=kind, domain="", metric="", experiment=table_name(self.path), targets=targets, folds=[]
        )
        if len(self.index) != len(predictions):
            raise BankError(f"{path}: {len(self.index)} row ids for {len(predictions)} predictions")
        repeated = self.index["row_id"].duplicated()
        if repeated.any():
            raise BankError(f"{path}: row id {self.index['row_id'][repeated].iloc[0]!r} is repeated")

    def truth(self) -> PredictionBank:
        """Tables name no truth.

        Raises:
            BankError: always.
        """
        raise BankError(f"{self.path} is a table and names no true values; give them with --truth FILE")


def table_name(path: Path) -> str:
    """Model name of a table: the file's name without its suffix and a closing ``_oof`` or ``_test``."""
    name = Path(path).stem
    for role in _ROLES:
        name = name.removesuffix(role)
    return name


def _read_npz(path: Path) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[Any], list[str]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except ValueError as error:
        raise BankError(f"{path} cannot be read ({error}); pickled arrays are refused, save ids as text") from None
    for name in ("row_id", "predictions"):
        if name not in arrays:
            raise BankError(f"{path} has no array {name!r} (it has {', '.join(sorted(arrays))}); see docs/blending.md")
    predictions = arrays["predictions"]
    if predictions.dtype.kind not in "fiu":
        raise BankError(f"{path}: predictions are {predictions.dtype}, not numbers")
    columns = {name: arrays[name] for name in ("row_id", "fold", "group") if name in arrays}
    for name, values in columns.items():
        if values.shape != (len(predictions),):
            raise BankError(f"{path}: {name} has shape {values.shape} for {len(predictions)} predictions")
    return columns, np.asarray(predictions, dtype=np.float32), [str(t) for t in arrays.get("targets", [])]


def _read_csv(path: Path) -> tuple[dict[str, npt.NDArray[Any]], npt.NDArray[Any], list[str]]:
    try:
        names = table_names(table_form(path))
        if len(names) < 2:
            raise BankError(f"{path} has no target column: the first column holds ids, the others targets")
        table = read_table(path, text=(names[0], "group"))
        columns: dict[str, npt.NDArray[Any]] = {"row_id": table.unique_ids(names[0])}
    except DataError as error:
        raise BankError(str(error)) from None
    if "fold" in names[1:]:
        folds = table.numbers("fold")
        if (wrong := folds != np.rint(folds)).any():  # an empty cell too
            raise BankError(
                f"{table.row(int(np.argmax(wrong)))}: fold is {folds[np.argmax(wrong)]:g}, not a whole number"
            )
        columns["fold"] = folds.astype(np.int64)
    if "group" in names[1:]:
        columns["group"] = table.text("group")
    targets = [name for name in names[1:] if name not in ("fold", "group")]
    values = np.empty((len(table), len(targets)), dtype=np.float32)
    for i, name in enumerate(targets):
        values[:, i] = table.numbers(name)
    return columns, values, targets
