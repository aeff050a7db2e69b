from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.folds import VALID, FoldTable
from datamodules.moa.settings import MoaData
from datamodules.moa.split import drug_folds, row_folds, split
from datamodules.moa.tables import TrainingTables, read_training
from tests.datamodules.moa.tiny import write_files


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> TrainingTables:
    return read_training(write_files(tmp_path_factory.mktemp("moa") / "demo"))


def assigned(table: FoldTable) -> np.ndarray:
    assert ((table.roles == VALID).sum(axis=1) == 1).all()
    return (table.roles == VALID).argmax(axis=1)


def random_rows(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    drug = np.concatenate([np.repeat(np.arange(80), 6), np.repeat([80, 81], 40), np.repeat(82, 18), np.repeat(83, 19)])
    of_drug = (rng.random((84, 15)) < 0.1).astype(np.uint8)
    ids = np.array([f"id_{i:05d}" for i in rng.permutation(len(drug))])
    return ids, np.array([f"{d:03x}" for d in drug]), of_drug[drug]


def test_no_rare_drug_is_in_two_folds_and_frequent_ones_are_in_all() -> None:
    ids, drugs, labels = random_rows()
    fold_of = assigned(drug_folds(ids, drugs, labels, 5, seed=34))
    for drug in np.unique(drugs):
        folds = np.unique(fold_of[drugs == drug])
        frequent = (drugs == drug).sum() > 18
        assert len(folds) == (5 if frequent else 1), drug


def test_positives_of_every_label_are_balanced() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((600, 20)) < rng.uniform(0.02, 0.2, size=20)).astype(np.uint8)
    ids = np.array([f"id_{i:04d}" for i in range(600)])
    fold_of = assigned(row_folds(ids, labels, 5, seed=34))
    positives = np.array([labels[fold_of == fold].sum(axis=0) for fold in range(5)])
    random = np.array([labels[rng.permutation(600) % 5 == fold].sum(axis=0) for fold in range(5)])
    assert np.ptp(positives, axis=0).mean() < 2
    assert np.ptp(random, axis=0).mean() > 4
    sizes = np.bincount(fold_of)
    assert np.ptp(sizes) <= 8


def test_positive_drugs_of_every_label_are_balanced() -> None:
    ids, drugs, labels = random_rows()
    fold_of = assigned(drug_folds(ids, drugs, labels, 5, seed=34))
    names, first = np.unique(drugs, return_index=True)
    rare = np.array([(drugs == name).sum() <= 18 for name in names])
    of_drug, folds = labels[first][rare], fold_of[first][rare]
    positives = np.array([of_drug[folds == fold].sum(axis=0) for fold in range(5)])
    assert np.ptp(positives, axis=0).mean() < 2


@pytest.mark.parametrize("kind", ["row", "drug"])
def test_folds_do_not_depend_on_the_order_of_rows_but_on_the_seed(kind: str) -> None:
    ids, drugs, labels = random_rows()
    order = np.random.default_rng(5).permutation(len(ids))

    def make(rows: np.ndarray, seed: int) -> FoldTable:
        if kind == "row":
            return row_folds(ids[rows], labels[rows], 5, seed)
        return drug_folds(ids[rows], drugs[rows], labels[rows], 5, seed)

    straight = make(np.arange(len(ids)), 34)
    np.random.seed(7)  # noqa: NPY002 - the global generator must not matter either
    assert make(order, 34).hash == straight.hash
    assert make(order, 35).hash != straight.hash


def test_controls_are_in_no_fold_and_every_treated_row_in_one(tables: TrainingTables) -> None:
    for cv in ("row", "drug"):
        folds = split(tables, MoaData(cv=cv))  # type: ignore[arg-type]
        assert set(folds.keys) == set(tables.signatures.ids[~tables.signatures.control])
        assert folds.n_folds == 5
        assigned(folds)


def test_the_table_is_cached_and_keyed_by_what_makes_it(
    tables: TrainingTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = split(tables, MoaData(), tmp_path)
    other = split(tables, MoaData(cv="row"), tmp_path)
    assert other.hash != first.hash
    monkeypatch.setattr("datamodules.moa.split.stratify", None)  # must not be called again
    assert split(tables, MoaData(), tmp_path).hash == first.hash
    assert len(list(tmp_path.glob("moa-folds-*.csv"))) == 2


def test_impossible_folds_are_refused(tables: TrainingTables) -> None:
    with pytest.raises(DataError, match=r"needs train_drug\.csv .* --data\.cv row"):
        split(replace(tables, drugs=None), MoaData())
    with pytest.raises(DataError, match=r"smaller --data\.n_folds"):
        split(tables, MoaData(cv="row", n_folds=10_000))
    with pytest.raises(DataError, match="rows or drugs cannot be spread"):
        split(tables, MoaData(n_folds=200))
    with pytest.raises(ValueError, match="at least 2"):
        MoaData(n_folds=1)
