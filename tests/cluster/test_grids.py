"""Folds, seeds and stages as jobs: the plan, and one that SLURM runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from datamodules.errors import DataError
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.launch_plan import plan_runs
from experiments.engine.run_directory import RunDirectory
from tests.datamodules.moa.tiny import write_files
from tests.experiments.tiny import flags, write_raw


def plan(name: str, *words: str) -> dict[str, tuple[str, ...]]:
    """What waits for what, by experiment, seed and fold."""

    def short(key: str) -> str:
        experiment, _, seed, fold = key.split("/")
        return f"{experiment} {seed[4:]} {fold[4:]}"

    jobs, _ = plan_runs(parse(load_experiment(name), list(words)), list(words))
    for job in jobs:
        assert job.command[-2:] == ("--launch", "none")
        assert Path(job.command[1]).name == f"{job.key.split('/')[0]}.py"
    return {short(job.key): tuple(map(short, job.after)) for job in jobs}


@pytest.fixture(scope="module")
def moa(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("moa")
    return ("--data_dir", str(write_files(folder / "demo")), "--out", str(folder / "runs"), "--data.n_folds", "2")


def test_a_stage_waits_for_all_folds_whose_predictions_it_reads(moa: tuple[str, ...]) -> None:
    folds = [f"moa_nonscored_nn 0 {fold}" for fold in range(2)]
    meta = [f"moa_meta_nn 0 {fold}" for fold in range(2)]
    assert plan("moa_three_stage_nn", *moa, "--fold", "1", "--launch", "local") == {
        **dict.fromkeys(folds, ()),
        **dict.fromkeys(meta, tuple(folds)),
        "moa_three_stage_nn 0 1": tuple(meta),
    }


def test_a_stage_waits_for_the_one_run_whose_weights_it_takes(moa: tuple[str, ...]) -> None:
    found = plan("moa_two_heads_resnet", *moa, "--fold", "all", "--seeds", "3,4", "--launch", "local")
    assert found == {
        f"{name} {seed} {fold}": before
        for seed in (3, 4)
        for fold in range(2)
        for name, before in (
            ("moa_two_heads_resnet_nonscored", ()),
            ("moa_two_heads_resnet", (f"moa_two_heads_resnet_nonscored {seed} {fold}",)),
        )
    }


def test_starting_anew_is_refused(moa: tuple[str, ...]) -> None:
    with pytest.raises(DataError, match="--resume never cannot be launched"):
        plan("moa_logistic", *moa, "--resume", "never", "--launch", "local")


@pytest.mark.slurm
def test_a_grid_through_sbatch(slurm: dict[str, str], tmp_path: Path) -> None:
    """Two folds of two seeds, each trained once; given again, nothing is submitted."""
    raw = write_raw(tmp_path / "raw")
    words = flags(
        raw, tmp_path / "runs", "--epochs", "1", "--data.split", "blocks", "--data.n_folds", "2", "--fold", "all", "--seeds", "0,1",
        "--variant", "grid", "--launch", "slurm", "--launch.poll_seconds", "1", net=("--model.hidden", "4", "--model.layers", "1"),
    )  # fmt: skip
    command = [sys.executable, "-m", "experiments.leap_bilstm", *words]
    first = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert first.returncode == 0, first.stdout + first.stderr
    runs = [RunDirectory.of(tmp_path / "runs", "leap_bilstm", "grid", seed, fold) for seed in (0, 1) for fold in (0, 1)]
    assert all(len(run.record()["starts"]) == 1 and run.is_finished for run in runs)
    assert "out-of-fold predictions" in first.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert again.stdout.count("finished before") == 4
    assert "queued" not in again.stdout
