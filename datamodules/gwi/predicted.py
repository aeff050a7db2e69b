"""Maps as a net predicted them while they were held out, beside the true ones."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.batches import Rows
from datamodules.errors import DataError
from datamodules.files import sha256_of
from datamodules.folds import FoldTable
from datamodules.gwi.schema import SIDE
from datamodules.out_of_fold import out_of_fold_runs

if TYPE_CHECKING:
    from datamodules.banks.bank import PredictionBank


class PredictedMaps:
    """Out-of-fold maps of a model, the mean over its seeds, read when they are asked for.

    Args:
        folder: ``<out>/<experiment>/<variant>``, or one of its seeds or folds.
        folds: Folds of the run that reads them.
        row_ids: Row ids of all its maps in order.

    Raises:
        DataError: no finished runs, other folds, no velocity maps, or none of these rows.
    """

    def __init__(self, folder: Path, folds: FoldTable, row_ids: pd.Series[str]) -> None:
        source = out_of_fold_runs(folder, folds, "data.predicted", "--data.families, files and --data.n_folds")
        self._banks: list[PredictionBank] = source.banks
        for bank in self._banks:
            if bank.shape != (SIDE, SIDE):
                raise DataError(
                    f"data.predicted: {bank.path} predicts shape {bank.shape} per row, not velocity maps ({SIDE}, {SIDE})"
                )
        places = [pd.Index(bank.index["row_id"]).get_indexer(row_ids) for bank in self._banks]
        self._places = np.stack(places)  # (banks, rows), -1 where a bank has no such row
        self._known = (self._places >= 0).sum(0)
        if not self._known.any():
            raise DataError(
                f"data.predicted: {folder} has no prediction of any map here, such as {row_ids.iloc[0]!r}; was it trained on "
                "another data folder?"
            )
        stamps = [sha256_of(b.path / "manifest.json" if b.path.is_dir() else b.path) for b in self._banks]
        self.hash = hashlib.sha256("".join(stamps).encode()).hexdigest()

    def __len__(self) -> int:
        """Maps with a prediction."""
        return int((self._known > 0).sum())

    def read(self, rows: Rows) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Predicted maps in m/s ``(rows, 70, 70)``, 0 where there is none, and which rows have one."""
        maps = np.zeros((len(rows), SIDE, SIDE), np.float64)
        for bank, places in zip(self._banks, self._places[:, rows], strict=True):
            there = np.flatnonzero(places >= 0)
            if len(there):
                maps[there] += bank.in_judge_units(places[there])
        known = self._known[rows]
        return (maps / known.clip(min=1)[:, None, None]).astype(np.float32), known > 0
