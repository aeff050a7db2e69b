from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from datamodules.banks.bank import BankError, Manifest, PartWriter, PredictionBank, hash_ids, merge_parts, write_bank

MANIFEST = Manifest(
    kind="out_of_fold", domain="leap", metric="r2", experiment="lstm", variant="wide", seed=1, folds=[0]
)
INDEX = pd.DataFrame({"row_id": ["a", "b", "c"], "fold": 0})
VALUES = np.arange(6, dtype=np.float64).reshape(3, 2)


def test_a_bank_reads_back_as_written(tmp_path):
    write_bank(tmp_path / "b", VALUES, INDEX, MANIFEST, scale=np.array([1.0, 1e-40]), extras={"confidence": VALUES * 2})
    bank = PredictionBank(tmp_path / "b")
    assert bank.name == "lstm/wide"
    assert bank.shape == (2,)
    assert bank.manifest == MANIFEST
    np.testing.assert_array_equal(bank.predictions, VALUES.astype(np.float32))
    np.testing.assert_allclose(bank.in_judge_units(slice(1, 2)), [[2.0, 3e-40]], rtol=1e-15)
    np.testing.assert_array_equal(bank.extra("confidence"), VALUES * 2)
    assert isinstance(bank.predictions, np.memmap)


def test_a_second_write_replaces_the_first(tmp_path):
    write_bank(tmp_path / "b", VALUES, INDEX, MANIFEST)
    write_bank(tmp_path / "b", VALUES + 1, INDEX, MANIFEST)
    np.testing.assert_array_equal(PredictionBank(tmp_path / "b").predictions, VALUES + 1)
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_what_is_wrong_is_named_and_nothing_is_left(tmp_path):
    spoiled = VALUES.copy()
    spoiled[1, 0] = np.nan
    with pytest.raises(BankError, match="row 'b' are not finite"):
        write_bank(tmp_path / "b", spoiled, INDEX, MANIFEST)
    with pytest.raises(BankError, match="row id 'a' stands 2 times"):
        write_bank(tmp_path / "b", VALUES, INDEX.assign(row_id=["a", "b", "a"]), MANIFEST)
    with pytest.raises(BankError, match="2 predictions for 3 row ids"):
        write_bank(tmp_path / "b", VALUES[:2], INDEX, MANIFEST)
    assert list(tmp_path.iterdir()) == []


def test_damaged_banks_are_refused(tmp_path):
    with pytest.raises(BankError, match="is not a prediction bank"):
        PredictionBank(tmp_path)
    bank = write_bank(tmp_path / "b", VALUES, INDEX, MANIFEST)
    np.save(bank.path / "predictions.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(BankError, match="pickled arrays are refused"):
        PredictionBank(bank.path)
    (bank.path / "predictions.npy").unlink()
    with pytest.raises(BankError, match="is missing; predict this bank again"):
        PredictionBank(bank.path)
    np.save(bank.path / "predictions.npy", VALUES[:2].astype(np.float32))
    with pytest.raises(BankError, match=r"3 rows but predictions.npy has 2"):
        PredictionBank(bank.path)
    content = json.loads((bank.path / "manifest.json").read_text())
    (bank.path / "manifest.json").write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(BankError, match="bank of format 99"):
        PredictionBank(bank.path)


def test_the_truth_is_reached_from_the_bank(tmp_path):
    write_bank(tmp_path / "truth", VALUES, INDEX, Manifest(kind="truth", domain="leap", metric="r2"))
    bank = write_bank(tmp_path / "run/bank", VALUES, INDEX, Manifest("out_of_fold", "leap", "r2", truth="../../truth"))
    assert bank.truth().path == (tmp_path / "truth").resolve()
    with pytest.raises(BankError, match="names no truth"):
        write_bank(tmp_path / "t", VALUES, INDEX, Manifest("test", "leap", "r2")).truth()


def write_parts(folder, positions):
    for rank, rows in enumerate(positions):
        writer = PartWriter(folder, rank)
        for row in rows:
            writer.append(np.array([row]), {"predictions": VALUES[[row]], "confidence": VALUES[[row]] * 10})
        writer.close()


def test_parts_of_processes_join_in_any_order(tmp_path):
    write_parts(tmp_path / "parts", [[2], [1, 0]])
    bank = merge_parts(tmp_path / "parts", 2, tmp_path / "b", INDEX, MANIFEST)
    np.testing.assert_array_equal(bank.predictions, VALUES)
    np.testing.assert_array_equal(bank.extra("confidence"), VALUES * 10)


@pytest.mark.parametrize(
    ("positions", "message"), [([[0], [1]], "row 'c' is missing"), ([[0, 1], [1, 2]], "row 'b' was predicted 2 times")]
)
def test_every_row_exactly_once(tmp_path, positions, message):
    write_parts(tmp_path / "parts", positions)
    with pytest.raises(BankError, match=message):
        merge_parts(tmp_path / "parts", 2, tmp_path / "b", INDEX, MANIFEST)
    with pytest.raises(BankError, match="process 2 of 3 left no finished part"):
        merge_parts(tmp_path / "parts", 3, tmp_path / "b", INDEX, MANIFEST)


def test_ids_hash_as_a_set():
    assert hash_ids(["a", "b"]) == hash_ids(["b", "a"]) != hash_ids(["ab"])
