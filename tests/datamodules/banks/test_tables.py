from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.banks import roles
from datamodules.banks.bank import BankError
from datamodules.banks.roles import TableFlags, classes_of_columns, group_columns, id_candidates, is_test, table_name
from datamodules.banks.sources import resolve
from datamodules.banks.table_set import read_tables
from datamodules.errors import DataError


def bank(path, **flags):
    (found,) = read_tables([("", path)], TableFlags(**flags), "out_of_fold").banks
    return found[2]


def test_csv_and_npz_hold_the_same(tmp_path):
    values = np.array([[0.25, 0.5], [0.75, 1.0]], np.float32)
    (tmp_path / "a_oof.csv").write_text("id,fold,x,y\nr1,0,0.25,0.5\nr2,1,0.75,1.0\n")
    np.savez(tmp_path / "b.npz", row_id=["r1", "r2"], fold=[0, 1], predictions=values, targets=["x", "y"])
    truth = tmp_path / "t.csv"
    truth.write_text("id,y,x\nr2,8,7\nr1,6,5\n")
    for name in ("a_oof.csv", "b.npz"):
        read = bank(tmp_path / name, truth=truth)
        np.testing.assert_array_equal(read.predictions, values)
        assert list(read.index["row_id"]) == ["r1", "r2"]
        assert list(read.index["fold"]) == [0, 1]
        assert read.manifest.targets == ["x", "y"]
        assert read.name == name[0]
        np.testing.assert_array_equal(read.truth().predictions, [[7, 8], [5, 6]])


def test_ids_stay_the_text_that_they_are(tmp_path):
    (tmp_path / "a.csv").write_text('id,x\n007,1\nNA,2\n"a, b",3\n')
    read = bank(tmp_path / "a.csv")
    assert list(read.index["row_id"]) == ["007", "NA", "a, b"]
    assert read.shape == (1,)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,x\nr1,1\nr1,2\n", r"a.csv, row 3: id 'r1' stands 2 times \(first in row 2\)"),
        ("id,x\nr1,1\nr2,abc\n", "column 'x', row 3: not a number: 'abc'"),
        ("id,x\nr1,1\nr2,\n", r"a.csv, row 3: column 'x' is empty \(row id 'r2', 1 such rows\)"),
        ("id,x\nr1,1\nr2,inf\n", "row 3: column 'x' is infinite"),
        ("id,x\nr1,1\n,2\n", "a.csv, row 3: id is empty; every row needs its own id"),
        ("id,fold,x\nr1,0,1\nr2,,2\n", r"a.csv: row 'r2' has no fold \(1 such rows\)"),
        ("id\nr1\n", "has no column of predictions"),
        ("id,comment\nr1,good\n", "has no column of predictions"),
    ],
)
def test_damaged_csv(tmp_path, text, message):
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        bank(tmp_path / "a.csv", prediction=("x",) if ",x" in text else ())


def test_damaged_npz(tmp_path):
    np.savez(tmp_path / "a.npz", row_id=["r1"])
    with pytest.raises(BankError, match="has no array 'predictions'"):
        bank(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", row_id=["r1", "r2"], predictions=np.zeros((3, 2)))
    with pytest.raises(BankError, match="row_id has shape"):
        bank(tmp_path / "a.npz")
    np.savez(tmp_path / "a.npz", row_id=np.array(["r1"], dtype=object), predictions=np.zeros((1, 2)))
    with pytest.raises(BankError, match="pickled arrays are refused"):
        bank(tmp_path / "a.npz")
    (tmp_path / "a.npz").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(BankError, match="cannot be read"):
        bank(tmp_path / "a.npz")


def test_arrays_without_ids_ask_for_them(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(DataError, match="give --ids FILE with the ids of its 3 rows in order"):
        bank(tmp_path / "a.npy")
    (tmp_path / "ids.txt").write_text("r1\nNA\n")
    with pytest.raises(BankError, match="gives 2 ids for the 3 rows"):
        bank(tmp_path / "a.npy", ids=tmp_path / "ids.txt")
    (tmp_path / "ids.txt").write_text("r1\nNA\nx,y\n")
    assert list(bank(tmp_path / "a.npy", ids=tmp_path / "ids.txt").index["row_id"]) == ["r1", "NA", "x,y"]


def test_folds_of_text_are_those_of_all_tables(tmp_path):
    (tmp_path / "a.csv").write_text("id,fold,x\nr1,two,1\nr2,one,2\n")
    (tmp_path / "b.csv").write_text("id,x,fold\nr2,1,one\nr1,2,two\n")
    read = read_tables([("", tmp_path / "a.csv"), ("", tmp_path / "b.csv")], TableFlags(), "out_of_fold")
    assert [list(found.index["fold"]) for _, _, found in read.banks] == [[1, 0], [0, 1]]
    (tmp_path / "b.csv").write_text("id,x,fold\nr2,1,two\nr1,2,two\n")
    with pytest.raises(BankError, match=r"b.csv: row 'r2' is in another fold than in .*a.csv"):
        read_tables([("", tmp_path / "a.csv"), ("", tmp_path / "b.csv")], TableFlags(), "out_of_fold")


def test_rows_that_overlap_in_part(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("id,x\nr1,1\nr2,2\nr3,3\n")
    (tmp_path / "b.csv").write_text("id,x\nr4,4\nr3,3\nr2,\nr1,1\n")
    (tmp_path / "train.csv").write_text("id,target\nr1,1\nr2,2\nr3,3\nr5,3\n")
    one, two = resolve([str(tmp_path)], flags=TableFlags(rows="intersect"))
    assert list(one.banks[0].index["row_id"]) == ["r1", "r3"]
    np.testing.assert_array_equal(two.banks[0].predictions[:, 0], [3, 1])
    printed = capsys.readouterr().out
    assert "2 rows are in all models; lost: 1 of a, b" in printed
    assert "b.csv: 1 rows without a prediction are left out" in printed


@pytest.mark.parametrize(
    ("path", "name", "test"),
    [
        ("resnet_oof.npz", "resnet", False),
        ("resnet_test.csv", "resnet", True),
        ("oof-lgb.v2.csv.gz", "lgb.v2", False),
        ("test_preds_lgb.parquet", "lgb", True),
        ("lgb/oof.csv", "lgb", False),
        ("lgb/test.csv", "lgb", True),
        ("test/lgb.csv", "lgb", True),
        ("testing_net.csv", "testing_net", False),
    ],
)
def test_names(tmp_path, path, name, test):
    assert table_name(tmp_path / path) == name
    assert is_test(tmp_path / path) == test


def test_test_predictions_are_found(tmp_path):
    for place in ("oof", "test"):
        (tmp_path / place).mkdir()
        for name in ("a", "b"):
            (tmp_path / place / f"{name}.csv").write_text("id,x\n")
    assert roles.test_twins(tmp_path / "oof/a.csv") == [tmp_path.resolve() / "test/a.csv"]
    assert roles.test_twins(Path(tmp_path / "oof/c.csv")) == []


def test_columns_are_matched_to_labels():
    assert group_columns(["p_cat", "p_dog"], ["dog", "cat"]) == {"p": [1, 0]}
    assert group_columns(["lgb_0", "nn_1", "lgb_1", "nn_0"], ["0", "1"]) == {"lgb": [0, 2], "nn": [3, 1]}
    assert group_columns(["Status_C", "Status_CL", "Status_D"], ["C", "CL", "D"]) == {"Status": [0, 1, 2]}
    assert group_columns(["10", "1", "0"], ["0", "1", "10"]) == {"": [2, 1, 0]}
    assert group_columns(["dog (p)", "cat (p)"], ["cat", "dog"]) == {"p": [1, 0]}
    assert group_columns(["lgb", "xgb"], ["0", "1"]) is None
    assert group_columns(["p_cat", "p_dog", "p_cat"], ["cat", "dog"]) is None
    assert classes_of_columns(["prob_a", "prob_b", "prob_c"], ["a", "c"]) == ["a", "b", "c"]
    assert classes_of_columns(["pred_0", "pred_1"], ["no", "yes"]) == ["no", "yes"]
    assert classes_of_columns(["lgb", "xgb"], ["0", "1"]) is None


def test_the_likeliest_id_comes_first():
    assert id_candidates(["patient_id", "age", "image_name"]) == ["image_name", "patient_id"]
    assert id_candidates(["pred", "y"]) == []
    assert id_candidates(["kennung", "x"]) == ["kennung"]
    assert id_candidates(["x", "y"], numeric=["x", "y"]) == []


def test_an_id_that_repeats_is_no_id(tmp_path):
    (tmp_path / "a.csv").write_text("patient_id,scan_id,pred\n1,a,0.5\n1,b,0.25\n")
    assert list(bank(tmp_path / "a.csv").index["row_id"]) == ["a", "b"]


def test_parquet_types(tmp_path):
    frame = pd.DataFrame({"id": pd.Categorical(["b", "NA"]), "pred": np.array([0.25, 0.5], np.float16), "fold": [1, 0]})
    frame.to_parquet(tmp_path / "a.parquet")
    read = bank(tmp_path / "a.parquet")
    assert list(read.index["row_id"]) == ["b", "NA"]
    np.testing.assert_array_equal(read.predictions[:, 0], [0.25, 0.5])
    (tmp_path / "a.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(BankError, match="cannot be read as Parquet"):
        bank(tmp_path / "a.parquet")


def test_banks_of_runs_have_no_rows_to_spare(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/manifest.json").write_text("{}")
    with pytest.raises(DataError, match="--rows intersect is for tables"):
        resolve([str(tmp_path / "a")], flags=TableFlags(rows="intersect"))


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(",;'\t|"), min_size=1, max_size=8
)


@settings(max_examples=60, deadline=None)
@given(
    ids=st.lists(TEXT.map(str.strip).filter(bool), min_size=2, max_size=12, unique=True),
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    data=st.data(),
)
def test_any_ids_meet_whatever_the_order_of_rows(tmp_path_factory, ids, delimiter, quoting, data):
    folder = tmp_path_factory.mktemp("ids")
    values = {name: i / 8 for i, name in enumerate(ids)}
    for name in ("a", "b"):
        rows = data.draw(st.permutations(ids))
        with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator="\n")
            writer.writerow(["id", "pred"])
            writer.writerows([row, values[row]] for row in rows)
    one, two = (source.banks[0] for source in resolve([str(folder)]))
    assert set(one.index["row_id"]) == set(ids)
    ours, theirs = (dict(zip(b.index["row_id"], b.predictions[:, 0].tolist(), strict=True)) for b in (one, two))
    assert ours == theirs == values


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        (",kennung,pred\n0,a,0.5\n1,b,0.25\n", ["a", "b"]),
        (",pred\n0,0.5\n1,0.25\n", ["0", "1"]),
        (",pred\n17,0.5\n4,0.25\n", ["17", "4"]),
        ("Unnamed: 0,id,pred\n0,8,0.5\n1,9,0.25\n", ["8", "9"]),
        (",age,pred\n0,31,0.5\n1,31,0.25\n", ["0", "1"]),
    ],
)
def test_an_index_without_a_name_is_an_id_where_nothing_else_is(tmp_path, text, ids):
    (tmp_path / "a.csv").write_text(text)
    read = bank(tmp_path / "a.csv")
    assert list(read.index["row_id"]) == ids
    np.testing.assert_array_equal(read.predictions[:, 0], [0.5, 0.25])
