"""Where the scores of a run go beside its own metrics.csv."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.signals import PARENT
from datamodules.tracking import WandbPlace
from experiments.engine.cli import parse
from experiments.engine.loggers import MetricsCsv, OneWandbRun, _sweep_id
from experiments.engine.training import train
from experiments.leap_bilstm import EXPERIMENT
from tests.experiments.tiny import flags, write_raw
from tests.experiments.wandb_file import records

ROOT = Path(__file__).parents[3]


def test_flags_win_over_the_environment_and_both_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_PROJECT", "WANDB_ENTITY", "WANDB_RUN_GROUP", "WANDB_TAGS"):
        monkeypatch.delenv(name, raising=False)
    assert WandbPlace().options("mine") == {"project": "podium", "entity": None, "group": "mine", "tags": []}
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    monkeypatch.setenv("WANDB_TAGS", "a,b")
    monkeypatch.setenv("WANDB_RUN_GROUP", "search")
    assert WandbPlace(tags="b, c").options("mine") == {
        "project": "theirs", "entity": None, "group": "search", "tags": ["b", "c", "a"],
    }  # fmt: skip
    assert WandbPlace("own", "team", "group").options("mine")["project"] == "own"


def test_where_scores_go_names_no_run(tmp_path: Path) -> None:
    plain, other = (
        parse(EXPERIMENT, flags(tmp_path, tmp_path, *more)).directory()
        for more in ((), ("--wandb_project", "p", "--wandb_tags", "t", "--logger", "tensorboard"))
    )
    assert plain.path == other.path


def test_tensorboard_holds_scores_settings_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    arguments = flags(write_raw(tmp_path / "raw"), tmp_path / "runs", "--epochs", "1", "--logger", "tensorboard")
    run = train(parse(EXPERIMENT, [*arguments, "--train.figures", "true"]))
    events = event_accumulator.EventAccumulator(str(run.path / "tensorboard"), {"images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"val_r2_clipped", "train_loss"} <= {tag.replace("train_loss_step", "train_loss") for tag in tags["scalars"]}
    assert tags["images"]
    assert (run.path / "tensorboard" / "hparams.yaml").is_file()


def test_without_tensorboard_one_sentence_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.engine.loggers.find_spec", lambda name: None)
    arguments = flags(write_raw(tmp_path / "raw"), tmp_path / "runs", "--logger", "tensorboard")
    with pytest.raises(DataError, match=r'pip install "podium\[tensorboard\]"'):
        train(parse(EXPERIMENT, arguments))
    assert not parse(EXPERIMENT, arguments).directory().path.exists()


def command(*words: object, **environment: str) -> str:
    """Run a command in a process of its own: W&B keeps what a process once was told about its mode."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")} | environment
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=ROOT, env=own, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_run_keeps_its_place_and_its_artifacts_which_a_blend_takes(tmp_path: Path) -> None:
    raw = write_raw(tmp_path / "raw")
    wandb = ("--wandb", "offline", "--wandb_artifacts", "all", "--wandb_project", "clouds", "--wandb_entity", "team")
    runs = {}
    for name, more in (("one", ()), ("two", ("--lr", "0.01"))):
        arguments = flags(raw, tmp_path / "runs", "--epochs", "1", "--variant", name, *wandb, *more)
        command("experiments.leap_bilstm", *arguments, "--wandb_tags", "paper,small")
        runs[name] = parse(EXPERIMENT, arguments).directory()
    seen = list(records(runs["one"].path))
    (first,) = [one for kind, one in seen if kind == "run"]
    assert (first.project, first.entity, first.run_group, list(first.tags)) == (
        "clouds", "team", "leap_bilstm-one", ["paper", "small"],
    )  # fmt: skip
    artifacts = {one.name: one for kind, one in seen if kind == "artifact"}
    bank = "bank-leap_bilstm-one-s1325-f0"
    assert {name: one.type for name, one in artifacts.items()} == {
        bank: "bank", bank.replace("bank-", "model-", 1): "model",
    }  # fmt: skip
    assert not artifacts[bank].use_after_commit
    assert {"predictions.npy", "manifest.json"} <= {entry.path for entry in artifacts[bank].manifest.contents}
    metrics = {one.name or one.glob_name: one.summary for kind, one in seen if kind == "metric"}
    chosen = metrics[runs["one"].record()["best"]["metric"]]
    assert (chosen.max, chosen.min) == (True, False)  # the better one alone
    assert metrics["val_*"].min
    assert metrics["val_*"].max
    logged = [item for kind, one in seen if kind == "history" for item in one.item]
    best = [float(item.value_json) for item in logged if "best_score" in (item.key, *item.nested_key)]
    assert best
    assert best[-1] == pytest.approx(runs["one"].record()["best"]["score"])

    # evaluation goes to the same project, whatever the environment of today says, and keeps what the run had
    command("experiments", "evaluate", "--run", runs["one"].path, "--output", tmp_path / "e", "--wandb", "offline",
            WANDB_PROJECT="elsewhere")  # fmt: skip
    seen = list(records(runs["one"].path))
    (again,) = [one for kind, one in seen if kind == "run"]
    assert (again.run_id, again.project, again.run_group, again.display_name) == (
        first.run_id, "clouds", "leap_bilstm-one", first.display_name,
    )  # fmt: skip
    assert {one.name for kind, one in seen if kind == "artifact"} == set(artifacts)
    keys = {key for kind, one in seen if kind == "history" for item in one.item for key in (item.key, *item.nested_key)}
    assert any(key.startswith("evaluation/") for key in keys)

    out = tmp_path / "blend"
    command("blend", "search", *(run.path for run in runs.values()), "--method", "convex", "--figures", "false",
            "--out", out, "--wandb", "offline", "--wandb_group", "paper", WANDB_PROJECT="clouds")  # fmt: skip
    seen = list(records(out))
    (blend,) = [one for kind, one in seen if kind == "run"]
    assert (blend.project, blend.run_group, blend.job_type) == ("clouds", "paper", "blend")
    taken = {one.name: one.digest for kind, one in seen if kind == "artifact" and one.use_after_commit}
    assert set(taken) == {bank, bank.replace("one", "two")}
    assert taken[bank] == artifacts[bank].digest  # the same version as the run's own


def test_a_run_of_before_which_kept_its_id_alone_goes_on(tmp_path: Path) -> None:
    (tmp_path / "wandb.json").write_text('{"id": "abc"}')
    logger = OneWandbRun(
        tmp_path, MetricsCsv(tmp_path / "metrics.csv"), True, "val_r2", "max", **WandbPlace("p").options("g")
    )
    assert (logger.version, logger.name) == ("abc", "p")


def test_a_sweep_gives_its_run_the_id_and_the_runs_before_it_take_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_RUN_ID", "given")
    assert _sweep_id() is None
    monkeypatch.setenv("WANDB_SWEEP_ID", "sweep")
    assert _sweep_id() == "given"
    monkeypatch.setenv(PARENT, "1")
    assert _sweep_id() is None
