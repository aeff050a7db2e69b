"""Out-of-fold predictions of hand-made runs as inputs of a later stage."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.banks.bank import Manifest, write_bank
from datamodules.errors import DataError
from datamodules.files import read_json, write_json
from datamodules.folds import TRAIN, VALID
from datamodules.moa.datamodule import MoaDataModule
from datamodules.moa.features import FeaturePipeline
from datamodules.moa.settings import MoaData
from tests.datamodules.moa.tiny import write_files

NAMES = ["tool_1", "tool_2", "tool_3"]
RECIPE = ("rank_gauss", "meta_rank_gauss")
SEEDS = (0, 7)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


def make(files: Path, settings: MoaData, fold: int | str = 0) -> MoaDataModule:
    data = MoaDataModule(settings, files, files.parent / "cache", 32, fold)
    data.prepare()
    return data


def prediction(row_id: str, seed: int) -> np.ndarray:
    """A different triple for every row and seed."""
    return np.random.default_rng([seed, *row_id.encode()]).random(len(NAMES)).astype(np.float32)


def write_runs(folder: Path, files: Path, settings: MoaData | None = None, skip: tuple[int, ...] = ()) -> Path:
    """Runs of two seeds that predict each fold, their rows in shuffled order."""
    plain = settings or MoaData()
    for seed in SEEDS:
        for fold in range(plain.n_folds):
            if fold in skip:
                continue
            data = make(files, plain, fold)
            ids = np.random.default_rng(fold).permutation(data.index(data.rows(VALID))["row_id"].to_numpy())
            values = np.stack([prediction(row_id, seed) for row_id in ids])
            manifest = Manifest(
                kind="out_of_fold", domain="moa", metric="column_log_loss", experiment="stage", variant="demo", seed=seed,
                folds=[fold], targets=NAMES, convention="NC", hashes={"data": data.data_hash, "folds": data.folds.hash},
            )  # fmt: skip
            index = pd.DataFrame({"row_id": ids, "fold": np.full(len(ids), fold, dtype=np.int16)})
            write_bank(folder / f"seed{seed}" / f"fold{fold}" / "bank", values, index, manifest)
    return folder


@pytest.fixture(scope="module")
def runs(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs") / "stage" / "demo", files)


def later(runs: Path, **more: object) -> MoaData:
    return MoaData(features=RECIPE, meta=runs, **more)  # type: ignore[arg-type]


def test_batches_hold_the_mean_over_seeds_of_the_rows_they_name(files: Path, runs: Path) -> None:
    data = make(files, later(runs))
    rows = data.rows(VALID)[::5]
    batch = data.read(rows)
    by_hand = [np.mean([prediction(row_id, seed) for seed in SEEDS], axis=0) for row_id in data.index(rows)["row_id"]]
    np.testing.assert_allclose(batch["meta"].numpy(), by_hand, rtol=1e-6)
    assert (data.read(data.controls)["meta"] == 0).all()
    expected = sorted(runs / f"seed{seed}" / f"fold{fold}" for seed in SEEDS for fold in range(5))
    assert list(data.previous_runs) == expected
    assert list(make(files, MoaData()).previous_runs) == []


def test_scores_are_fitted_to_the_training_folds_predictions(files: Path, runs: Path) -> None:
    data = make(files, later(runs), fold=2)
    rows = data.rows(TRAIN)
    fitted = np.union1d(rows, data.controls)
    values = np.zeros((len(fitted), 3), dtype=np.float32)
    where = np.searchsorted(fitted, rows)
    values[where] = data.read(rows)["meta"].numpy()
    signatures = data.tables.signatures.take(fitted)
    reference = FeaturePipeline.fit(RECIPE, signatures, meta=values, meta_names=NAMES).state()
    state = data.statistics()
    for name, value in reference.items():
        np.testing.assert_array_equal(state[f"features.{name}"], value)


def test_transductive_scores_are_fitted_to_all_predictions(files: Path, runs: Path) -> None:
    first, second = (make(files, later(runs, transductive=True), fold).statistics() for fold in (0, 1))
    name = "features.step1_quantiles"
    np.testing.assert_array_equal(first[name], second[name])
    safe = make(files, later(runs)).statistics()[name]
    assert safe.shape == first[name].shape
    assert not np.array_equal(safe, first[name])


def test_other_predictions_are_other_training_data(files: Path, runs: Path, tmp_path: Path) -> None:
    data = make(files, later(runs))
    moved = shutil.copytree(runs, tmp_path / "demo")
    assert make(files, later(moved)).training_hash == data.training_hash
    shutil.rmtree(moved / "seed7")
    other = make(files, later(moved))
    assert other.data_hash == data.data_hash
    assert len({data.data_hash, data.training_hash, other.training_hash}) == 3
    assert not np.array_equal(
        other.statistics()["features.step1_quantiles"], data.statistics()["features.step1_quantiles"]
    )


def test_full_reads_out_of_fold_predictions_of_all_rows(files: Path, runs: Path) -> None:
    data = make(files, later(runs), fold="full")
    assert (data.read(data.rows(TRAIN))["meta"] > 0).all()


def test_unfit_predictions_are_refused(files: Path, runs: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no folder"):
        make(files, later(tmp_path / "none"))
    with pytest.raises(DataError, match="trained on another fold table"):
        make(files, later(runs, fold_seed=35))
    with pytest.raises(DataError, match="trained on another fold table"):
        make(files, later(runs, cv="row"))
    with pytest.raises(DataError, match="has no finished fold 3 of 5; finish the earlier stage with --fold all"):
        make(files, later(write_runs(tmp_path / "four" / "demo", files, skip=(3,))))
    moved = shutil.copytree(runs, tmp_path / "demo")
    shutil.rmtree(moved / "seed0" / "fold1" / "bank")
    with pytest.raises(DataError, match="its run is not finished"):
        make(files, later(moved))
    with pytest.raises(DataError, match="has no step 'meta_rank_gauss' for the predictions of"):
        make(files, MoaData(meta=runs))
    bank = runs / "seed0" / "fold0" / "bank"
    shutil.copytree(bank, tmp_path / "cut" / "demo" / "seed0" / "fold0" / "bank")
    for fold in range(1, 5):
        shutil.copytree(runs / "seed0" / f"fold{fold}", tmp_path / "cut" / "demo" / "seed0" / f"fold{fold}")
    index = pd.read_parquet(bank / "index.parquet")
    target = tmp_path / "cut" / "demo" / "seed0" / "fold0" / "bank"
    index.iloc[1:].reset_index(drop=True).to_parquet(target / "index.parquet")
    np.save(target / "predictions.npy", np.load(bank / "predictions.npy")[1:])
    manifest = read_json(target / "manifest.json")
    del manifest["files"]  # a bank without checksums, as version 0.1 wrote them
    write_json(target / "manifest.json", manifest)
    with pytest.raises(DataError, match=f"has no prediction of row {index['row_id'][0]}"):
        make(files, later(tmp_path / "cut" / "demo"))


def test_nonscored_targets_are_those_with_a_positive(files: Path, tmp_path: Path) -> None:
    data = make(files, MoaData(targets="nonscored"))
    assert data.tables.nonscored is not None
    positives = data.tables.nonscored.values.sum(axis=0)
    kept = [name for name, count in zip(data.tables.nonscored.names, positives, strict=True) if count > 0]
    assert list(data.targets.names) == kept
    assert 0 < len(kept) < len(positives)
    rows = data.rows(VALID)
    assert data.truth(rows).shape == (len(rows), len(kept))
    np.testing.assert_array_equal(data.read(rows)["labels"], data.truth(rows))
    scored = make(files, MoaData())
    assert data.folds.hash == scored.folds.hash, "one fold table for all stages"
    name = "features.step0_quantiles"
    np.testing.assert_array_equal(data.statistics()[name], scored.statistics()[name])
    shutil.copytree(files, tmp_path / "without")
    (tmp_path / "without" / "train_targets_nonscored.csv").unlink()
    with pytest.raises(
        DataError, match=r"has no train_targets_nonscored\.csv, which --data\.targets nonscored trains on"
    ):
        make(tmp_path / "without", MoaData(targets="nonscored"))
