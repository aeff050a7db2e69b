"""Lightning's own doors: ``Trainer.fit``, ``load_from_checkpoint`` and ``Trainer.predict`` without the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.leap.datamodule import LeapDataModule
from datamodules.leap.settings import LeapData
from experiments.engine.cli import parse
from experiments.engine.training import train
from experiments.leap_bilstm import EXPERIMENT
from lit_modules.leap.settings import BiLSTM
from lit_modules.leap.task import LeapTask
from lit_modules.mars.task import MarsTask
from lit_modules.settings import Optim
from tests.experiments.tiny import COLUMNS, flags


def data_of(raw: Path, cache: Path) -> LeapDataModule:
    return LeapDataModule(LeapData(columns=COLUMNS, processes=1), raw, cache, batch_size=16)


def trainer(**options: object) -> Trainer:
    return Trainer(
        accelerator="cpu", devices=1, logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False, **options,
    )  # fmt: skip


def test_fit_and_predict_in_a_notebook(raw_files: Path, tmp_path: Path) -> None:
    data = data_of(raw_files, tmp_path)
    data.prepare_data()
    task = LeapTask(BiLSTM(hidden=4, layers=1), Optim(), 1e-3, data.statistics())
    before = {name: value.clone() for name, value in task.net.state_dict().items()}
    fit = trainer(max_epochs=1)
    fit.fit(task, datamodule=data)
    assert any(not torch.equal(value, before[name]) for name, value in task.net.state_dict().items())
    assert "val_r2" in fit.callback_metrics


def test_load_from_checkpoint_predicts_what_the_run_predicted(raw_files: Path, tmp_path: Path) -> None:
    run = train(parse(EXPERIMENT, flags(raw_files, tmp_path / "runs", "--epochs", "1")))
    task = LeapTask.load_from_checkpoint(run.best)
    assert not task.training
    batches = trainer().predict(task, datamodule=data_of(raw_files, tmp_path))
    assert batches is not None
    values = np.concatenate([np.asarray(batch["predictions"]) for batch in batches])
    np.testing.assert_allclose(values, PredictionBank(run.bank).predictions, rtol=1e-5, atol=1e-6)
    with pytest.raises(DataError, match="whose settings MarsTask does not know"):
        MarsTask.load_from_checkpoint(run.best)
