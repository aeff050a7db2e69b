from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.errors import DataError
from datamodules.folds import TRAIN, VALID, FoldTable, time_blocks
from tests.files.odd_tables import ODD, READ, REFUSED, write_odd


def test_a_table_survives_a_file_and_its_hash_ignores_the_order(tmp_path: Path) -> None:
    keys = np.array([f"row{i}" for i in range(20)])
    table = FoldTable.from_assignment(keys, np.arange(20) % 4)
    table.write(tmp_path / "folds.csv")
    back = FoldTable.read(tmp_path / "folds.csv")
    assert back.hash == table.hash
    shuffled = np.random.default_rng(0).permutation(20)
    assert FoldTable(table.keys[shuffled], table.roles[shuffled]).hash == table.hash
    other = FoldTable.from_assignment(keys, (np.arange(20) + 1) % 4)
    assert other.hash != table.hash


def test_every_row_is_validated_in_one_fold() -> None:
    table = FoldTable.from_assignment(np.array(list("abcdefgh")), np.array([0, 1, 2, 0, 1, 2, 0, 1]))
    validated = np.concatenate([table.where(fold, VALID) for fold in range(table.n_folds)])
    assert (np.sort(validated) == np.arange(8)).all()
    for fold in range(3):
        assert not set(table.where(fold, TRAIN)) & set(table.where(fold, VALID))


@given(st.integers(10, 200), st.integers(2, 5), st.integers(0, 30))
@settings(deadline=None, max_examples=50)
def test_time_blocks_keep_their_distance(n: int, folds: int, gap: int) -> None:
    times = np.cumsum(np.random.default_rng(n).integers(1, 9, n))
    roles = time_blocks(times, folds, gap)
    for fold in range(folds):
        train, valid = times[roles[:, fold] == TRAIN], times[roles[:, fold] == VALID]
        assert len(valid)
        if len(train):
            assert np.abs(train[:, None] - valid[None, :]).min() >= gap


def test_bad_tables_are_refused() -> None:
    keys = np.array(["a", "b", "b"])
    with pytest.raises(DataError, match="'b' stands 2 times"):
        FoldTable(keys, np.full((3, 1), TRAIN))
    with pytest.raises(DataError, match="unknown role 'test'"):
        FoldTable(np.array(["a"]), np.array([["test"]]))
    with pytest.raises(DataError, match="fold 0 has no valid row"):
        FoldTable(np.array(["a"]), np.array([[TRAIN]]))
    table = FoldTable.from_assignment(np.array(list("ab")), np.array([0, 1]))
    with pytest.raises(DataError, match="--fold 2 does not exist: this split has folds 0 to 1"):
        table.where(2, TRAIN)


@pytest.mark.parametrize("name", READ)
def test_fold_tables_that_went_through_other_hands_are_the_same(name: str, tmp_path: Path) -> None:
    table = FoldTable.from_assignment(np.array([f"zeile-ß{i}" for i in range(6)]), np.arange(6) % 3)
    table.write(tmp_path / "folds.csv")
    assert FoldTable.read(write_odd(name, tmp_path / "folds.csv")).hash == table.hash


@pytest.mark.parametrize("name", REFUSED)
def test_broken_fold_tables_are_named(name: str, tmp_path: Path) -> None:
    FoldTable.from_assignment(np.array(["a", "b"]), np.arange(2)).write(tmp_path / "folds.csv")
    with pytest.raises(DataError, match=rf"folds\.csv.*{ODD[name].refused}.*delete it or restore it"):
        FoldTable.read(write_odd(name, tmp_path / "folds.csv"))
