from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.leap.calendar import stamp_to_step
from datamodules.leap.schema import (
    N_TARGETS,
    PROFILES,
    PTEND_TRICK_TARGETS,
    STEP_SECONDS,
    TARGET_GROUPS,
    zero_weight_mask,
)
from datamodules.leap.statistics import Moments, target_statistics
from lit_modules.leap.losses import group_mask, learnable_target_mask, masked_confidence_loss, pointwise_loss
from lit_modules.leap.representations import MultiRepresentation
from lit_modules.leap.settings import BiLSTM, Squeezeformer
from lit_modules.leap.spacetime import SpaceTimeTargets
from lit_modules.leap.squeezeformer_task import SqueezeformerTask
from lit_modules.leap.targets import TargetScaler, postprocess, soft_clip_outside
from lit_modules.leap.task import LeapTask
from lit_modules.settings import Optim
from tests.lit_modules.leap.columns import raw_columns, statistics_of

TINY: dict[str, Any] = {"dim": 8, "head": 8, "blocks": 1, "kernel_size": 3, "heads": 2}
ROWS = 32


def rows(seed: int = 0) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A batch of random rows, every second of them high-resolution, and its statistics."""
    profiles, scalars = raw_columns(ROWS, seed)
    generator = torch.Generator().manual_seed(seed + 1)
    sizes = torch.logspace(-12, 2, N_TARGETS, dtype=torch.float64)
    targets = sizes * (1 + torch.randn(ROWS, N_TARGETS, dtype=torch.float64, generator=generator))
    targets[:, zero_weight_mask()] = 0.0
    batch = {
        "row_id": torch.arange(ROWS),
        "profiles": profiles,
        "scalars": scalars,
        "targets": targets,
        "step": torch.arange(ROWS) * 977,
        "column": torch.arange(ROWS, dtype=torch.int32) % 4,
        "high_res": torch.arange(ROWS) % 2 == 1,
    }
    grid = np.array([[-60.0, 10.0], [0.0, 100.0], [30.0, 200.0], [60.0, 300.0]])
    grids = {"grid": grid, "high_res_grid": grid + 1.0, "high_res_columns": np.asarray(4)}
    return batch, {**statistics_of(profiles, scalars), **target_statistics(Moments.of(targets.numpy())), **grids}


def task_of(statistics: dict[str, Any] | None, **settings: Any) -> SqueezeformerTask:
    torch.manual_seed(0)
    return SqueezeformerTask(Squeezeformer(**(TINY | settings)), Optim(), 1e-3, statistics)


# --- Targets ------------------------------------------------------------------------------------------------------


def test_targets_are_the_weighted_ones_less_their_mean() -> None:
    batch, statistics = rows()
    scaled = TargetScaler(statistics, "weight").encode(batch["targets"]).numpy()
    y = batch["targets"].numpy()
    expected = (y - y.mean(axis=0)) * statistics["target_weight"]
    np.testing.assert_allclose(scaled, expected, rtol=1e-5, atol=1e-6)
    live = ~zero_weight_mask()
    np.testing.assert_allclose(scaled[:, live].std(axis=0, ddof=1), 1.0, rtol=1e-5)
    assert (scaled[:, ~live] == 0).all()


@pytest.mark.parametrize("scale", ["rms", "std", "weight"])
def test_every_scale_is_undone_and_errors_scale_like_differences(scale: Any) -> None:
    batch, statistics = rows()
    scaler = TargetScaler(statistics, scale)
    scaled = scaler.encode(batch["targets"])
    lost = (scaler.decode(scaled) - batch["targets"]) / scaler.bank_scale  # in standard deviations, to float32's digits
    torch.testing.assert_close(lost, torch.zeros_like(lost), rtol=0, atol=1e-6)
    error = torch.rand(ROWS, N_TARGETS, generator=torch.Generator().manual_seed(3))
    moved = (scaler.decode(scaled.double() + error) - scaler.decode(scaled)) / scaler.bank_scale
    torch.testing.assert_close(scaler.decode_error(error), moved, rtol=1e-9, atol=1e-9)


def test_the_soft_clip_by_hand() -> None:
    low, high = torch.tensor([-2.0]), torch.tensor([3.0])
    values = torch.tensor([[-2.0 - (math.e - 1)], [-2.0], [0.5], [3.0], [3.0 + (math.e - 1)], [3.0 + (math.e**2 - 1)]])
    expected = torch.tensor([[-3.0], [-2.0], [0.5], [3.0], [4.0], [5.0]])
    torch.testing.assert_close(soft_clip_outside(values, low, high), expected)


def test_the_limits_are_a_factor_times_the_scaled_range() -> None:
    batch, statistics = rows()
    low, high = (1.1 * value for value in TargetScaler(statistics, "weight").scaled_range(statistics))
    scaled = TargetScaler(statistics, "weight").encode(batch["targets"])
    torch.testing.assert_close(low, 1.1 * scaled.amin(dim=0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(high, 1.1 * scaled.amax(dim=0), rtol=1e-5, atol=1e-6)


# --- Space and time -----------------------------------------------------------------------------------------------


def test_spacetime_targets_by_hand() -> None:
    grid = np.array([[-30.0, 0.0], [30.0, 180.0]])
    targets = SpaceTimeTargets(grid, np.array([[60.0, 90.0]]))
    steps = torch.tensor([stamp_to_step(s) for s in ("0001-01-01-00000", "0003-03-01-21600", "0008-12-31-64800")])
    out = targets(steps, torch.tensor([0, 1, 0]), torch.tensor([False, False, True]))
    day = [0, 2 * 31, 11 * 31 + 30]  # 1 March is day 62 of the table, though day 59 of the year
    second = [0.0, 0.25, 0.75]
    for i in range(3):
        place = [[-1.0, -1.0], [1.0, 1.0], [2.0, 0.0]][i]
        angle, turn = 2 * math.pi * day[i] / 372, 2 * math.pi * second[i]
        expected = [*place, math.sin(angle), math.cos(angle), math.sin(turn), math.cos(turn)]
        np.testing.assert_allclose(out[i], expected, atol=1e-6)
    assert out.dtype == torch.float32


def test_an_unknown_grid_is_refused_only_where_it_is_needed() -> None:
    _, statistics = rows()
    no_grid = {name: value for name, value in statistics.items() if name != "grid"}
    with pytest.raises(
        DataError, match=r"give its ClimSim grid-info file with --data.grid_file, or .*aux_spacetime false"
    ):
        task_of(no_grid)
    with pytest.raises(DataError, match=r"grid of 4 high-resolution columns is not known.* --data.high_res_grid_file"):
        task_of({name: value for name, value in statistics.items() if name != "high_res_grid"})
    assert task_of(no_grid, aux_spacetime=False).spacetime is None
    assert task_of(None).spacetime is None


# --- Loss ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("aux", [True, False])
@pytest.mark.parametrize("confidence", [True, False])
def test_the_loss_written_out(aux: bool, confidence: bool) -> None:
    batch, statistics = rows()
    task = task_of(statistics, aux_spacetime=aux, confidence=confidence).eval()
    # move high-resolution rows out of the range, so that the clip acts
    batch["targets"] = batch["targets"].clone()
    batch["targets"][1::2] *= 20
    output = task.outputs(batch)
    y = (batch["targets"].numpy() - statistics["target_mean"]) * statistics["target_weight"]
    limits = [
        1.1 * (statistics[f"target_{side}"] - statistics["target_mean"]) * statistics["target_weight"]
        for side in ("min", "max")
    ]
    for i in range(1, ROWS, 2):
        for j in range(N_TARGETS):
            if y[i, j] < limits[0][j]:
                y[i, j] = limits[0][j] - math.log(1 - y[i, j] + limits[0][j])
            elif y[i, j] > limits[1][j]:
                y[i, j] = limits[1][j] + math.log(1 + y[i, j] - limits[1][j])
    mask = learnable_target_mask().double().numpy()
    if aux:
        assert task.spacetime is not None
        y = np.concatenate([y, task.spacetime(batch["step"], batch["column"], batch["high_res"]).numpy()], axis=1)
        mask = np.concatenate([mask, np.ones(6)])
    error = np.abs(y - output.prediction.detach().numpy()) * mask
    loss = error.mean()
    if confidence:
        assert output.confidence is not None
        loss += (np.abs(error - output.confidence.detach().numpy()) * mask).mean()
    assert output.prediction.shape[1] == 368 + 6 * aux
    assert task.compute_loss(batch).item() == pytest.approx(loss, rel=1e-5)


def test_only_high_resolution_training_rows_are_clipped() -> None:
    batch, statistics = rows()
    batch["targets"] = batch["targets"] * 20
    losses = {}
    for flag in (False, True):
        batch["high_res"] = torch.full((ROWS,), flag)
        for factor in (1.1, 0.0):
            losses[flag, factor] = (
                task_of(statistics, high_res_clip=factor, aux_spacetime=False).compute_loss(batch).item()
            )
    assert losses[False, 1.1] == losses[False, 0.0] == losses[True, 0.0]
    assert losses[True, 1.1] < 0.5 * losses[True, 0.0]


def test_detaching_keeps_the_confidence_out_of_the_predictions_gradient() -> None:
    batch, statistics = rows()
    gradients = {}
    state = task_of(statistics).state_dict()
    for name, settings in (
        ("with", {}),
        ("without", {"confidence": False}),
        ("attached", {"detach_confidence": False}),
    ):
        task = task_of(statistics, **settings)
        task.load_state_dict(state, strict=name != "without")
        task.compute_loss(batch).backward()
        gradients[name] = task.net.prediction.weight.grad
    torch.testing.assert_close(gradients["with"], gradients["without"])
    assert not torch.allclose(gradients["attached"], gradients["without"])


def test_other_losses_keep_the_confidence_on_the_absolute_error() -> None:
    prediction, target = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 5.0]])
    confidence, mask = torch.tensor([[1.5, 9.0]]), torch.tensor([True, False])
    assert masked_confidence_loss(prediction, confidence, target, mask).item() == pytest.approx((2 + 0.5) / 2)
    assert masked_confidence_loss(prediction, confidence, target, mask, kind="mse").item() == pytest.approx(
        (4 + 0.5) / 2
    )
    huber = masked_confidence_loss(prediction, None, target, mask, kind="huber", beta=1.0)
    assert huber.item() == pytest.approx(1.5 / 2)


def test_difference_losses_add_to_it() -> None:
    batch, statistics = rows()
    plain = task_of(statistics).compute_loss(batch)
    more = task_of(statistics, difference_weight=1.0, second_difference_weight=0.5).compute_loss(batch)
    assert more > plain


# --- Groups -------------------------------------------------------------------------------------------------------


def test_only_the_trained_groups_count() -> None:
    batch, statistics = rows()
    for task in (
        task_of(statistics, train_groups="t, surface"),
        LeapTask(
            BiLSTM(hidden=2, layers=1, train_groups="t,surface", difference_weight=1.0), Optim(), 1e-3, statistics
        ),
    ):
        head = task.net.prediction if isinstance(task, SqueezeformerTask) else task.net.head[-1]
        task.compute_loss(batch).backward()
        used = head.weight.grad.abs().sum(dim=1)
        assert (used[[0, *range(6, 14)]] > 0).all()  # t and the eight fluxes
        assert (used[1:6] == 0).all()
        assert (used[14:] == 0).all()  # nor the auxiliary targets
        assert task.monitor == "val_r2_trained"
        task.update_metrics(batch)
        table = task.metric_table()
        mean = (60 * table["r2_t"] + 8 * table["r2_surface"]) / 68
        assert table["r2_trained"] == pytest.approx(mean)
    assert task_of(statistics).monitor == "val_r2"


def test_group_losses_average_to_the_loss_of_all() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, N_TARGETS, generator=generator) for _ in range(2))
    masks = {name: group_mask([name]) for name in TARGET_GROUPS}
    parts = sum(pointwise_loss(a, b, mask=mask) * mask.sum() for mask in masks.values())
    torch.testing.assert_close(parts / N_TARGETS, pointwise_loss(a, b))


def test_wrong_settings_are_named() -> None:
    with pytest.raises(ValueError, match=r"model.train_groups: 'w' is no variable group; there are t, q0001"):
        Squeezeformer(train_groups="t,w")
    with pytest.raises(ValueError, match=r"model.heads 3 must divide model.dim 8"):
        Squeezeformer(dim=8, heads=3)
    with pytest.raises(ValueError, match="high_res_clip must be at least 0"):
        Squeezeformer(high_res_clip=-1.0)


# --- Prediction ---------------------------------------------------------------------------------------------------


def test_prediction_needs_the_raw_state_alone_and_a_row_is_its_own() -> None:
    batch, statistics = rows()
    task = task_of(statistics).eval()
    inputs = {name: batch[name] for name in ("row_id", "profiles", "scalars")}
    whole = task.predict_step(inputs)
    one = task.predict_step({name: value[3:4] for name, value in inputs.items()})
    for name in ("predictions", "confidence"):
        assert whole[name].shape == (ROWS, N_TARGETS)
        torch.testing.assert_close(whole[name][3:4], one[name], rtol=1e-5, atol=1e-6)
    physical = whole["predictions"].double() * task.bank_scale
    trick = -batch["profiles"][:, PROFILES.index("state_q0002"), 12:28] / STEP_SECONDS
    torch.testing.assert_close(physical[:, PTEND_TRICK_TARGETS], trick, rtol=1e-6, atol=0)
    assert (whole["confidence"] >= 0).all()
    assert (whole["confidence"][:, ~learnable_target_mask()] == 0).all()
    assert "confidence" not in task_of(statistics, confidence=False).predict_step(inputs)


def test_a_checkpoint_brings_all_that_prediction_needs() -> None:
    batch, statistics = rows()
    trained, rebuilt = task_of(statistics).eval(), task_of(None).eval()
    rebuilt.load_state_dict(trained.state_dict())
    assert not any(key.startswith(("spacetime", "target_low", "loss_mask")) for key in trained.state_dict())
    for name, value in trained.predict_step(batch).items():
        assert torch.equal(value, rebuilt.predict_step(batch)[name])


@pytest.mark.parametrize(
    ("humidity", "difference", "channels"), [(True, False, 45), (False, True, 53), (True, True, 54)]
)
def test_further_channels(humidity: bool, difference: bool, channels: int) -> None:
    batch, statistics = rows()
    features = MultiRepresentation(statistics, humidity, difference)
    x = features(batch["profiles"], batch["scalars"])
    assert features.out_channels == channels == x.shape[2]
    torch.testing.assert_close(x[..., :44], MultiRepresentation(statistics)(batch["profiles"], batch["scalars"]))
    if difference:
        torch.testing.assert_close(x[:, 1:, -9:], x[..., 9:18].diff(dim=1), rtol=1e-4, atol=1e-5)
        assert (x[:, 0, -9:] == 0).all()
    task = task_of(statistics, relative_humidity=humidity, vertical_difference=difference)
    assert task(batch["profiles"], batch["scalars"]).shape == (ROWS, N_TARGETS)


def test_the_water_clamp_never_leaves_negative_water_and_never_adds_error() -> None:
    """Where the truth leaves no negative water, lifting a prediction to the bound brings it nearer."""
    batch, _ = rows()
    profiles = batch["profiles"]
    generator = torch.Generator().manual_seed(5)
    water = {name: profiles[:, PROFILES.index(f"state_{name}")] for name in ("q0001", "q0002", "q0003")}
    truth, guess = torch.zeros(ROWS, N_TARGETS, dtype=torch.float64), torch.zeros(ROWS, N_TARGETS, dtype=torch.float64)
    for name, q in water.items():
        noise = torch.rand(ROWS, 60, dtype=torch.float64, generator=generator)
        truth[:, TARGET_GROUPS[name]] = q * (noise * 3 - 1) / STEP_SECONDS
        guess[:, TARGET_GROUPS[name]] = (
            q * (torch.randn(ROWS, 60, dtype=torch.float64, generator=generator) * 3) / STEP_SECONDS
        )
    plain, clamped = (postprocess(guess.clone(), profiles, clamp) for clamp in (False, True))
    assert ((clamped - truth).abs() <= (plain - truth).abs()).all()
    moved = clamped != plain
    assert moved.any()
    for name, q in water.items():
        after = q + STEP_SECONDS * clamped[:, TARGET_GROUPS[name]]
        assert (after >= -1e-12 * q.abs()).all()
    assert not moved[:, TARGET_GROUPS["t"]].any()
    assert not moved[:, PTEND_TRICK_TARGETS].any()
