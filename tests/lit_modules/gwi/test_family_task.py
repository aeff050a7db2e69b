from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss

from datamodules.gwi.generate.families import generate_map
from datamodules.gwi.schema import FAMILIES
from lit_modules.gwi.family_task import FamilyTask
from lit_modules.gwi.metrics import FamilyConfusion
from lit_modules.gwi.settings import FamilyNet
from lit_modules.settings import Optim


def task(**settings: object) -> FamilyTask:
    torch.manual_seed(0)
    return FamilyTask(FamilyNet(dim=16, blocks=1, head_dim=8, norm_momentum=0.1, **settings), Optim(), 1e-3)  # type: ignore[arg-type]


def batch() -> dict[str, torch.Tensor]:
    kinds = [0, 8, 9] * 4
    maps = np.stack([generate_map(FAMILIES[family], 0, index) for index, family in enumerate(kinds)])
    return {"row_id": torch.arange(12), "velocity": torch.from_numpy(maps), "family": torch.tensor(kinds)}


def test_it_learns_and_is_scored_as_scikit_learn_does() -> None:
    t, b = task(), batch()
    optimizer = torch.optim.Adam(t.parameters(), lr=1e-2)
    losses = []
    for _ in range(12):
        loss = t.compute_loss(b)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[:3])
    t.eval()
    with torch.no_grad():
        t.update_metrics(b)
        probabilities = t.predict_step(b)["predictions"].double().numpy()
    table = t.metric_table()
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    family = b["family"].numpy()
    labels = np.eye(10)[family]
    columns = [log_loss(labels[:, f], probabilities[:, f], labels=[0, 1]) for f in range(10)]
    assert table["log_loss"] == pytest.approx(np.mean(columns), rel=1e-5)
    assert table["accuracy"] == pytest.approx(accuracy_score(family, probabilities.argmax(1)))
    assert set(table) == {"log_loss", "accuracy", "accuracy_FlatVel_A", "accuracy_Style_A", "accuracy_Style_B"}
    t.reset_metrics()
    assert t.figures()["confusion"].axes


def test_held_out_maps_are_always_spoilt_alike() -> None:
    t, b = task(), batch()
    whole = t.held_out(b)
    part = t.held_out({name: values[5:7] for name, values in b.items()})
    torch.testing.assert_close(whole[5:7], part)
    assert (whole - b["velocity"]).abs().mean() > 1
    assert torch.equal(task(imitation=0.0).held_out(b), b["velocity"])


def test_confusion_equals_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 9, (2, 200))
    metric = FamilyConfusion()
    for part in np.array_split(np.arange(200), 3):
        metric.update(torch.from_numpy(predicted[part]), torch.from_numpy(true[part]))
    np.testing.assert_array_equal(metric.compute(), confusion_matrix(true, predicted, labels=range(10)))
    table = metric.table()
    assert table["accuracy_Style_A"] == pytest.approx((predicted == 8)[true == 8].mean())
    assert "accuracy_Style_B" not in table


def test_predicted_maps_stand_in_for_imitations() -> None:
    t, b = task(imitation=0.0, predicted_share=1.0), batch()
    known = torch.arange(12) % 2 == 0
    b |= {"predicted": b["velocity"] + 200, "is_predicted": known}
    shown: list[torch.Tensor] = []
    t.forward = lambda velocity: shown.append(velocity) or torch.zeros(len(velocity), 10, requires_grad=True)  # type: ignore[assignment,func-returns-value,method-assign]
    t.compute_loss(b)
    assert torch.equal(shown[0], b["velocity"] + 200 * known[:, None, None])
    assert torch.equal(t.held_out(b), shown[0])
    t.model_settings.predicted_share = 0.0
    t.compute_loss(b)
    assert torch.equal(shown[1], b["velocity"]), "never shown in training"
    assert torch.equal(t.held_out(b), shown[0]), "but always scored"
    t.model_settings.predicted_share = 0.5
    t.compute_loss(b)
    changed = (shown[2] != b["velocity"]).flatten(1).any(1)
    assert 0 < changed.sum() < known.sum()
    assert not changed[~known].any()
