"""What needs a process of its own: a kill, and folds one by one."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from datamodules.banks.sources import resolve
from datamodules.errors import DataError
from experiments.engine.cli import parse
from experiments.engine.grid import run_grid
from experiments.engine.run_directory import RunDirectory
from experiments.engine.runner import main
from experiments.engine.training import train
from experiments.leap_bilstm_tcn import EXPERIMENT
from tests.experiments.tiny import flags

COMMAND = [sys.executable, "-m", "experiments.leap_bilstm_tcn"]


def test_a_killed_run_goes_on_and_ends_with_the_same_bits(raw_files: Path, tmp_path: Path) -> None:
    more = ("--epochs", "40", "--train.checkpoint_every", "3")
    settings = parse(EXPERIMENT, flags(raw_files, tmp_path / "killed", *more))
    killed = RunDirectory.of(tmp_path / "killed", "leap_bilstm_tcn", settings.variant, settings.daily.seed, 0)
    process = subprocess.Popen(
        [*COMMAND, *flags(raw_files, tmp_path / "killed", *more)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while not killed.last.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert killed.last.exists()
    assert killed.record()["status"] == "running"
    step = torch.load(killed.last, weights_only=True)["global_step"]
    assert step < 160
    resumed = train(settings)
    whole = train(parse(EXPERIMENT, flags(raw_files, tmp_path / "whole", *more)))
    first, second = (torch.load(run.last, weights_only=True)["state_dict"] for run in (resumed, whole))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_all_folds_run_one_by_one_and_finished_ones_are_skipped(
    raw_files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = flags(raw_files, tmp_path, "--data.split", "blocks", "--data.n_folds", "2", "--epochs", "1")
    first = train(parse(EXPERIMENT, [*arguments, "--fold", "0"]))
    run_grid(parse(EXPERIMENT, [*arguments, "--fold", "all"]), [*arguments, "--fold", "all"])
    out = capfd.readouterr().out
    assert "fold 0: finished before" in out
    assert "fold 1: leap_bilstm_tcn" in out
    banks = sorted(first.path.parent.glob("fold*/bank"))
    assert len(banks) == 2
    run_grid(parse(EXPERIMENT, [*arguments, "--fold", "all"]), [*arguments, "--fold", "all"])
    assert "fold 1: finished before" in capfd.readouterr().out


def test_seeds_are_runs_of_their_own_whose_mean_blends_take(
    raw_files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = [*flags(raw_files, tmp_path, "--epochs", "1"), "--seeds", "3,5"]
    run_grid(parse(EXPERIMENT, arguments), arguments)
    out = capfd.readouterr().out
    assert "seed 3, fold 0" in out
    assert "the mean of 2 seeds" in out
    runs = [parse(EXPERIMENT, arguments).directory(seed) for seed in (3, 5)]
    assert runs[0].path.parts[-2:] == ("seed3", "fold0")
    assert [run.record()["seed"] for run in runs] == [3, 5]
    weights = [torch.load(run.best, weights_only=True)["state_dict"] for run in runs]
    assert any(not torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    (source,) = resolve([str(runs[0].path.parent.parent)])
    assert source.identity[2] == (3, 5)


@pytest.mark.parametrize("seeds", ["1,1", "a", "-1", "1,,2"])
def test_seeds_that_are_none_are_refused(raw_files: Path, tmp_path: Path, seeds: str) -> None:
    with pytest.raises(SystemExit):
        parse(EXPERIMENT, [*flags(raw_files, tmp_path), f"--seeds={seeds}"])


def test_under_torchrun_a_grid_is_refused(raw_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    arguments = flags(raw_files, tmp_path, "--fold", "all")
    with pytest.raises(DataError, match="under torchrun give one --fold and one --seed"):
        run_grid(parse(EXPERIMENT, arguments), arguments)


def test_a_failure_is_one_sentence_and_an_exit_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(SystemExit) as stop:
        main(EXPERIMENT, flags(tmp_path / "empty", tmp_path / "out"))
    assert stop.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert "empty" in error


def test_two_programs_do_not_train_the_same_run(raw_files: Path, tmp_path: Path) -> None:
    from filelock import FileLock

    from datamodules.errors import DataError

    settings = parse(EXPERIMENT, flags(raw_files, tmp_path))
    directory = RunDirectory.of(tmp_path, "leap_bilstm_tcn", settings.variant, settings.daily.seed, 0)
    directory.lock.parent.mkdir(parents=True)
    with (
        FileLock(directory.lock),
        pytest.raises(DataError, match="is being trained by another process"),
    ):
        train(settings)
