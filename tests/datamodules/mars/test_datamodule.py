from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.folds import TRAIN, UNUSED, VALID
from datamodules.mars.datamodule import MarsDataModule
from datamodules.mars.settings import MarsData
from tests.datamodules.mars.files import write_data_set

SETTINGS = MarsData(m_bins=32, t_bins=16, n_folds=4, threads=0, processes=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_set(tmp_path_factory.mktemp("mars") / "data")


def prepare(folder: Path, settings: MarsData = SETTINGS, fold: int | str = 0) -> MarsDataModule:
    data = MarsDataModule(settings, folder, folder.parent / "cache", batch_size=4, fold=fold)
    data.prepare()
    return data


def test_folds_are_stratified_and_the_validation_set_is_only_trained_on(folder: Path) -> None:
    data = prepare(folder)
    held_out = np.concatenate([data.folds.where(fold, VALID) for fold in range(4)])
    assert sorted(held_out) == list(range(20))  # every training sample once
    for fold in range(4):
        positives = data.labels.values[data.folds.where(fold, VALID)].sum(axis=0)
        everywhere = data.labels.values[:20].sum(axis=0) / 4
        assert (np.abs(positives - everywhere) <= 1).all()
        assert set(range(20, 24)) <= set(data.folds.where(fold, TRAIN))
    assert prepare(folder).folds.hash == data.folds.hash
    assert prepare(folder, replace(SETTINGS, fold_seed=1)).folds.hash != data.folds.hash


def test_the_validation_set_can_be_left_out(folder: Path) -> None:
    data = prepare(folder, replace(SETTINGS, val_in_train=False))
    assert list(data.folds.where(0, UNUSED)) == [20, 21, 22, 23]
    assert len(data.rows(TRAIN)) == 15
    assert len(prepare(folder, fold="full").rows(TRAIN)) == 24


def test_batches_and_truth(folder: Path) -> None:
    data = prepare(folder)
    batch = data.read(np.array([1, 8]))
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "row_id": (2,), "image": (2, 32, 16), "derivatized": (2,), "labels": (2, 3)
    }  # fmt: skip
    assert batch["derivatized"].tolist() == [-1, 1]
    assert batch["image"].amax(dim=(1, 2)).tolist() == [1, 1]
    np.testing.assert_array_equal(batch["labels"], data.truth(np.array([1, 8])))
    assert list(data.index(np.array([1, 8]))["row_id"]) == ["S0001", "S0008"]
    assert list(data.statistics()["classes"]) == ["acid", "mineral", "alcohol"]


def test_the_data_hash_follows_labels_and_pixels(folder: Path, tmp_path: Path) -> None:
    data = prepare(folder)
    assert prepare(folder, replace(SETTINGS, t_bins=17)).data_hash != data.data_hash
    other = write_data_set(tmp_path / "data")
    assert prepare(other).data_hash == data.data_hash
    labels = other / "train_labels.csv"
    labels.write_text(labels.read_text().replace("S0001,0,", "S0001,1,"))
    assert prepare(other).data_hash != data.data_hash


def test_ready_folds_are_taken_and_checked(folder: Path, tmp_path: Path) -> None:
    table = tmp_path / "folds.csv"
    lines = [f"S{i:04d},{i % 2}" for i in range(20)]
    table.write_text("\n".join(["sample_id,fold", *lines]))
    data = prepare(folder, replace(SETTINGS, folds_csv=table))
    assert list(data.folds.where(1, VALID)) == list(range(1, 20, 2))
    table.write_text("\n".join(["sample_id,fold", *lines[1:]]))
    with pytest.raises(DataError, match=r"has no fold for sample 'S0000'; it must name every training sample once"):
        prepare(folder, replace(SETTINGS, folds_csv=table))
    table.write_text("\n".join(["sample_id,fold", *lines, "S0999,1"]))
    with pytest.raises(DataError, match="has 21 rows for 20 training samples"):
        prepare(folder, replace(SETTINGS, folds_csv=table))
    table.write_text("sample,fold\n")
    with pytest.raises(DataError, match="has no column 'sample_id'"):
        prepare(folder, replace(SETTINGS, folds_csv=table))


def test_too_few_samples_for_the_folds(folder: Path) -> None:
    with pytest.raises(DataError, match="20 training samples cannot make 21 folds"):
        prepare(folder, replace(SETTINGS, n_folds=21))


def test_masses_that_hardly_a_run_holds_are_told_to_the_net(tmp_path: Path) -> None:
    """The tiny runs end at m/z 29, but one; the images stay whole, so that prediction draws them as training did."""
    folder = write_data_set(tmp_path / "data")
    with (folder / "train_features" / "S0000.csv").open("a") as file:
        file.write("1.69,80.0,7\n")
    plain, trimmed = (
        prepare(folder, replace(SETTINGS, m_bins=96, trim_masses=trim, check_md5=False)).statistics()["rendering"]
        for trim in (False, True)
    )
    assert plain.tolist() == [96, 16, 0, 1]
    assert trimmed.tolist() == [96, 16, 0, 1, 32]


@pytest.mark.real_data
def test_real_samples_make_five_folds(real_data: Path, tmp_path: Path) -> None:
    settings = MarsData(threads=0, processes=1, t_bins=64)
    data = MarsDataModule(settings, real_data / "mars" / "ega_as_gcms", tmp_path, batch_size=8)
    data.prepare()
    assert len(data.labels.classes) == 10
    assert sorted(len(data.folds.where(fold, VALID)) for fold in range(5)) == [9, 9, 10, 10, 10]
    assert (data.samples.derivatized == -1).all()
