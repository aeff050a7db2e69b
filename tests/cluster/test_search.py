"""Hyper-parameter search: real trials on tiny data, stopped, killed and gone on with; the files that it reads and writes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
import yaml

from blend.solvers.journal import open_storage
from datamodules.errors import DataError
from experiments.engine.run_directory import RunDirectory
from experiments.search import Dimension, main, read_space
from tests.experiments.tiny import flags, write_raw


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "raw")


@pytest.fixture
def words(raw: Path, tmp_path: Path) -> list[str]:
    """A search of four trials, two at a time."""
    space = tmp_path / "space.yaml"
    space.write_text("lr: {low: 1.0e-4, high: 1.0e-2, log: true}\nmodel.layers: {low: 1, high: 2}\n")
    run = flags(raw, tmp_path / "runs", "--epochs", "2", net=("--model.hidden", "4"))
    return [
        "leap_bilstm",
        "--space",
        str(space),
        "--trials",
        "4",
        "--poll",
        "0.3",
        "--launch",
        "local",
        "--launch.parallel",
        "2",
        *run,
    ]


def study(tmp_path: Path) -> optuna.Study:
    with open_storage(str(tmp_path / "runs/search/leap_bilstm/search.journal"), shared=True) as storage:
        return optuna.load_study(study_name="leap_bilstm/search", storage=storage)


def test_a_killed_search_goes_on_with_its_trials_and_leaves_banks(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "experiments.search", *words]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while len(list(tmp_path.glob("runs/leap_bilstm/search-*/seed*/fold0/run.json"))) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert {trial.state.name for trial in study(tmp_path).trials} <= {"RUNNING", "COMPLETE"}
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert again.returncode == 0, again.stdout + again.stderr
    trials = study(tmp_path).trials
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 4, [trial.user_attrs for trial in trials]
    runs = [RunDirectory.of(tmp_path / "runs", "leap_bilstm", f"search-{i}", 1325, 0) for i in range(4)]
    assert [len(run.record()["starts"]) for run in runs] == [1] * 4  # left alone by the kill, not begun anew
    for trial, run in zip(trials, runs, strict=True):
        assert trial.value == run.record()["best"]["score"]
        assert set(trial.intermediate_values) == {0, 1}
        assert run.flat_settings()["lr"] == trial.params["lr"]
        assert run.bank.is_dir()
    assert "python -m blend search" in again.stdout
    assert all(str(run.path) in again.stdout.replace("\n", "") for run in runs)
    refused = subprocess.run([*command, "--batch_size", "8"], capture_output=True, text=True, check=False, timeout=100)
    assert refused.returncode == 1
    assert "another space or other flags" in refused.stderr


def test_a_worse_trial_is_stopped(words: list[str], tmp_path: Path) -> None:
    """Learning rates that cannot learn are given up before their last epoch."""
    (tmp_path / "space.yaml").write_text("lr: [1.0e-12, 1.0e-3]\n")
    more = "--epochs 60 --train.patience 0 --startup_trials 2 --trials 3 --sampler random --seed_of_study 1 --launch.parallel 1"
    long = [*words, *more.split()]
    subprocess.run([sys.executable, "-m", "experiments.search", *long], check=True, capture_output=True, timeout=500)
    trials = study(tmp_path).trials
    stopped = [trial for trial in trials if trial.state.name == "PRUNED"]
    assert stopped
    assert all(len(trial.intermediate_values) < 60 for trial in stopped)
    for trial in stopped:
        run = RunDirectory.of(tmp_path / "runs", "leap_bilstm", f"search-{trial.number}", 1325, 0)
        assert not run.is_finished


def test_a_sweep_file_says_the_same(words: list[str], tmp_path: Path) -> None:
    main([*words, "--wandb_sweep", str(tmp_path / "sweep.yaml")])
    sweep = yaml.safe_load((tmp_path / "sweep.yaml").read_text())
    assert sweep["parameters"]["lr"] == {"distribution": "log_uniform_values", "min": 1e-4, "max": 1e-2}
    assert sweep["parameters"]["model.layers"] == {"distribution": "int_uniform", "min": 1, "max": 2}
    assert sweep["metric"] == {"name": "best_score", "goal": "maximize"}
    assert sweep["program"] == "experiments/leap_bilstm.py"
    assert "--epochs" in sweep["command"]
    assert sweep["command"][-1] == "${args}"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("lr: 3", "give a list of values, or low and high"),
        ("lr: {low: 1, high: 1}", "low must be a number below high"),
        ("lr: {low: 0.0, high: 1.0, log: true}", "log needs low above 0"),
        ("lr: {low: 1, high: 2, stepp: 1}", "give a list of values"),
        ("[", "not valid YAML"),
        ("", "holds no flags"),
    ],
)
def test_bad_spaces_are_one_sentence(tmp_path: Path, content: str, words: str) -> None:
    (tmp_path / "space.yaml").write_text(content)
    with pytest.raises(DataError, match=words):
        read_space(tmp_path / "space.yaml")


def test_unknown_flags_are_named(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "space.yaml").write_text("modl.layers: [1, 2]\n")
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "modl.layers" in capsys.readouterr().err
    (tmp_path / "space.yaml").write_text("seed: [1, 2]\n")
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 1
    assert "seed cannot be searched" in capsys.readouterr().err


def test_values_stay_inside_their_bounds() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    whole = Dimension.read("n", {"low": 64, "high": 512, "step": 64})
    log = Dimension.read("lr", {"low": 1e-4, "high": 1e-2, "log": True})
    choice = Dimension.read("hidden", [[8, 8], [16]])
    for _ in range(50):
        trial = study.ask()
        assert int(whole.suggest(trial)) in range(64, 513, 64)
        assert 1e-4 <= float(log.suggest(trial)) <= 1e-2
        assert choice.suggest(trial) in ("[8, 8]", "[16]")
