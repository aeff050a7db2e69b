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
    frame = pd.read_csv(path, dtype={0: str})
    if frame.shape[1] < 2:
        raise BankError(f"{path} has no target column: the first column holds ids, the others targets")
    identity = str(frame.columns[0])
    columns = {"row_id": frame[identity].to_numpy(dtype=str)}
    columns |= {name: frame[name].to_numpy() for name in ("fold", "group") if name in frame.columns[1:]}
    targets = [str(name) for name in frame.columns[1:] if name not in ("fold", "group")]
    for name in targets:
        if frame[name].dtype.kind not in "fiub":
            bad = pd.to_numeric(frame[name], errors="coerce").isna().to_numpy().argmax()
            raise BankError(
                f"{path}: column {name!r}, row {str(columns['row_id'][bad])!r} is {frame[name].iloc[bad]!r}, not a number"
            )
    return columns, frame[targets].to_numpy(dtype=np.float32), targets
