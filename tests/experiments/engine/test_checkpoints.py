"""Checkpoints other than the best one: found, predicted into banks of their own, and chosen from by blends."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from blend.__main__ import main as blend
from blend.weights import read_weights
from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.leap.demo import write_kaggle_files
from experiments import checkpoint_bank, predict
from experiments.engine import checkpoint_banks
from experiments.engine.checkpoints import directory_of, find_checkpoint, variant_of
from experiments.engine.cli import parse
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train
from experiments.leap_bilstm_tcn import EXPERIMENT
from tests.experiments.tiny import COLUMNS, flags


@pytest.fixture(scope="module")
def finished(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    out = tmp_path_factory.mktemp("epochs") / "runs"
    arguments = flags(raw_files, out, "--train.keep_epochs", "true", "--variant", "v", "--fold", "0")
    return train(parse(EXPERIMENT, arguments))


def test_keeping_epochs_changes_neither_the_variant_nor_the_best(finished: RunDirectory, raw_files: Path) -> None:
    assert sorted(path.stem for path in finished.checkpoints.glob("*.ckpt")) == [
        "best", "epoch0", "epoch1", "epoch2", "last",
    ]  # fmt: skip
    plain, kept = (
        parse(EXPERIMENT, flags(raw_files, Path("runs"), *more)) for more in ((), ("--train.keep_epochs", "true"))
    )
    assert plain.variant == kept.variant


def test_every_epoch_has_a_bank_and_each_target_its_epoch(finished: RunDirectory, tmp_path: Path) -> None:
    checkpoint_bank.main(["--run", str(finished.path), "--checkpoint", "epochs", "--accelerator", "cpu"])
    variants = finished.path.parents[2]
    twins = [RunDirectory(variants / f"v-epoch{n}" / finished.path.parent.name / "fold0") for n in range(3)]
    best = PredictionBank(finished.bank)
    same = [np.array_equal(PredictionBank(twin.bank).predictions, best.predictions) for twin in twins]
    assert sum(same) == 1  # the best checkpoint is one of the epochs
    assert [twin.record()["status"] for twin in twins] == ["finished"] * 3
    banks = [str(variants / f"v-epoch{n}") for n in range(3)]
    assert blend(["search", *banks, "--method", "per_target", "--top", "1", "--out", str(tmp_path / "w")]) == 0
    weights, _ = read_weights(tmp_path / "w")
    by_target = weights.by_target(best.shape[0])
    assert set(np.unique(by_target)) <= {0.0, 1.0}
    assert (by_target.sum(axis=0 if len(by_target) == 3 else 1) == 1).all()


def test_a_second_call_predicts_nothing_again(finished: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        checkpoint_bank.main(["--run", str(finished.path), "--accelerator", "cpu"])
    assert "is finished: nothing to do" in capsys.readouterr().out


def test_test_predictions_of_an_epoch_lie_in_its_twin(finished: RunDirectory, raw_files: Path, tmp_path: Path) -> None:
    table = (
        write_kaggle_files(raw_files, tmp_path / "kaggle", train_steps=4, test_rows=40, columns=COLUMNS) / "test.csv"
    )
    predict.main(["--run", str(finished.path), "--input", str(table), "--checkpoint", "epoch1", "--accelerator", "cpu"])
    twin = finished.path.parents[2] / "v-epoch1" / finished.path.parent.name / "fold0"
    assert PredictionBank(twin / "predictions" / "test").manifest.variant == "v-epoch1"


def test_names_of_checkpoints(finished: RunDirectory, tmp_path: Path) -> None:
    run = tmp_path / "e" / "v" / "seed0" / "fold1"
    run.mkdir(parents=True)
    assert variant_of("v", 1, Path("x/epoch12.ckpt")) == "v-epoch12"
    assert directory_of(run, "v-epoch12") == tmp_path / "e" / "v-epoch12" / "seed0" / "fold1"
    assert directory_of(run, "v") == run
    assert directory_of(run, "v-other") == run  # another run's variant that only begins alike
    assert variant_of("v", "full", Path("x/last.ckpt")) == "v"
    assert variant_of("v", 1, Path("x/best.ckpt")) == "v"
    with pytest.raises(DataError, match=r"no checkpoint 'epoch9'; it has best, epoch0, epoch1, epoch2, last"):
        find_checkpoint(finished, "epoch9")
    with pytest.raises(DataError, match="best checkpoint's bank is the run's own"):
        checkpoint_banks.checkpoint_bank(finished, "best", "cpu")
