from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.folds import TRAIN, VALID
from datamodules.moa.datamodule import MoaDataModule
from datamodules.moa.features import FeaturePipeline
from datamodules.moa.settings import MoaData
from tests.datamodules.moa.tiny import write_files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


def make(files: Path, cache: Path, settings: MoaData | None = None, fold: int | str = 0) -> MoaDataModule:
    data = MoaDataModule(settings or MoaData(), files, cache, 32, fold)
    data.prepare()
    return data


def test_roles_hold_treated_rows_and_controls_where_they_are_kept(files: Path, tmp_path: Path) -> None:
    plain = make(files, tmp_path)
    control = plain.tables.signatures.control
    train, valid = plain.rows(TRAIN), plain.rows(VALID)
    assert not control[train].any()
    assert not control[valid].any()
    assert sorted([*train, *valid]) == np.flatnonzero(~control).tolist()
    kept = make(files, tmp_path, MoaData(keep_controls=True))
    assert (kept.rows(VALID) == valid).all()
    assert set(kept.rows(TRAIN)) == set(train) | set(np.flatnonzero(control))
    assert kept.folds.hash == plain.folds.hash, "families with and without controls share their folds"
    full = make(files, tmp_path, fold="full")
    assert (full.rows(TRAIN) == np.flatnonzero(~control)).all()


def test_every_validation_row_has_one_fold(files: Path, tmp_path: Path) -> None:
    rows = np.concatenate([make(files, tmp_path, fold=fold).rows(VALID) for fold in range(5)])
    data = make(files, tmp_path)
    assert sorted(rows) == np.flatnonzero(~data.tables.signatures.control).tolist()


def test_a_batch_is_the_rows_it_names(files: Path, tmp_path: Path) -> None:
    data = make(files, tmp_path)
    rows = data.rows(VALID)[::7]
    batch = data.read(rows)
    np.testing.assert_array_equal(batch["values"], data.tables.signatures.values[rows])
    np.testing.assert_array_equal(batch["labels"], data.truth(rows))
    assert [data.times[t] for t in batch["time"]] == data.tables.signatures.time[rows].tolist()
    assert data.index(rows)["row_id"].tolist() == data.tables.signatures.ids[rows].tolist()
    assert data.convention == "NC"


def test_features_are_fitted_on_the_training_fold_and_controls_only(files: Path, tmp_path: Path) -> None:
    data = make(files, tmp_path)
    state = data.statistics()
    fitted = np.union1d(data.rows(TRAIN), data.controls)
    reference = FeaturePipeline.fit(
        data.settings.features, data.tables.signatures.take(fitted), labels=data.tables.scored.values[fitted]
    ).state()
    for name, value in reference.items():
        np.testing.assert_array_equal(state[f"features.{name}"], value)
    np.testing.assert_allclose(state["prior"], data.truth(data.rows(TRAIN)).mean(axis=0))


def test_transductive_features_use_all_rows_and_the_test_file(files: Path, tmp_path: Path) -> None:
    safe = make(files, tmp_path)
    open_eyed = make(files, tmp_path, MoaData(transductive=True))
    assert open_eyed.data_hash != safe.data_hash
    name = "features.step0_quantiles"
    assert not np.array_equal(safe.statistics()[name], open_eyed.statistics()[name])
    other_fold = make(files, tmp_path, MoaData(transductive=True), fold=1)
    np.testing.assert_array_equal(open_eyed.statistics()[name], other_fold.statistics()[name])
    shutil.copytree(files, tmp_path / "no_test")
    (tmp_path / "no_test" / "test_features.csv").unlink()
    with pytest.raises(DataError, match=r"has no test_features\.csv, which --data\.transductive fits on too"):
        make(tmp_path / "no_test", tmp_path, MoaData(transductive=True))


def test_fitted_features_are_cached_by_what_makes_them(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make(files, tmp_path).statistics()
    assert len(list(tmp_path.glob("moa-features-*.npz"))) == 1
    make(files, tmp_path, fold=1).statistics()
    make(files, tmp_path, MoaData(feature_seed=1)).statistics()
    assert len(list(tmp_path.glob("moa-features-*.npz"))) == 3
    monkeypatch.setattr(FeaturePipeline, "fit", None)
    again = make(files, tmp_path).statistics()
    assert first.keys() == again.keys()
    for name, value in first.items():
        np.testing.assert_array_equal(value, again[name])


def test_drug_folds_without_drugs_are_refused(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files, tmp_path / "no_drug")
    (tmp_path / "no_drug" / "train_drug.csv").unlink()
    with pytest.raises(DataError, match=r"needs train_drug\.csv"):
        make(tmp_path / "no_drug", tmp_path)
    assert make(tmp_path / "no_drug", tmp_path, MoaData(cv="row")).folds.n_folds == 5
