"""Out-of-fold predictions of an earlier stage, as inputs of the next one."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.folds import FoldTable
from datamodules.moa.tables import Signatures
from datamodules.out_of_fold import out_of_fold_runs

if TYPE_CHECKING:
    from datamodules.banks.sources import Source


@dataclass(frozen=True)
class MetaFeatures:
    """What an earlier stage says of every training row without having seen it.

    Args:
        names: The predicted targets.
        values: ``(rows, targets)`` float32 probabilities, mean over the stage's seeds; 0 for controls, which is what
            every net predicts for them.
        runs: Directories of the runs that predicted, ``<variant>/seed<S>/fold<F>``.
        hash: SHA-256 of names and values.
    """

    names: tuple[str, ...]
    values: npt.NDArray[np.float32]
    runs: tuple[Path, ...]
    hash: str


def read_meta(folder: Path, rows: Signatures, folds: FoldTable) -> MetaFeatures:
    """Join the out-of-fold predictions of all folds of a variant's runs, averaged over its seeds, by row id.

    Args:
        folder: ``<out>/<experiment>/<variant>``.
        rows: All training rows.
        folds: Folds of the run that is to read the predictions.

    Raises:
        DataError: no finished runs there, a fold is missing, another fold table, or a treated row without a prediction.
    """
    source = out_of_fold_runs(folder, folds, "data.meta", "--data.cv, --data.n_folds and --data.fold_seed")
    _require_all_folds(source, folds)
    names = tuple(source.banks[0].manifest.targets)
    treated = np.flatnonzero(~rows.control)
    total = np.zeros((len(treated), len(names)))
    for banks in source.seeds:
        known = np.concatenate([bank.index["row_id"].to_numpy(dtype=str) for bank in banks])
        predicted = np.concatenate([bank.in_judge_units(slice(None)) for bank in banks])
        total += predicted[_positions(known, rows.ids[treated], folder)]
    values = np.zeros((len(rows.ids), len(names)), dtype=np.float32)
    values[treated] = total / len(source.seeds)
    digest = hashlib.sha256("\n".join(names).encode() + values.tobytes()).hexdigest()
    runs = tuple(sorted(bank.path.parent for bank in source.banks))
    return MetaFeatures(names, values, runs, digest)


def _require_all_folds(source: Source, folds: FoldTable) -> None:
    for banks in source.seeds:
        there = {fold for bank in banks for fold in bank.manifest.folds}
        missing = sorted(set(range(folds.n_folds)) - there)
        if missing:
            raise DataError(
                f"data.meta: {banks[0].path.parents[1]} has no finished fold {missing[0]} of {folds.n_folds}; finish the earlier "
                "stage with --fold all"
            )


def _positions(known: npt.NDArray[np.str_], wanted: npt.NDArray[np.str_], folder: Path) -> npt.NDArray[np.int64]:
    """Where each wanted row stands among the predicted ones."""
    at = pd.Index(known).get_indexer(pd.Index(wanted))
    lost = at < 0
    if lost.any():
        raise DataError(
            f"data.meta: {folder} has no prediction of row {wanted[int(np.argmax(lost))]!s} ({int(lost.sum())} such rows); "
            "was it trained on another data folder?"
        )
    return at.astype(np.int64)
