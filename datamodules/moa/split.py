"""The two cross-validations of MoA: by row (the old one) and by drug (Chris Deotte's double stratification)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from datamodules.errors import DataError
from datamodules.folds import FoldTable
from datamodules.moa.settings import MoaData
from datamodules.moa.tables import TrainingTables

VERSION = 1


def split(tables: TrainingTables, settings: MoaData, cache_dir: Path | None = None) -> FoldTable:
    """Folds of the treated rows; controls are in no fold.

    Args:
        tables: All training rows.
        settings: ``cv``, ``n_folds``, ``fold_seed`` and ``frequent_drug``.
        cache_dir: Keep the table there; the iterative stratification of 22,000 rows takes longer than everything else.

    Raises:
        DataError: drug folds without ``train_drug.csv``, or fewer rows than folds.
    """
    treated = np.flatnonzero(~tables.signatures.control)
    ids, labels = tables.signatures.ids[treated], tables.scored.values[treated]
    if settings.cv == "drug" and tables.drugs is None:
        raise DataError("--data.cv drug needs train_drug.csv in the data folder; add it or ask for --data.cv row")
    if settings.cv == "drug" and tables.drugs is not None and (unknown := tables.drugs[treated] == "").any():
        raise DataError(
            f"train_drug.csv: drug_id of {ids[np.argmax(unknown)]!s} is empty ({int(unknown.sum())} treated rows), and rows of no "
            "drug would all be one; fill it in (an unknown drug gets an id of its own) or ask for --data.cv row"
        )
    if len(ids) < settings.n_folds:
        raise DataError(f"{len(ids)} treated rows cannot make {settings.n_folds} folds; pass a smaller --data.n_folds")

    def compute() -> FoldTable:
        if settings.cv == "row":
            return row_folds(ids, labels, settings.n_folds, settings.fold_seed)
        assert tables.drugs is not None
        drugs = tables.drugs[treated]
        return drug_folds(ids, drugs, labels, settings.n_folds, settings.fold_seed, settings.frequent_drug)

    if cache_dir is None:
        return compute()
    key = f"{VERSION}|{tables.hash}|{settings.cv}|{settings.n_folds}|{settings.fold_seed}|{settings.frequent_drug}"
    path = Path(cache_dir) / f"moa-folds-{hashlib.sha256(key.encode()).hexdigest()[:16]}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(path) + ".lock"):
        if not path.is_file():
            compute().write(path)
        return FoldTable.read(path)


def row_folds(ids: npt.NDArray[np.str_], labels: npt.NDArray[np.uint8], n_folds: int, seed: int) -> FoldTable:
    """Iterative stratification (Sechidis et al. 2011) of single rows; rows of one drug fall into several folds.

    Args:
        ids: Row ids; the folds do not depend on their order.
        labels: ``(rows, targets)`` of 0 and 1.
        n_folds: Number of folds.
        seed: Seed of shuffling and of the ties.
    """
    order = np.argsort(ids)
    fold_of = np.empty(len(ids), dtype=np.int64)
    fold_of[order] = stratify(labels[order], n_folds, seed)
    return FoldTable.from_assignment(ids, fold_of)


def drug_folds(
    ids: npt.NDArray[np.str_],
    drugs: npt.NDArray[np.str_],
    labels: npt.NDArray[np.uint8],
    n_folds: int,
    seed: int,
    frequent: int = 18,
) -> FoldTable:
    """All rows of a rare drug in one fold; the rows of frequent drugs spread over all folds.

    The source enumerates drugs in the order of pandas' ``value_counts``, which differs between versions; here they are
    sorted, so that the seed alone fixes the folds.

    Args:
        ids: Row ids; the folds do not depend on their order.
        drugs: Drug of each row.
        labels: ``(rows, targets)`` of 0 and 1.
        n_folds: Number of folds.
        seed: Seed of shuffling and of the ties.
        frequent: Drugs with more rows than this are frequent.
    """
    order = np.argsort(ids)
    names, drug_of, counts = np.unique(drugs[order], return_inverse=True, return_counts=True)
    sorted_labels = labels[order]
    is_rare = counts <= frequent
    fold_of = np.empty(len(ids), dtype=np.int64)
    if is_rare.any():
        totals = np.zeros((len(names), labels.shape[1]), dtype=np.int64)
        np.add.at(totals, drug_of, sorted_labels)
        # labels are a function of the drug; where they are not, a drug has what most of its rows have
        majority = (2 * totals >= counts[:, None]).astype(np.uint8)
        fold_of_drug = np.full(len(names), -1, dtype=np.int64)
        fold_of_drug[is_rare] = stratify(majority[is_rare], n_folds, seed)
        fold_of[order] = fold_of_drug[drug_of]
    single = ~is_rare[drug_of]
    if single.any():
        fold_of[order[single]] = stratify(sorted_labels[single], n_folds, seed)
    return FoldTable.from_assignment(ids, fold_of)


def stratify(labels: npt.NDArray[np.uint8], n_folds: int, seed: int) -> npt.NDArray[np.int64]:
    """Fold of each row by ``MultilabelStratifiedKFold``, given clean 0/1 labels and an integer seed.

    Targets clipped for label smoothing must never come here: the library casts them to bool, all True, and then
    stratifies nothing.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    if len(labels) < n_folds:
        raise DataError(
            f"{len(labels)} rows or drugs cannot be spread over {n_folds} folds; pass a smaller --data.n_folds"
        )
    if labels.shape[1] == 1:  # the library wants at least two columns
        labels = np.concatenate([labels, 1 - labels], axis=1)
    splitter = MultilabelStratifiedKFold(n_splits=n_folds, shuffle=True, random_state=seed)
    fold_of = np.full(len(labels), -1, dtype=np.int64)
    for fold, (_, valid) in enumerate(splitter.split(np.zeros(len(labels)), labels)):
        fold_of[valid] = fold
    return fold_of
