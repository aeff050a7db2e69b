from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from datamodules.banks.bank import PredictionBank
from experiments.engine.cli import parse
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train
from experiments.mars_timm import EXPERIMENT
from tests.datamodules.mars.files import write_data_set


def test_two_processes_predict_every_row_once_and_score_the_same_weights_alike(tmp_path: Path) -> None:
    """Weights that no step changes, in a backbone without batch statistics: an odd number of rows on two processes."""
    folder = write_data_set(tmp_path / "data", train=15, val=2, test=0)

    def flags(out: str, *more: str) -> list[str]:
        return [
            "--data_dir", str(folder), "--out", str(tmp_path / out), "--data.cache_dir", str(tmp_path / "cache"),
            "--data.m_bins", "32", "--data.t_bins", "64", "--data.n_folds", "3", "--data.processes", "1",
            "--model.backbone", "test_convnext", "--model.head", "flatM", "--model.pretrained", "false",
            "--model.tta_step", "16", "--model.tta_steps", "3", "--model.mixup", "0.5", "--lr", "1e-30", "--epochs", "1",
            "--wandb", "disabled", "--train.progress", "false", "--train.figures", "false", "--accelerator", "cpu",
            *more,
        ]  # fmt: skip

    one = train(parse(EXPERIMENT, flags("one")))
    command = [sys.executable, "-m", "experiments.mars_timm", *flags("two", "--devices", "2")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr[-3000:]
    (path,) = (tmp_path / "two").glob("mars_timm/*/seed0/fold0")
    two = RunDirectory(path)

    first, second = PredictionBank(one.bank), PredictionBank(two.bank)
    assert len(second.index) == 5
    assert second.index["row_id"].is_unique
    assert list(second.index["row_id"]) == list(first.index["row_id"])
    np.testing.assert_allclose(second.predictions, first.predictions, rtol=0, atol=1e-6)
    scores = [directory.record()["best"]["score"] for directory in (one, two)]
    assert scores[1] == pytest.approx(scores[0], rel=0, abs=1e-6)
    p, y = (bank.in_judge_units(slice(None)) for bank in (second, second.truth()))
    assert scores[1] == pytest.approx(-np.where(y > 0.5, np.log(p), np.log1p(-p)).mean(), abs=1e-6)
    assert [directory.record()["optimizer_steps"] for directory in (one, two)] == [1, 1]
