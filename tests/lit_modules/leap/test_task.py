from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge as Reference

from datamodules.batches import OrderedBatches
from datamodules.folds import TRAIN, VALID
from datamodules.leap.datamodule import LeapDataModule
from datamodules.leap.schema import TARGET_GROUPS, TARGET_NAMES
from datamodules.leap.settings import LeapData
from datamodules.loader import BatchLoader
from lit_modules.base import BaseTask, load_weights, read_checkpoint
from lit_modules.leap.ridge import ALPHAS, RidgeTask
from lit_modules.leap.settings import BiLSTMAttention, BiLSTMTCN, LeapModel, Ridge
from lit_modules.leap.task import LeapTask
from lit_modules.settings import Optim
from tests.experiments.tiny import COLUMNS, write_raw


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> LeapDataModule:
    folder = tmp_path_factory.mktemp("task")
    module = LeapDataModule(LeapData(columns=COLUMNS, processes=1), write_raw(folder), folder / "cache", batch_size=16)
    module.prepare()
    return module


def batch_of(data: LeapDataModule, role: str) -> dict[str, torch.Tensor]:
    return data.read(data.rows(role))


def task(data: LeapDataModule, model: LeapModel | None = None) -> LeapTask:
    torch.manual_seed(0)
    return LeapTask(model or BiLSTMTCN(hidden=4, layers=1), Optim(), 1e-3, data.statistics())


def test_training_on_a_batch_lowers_its_loss(data: LeapDataModule) -> None:
    own = task(data)
    batch = batch_of(data, TRAIN)
    optimizer = torch.optim.Adam(own.parameters(), 1e-2)
    losses = []
    for _ in range(25):
        loss = own.compute_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize(
    "model",
    [
        BiLSTMTCN(hidden=4, layers=1, relative_humidity=True, vertical_difference=True),
        BiLSTMTCN(hidden=4, layers=1, loss="huber", loss_beta=0.5, difference_weight=1.0, second_difference_weight=0.5),
        BiLSTMTCN(hidden=4, layers=1, loss="mae", target_scale="std"),
        BiLSTMTCN(hidden=4, layers=1, loss="mse", clamp_water=True),
    ],
)
def test_every_option_trains_and_predicts_finite_numbers(model: LeapModel, data: LeapDataModule) -> None:
    own = task(data, model)
    own.compute_loss(batch_of(data, TRAIN)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in own.net.parameters())
    out = own.eval().predict_step(batch_of(data, VALID))
    assert out["predictions"].isfinite().all()
    assert out["predictions"].dtype == torch.float32


def test_difference_losses_add_up(data: LeapDataModule) -> None:
    batch = batch_of(data, TRAIN)
    plain, more = (task(data, BiLSTMTCN(hidden=4, layers=1, dropout=0, difference_weight=w)) for w in (0.0, 2.0))
    assert more.compute_loss(batch) > plain.compute_loss(batch)


def test_no_step_leaves_negative_water_when_clamped(data: LeapDataModule) -> None:
    batch = batch_of(data, VALID)
    own = task(data, BiLSTMTCN(hidden=4, layers=1, clamp_water=True)).eval()
    with torch.no_grad():
        physical = own.physical(own(batch["profiles"], batch["scalars"]) * 100, batch)
    q1 = batch["profiles"][:, 1] + 1200 * physical[:, TARGET_GROUPS["q0001"]]
    assert q1.min() >= -1e-15


def test_predictions_do_not_depend_on_batch_mates(data: LeapDataModule) -> None:
    own = task(data).eval()
    batch = batch_of(data, VALID)
    with torch.no_grad():
        whole = own.predict_step(batch)["predictions"]
        alone = own.predict_step({name: value[3:4] for name, value in batch.items()})["predictions"]
    torch.testing.assert_close(whole[3:4], alone, rtol=1e-4, atol=1e-5)


def test_batch_axis_attention_is_scored_but_not_predicted(data: LeapDataModule) -> None:
    own = task(data, BiLSTMAttention(hidden=4, layers=1, heads=2, attention_axis="batch")).eval()
    assert own.cannot_predict
    assert own.update_metrics(batch_of(data, VALID)).isfinite()
    with pytest.raises(RuntimeError, match="refused"):
        own.predict_step(batch_of(data, VALID))


def test_a_checkpoint_rebuilds_the_task_without_statistics(data: LeapDataModule, tmp_path: Path) -> None:
    own = task(data).eval()
    own.identity = {"experiment": "leap_bilstm_tcn"}
    saved: dict[str, object] = {"state_dict": own.state_dict()}
    own.on_save_checkpoint(saved)
    torch.save(saved, tmp_path / "a.ckpt")
    again = LeapTask(BiLSTMTCN(hidden=4, layers=1), Optim(), 1e-3).eval()
    load_weights(again, read_checkpoint(tmp_path / "a.ckpt"))
    batch = batch_of(data, VALID)
    assert torch.equal(own.predict_step(batch)["predictions"], again.predict_step(batch)["predictions"])


def test_the_metric_table_names_every_group(data: LeapDataModule) -> None:
    own = task(data).eval()
    own.update_metrics(batch_of(data, VALID))
    names = ["r2", *(f"r2_{name}" for name in TARGET_GROUPS)]
    assert own.estimable is not None
    assert set(own.metric_table()) == {*names, *(f"{name}_clipped" for name in names), "r2_estimable"}
    assert isinstance(own, BaseTask)
    assert list(own.target_names) == TARGET_NAMES


def test_ridge_equals_scikit_learn(data: LeapDataModule) -> None:
    own = RidgeTask(Ridge(), Optim(), 1.0, data.statistics())
    rows = data.rows(TRAIN)
    own.first_late_row = int(rows[int(len(rows) * 0.8)])
    for batch in BatchLoader(data.read, OrderedBatches(rows, 10)):
        own.collect(batch)
    own.solve()
    batch = data.read(rows)
    x = own.net.flat(own.features(batch["profiles"], batch["scalars"])).numpy()
    y = own.targets.encode(batch["targets"]).double().numpy()
    early = rows < own.first_late_row
    assert own.alphas is not None
    for target in (5, 100, 361):
        alpha = own.alphas[target]
        assert alpha in ALPHAS
        fitted = Reference(alpha=alpha * len(rows)).fit(x, y[:, target])
        np.testing.assert_allclose(own.net.linear.weight[target].detach().numpy(), fitted.coef_, rtol=1e-3, atol=1e-6)
        errors = [
            (
                (
                    Reference(alpha=a * early.sum()).fit(x[early], y[early, target]).predict(x[~early])
                    - y[~early, target]
                )
                ** 2
            ).sum()
            for a in ALPHAS
        ]
        assert errors[ALPHAS.index(alpha)] == pytest.approx(min(errors), rel=1e-3)
