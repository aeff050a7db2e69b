from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from datamodules.errors import DataError
from datamodules.moa.datamodule import MoaDataModule
from datamodules.moa.settings import MoaData
from lit_modules.base import load_weights
from lit_modules.moa.settings import (
    DeepInsightModel,
    LogisticModel,
    MLPModel,
    MoaModel,
    SoftOrderingModel,
    TabNetModel,
    TwoHeadsModel,
)
from lit_modules.moa.task import MoaTask, swap_noise
from lit_modules.settings import Optim
from tests.datamodules.moa.tiny import write_files

NETS: dict[str, tuple[MoaModel, tuple[str, ...]]] = {
    "logistic": (LogisticModel(), ("rank_gauss", "one_hot")),
    "mlp": (MLPModel(hidden=(8,), dropout=(0.1, 0.1)), ("rank_gauss", "row_statistics", "one_hot")),
    "two heads": (TwoHeadsModel(width=16), ("row_means", "standard", "pca:genes=3,cells=2", "screen:keep=7")),
    "tabnet": (TabNetModel(decision=4, attention=4), ("rank_gauss", "codes")),
    "1d-cnn": (SoftOrderingModel(channels=4, length=8, width=8), ("row_normalise", "rank_gauss")),
    "deep insight": (
        DeepInsightModel(backbone="resnest50_fast", layers=(1, 1, 1, 1), hidden=8, swap_noise=0.5),
        ("levels", "log_scaler", "image_map:size=32,steps=250"),
    ),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


def make(files: Path, settings: MoaData, fold: int | str = 0) -> MoaDataModule:
    data = MoaDataModule(settings, files, files.parent / "cache", 32, fold)
    data.prepare()
    return data


@pytest.fixture(scope="module", params=list(NETS))
def pair(request: pytest.FixtureRequest, files: Path) -> tuple[MoaTask, MoaDataModule]:
    model, features = NETS[request.param]
    data = make(files, MoaData(features=features))
    torch.manual_seed(0)
    return MoaTask(model, Optim(), 1e-3, data.statistics()), data


def test_every_net_trains_and_predicts_probabilities(pair: tuple[MoaTask, MoaDataModule]) -> None:
    task, data = pair
    batch = data.read(np.arange(40))
    task.train()
    loss = task.compute_loss(batch)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in task.net.parameters() if p.requires_grad)
    task.eval()
    with torch.no_grad():
        out = task.predict_step(batch)
    assert out["predictions"].shape == (40, 12)
    assert out["predictions"].dtype == torch.float32
    assert ((out["predictions"] >= 0) & (out["predictions"] <= 1)).all()
    control = batch["control"]
    assert control.any()
    assert (out["predictions"][control] == 0).all()
    assert (out["predictions"][~control] > 0).all()


def test_a_checkpoint_alone_rebuilds_task_and_features(pair: tuple[MoaTask, MoaDataModule]) -> None:
    task, data = pair
    state = {name: value.clone() for name, value in task.state_dict().items()}
    again = MoaTask(task.model_settings, Optim(), 1e-3, MoaTask.statistics_in(state))
    load_weights(again, {"state_dict": state})
    batch = data.read(np.arange(30, 50))
    task.eval()
    again.eval()
    with torch.no_grad():
        assert torch.equal(again.predict_step(batch)["predictions"], task.predict_step(batch)["predictions"])
    assert again.target_names == data.tables.scored.names


def test_the_loss_is_smoothed_in_training_only(files: Path) -> None:
    data = make(files, MoaData())
    task = MoaTask(LogisticModel(label_smoothing=0.2), Optim(), 1e-3, data.statistics()).eval()
    batch = data.read(data.rows("train")[:16])
    with torch.no_grad():
        logits = task(batch)
        plain = binary_cross_entropy_with_logits(logits, batch["labels"])
        smooth = binary_cross_entropy_with_logits(logits, batch["labels"] * 0.8 + 0.1)
        assert float(task.compute_loss(batch)) == pytest.approx(float(smooth), rel=1e-6)
        assert float(task.update_metrics(batch)) == pytest.approx(float(plain), rel=1e-6)
    scores = task.metric_table()
    assert scores["log_loss_nc"] == pytest.approx(float(plain), rel=1e-5)
    share = 1 - data.tables.signatures.control.mean()
    assert scores["log_loss_all"] == pytest.approx(scores["log_loss_nc"] * share)


def test_logistic_regression_starts_at_the_training_shares(files: Path) -> None:
    data = make(files, MoaData())
    task = MoaTask(LogisticModel(), Optim(), 1e-3, data.statistics()).eval()
    rows = data.rows("train")
    with torch.no_grad():
        predicted = task.predict_step(data.read(rows[:2]))["predictions"]
    expected = data.truth(rows).mean(axis=0) * 0.999 + 0.0005
    np.testing.assert_allclose(predicted[0].numpy(), expected, rtol=1e-5)


def test_swap_noise_copies_from_other_rows_and_leaves_its_input_alone() -> None:
    torch.manual_seed(0)
    values = torch.arange(200).float()[:, None] * torch.ones(200, 20)
    before = values.clone()
    noisy = swap_noise(values, 0.3, 0.15)
    assert torch.equal(values, before)
    changed = (noisy != values).sum(dim=1)
    assert changed.max() == 3  # a share of 20 columns
    assert 0.2 < (changed > 0).float().mean() < 0.4
    assert torch.equal(swap_noise(values, 0.0, 0.15), values)


def test_nets_that_miss_a_step_say_so(files: Path) -> None:
    statistics = make(files, MoaData(features=("rank_gauss",))).statistics()
    with pytest.raises(DataError, match="needs 'screen' to append the last block"):
        MoaTask(TwoHeadsModel(), Optim(), 1e-3, statistics)
    with pytest.raises(DataError, match="has no step 'image_map'"):
        MoaTask(DeepInsightModel(), Optim(), 1e-3, statistics)
    early = make(files, MoaData(features=("image_map:size=8,steps=250", "one_hot"))).statistics()
    with pytest.raises(DataError, match="must be the last step"):
        MoaTask(DeepInsightModel(), Optim(), 1e-3, early)
    with pytest.raises(ValueError, match=r"model\.swap_noise must be"):
        LogisticModel(swap_noise=1.5)


def test_features_of_fixed_rows_are_made_once_and_are_the_batches_own(
    pair: tuple[MoaTask, MoaDataModule], monkeypatch: pytest.MonkeyPatch
) -> None:
    task, data = pair
    task.eval()
    plain = data.read(np.arange(60))
    with torch.no_grad():
        expected = task(plain)
    data.serve_features(task.features)
    calls = []
    monkeypatch.setattr(type(task.features), "forward", lambda self, *given: calls.append(given))
    data.serve_features(task.features)  # from the cache folder
    served = data.read(np.arange(60))
    with torch.no_grad():
        torch.testing.assert_close(task(served), expected, rtol=1e-5, atol=1e-6)
        task.update_metrics(served)
    assert calls == []
    if task.model_settings.swap_noise > 0:  # rows that are drawn anew have features of their own
        with pytest.raises((AttributeError, TypeError)):
            task.compute_loss(served)
        assert len(calls) == 1
    del data._tensors["features"]
    task.reset_metrics()


def test_served_features_follow_the_pipeline(files: Path) -> None:
    data = make(files, MoaData(features=("standard", "kmeans:genes=3")))
    other = make(files, MoaData(features=("standard", "kmeans:genes=3")), fold=1)
    served = []
    for module in (data, other, data):
        task = MoaTask(LogisticModel(), Optim(), 1e-3, module.statistics())
        data.serve_features(task.features)
        served.append(data.read(np.arange(20))["features"])
    assert torch.equal(served[0], served[2])
    assert not torch.equal(served[0], served[1])
