"""Where the scores of a run go beside its own metrics.csv."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.engine.cli import parse
from experiments.engine.loggers import WandbPlace
from experiments.engine.training import train
from experiments.leap_bilstm import EXPERIMENT
from tests.experiments.tiny import flags, write_raw


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
