"""Multilabel stratified folds of the training samples (Sechidis et al. 2011, the 2nd place's split)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.folds import TRAIN, UNUSED, FoldTable
from datamodules.mars.settings import MarsData
from datamodules.mars.tables import Labels, Samples
from datamodules.text_tables import read_table


def split_samples(samples: Samples, labels: Labels, settings: MarsData) -> FoldTable:
    """Fold table over the labelled samples, keys are sample ids.

    Training samples are validated in one fold each; labelled samples of the official validation set are trained on in
    every fold, or unused.

    Args:
        samples: All labelled samples.
        labels: Theirs.
        settings: Number of folds, seed, ready folds, and what happens to the validation set.

    Raises:
        DataError: fewer training samples than folds, or ready folds that do not fit.
    """
    own = samples.splits == "train"
    if own.sum() < settings.n_folds:
        raise DataError(
            f"{samples.data_dir}: {int(own.sum())} training samples cannot make {settings.n_folds} folds; lower --data.n_folds"
        )
    if settings.folds_csv is not None:
        fold_of = _read_folds(settings.folds_csv, samples.ids[own])
    else:
        fold_of = _stratify(labels.values[own], settings.n_folds, settings.fold_seed)
    table = FoldTable.from_assignment(samples.ids[own], fold_of)
    roles = np.full((len(samples), table.n_folds), TRAIN if settings.val_in_train else UNUSED, dtype="<U6")
    roles[own] = table.roles
    return FoldTable(samples.ids, roles)


def _stratify(labels: npt.NDArray[np.int8], n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    folds = MultilabelStratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    fold_of = np.empty(len(labels), dtype=np.int64)
    for fold, (_, held_out) in enumerate(folds.split(np.zeros((len(labels), 1)), labels)):
        fold_of[held_out] = fold
    return fold_of


def _read_folds(path: Path, ids: npt.NDArray[np.str_]) -> npt.NDArray[np.int64]:
    if not Path(path).is_file():
        raise DataError(f"{path} (--data.folds_csv) does not exist")
    table = read_table(path, ("sample_id", "fold"))
    frame = pd.DataFrame({"sample_id": table.text("sample_id"), "fold": table.text("fold")})
    if not frame["fold"].str.fullmatch(r"\d+").all():
        raise DataError(f"{path} must have whole numbers in its column 'fold'")
    fold_of = frame.drop_duplicates("sample_id").set_index("sample_id")["fold"].reindex(ids)
    if fold_of.isna().any() or len(frame) != len(ids):
        missing = fold_of.index[fold_of.isna()]
        what = (
            f"has no fold for sample {missing[0]!r}"
            if len(missing)
            else f"has {len(frame)} rows for {len(ids)} training samples"
        )
        raise DataError(f"{path} {what}; it must name every training sample once")
    return np.asarray(fold_of, dtype=np.int64)
