from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blend.bank import PredictionBank
from datamodules.gwi.generate.families import generate_maps
from datamodules.gwi.shards import ShardKey, write_shard
from experiments import gwi_report, predict
from experiments.cli import parse
from experiments.declare import load_experiment
from experiments.run_directory import RunDirectory
from experiments.training import train

ROWS = 8


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of two families whose gathers are the surface's velocities: quickly made, quickly learnt."""
    folder = tmp_path_factory.mktemp("gwi") / "data"
    for family in ("FlatVel_A", "FlatVel_B"):
        for first in (0, ROWS):
            velocity = generate_maps(family, 0, range(first, first + ROWS))
            gathers = np.broadcast_to(velocity[:, None, :1] / 1000, (ROWS, 5, 288, 70)).astype(np.float16)
            write_shard(folder, ShardKey(family, 0, first, ROWS, gathers="compact"), velocity, gathers)
    return folder


def run(name: str, data_dir: Path, out: Path, *more: str) -> RunDirectory:
    flags = [
        "--data_dir", str(data_dir), "--out", str(out), "--epochs", "3", "--batch_size", "8", "--wandb", "disabled",
        "--train.progress", "false", "--accelerator", "cpu", "--data.cache_dir", str(data_dir.parent / "cache"), *more,
    ]  # fmt: skip
    return train(parse(load_experiment(name), flags))


SMALL = ("--model.dim", "16", "--model.blocks", "1", "--model.head_dim", "8")


@pytest.fixture(scope="module")
def finished(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run("gwi_inversion", data_dir, tmp_path_factory.mktemp("runs"), *SMALL)


def test_a_run_scores_its_bank_beside_the_median_map(finished: RunDirectory) -> None:
    record = finished.record()
    assert record["status"] == "finished"
    bank = PredictionBank(finished.bank)
    assert bank.index["row_id"].iloc[0] == "FlatVel_A/shard-s0-00000000/0"
    scores = record["scores"]["gwi_inversion"]
    error = np.abs(bank.in_judge_units(slice(None)) - bank.truth().in_judge_units(slice(None)))
    assert scores["mae"] == pytest.approx(error.mean(), rel=1e-6)
    assert scores["mae_odd"] == pytest.approx(error[:, :, 1::2].mean(), rel=1e-6)
    assert scores["mae"] == pytest.approx(record["best"]["score"], rel=1e-4)
    assert "mae_odd_FlatVel_B" in record["scores"]["median map"]
    for name in ("maps.png", "out_of_fold_maps.png"):
        assert (finished.figures / name).stat().st_size > 10_000


def test_a_second_model_branches_from_the_first(finished: RunDirectory, data_dir: Path, tmp_path: Path) -> None:
    style = ("--data.weights", "FlatVel_B=2.5", "--data.exact_mirror", "false", "--epochs", "1")
    child = run("gwi_inversion_style", data_dir, tmp_path, *SMALL, *style, "--init_from", str(finished.path))
    assert str(finished.path) in child.record()["parent"]
    mirrored = ("--data.exact_mirror", "false", "--epochs", "1", "--train.figures", "false")
    assert run("gwi_inversion_mirrored", data_dir, tmp_path, *SMALL, *mirrored).record()["status"] == "finished"


def test_the_benchmark_net_runs(data_dir: Path, tmp_path: Path) -> None:
    flags = ("--model.width", "2", "--model.samples", "288", "--data.samples", "288", "--epochs", "1")
    assert run("gwi_inversionnet", data_dir, tmp_path, *flags).record()["status"] == "finished"


def test_the_test_folder_becomes_a_submission_and_a_bank(finished: RunDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "test"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for oid in ("00b", "00a", "00c"):
        np.save(folder / f"{oid}.npy", rng.normal(size=(5, 1000, 70)).astype(np.float32))
    predict.main(
        ["--run", str(finished.path), "--input", str(folder), "--submission", str(tmp_path / "s.csv"), "--batch_size", "2",
         "--accelerator", "cpu"]
    )  # fmt: skip
    frame = pd.read_csv(tmp_path / "s.csv")
    assert len(frame) == 210
    assert frame["oid_ypos"][70] == "00b_y_0"
    bank = PredictionBank(finished.path / "predictions" / "test")
    expected = np.clip(bank.in_judge_units(slice(None))[1, :, 1::2], 1500, 4500)
    np.testing.assert_allclose(frame.iloc[70:140, 1:], expected, atol=0.051)


def test_the_demo_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(gwi_report, "produce", lambda folder, keys, *rest: made.append((folder, keys)))
    folder = gwi_report.make_demo(tmp_path, rows=4)
    assert folder.parent == tmp_path
    assert {key.family for key in made[0][1]} == {"FlatVel_A", "CurveVel_A", "FlatFault_A"}
    assert sum(key.rows for key in made[0][1]) == 60
