from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from sklearn.metrics import r2_score

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.files import read_json
from datamodules.leap.schema import N_TARGETS, PTEND_TRICK_TARGETS, zero_weight_mask
from experiments.engine.callbacks import LastCheckpoint
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train
from experiments.leap_bilstm_tcn import EXPERIMENT
from tests.datamodules.leap.raw_files import CSV_NAMES, write_csv
from tests.experiments.tiny import flags, write_raw


def run(arguments: list[str]) -> RunDirectory:
    return train(parse(EXPERIMENT, arguments))


def weights(directory: RunDirectory) -> dict[str, torch.Tensor]:
    return torch.load(directory.last, weights_only=True)["state_dict"]


def assert_equal_weights(a: RunDirectory, b: RunDirectory) -> None:
    first, second = weights(a), weights(b)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


@pytest.fixture(scope="module")
def finished(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run(flags(raw_files, tmp_path_factory.mktemp("runs"), "--train.figures", "true"))


def test_a_run_leaves_everything_that_the_design_promises(finished: RunDirectory) -> None:
    record = finished.record()
    assert record["status"] == "finished"
    assert record["rows"] == {"train": 64, "valid": 64}
    assert len(record["hashes"]["data"]) == 64
    assert torch.__version__.startswith(record["starts"][0]["versions"]["torch"])
    assert yaml.safe_load(finished.config.read_text())["model"]["hidden"] == 4
    metrics = pd.read_csv(finished.path / "metrics.csv")
    assert {"val_r2", "val_r2_t", "val_r2_surface", "train_loss", "lr-AdamW"} <= set(metrics)
    for name in ("r2_by_level.png", "predicted_against_true.png"):
        assert (finished.figures / name).stat().st_size > 10_000
    assert finished.best.is_file()
    assert finished.last.is_file()
    assert (finished.path / "folds.csv").is_file()


def test_the_bank_covers_the_fold_once_and_scores_what_was_logged(finished: RunDirectory) -> None:
    bank = PredictionBank(finished.bank)
    truth = bank.truth()
    assert bank.predictions.shape == (64, N_TARGETS)
    assert bank.index["row_id"].is_unique
    assert set(bank.index["group"]) == {"0008-07", "0008-08"}
    assert (bank.index["row_id"] == truth.index["row_id"]).all()
    predicted, true = bank.in_judge_units(slice(None)), truth.in_judge_units(slice(None))
    best = finished.record()["best"]["score"]
    assert r2_score(true, predicted) == pytest.approx(best, abs=1e-5)
    assert (predicted[:, zero_weight_mask()] == 0).all()
    assert np.isfinite(bank.predictions).all()


def test_the_trick_columns_are_kept_in_float32(finished: RunDirectory) -> None:
    bank = PredictionBank(finished.bank)
    assert np.count_nonzero(bank.predictions[:, PTEND_TRICK_TARGETS]) > 0
    assert bank.scale[PTEND_TRICK_TARGETS].min() < 1e-6


def test_starting_a_finished_run_again_does_nothing(
    finished: RunDirectory, raw_files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = finished.last.stat().st_mtime_ns
    run(flags(raw_files, finished.path.parents[3]))
    assert "nothing to do" in capsys.readouterr().out
    assert finished.last.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "more", [(), ("--train.ema_decay", "0.9"), ("--train.accumulate", "2")], ids=["plain", "ema", "accumulate"]
)
def test_going_on_from_any_checkpoint_ends_with_the_same_bits(
    more: tuple[str, ...], raw_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a kill at any moment leaves is one of the checkpoints that were written until then."""
    copies: list[Path] = []
    save = LastCheckpoint.save

    def save_and_copy(self: LastCheckpoint, trainer: object) -> None:
        save(self, trainer)  # type: ignore[arg-type]
        copies.append(tmp_path / f"after{len(copies)}")
        shutil.copytree(self.path.parents[5], copies[-1])

    monkeypatch.setattr(LastCheckpoint, "save", save_and_copy)
    arguments = ("--epochs", "2", "--train.checkpoint_every", "1", *more)
    whole = run(flags(raw_files, tmp_path / "whole", *arguments))
    monkeypatch.undo()
    assert len(copies) >= 6
    # in mid-epoch, before an epoch's last batch, after its end, in the second epoch
    per_epoch = len(copies) // 2
    for position in (1, per_epoch - 2, per_epoch - 1, per_epoch + 1):
        resumed = run(flags(raw_files, copies[position], *arguments))
        assert_equal_weights(whole, resumed)
        assert resumed.record()["best"]["score"] == whole.record()["best"]["score"]


def test_auto_goes_on_from_the_newest_checkpoint(
    raw_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    save = LastCheckpoint.save

    def killed(self: LastCheckpoint, trainer: object) -> None:
        save(self, trainer)  # type: ignore[arg-type]
        if trainer.global_step == 6:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    arguments = flags(raw_files, tmp_path / "broken", "--train.checkpoint_every", "3")
    monkeypatch.setattr(LastCheckpoint, "save", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(arguments)
    monkeypatch.undo()
    broken = run(arguments)
    assert "at optimiser step 6" in capsys.readouterr().out
    assert len(broken.record()["starts"]) == 2
    assert_equal_weights(broken, run(flags(raw_files, tmp_path / "whole", "--train.checkpoint_every", "3")))
    steps = pd.read_csv(broken.path / "metrics.csv")["step"]
    assert steps.is_monotonic_increasing
    assert steps.is_unique


def test_never_sets_the_old_run_aside(finished: RunDirectory, raw_files: Path, tmp_path: Path) -> None:
    shutil.copytree(finished.path.parents[3], tmp_path / "runs")
    again = run(flags(raw_files, tmp_path / "runs", "--resume", "never"))
    assert again.path.with_name("fold0.replaced-1").is_dir()
    assert_equal_weights(again, finished)


def test_other_data_in_the_same_run_directory_are_refused(finished: RunDirectory, tmp_path: Path) -> None:
    shutil.copytree(finished.path.parents[3], tmp_path / "runs")
    other = write_raw(tmp_path, seed=1)
    with pytest.raises(DataError, match="holds a run with other data"):
        run(flags(other, tmp_path / "runs"))


def test_a_checkpoint_of_other_settings_is_refused(finished: RunDirectory, raw_files: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"other settings: --lr .*, so training cannot go on .* --init_from"):
        run(flags(raw_files, tmp_path, "--lr", "0.1", "--resume", str(finished.last)))
    with pytest.raises(DataError, match="is no checkpoint file"):
        run(flags(raw_files, tmp_path, "--resume", str(tmp_path / "no.ckpt")))
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(finished.last.read_bytes()[:1000])
    with pytest.raises(DataError, match="cannot be read as a checkpoint"):
        run(flags(raw_files, tmp_path, "--resume", str(damaged)))


def test_a_checkpoint_of_another_experiment_is_refused(finished: RunDirectory, raw_files: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="made by experiment 'leap_bilstm_tcn', so training cannot go on from it"):
        train(parse(load_experiment("leap_bilstm"), flags(raw_files, tmp_path, "--resume", str(finished.last))))


def test_init_from_starts_at_the_parents_weights_and_names_it(
    finished: RunDirectory, raw_files: Path, tmp_path: Path
) -> None:
    child = run(flags(raw_files, tmp_path, "--init_from", str(finished.path), "--lr", "1e-12", "--epochs", "1"))
    assert child.record()["parent"].startswith(str(finished.best))
    parent = torch.load(finished.best, weights_only=True)["state_dict"]
    for name, value in weights(child).items():
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(value, parent[name], rtol=0, atol=1e-6)
    with pytest.raises(DataError, match="does not fit this net"):
        run(flags(raw_files, tmp_path, "--init_from", str(finished.path), "--model.hidden", "6"))


def test_full_trains_on_every_row_and_validates_nothing(raw_files: Path, tmp_path: Path) -> None:
    full = run(flags(raw_files, tmp_path, "--fold", "full", "--epochs", "1"))
    assert full.record()["rows"] == {"train": 128, "valid": 0}
    assert not full.best.exists()
    assert not full.bank.exists()
    assert full.inference_checkpoint() == full.last


def test_precision_clipping_and_compile_flags_reach_the_trainer(raw_files: Path, tmp_path: Path) -> None:
    directory = run(flags(raw_files, tmp_path, "--precision", "bf16-mixed", "--train.grad_clip", "1", "--epochs", "1"))
    state = weights(directory)
    assert all(value.isfinite().all() for value in state.values() if value.is_floating_point())
    assert state["targets.target_weight"].dtype == torch.float64


def test_early_stopping_stops(raw_files: Path, tmp_path: Path) -> None:
    directory = run(flags(raw_files, tmp_path, "--train.patience", "1", "--epochs", "50", "--lr", "1e-12"))
    assert directory.record()["epochs_done"] < 50
    assert read_json(directory.path / "run.json")["status"] == "finished"


def test_a_bad_fold_or_split_ends_before_training(raw_files: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--fold 3 does not exist: this split has folds 0 to 0"):
        run(flags(raw_files, tmp_path, "--fold", "3"))
    with pytest.raises(DataError, match="holds none of the 16 time steps"):
        run(flags(raw_files, tmp_path, "--data.split", "months", "--data.val_months", "0009-01"))
    with pytest.raises(DataError, match="overlap"):
        run(flags(raw_files, tmp_path, "--data.val_months", "0008-06:0008-07"))
    with pytest.raises(DataError, match=r"--data_dir: .* does not exist"):
        run(flags(tmp_path / "nowhere", tmp_path))
    with pytest.raises(DataError, match="more than the 64 training rows"):
        run(flags(raw_files, tmp_path, "--batch_size", "4096"))


def test_the_competitions_table_trains_too(tmp_path: Path) -> None:
    """train.csv: 384 rows a time step, so 1,000 rows are three steps and three folds."""
    values = np.random.default_rng(0).normal(size=(1000, len(CSV_NAMES) - 1))
    (tmp_path / "kaggle").mkdir()
    write_csv(tmp_path / "kaggle" / "train.csv", values)
    arguments = flags(
        tmp_path / "kaggle", tmp_path / "runs", "--data.n_folds", "3", "--data.gap_days", "0", "--epochs", "1"
    )
    directory = run([*arguments, "--data.columns", "384"])
    bank = PredictionBank(directory.bank)
    assert directory.record()["rows"] == {"train": 768, "valid": 232}
    assert bank.index["row_id"].iloc[0] == "train_768"
    counts = ~zero_weight_mask()  # the judge counts targets of weight 0 as 0
    truth = bank.truth().in_judge_units(slice(0, 1))[0]
    np.testing.assert_allclose(truth[counts], values[768, -N_TARGETS:][counts], rtol=1e-6)
    assert (truth[~counts] == 0).all()
