from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blend.aligned.align import align
from blend.metrics.registry import KNOWN
from blend.problem import Problem
from datamodules.banks.bank import BankError, Manifest, write_bank
from datamodules.banks.sources import resolve
from datamodules.errors import DataError
from tests.blend.banks import write_runs, write_test_predictions


def everything(stack, values=2**22):
    chunks = list(stack.chunks(values))
    return np.concatenate([c.predictions for c in chunks], axis=1), np.concatenate([c.truth for c in chunks])


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"), models=3, rows=41)


@pytest.fixture
def runs(written, tmp_path):
    """A copy to spoil."""
    shutil.copytree(written.root, tmp_path / "runs")
    return replace(written, root=tmp_path / "runs")


def edit(folder: Path, **changes):
    path = folder / "manifest.json"
    content = json.loads(path.read_text())
    content.pop("checksum", None)
    content["manifest"].update(changes)
    path.write_text(json.dumps(content))


def rewrite(folder: Path, index: pd.DataFrame | None = None, values: np.ndarray | None = None):
    if index is not None:
        index.to_parquet(folder / "index.parquet")
    if values is not None:
        np.save(folder / "predictions.npy", values.astype(np.float32))


def bank(runs, model=1, fold=2):
    return runs.root / f"model{model}/default/seed0/fold{fold}/bank"


@pytest.mark.parametrize("chunk", [1, 50, 2**22])
def test_rows_meet_by_id_whatever_their_order(runs, chunk):
    stack = align(resolve(runs.banks))
    where = [runs.ids.index(row) for row in stack.rows["row_id"]]
    predictions, truth = everything(stack, chunk)
    np.testing.assert_array_equal(predictions, runs.predictions[:, where])
    np.testing.assert_array_equal(truth, runs.truth[where])
    np.testing.assert_array_equal(stack.rows["fold"], runs.folds[where])
    assert (np.diff(stack.rows["nested"]) >= 0).all()


def test_seeds_are_averaged(runs):
    variant = runs.root / "model0/default"
    shutil.copytree(variant / "seed0", variant / "seed1")
    for fold in range(5):
        folder = variant / f"seed1/fold{fold}/bank"
        rewrite(folder, values=np.load(folder / "predictions.npy") + 2)
    stack = align(resolve([str(variant)]))
    where = [runs.ids.index(row) for row in stack.rows["row_id"]]
    np.testing.assert_allclose(everything(stack)[0][0], runs.predictions[0, where] + 1, rtol=1e-6)


def test_test_predictions_are_averaged_over_folds(runs):
    values = write_test_predictions(runs)
    stack = align(resolve(runs.banks, "predictions/test"))
    assert sorted(stack.rows["row_id"]) == [f"new{i:03d}" for i in range(12)]
    where = [int(row[3:]) for row in stack.rows["row_id"]]
    np.testing.assert_allclose(everything(stack)[0], values.mean(axis=1)[:, where], rtol=1e-6)


def test_scales_are_brought_together(runs):
    folder = bank(runs)
    rewrite(folder, values=np.load(folder / "predictions.npy") * 4)
    np.save(folder / "scale.npy", np.array(0.25))
    stack = align(resolve(runs.banks))
    where = [runs.ids.index(row) for row in stack.rows["row_id"]]
    np.testing.assert_allclose(everything(stack)[0], runs.predictions[:, where], rtol=1e-6)


def test_every_bank_may_have_its_own_units_and_truth(runs):
    """As LEAP's runs do: each net stores in its own normaliser's units, with a truth bank in the same ones."""
    for model in range(3):
        for fold in range(5):
            folder, scale = bank(runs, model, fold), np.array([1.0, 1e-20, 0.3, 7.0]) * (1 + 0.1 * fold + model)
            truth = runs.root / f"truth{model}{fold}"
            shutil.copytree(runs.root / "truth", truth)
            for place in (folder, truth):
                rewrite(place, values=np.load(place / "predictions.npy") / scale)
                np.save(place / "scale.npy", scale)
            edit(folder, truth=f"../../../../../truth{model}{fold}")
    stack = align(resolve(runs.banks))
    where = [runs.ids.index(row) for row in stack.rows["row_id"]]
    predictions, truth = everything(stack)
    np.testing.assert_allclose(predictions * stack.target_scale, runs.predictions[:, where], rtol=1e-6)
    np.testing.assert_allclose(truth * stack.target_scale, runs.truth[where], rtol=1e-6)


def test_missing_row_is_named(runs):
    folder = bank(runs)
    index, values = pd.read_parquet(folder / "index.parquet"), np.load(folder / "predictions.npy")
    gone = index["row_id"].iloc[0]
    rewrite(folder, index.iloc[1:], values[1:])
    with pytest.raises(BankError, match=rf"model1 .* has no prediction for row '{gone}'.*1 rows missing"):
        align(resolve(runs.banks))
    with pytest.raises(BankError, match=rf"model2/.*: row '{gone}' is not among the rows of the other models"):
        align(resolve(runs.banks[1:] + runs.banks[:1]))


def test_repeated_id_is_named(runs):
    folder = bank(runs)
    index = pd.read_parquet(folder / "index.parquet")
    index.loc[1, "row_id"] = index["row_id"].iloc[0]
    rewrite(folder, index)
    with pytest.raises(BankError, match=rf"fold2/bank: row id '{index['row_id'].iloc[0]}' stands 2 times"):
        resolve(runs.banks)


def test_folds_that_overlap_are_refused(runs):
    target = runs.root / "model0/default/seed0/fold1/bank"
    shutil.rmtree(target)
    shutil.copytree(runs.root / "model0/default/seed0/fold0/bank", target)
    with pytest.raises(BankError, match=r"row .row\d+. is predicted by .*fold0/bank and by .*fold1/bank"):
        align(resolve(runs.banks))


def test_another_fold_table_is_refused(runs):
    edit(bank(runs), hashes={"folds": "0" * 64})
    with pytest.raises(BankError, match=r"fold2/bank was trained on another fold table \(000000000000\)"):
        align(resolve(runs.banks))
    align(resolve(runs.banks), allow_fold_mismatch=True)


def test_another_fold_number_is_refused(runs):
    folder = bank(runs)
    index = pd.read_parquet(folder / "index.parquet")
    index["fold"] = 4
    rewrite(folder, index)
    with pytest.raises(BankError, match=r"fold2/bank: row 'row\d+' is in fold 4 but in fold 2 of the other models"):
        align(resolve(runs.banks))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"convention": "ALL"}, "different convention .*control rows"),
        ({"metric": "mae"}, "different metric"),
        ({"domain": "moa"}, "different domain"),
        ({"targets": ["t0", "t2", "t1", "t3"]}, r"different targets \(target 1: \['t2'\] and \['t1'\]\)"),
        ({"kind": "test"}, "holds test predictions but"),
    ],
)
def test_manifests_must_agree(runs, change, message):
    edit(bank(runs), **change)
    with pytest.raises(BankError, match=message):
        align(resolve(runs.banks))


def test_another_shape_is_refused(runs):
    folder = bank(runs)
    rewrite(folder, values=np.load(folder / "predictions.npy")[:, :3])
    with pytest.raises(BankError, match=r"predicts shape \(3,\) per row but .* \(4,\)"):
        align(resolve(runs.banks))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_value_that_is_not_finite_is_refused_with_bank_and_row(runs, bad):
    folder = bank(runs)
    index, values = pd.read_parquet(folder / "index.parquet"), np.load(folder / "predictions.npy")
    values[3, 1] = bad
    rewrite(folder, values=values)
    with pytest.raises(
        BankError, match=rf"model1/.*/fold2/bank: row '{index['row_id'].iloc[3]}' has a value that is not finite"
    ):
        everything(align(resolve(runs.banks)))


def test_values_that_are_no_probabilities_are_refused_with_bank_and_row(tmp_path):
    runs = write_runs(tmp_path, "column_log_loss", models=2, rows=30)
    folder = bank(runs)
    index, values = pd.read_parquet(folder / "index.parquet"), np.load(folder / "predictions.npy")
    values[2, 0] = 1.25
    rewrite(folder, values=values)
    with pytest.raises(BankError, match=rf"fold2/bank: row '{index['row_id'].iloc[2]}' has 1.25, outside \[0, 1\]"):
        runs.problem().objective()
    stack = align(resolve(runs.banks), clip_predictions=True)
    Problem(stack, KNOWN["column_log_loss"]).objective()


def test_labels_must_be_labels(tmp_path):
    runs = write_runs(tmp_path, "column_log_loss", models=2, rows=30)
    values = np.load(tmp_path / "truth/predictions.npy")
    values[4, 1] = 0.5
    rewrite(tmp_path / "truth", values=values)
    row = pd.read_parquet(tmp_path / "truth/index.parquet")["row_id"].iloc[4]
    with pytest.raises(
        BankError, match=rf"truth: row '{row}' has the true value 0.5; this metric needs labels, 0 or 1"
    ):
        runs.problem().objective()


def test_truth_must_cover_the_rows_and_may_hold_more(runs):
    index, values = pd.read_parquet(runs.root / "truth/index.parquet"), np.load(runs.root / "truth/predictions.npy")
    more = pd.DataFrame({"row_id": ["other"], "fold": [7]})
    rewrite(runs.root / "truth", pd.concat([more, index], ignore_index=True), np.concatenate([values[:1], values]))
    stack = align(resolve(runs.banks))
    where = [runs.ids.index(row) for row in stack.rows["row_id"]]
    np.testing.assert_array_equal(everything(stack)[1], runs.truth[where])
    rewrite(runs.root / "truth", index.iloc[1:], values[1:])
    with pytest.raises(BankError, match=rf"truth.* lacks row '{index['row_id'].iloc[0]}'"):
        align(resolve(runs.banks))


def test_models_that_answer_to_other_true_values_are_refused(runs):
    shutil.copytree(runs.root / "truth", runs.root / "truth2")
    for fold in range(5):
        edit(bank(runs, fold=fold), truth="../../../../../truth2")
    align(resolve(runs.banks))
    values = np.load(runs.root / "truth2/predictions.npy")
    values[5] += 1
    rewrite(runs.root / "truth2", values=values)
    row = pd.read_parquet(runs.root / "truth2/index.parquet")["row_id"].iloc[5]
    with pytest.raises(BankError, match=rf"model1 answers to other true values.*'{row}'"):
        align(resolve(runs.banks))


def test_one_fold_is_shuffled_whatever_the_ids_are(tmp_path):
    runs = write_runs(tmp_path, rows=23, n_folds=1)
    stack = align(resolve(runs.banks))
    assert sorted(stack.rows["nested"].value_counts()) == [4, 4, 5, 5, 5]
    assert stack.rows.groupby("nested")["row_id"].agg(lambda ids: ids.max() > "row0015").sum() >= 4
    assert "shuffled" in stack.nested_note


def test_folds_of_other_data_are_refused(runs):
    edit(bank(runs, 1, 2), hashes={"data": "b" * 64})
    edit(bank(runs, 1, 3), hashes={"data": "a" * 64})
    with pytest.raises(BankError, match=r"fold3/bank was predicted on other data \(aaaaaaaaaaaa\) than .*model1"):
        align(resolve(runs.banks))


def test_one_leap_fold_is_split_by_whole_months(tmp_path):
    months = [f"0008-{1 + i // 4:02d}" for i in range(28)]
    runs = write_runs(tmp_path, rows=28, n_folds=1, groups=months, domain="leap")
    stack = align(resolve(runs.banks))
    assert (stack.rows.groupby("group")["nested"].nunique() == 1).all()
    assert "whole months" in stack.nested_note


def test_groups_come_from_a_file(tmp_path):
    runs = write_runs(tmp_path, rows=20)
    table = pd.DataFrame({"row_id": runs.ids, "group": ["a", "b"] * 10})
    table.to_csv(tmp_path / "groups.csv", index=False)
    stack = align(resolve(runs.banks), groups=tmp_path / "groups.csv", row_groups=True)
    assert stack.group_names == ["a", "b"]
    expected = dict(table.to_numpy())
    assert [expected[row] for row in stack.rows["row_id"]] == list(stack.rows["group"])
    table.iloc[:-1].to_csv(tmp_path / "groups.csv", index=False)
    with pytest.raises(DataError, match="names no group for row 'row0019'"):
        align(resolve(runs.banks), groups=tmp_path / "groups.csv")


def test_memory_does_not_hold_the_files(tmp_path):
    """Chunks come as fresh arrays: no map of a whole file stays open."""
    write_bank(
        tmp_path / "b",
        np.ones((10, 3), np.float32),
        pd.DataFrame({"row_id": list("abcdefghij"), "fold": 0}),
        Manifest("test", "", "r2", experiment="m"),
    )
    stack = align(resolve([str(tmp_path / "b")]))
    assert not isinstance(stack.members[0].parts[0].rows.read(slice(0, 4)), np.memmap)
    assert not isinstance(stack.members[0].parts[0].rows.read(np.array([3, 1])), np.memmap)
