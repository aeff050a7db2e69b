from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from datamodules.gwi.schema import FAMILIES
from lit_modules.gwi.metrics import FamilyMAE
from lit_modules.gwi.scaling import at_speed
from lit_modules.gwi.settings import BenchmarkNet, Inversion, Mirror
from lit_modules.gwi.task import GwiTask
from lit_modules.nets.gwi_inversion import VelocityOutput
from lit_modules.settings import Optim


class Knows(nn.Module):
    """A net that reads each column's velocity from the first sample of shot 1 of an asymmetric toy gather."""

    def forward(self, gathers: Tensor) -> VelocityOutput:
        velocity = gathers[:, 1, :70].clone()
        return VelocityOutput(velocity, torch.full_like(velocity, 0.25))


def task(mirror: Mirror = "none", **settings: object) -> GwiTask:
    model = Inversion(dim=16, blocks=1, head_dim=8, mirror=mirror, **settings)  # type: ignore[arg-type]
    return GwiTask(model, Optim(), 1e-3, {"median_map": np.full((70, 70), 3000.0)})


def batch(n: int = 3) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "row_id": torch.arange(n),
        "gathers": torch.randn(n, 5, 288, 70, generator=generator),
        "velocity": 1500 + 3000 * torch.rand(n, 70, 70, generator=generator),
        "family": torch.tensor([0, 8, 8])[:n],
    }


def test_metric_by_family_equals_numpy() -> None:
    b = batch()
    predicted = b["velocity"] + torch.randn(3, 70, 70, generator=torch.Generator().manual_seed(1))
    metric = FamilyMAE()
    metric.update(predicted[:2], b["velocity"][:2], b["family"][:2])
    metric.update(predicted[2:], b["velocity"][2:], b["family"][2:])
    table = metric.table()
    error = (predicted.double() - b["velocity"].double()).abs().numpy()
    assert table["mae"] == pytest.approx(error.mean())
    assert table["mae_odd"] == pytest.approx(error[:, :, 1::2].mean())
    assert table["mae_Style_A"] == pytest.approx(error[1:].mean())
    assert table["mae_odd_FlatVel_A"] == pytest.approx(error[0, :, 1::2].mean())
    assert set(table) == {f"{m}{f}" for m in ("mae", "mae_odd") for f in ("", "_FlatVel_A", "_Style_A")}
    assert len(FAMILIES) == 10


def test_loss_is_mae_plus_the_confidences_mae_without_a_path_back() -> None:
    t = task()
    velocity = torch.full((1, 70, 70), 3000.0)
    predicted = torch.full((1, 70, 70), 0.5, requires_grad=True)
    confidence = torch.full((1, 70, 70), 0.2, requires_grad=True)
    loss = t.loss(VelocityOutput(predicted, confidence), velocity)
    assert loss.item() == pytest.approx(0.5 + 0.3)
    loss.backward()
    assert predicted.grad is not None
    assert predicted.grad.sum().item() == pytest.approx(1.0)
    assert task(confidence_weight=0.0).loss(VelocityOutput(predicted, confidence), velocity).item() == pytest.approx(
        0.5
    )


def test_predictions_are_metres_per_second() -> None:
    t = task(amplitude="raw")
    t.net = Knows()
    b = batch()
    out = t.predict_step(b)
    torch.testing.assert_close(out["predictions"], b["gathers"][:, 1, :70] * 1500 + 3000)


def test_the_net_sees_small_samples_with_a_gain() -> None:
    seen = []

    class Sees(Knows):
        def forward(self, gathers: Tensor) -> VelocityOutput:
            seen.append(gathers)
            return super().forward(gathers)

    b = batch()
    for gain in (1.0, 30.0):
        t = task(gain=gain)
        t.net = Sees()
        t(b["gathers"])
        x = b["gathers"].double()
        expected = x.sign() * torch.log(1 + gain * x.abs()) / np.log(1 + gain)
        torch.testing.assert_close(seen[-1].double(), expected, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="gain must be above 0"):
        task(gain=0.0)


def test_expected_errors_are_metres_per_second_and_never_negative() -> None:
    t = task("naive", amplitude="raw")
    t.net = Knows()
    torch.testing.assert_close(t.predict_step(batch())["confidence"], torch.full((3, 70, 70), 0.25 * 1500))
    t = task("none", amplitude="raw", confidence_weight=0.0)
    t.net = Knows()
    assert set(t.predict_step(batch())) == {"row_id", "predictions"}


def test_the_mirrored_model_sees_the_mirrored_line_and_answers_in_the_true_one() -> None:
    t = task("all", amplitude="raw")
    t.net = Knows()
    b = batch()
    # the net reads shot 1 of what it sees, which is shot 3 mirrored; mirrored back it is shot 3 as recorded
    torch.testing.assert_close(t.predict_step(b)["predictions"], b["gathers"][:, 3, :70] * 1500 + 3000)


def test_naive_mirroring_averages_both_views() -> None:
    t = task("naive", amplitude="raw")
    t.net = Knows()
    b = batch()
    both = (b["gathers"][:, 1, :70] + b["gathers"][:, 3, :70]) / 2
    torch.testing.assert_close(t.predict_step(b)["predictions"], both * 1500 + 3000)
    torch.manual_seed(0)
    losses = {round(float(t.compute_loss(b)), 4) for _ in range(12)}
    assert len(losses) > 1


@pytest.mark.parametrize("model", [Inversion(dim=16, blocks=1, head_dim=8), BenchmarkNet(samples=288, width=2)])
def test_nets_train_and_are_scored(model: Inversion | BenchmarkNet) -> None:
    torch.manual_seed(0)
    t = GwiTask(model, Optim(), 1e-3, {"median_map": np.zeros((70, 70))})
    optimizer = torch.optim.Adam(t.parameters(), lr=1e-2)
    b = batch()
    losses = []
    for _ in range(6):
        loss = t.compute_loss(b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    t.eval()
    with torch.no_grad():
        t.update_metrics(b)
    table = t.metric_table()
    t.reset_metrics()
    assert 0 < table["mae"] < 3000
    assert t.figures()["maps"].axes


def test_training_that_scales_velocities_predicts_from_gathers_at_three_speeds() -> None:
    """A net that reads the gathers alone is asked about faster and slower maps too, and its answers are scaled back."""
    plain, both = task(amplitude="raw"), task(amplitude="raw", scaling=0.25)
    plain.net = both.net = Knows()
    gathers = batch()["gathers"]
    others = [plain.predict(at_speed(gathers, factor))[0] / factor for factor in (1 / 1.04, 1.04)]
    velocity, out = both.predict(gathers)
    torch.testing.assert_close(velocity, torch.stack([plain.predict(gathers)[0], *others]).mean(0), rtol=0, atol=0.01)
    torch.testing.assert_close(velocity, out.velocity * 1500 + 3000, rtol=0, atol=0.01)


def test_scaling_changes_what_is_trained_on_and_nothing_else() -> None:
    torch.manual_seed(0)
    b = batch() | {"velocity": torch.full((3, 70, 70), 3000.0)}
    t = task(amplitude="raw", scaling=0.25)
    seen = []
    t.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    t.compute_loss(b)
    assert not any(torch.allclose(new, old) for new, old in zip(seen[0], b["gathers"], strict=True))
    seen.clear()
    t(b["gathers"])
    assert torch.equal(seen[0], b["gathers"])
