from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.banks.bank import PredictionBank
from experiments.engine.cli import parse
from experiments.engine.training import train
from experiments.leap_bilstm_tcn import EXPERIMENT
from tests.experiments.tiny import flags


def test_two_processes_give_the_same_scores_and_cover_every_row_once(raw_files: Path, tmp_path: Path) -> None:
    """The same weights (no step changes them) are scored by one process and by two."""
    same_weights = (
        "--epochs",
        "1",
        "--lr",
        "1e-30",
        "--model.dropout",
        "0",
        "--data.n_folds",
        "3",
        "--data.split",
        "blocks",
    )
    one = train(parse(EXPERIMENT, flags(raw_files, tmp_path / "one", *same_weights)))
    arguments = flags(raw_files, tmp_path / "two", *same_weights, "--devices", "2", "--batch_size", "16")
    command = [sys.executable, "-m", "experiments.leap_bilstm_tcn", *arguments]
    result = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert result.returncode == 0, result.stderr[-3000:]
    (path,) = (tmp_path / "two").glob("leap_bilstm_tcn/*/seed1325/fold0")
    first, second = PredictionBank(one.bank), PredictionBank(path / "bank")
    assert (first.index["row_id"] == second.index["row_id"]).all()
    assert second.index["row_id"].is_unique
    assert len(second.index) % 2 == 0 or len(second.index) > 1
    states = [torch.load(p / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"] for p in (one.path, path)]
    trained = [
        name for name in states[0] if name.startswith("net") and "running" not in name and "num_batches" not in name
    ]
    assert all(torch.allclose(states[0][name], states[1][name], atol=1e-9) for name in trained)


def test_two_processes_score_a_checkpoint_as_one_does(raw_files: Path, tmp_path: Path) -> None:
    """Validation of the very same weights, unequal shares of rows: equal to 1e-6."""
    from experiments.engine.data import prepare_data

    one = train(parse(EXPERIMENT, flags(raw_files, tmp_path / "one", "--epochs", "1")))
    script = tmp_path / "score.py"
    script.write_text(SCORE)
    scores = []
    for devices in ("1", "2"):
        arguments = flags(raw_files, tmp_path / "unused", "--devices", devices)
        command = [sys.executable, str(script), str(one.best), str(tmp_path / f"score{devices}.txt"), *arguments]
        result = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
        )
        assert result.returncode == 0, result.stderr[-3000:]
        scores.append(np.loadtxt(tmp_path / f"score{devices}.txt"))
    np.testing.assert_allclose(scores[0], scores[1], rtol=0, atol=1e-6)
    assert scores[0][0] == pytest.approx(one.record()["best"]["score"], abs=1e-6)
    assert prepare_data(parse(EXPERIMENT, flags(raw_files, tmp_path))).folds.n_folds == 1


SCORE = """
import sys
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy
from experiments.engine.cli import parse
from experiments.leap_bilstm_tcn import EXPERIMENT
from experiments.engine.data import prepare_data
from experiments.engine.training import build_task
from lit_modules.base import read_checkpoint

checkpoint, out, *arguments = sys.argv[1:]
settings = parse(EXPERIMENT, arguments)
data = prepare_data(settings)
task = build_task(settings, data)
task.load_state_dict(read_checkpoint(checkpoint)["state_dict"])
trainer = Trainer(accelerator="cpu", devices=settings.daily.devices, logger=False, enable_progress_bar=False,
                  strategy=DDPStrategy() if settings.daily.devices > 1 else "auto", use_distributed_sampler=False,
                  enable_checkpointing=False, enable_model_summary=False)
(table,) = trainer.validate(task, datamodule=data, verbose=False)
if trainer.is_global_zero:
    with open(out, "w") as file:
        print(*(table[name] for name in ("val_r2", "val_r2_t", "val_r2_q0001", "val_loss")), file=file)
"""
