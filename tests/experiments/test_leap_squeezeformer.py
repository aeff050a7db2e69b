from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.leap.demo import DemoSpec, generate
from datamodules.leap.schema import N_TARGETS, TARGET_GROUPS
from experiments import leap_bilstm
from experiments.engine.callbacks import LastCheckpoint
from experiments.engine.cli import Settings, parse
from experiments.engine.inference import load_task
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train
from experiments.leap_squeezeformer import EXPERIMENT
from lit_modules.leap.losses import learnable_target_mask
from lit_modules.leap.squeezeformer_task import SqueezeformerTask
from lit_modules.leap.task import build_net
from tests.experiments.tiny import flags

NET = ("--model.dim", "8", "--model.head", "8", "--model.blocks", "1", "--model.heads", "2", "--model.kernel_size", "3")
HIGH_COLUMNS = 5
PRESETS = Path(__file__).parents[2] / "experiments" / "presets" / "leap_squeezeformer"
# epochs, high-resolution rows, trainable parameters, what else differs from the declaration
EXPECTED: dict[str, tuple[int, bool, int, dict[str, Any]]] = {
    "0p0-all30epochs": (3, False, 52_714_340, {}),
    "0p0-all60epochs": (6, False, 52_714_340, {}),
    "0p0-all90epochs": (9, False, 52_714_340, {}),
    "lr-0p0-4e-512dim": (4, False, 83_362_916 - 24_588, {"dim": 512, "aux_spacetime": False}),
    "lr-0p0-3e-384dim": (3, False, 52_689_752, {"aux_spacetime": False}),
    "hr-0p0-4e": (4, True, 52_714_340, {"high_res_clip": 0.0}),
    "0p0-4e-256dim-fr": (4, True, 20_972_132, {"dim": 256, "head": 1024, "high_res_clip": 1.2}),
    "hr-0p0-3e": (3, True, 52_714_340, {}),
    "hr-0p0-7e-256dim": (7, True, 20_972_132, {"dim": 256, "head": 1024}),
    "0p0-4e-no-aux": (4, True, 52_689_752, {"aux_spacetime": False, "high_res_clip": 0.0}),
    "0p0-5e-nospacetime": (5, True, 52_689_752, {"aux_spacetime": False}),
    "hr-0p0-5e-noconfidencehead": (5, True, 52_661_066, {"aux_spacetime": False, "confidence": False}),
    "hr-0p0-3e-nospacetime": (3, True, 52_689_752, {"aux_spacetime": False}),
}


def run(arguments: list[str]) -> RunDirectory:
    return train(parse(EXPERIMENT, arguments))


def weights(path: Path) -> dict[str, torch.Tensor]:
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def high_res(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 21,600-column grid cut to five columns, other weather."""
    spec = DemoSpec(seed=9, first_month="0008-05", months=4, steps_per_month=6, columns=HIGH_COLUMNS)
    return generate(tmp_path_factory.mktemp("high"), spec, progress=False)


def mixed(raw_files: Path, high_res: Path, out: Path, *more: str) -> list[str]:
    return flags(
        raw_files,
        out,
        "--data.high_res_dir",
        str(high_res),
        "--data.high_res_columns",
        str(HIGH_COLUMNS),
        *more,
        net=NET,
    )


@pytest.fixture(scope="module")
def finished(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run(flags(raw_files, tmp_path_factory.mktemp("runs"), "--train.figures", "true", net=NET))


# --- Declaration --------------------------------------------------------------------------------------------------


def test_the_declaration_is_the_published_training() -> None:
    settings = parse(EXPERIMENT, ["--data_dir", "somewhere"])
    assert (settings.daily.epochs, settings.daily.batch_size, settings.daily.lr) == (3, 512, 1e-3)
    assert (settings.optim.weight_decay_per_lr, settings.optim.sub_epochs, settings.optim.schedule) == (
        4.0,
        10,
        "cosine",
    )
    assert (settings.model.loss, settings.model.target_scale, settings.model.detach_confidence) == (
        "mae",
        "weight",
        True,
    )
    assert parse(EXPERIMENT, []).model.dim < 64


def test_there_are_the_thirteen_presets_and_the_papers() -> None:
    assert {file.stem for file in PRESETS.glob("*.yaml")} >= {*EXPECTED, "paper"}


def test_the_papers_port_is_declared_with_the_papers_training() -> None:
    settings = parse(EXPERIMENT, ["--config", str(PRESETS / "paper.yaml"), "--data_dir", "somewhere"])
    assert (settings.variant, settings.optim.milestones, settings.optim.weight_decay_per_lr) == ("paper", (3, 6, 9), 0)
    assert settings.model.net_arguments()["variant"] == "paper"
    with torch.device("meta"):
        net = build_net(settings.model, 26)
    # the paper's 44,785,225 and one more target per level
    assert sum(p.numel() for p in net.parameters()) == 44_785_225 + 2049


@pytest.mark.parametrize("name", EXPECTED)
def test_presets_are_the_published_variants(name: str) -> None:
    epochs, high, parameters, changed = EXPECTED[name]
    settings: Settings = parse(EXPERIMENT, ["--config", str(PRESETS / f"{name}.yaml"), "--data_dir", "somewhere"])
    assert (settings.daily.epochs, settings.daily.batch_size) == (epochs, 1024 if high else 512)
    assert settings.data.mix_ratio == ("2:1" if high else None)
    assert settings.variant == name
    declared = EXPERIMENT.model
    different = {key: value for key, value in vars(settings.model).items() if value != getattr(declared, key)}
    assert different == changed
    with torch.device("meta"):
        net = build_net(settings.model, 44)
    assert sum(p.numel() for p in net.parameters()) == parameters
    text = (PRESETS / f"{name}.yaml").read_text()
    assert "Published by the original: public leaderboard R2 0.7" in text
    assert set(yaml.safe_load(text)) <= {"variant", "epochs", "batch_size", "data", "model"}


# --- Training -----------------------------------------------------------------------------------------------------


def test_a_run_keeps_confidence_beside_the_predictions_and_reports_it(finished: RunDirectory) -> None:
    bank = PredictionBank(finished.bank)
    confidence = bank.extra("confidence")
    assert confidence.shape == bank.predictions.shape == (64, N_TARGETS)
    assert (confidence[:, ~learnable_target_mask().numpy()] == 0).all()
    curve = finished.record()["risk_coverage"]
    assert curve["kept"][0] == 1.0
    assert curve["r2"][0] == pytest.approx(finished.record()["best"]["score"], abs=1e-5)
    assert curve["rows"] == sorted(curve["rows"], reverse=True)
    assert (finished.figures / "risk_coverage.png").stat().st_size > 5_000


def test_without_the_head_there_is_no_confidence(raw_files: Path, tmp_path: Path) -> None:
    directory = run(
        flags(raw_files, tmp_path, "--model.confidence", "false", "--model.aux_spacetime", "false", net=NET)
    )
    assert "risk_coverage" not in directory.record()
    assert not (directory.bank / "confidence.npy").exists()


def test_learning_rate_and_decay_follow_the_sub_epochs(
    raw_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[float, float]] = []

    def note(self: Any, batch: Any, batch_idx: int) -> torch.Tensor:
        group = self.trainer.optimizers[0].param_groups[0]
        seen.append((group["lr"], group["weight_decay"]))
        return original(self, batch, batch_idx)

    original = SqueezeformerTask.training_step
    monkeypatch.setattr(SqueezeformerTask, "training_step", note)
    run(flags(raw_files, tmp_path, "--optim.sub_epochs", "2", "--lr", "0.002", net=NET))
    assert len(seen) == 12  # three epochs of four steps
    rates = [0.002 * 0.5 * (1 + np.cos(np.pi * k / 6)) for k in range(6)]
    np.testing.assert_allclose([lr for lr, _ in seen], np.repeat(rates, 2), rtol=1e-6)
    np.testing.assert_allclose([wd for _, wd in seen], 4 * np.repeat(rates, 2), rtol=1e-6)


def test_a_checkpoint_predicts_by_itself(finished: RunDirectory) -> None:
    trained = load_task(finished.path)
    task = trained.task
    assert trained.identity.training == trained.identity.data
    columns = {
        "row_id": torch.arange(2),
        "profiles": torch.rand(2, 9, 60).double() + 200,
        "scalars": torch.rand(2, 16).double(),
    }
    assert set(task.predict_step(columns)) == {"row_id", "predictions", "confidence"}


# --- Two sources --------------------------------------------------------------------------------------------------


def test_two_sources_train_and_blend_with_one_source(
    finished: RunDirectory, raw_files: Path, high_res: Path, tmp_path: Path
) -> None:
    directory = run(mixed(raw_files, high_res, tmp_path))
    record, alone = directory.record(), finished.record()
    assert record["hashes"]["data"] == alone["hashes"]["data"] == alone["hashes"]["training"]
    assert record["hashes"]["training"] != record["hashes"]["data"]
    assert record["optimizer_steps"] == 3 * 6  # 64 low-resolution rows are 6 batches of 16 at 2:1
    bank, other = PredictionBank(directory.bank), PredictionBank(finished.bank)
    assert (bank.index["row_id"] == other.index["row_id"]).all()
    np.testing.assert_array_equal(bank.scale, other.scale)


def test_two_sources_go_on_from_any_checkpoint_with_the_same_bits(
    raw_files: Path, high_res: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies: list[Path] = []
    save = LastCheckpoint.save

    def save_and_copy(self: LastCheckpoint, trainer: object) -> None:
        save(self, trainer)  # type: ignore[arg-type]
        copies.append(tmp_path / f"after{len(copies)}")
        shutil.copytree(self.path.parents[5], copies[-1])

    monkeypatch.setattr(LastCheckpoint, "save", save_and_copy)
    arguments = ("--train.checkpoint_every", "1", "--epochs", "2")
    whole = run(mixed(raw_files, high_res, tmp_path / "whole", *arguments))
    monkeypatch.undo()
    per_epoch = len(copies) // 2
    for position in (2, per_epoch + 2):
        resumed = run(mixed(raw_files, high_res, copies[position], *arguments))
        ours, theirs = weights(whole.last), weights(resumed.last)
        assert [name for name in ours if not torch.equal(ours[name], theirs[name])] == []


def test_other_high_resolution_rows_are_other_training(raw_files: Path, high_res: Path, tmp_path: Path) -> None:
    first = run(mixed(raw_files, high_res, tmp_path, "--epochs", "1"))
    spec = DemoSpec(seed=10, first_month="0008-05", months=4, steps_per_month=6, columns=HIGH_COLUMNS)
    other = generate(tmp_path / "other", spec, progress=False)
    with pytest.raises(DataError, match="holds a run with other training"):
        run(mixed(raw_files, other, tmp_path, "--epochs", "1"))
    with pytest.raises(DataError, match="was made by other training rows"):
        run(mixed(raw_files, other, tmp_path / "elsewhere", "--epochs", "1", "--resume", str(first.last)))


# --- Finishing stages ---------------------------------------------------------------------------------------------


def test_a_finishing_stage_with_squared_errors_starts_from_a_run(
    finished: RunDirectory, raw_files: Path, tmp_path: Path
) -> None:
    directory = run(
        flags(raw_files, tmp_path, "--init_from", str(finished.path), "--model.loss", "mse", "--lr", "1e-12", net=NET)
    )
    assert directory.record()["parent"].startswith(str(finished.best))
    start, end = weights(finished.best), weights(directory.last)
    for name, value in end.items():
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(value, start[name], rtol=0, atol=1e-6)
    # the same weights, another loss
    losses = [
        np.genfromtxt(d.path / "metrics.csv", delimiter=",", names=True)["val_loss"] for d in (finished, directory)
    ]
    assert np.nanmax(np.abs(losses[0])) != pytest.approx(np.nanmax(np.abs(losses[1])), rel=1e-3)


def test_groups_are_fine_tuned_from_a_run(raw_files: Path, tmp_path: Path) -> None:
    """Any net of the domain; the head's rows of the other groups stay as they were, without weight decay."""
    experiment = leap_bilstm.EXPERIMENT
    parent = train(parse(experiment, flags(raw_files, tmp_path / "parent", "--epochs", "1")))
    arguments = (
        "--init_from",
        str(parent.path),
        "--model.train_groups",
        "t,u",
        "--optim.weight_decay",
        "0",
        "--epochs",
        "2",
        "--model.select_by",
        "judge",
    )
    child = train(parse(experiment, flags(raw_files, tmp_path / "child", *arguments)))
    start, end = weights(parent.best), weights(child.last)
    last = [name for name in end if name.startswith("net.head") and name.endswith("bias")][-1]
    moved = (start[last] != end[last]).tolist()
    assert moved == [True, False, False, False, True, *([False] * 9)]  # t, u
    best = child.record()["best"]
    assert best["metric"] == "val_r2_trained"
    per_target = np.array(child.record()["per_target"])
    trained = np.concatenate([per_target[TARGET_GROUPS[name]] for name in ("t", "u")])
    assert best["score"] == pytest.approx(trained.mean(), abs=1e-4)


def test_clamping_water_does_not_lower_the_score(raw_files: Path, tmp_path: Path) -> None:
    scores = []
    for clamp in ("false", "true"):
        directory = run(flags(raw_files, tmp_path, "--model.clamp_water", clamp, "--epochs", "1", net=NET))
        scores.append(np.array(directory.record()["per_target"]))
    # where the truth leaves no negative water, no target can lose by it; the net and its training are the same
    assert (scores[1] >= scores[0] - 1e-9).all()
    assert np.isfinite(scores[1]).all()


def test_relative_humidity_is_a_channel_of_the_squeezeformer_too(raw_files: Path, tmp_path: Path) -> None:
    directory = run(flags(raw_files, tmp_path, "--model.relative_humidity", "true", "--epochs", "1", net=NET))
    assert weights(directory.last)["net.stem.0.weight"].shape == (8, 45)
