from __future__ import annotations

import numpy as np
import pytest

from datamodules.banks.bank import BankError
from datamodules.banks.tables import TableBank, table_name


def test_csv_and_npz_hold_the_same(tmp_path):
    values = np.array([[0.25, 0.5], [0.75, 1.0]], np.float32)
    (tmp_path / "a_oof.csv").write_text("id,fold,x,y\nr1,0,0.25,0.5\nr2,1,0.75,1.0\n")
    np.savez(tmp_path / "b.npz", row_id=["r1", "r2"], fold=[0, 1], predictions=values, targets=["x", "y"])
    a, b = TableBank(tmp_path / "a_oof.csv", "out_of_fold"), TableBank(tmp_path / "b.npz", "out_of_fold")
    for bank in (a, b):
        np.testing.assert_array_equal(bank.predictions, values)
        assert list(bank.index["row_id"]) == ["r1", "r2"]
        assert list(bank.index["fold"]) == [0, 1]
        assert bank.manifest.targets == ["x", "y"]
    assert a.name == "a"


def test_ids_that_look_like_numbers_stay_text(tmp_path):
    (tmp_path / "a.csv").write_text("id,x\n007,1\n008,2\n")
    assert list(TableBank(tmp_path / "a.csv", "test").index["row_id"]) == ["007", "008"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,x\nr1,1\nr1,2\n", "id 'r1' stands 2 times"),
        ("id,x\nr1,1\nr2,abc\n", "column 'x', row 3: not a number: 'abc'"),
        ("id\nr1\n", "has no target column"),
    ],
)
def test_damaged_csv(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(BankError, match=message):
        TableBank(tmp_path / "a.csv", "test")


def test_damaged_npz(tmp_path):
    np.savez(tmp_path / "a.npz", row_id=["r1"])
    with pytest.raises(BankError, match="has no array 'predictions'"):
        TableBank(tmp_path / "a.npz", "test")
    np.savez(tmp_path / "a.npz", row_id=["r1", "r2"], predictions=np.zeros((3, 2)))
    with pytest.raises(BankError, match="row_id has shape"):
        TableBank(tmp_path / "a.npz", "test")
    np.savez(tmp_path / "a.npz", row_id=np.array(["r1"], dtype=object), predictions=np.zeros((1, 2)))
    with pytest.raises(BankError, match="pickled arrays are refused"):
        TableBank(tmp_path / "a.npz", "test")


def test_names(tmp_path):
    assert table_name(tmp_path / "resnet_oof.npz") == table_name(tmp_path / "resnet_test.csv") == "resnet"


def test_a_table_answers_like_a_bank_folder(tmp_path):
    path = tmp_path / "model_oof.csv"
    path.write_text("id,a,b\nr1,0.1,0.2\nr2,0.3,0.4\n")
    assert TableBank(path, "out_of_fold").shape == (2,)
