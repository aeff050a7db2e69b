from __future__ import annotations

import json
import multiprocessing
import os
import time

import numpy as np
import pandas as pd
import pytest

from blend.__main__ import main as blend
from datamodules.banks.bank import BankError, Manifest, PartWriter, PredictionBank, hash_ids, merge_parts, write_bank
from datamodules.errors import DataError
from datamodules.gwi.shards import ShardKey, write_shard
from datamodules.verify import verify_all

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
    with pytest.raises(BankError, match="is missing: predict this bank again"):
        PredictionBank(bank.path)
    np.save(bank.path / "predictions.npy", VALUES[:2].astype(np.float32))
    with pytest.raises(BankError, match=r"3 rows but predictions.npy has 2"):
        PredictionBank(bank.path)
    content = json.loads((bank.path / "manifest.json").read_text())
    del content["checksum"]  # as whoever edits it on purpose must
    (bank.path / "manifest.json").write_text(json.dumps(content | {"format_version": 99}))
    with pytest.raises(BankError, match="is of format 99, this program reads format 1"):
        PredictionBank(bank.path)


def test_the_truth_is_reached_from_the_bank(tmp_path):
    write_bank(tmp_path / "truth", VALUES, INDEX, Manifest(kind="truth", domain="leap", metric="r2"))
    bank = write_bank(tmp_path / "run/bank", VALUES, INDEX, Manifest("out_of_fold", "leap", "r2", truth="../../truth"))
    assert bank.truth().path == (tmp_path / "truth").resolve()
    with pytest.raises(BankError, match="names no truth"):
        write_bank(tmp_path / "t", VALUES, INDEX, Manifest("test", "leap", "r2")).truth()


def write_parts(folder, positions):
    for rank, rows in enumerate(positions):
        folder.mkdir(exist_ok=True)
        writer = PartWriter(folder, rank, len(INDEX))
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


# --- Damage -------------------------------------------------------------------------------------------------------


def whole(path):
    """Read all that a blend reads of a bank."""
    bank = PredictionBank(path)
    return bank.in_judge_units(slice(None)), bank.index, bank.extra("confidence")


@pytest.mark.parametrize("name", ["predictions.npy", "confidence.npy", "scale.npy", "index.parquet"])
def test_every_flipped_bit_and_every_cut_is_noticed(tmp_path, name):
    bank = write_bank(tmp_path / "b", VALUES, INDEX, MANIFEST, scale=np.ones(2), extras={"confidence": VALUES})
    content = (bank.path / name).read_bytes()
    random = np.random.default_rng(0)
    for position in random.integers(0, len(content), 25):
        flipped = bytearray(content)
        flipped[position] ^= 1 << random.integers(8)
        for damaged in (bytes(flipped), content[:position]):
            (bank.path / name).write_bytes(damaged)
            with pytest.raises(BankError, match=name):
                whole(bank.path)
            with pytest.raises(BankError, match=name):
                PredictionBank(bank.path).verify()
    (bank.path / name).write_bytes(content)
    whole(bank.path)
    PredictionBank(bank.path).verify()


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.pop("manifest"), "the entry 'manifest' is missing"),
        (lambda m: m["manifest"].pop("metric"), "the entry 'manifest.metric' is missing"),
        (lambda m: m["manifest"].update(seed="one"), "the entry 'manifest.seed' is not as expected"),
        (lambda m: m["manifest"].update(groups=[1]), "the entry 'manifest.groups' is not as expected"),
        (lambda m: m["files"]["scale.npy"].pop("bytes"), r"the entry 'files.scale.npy.bytes' is missing"),
    ],
)
def test_a_manifest_is_read_against_its_schema(tmp_path, edit, message):
    bank = write_bank(tmp_path / "b", VALUES, INDEX, MANIFEST, scale=np.ones(2))
    content = json.loads((bank.path / "manifest.json").read_text())
    del content["checksum"]  # as whoever edits it on purpose must
    edit(content)
    (bank.path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(BankError, match=rf"manifest\.json: {message}.*predict this bank again"):
        PredictionBank(bank.path)
    for cut in ("", '{"format_version": 1, "mani'):
        (bank.path / "manifest.json").write_text(cut)
        with pytest.raises(BankError, match=r"manifest\.json is not valid JSON"):
            PredictionBank(bank.path)


def test_an_index_without_ids_is_named(tmp_path):
    bank = write_bank(tmp_path / "b", VALUES, INDEX, MANIFEST)
    without_checksums(bank.path)
    INDEX.drop(columns="row_id").to_parquet(bank.path / "index.parquet")
    with pytest.raises(BankError, match=r"index\.parquet has no column 'row_id'"):
        PredictionBank(bank.path)
    (bank.path / "index.parquet").write_bytes(b"")
    with pytest.raises(BankError, match=r"index\.parquet cannot be read"):
        PredictionBank(bank.path)


def without_checksums(path):
    """As version 0.1 wrote banks, and as people make them."""
    content = json.loads((path / "manifest.json").read_text())
    del content["checksum"]  # as whoever edits it on purpose must
    del content["files"]
    (path / "manifest.json").write_text(json.dumps(content))


@pytest.mark.parametrize("dtype", [">f4", "f8", "f4"])
def test_a_bank_that_was_made_by_hand_is_read_right_in_any_order(tmp_path, dtype):
    bank = write_bank(tmp_path / "b", VALUES, INDEX, MANIFEST)
    without_checksums(bank.path)
    np.save(bank.path / "predictions.npy", np.asfortranarray(VALUES.astype(dtype)))
    again = PredictionBank(bank.path)
    assert again.predictions.flags.c_contiguous
    np.testing.assert_array_equal(again.predictions, VALUES)
    np.testing.assert_array_equal(again.in_judge_units(np.array([2, 0])), VALUES[[2, 0]])
    again.verify()


# --- At once ------------------------------------------------------------------------------------------------------


def write_often(path, values, times):
    for _ in range(times):
        time.sleep(0.01)  # longer than the clock of the file system ticks
        write_bank(
            path,
            np.full((3, 2), values, np.float32),
            INDEX.assign(row_id=[f"{values}-{i}" for i in range(3)]),
            MANIFEST,
        )


def test_banks_written_at_once_under_one_name_are_never_mixed(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    writers = [spawn.Process(target=write_often, args=(tmp_path / "b", value, 25)) for value in (1, 2)]
    for writer in writers:
        writer.start()
    seen = set()
    while any(writer.is_alive() for writer in writers):
        try:
            bank = PredictionBank(tmp_path / "b")
            values = np.array(bank.predictions)
        except BankError:  # it was exchanged between two reads: refused, never mixed
            continue
        assert [row_id[0] for row_id in bank.index["row_id"]] == [str(int(v)) for v in values[:, 0]]
        seen.add(values[0, 0])
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    PredictionBank(tmp_path / "b").verify()
    assert seen
    assert [path.name for path in tmp_path.iterdir()] == ["b"]


def test_every_prediction_is_written_once(tmp_path, monkeypatch):
    written = []
    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, at: written.append(len(data)) or pwrite(fd, data, at))
    values = np.random.default_rng(0).random((1000, 50))
    index = pd.DataFrame({"row_id": [str(i) for i in range(1000)], "fold": 0})
    bank = write_bank(tmp_path / "b", values, index, MANIFEST)
    assert sum(written) == (bank.path / "predictions.npy").stat().st_size
    assert {path.name for path in bank.path.iterdir()} == {"predictions.npy", "index.parquet", "manifest.json"}


# --- The check of everything --------------------------------------------------------------------------------------


def test_verify_finds_every_folder_and_names_the_damaged_one(tmp_path, capsys):
    good = write_bank(tmp_path / "runs" / "a" / "bank", VALUES, INDEX, MANIFEST)
    bad = write_bank(tmp_path / "runs" / "b" / "bank", VALUES, INDEX, MANIFEST)
    with (bad.path / "predictions.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    shard = write_shard(tmp_path / "gwi", ShardKey("FlatVel_A", 0, 0, 2, 0.0, "none"), np.zeros((2, 70, 70)), None)
    found = dict(verify_all([tmp_path]))
    assert found.keys() == {good.path, bad.path, shard}
    assert found[good.path] == found[shard] == ""
    assert "predictions.npy is not what was written" in found[bad.path]
    assert blend(["verify", str(good.path)]) == 0
    assert blend(["verify", str(tmp_path / "runs")]) == 1
    assert f"damaged  {bad.path / 'predictions.npy'} is not what was written" in capsys.readouterr().out
    (shard / "manifest.json").write_text("{}")
    assert "manifest.json: the entry" in dict(verify_all([shard]))[shard]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no bank, store or shard below"):
        list(verify_all([tmp_path / "empty"]))
