from __future__ import annotations

import numpy as np
import pytest
import torch

from datamodules.errors import DataError
from lit_modules.mars.images import SpectrogramImages
from lit_modules.mars.logistic import RowsAndColumns, fit_classes
from lit_modules.mars.settings import MarsModel
from lit_modules.mars.task import MarsTask, smooth
from lit_modules.settings import Optim

STATISTICS = {"classes": np.array(["acid", "métal"]), "rendering": np.array([32, 32, 0, 1])}
SETTINGS = MarsModel(backbone="test_efficientnet", pretrained=False, tta_step=8, tta_steps=3)


def test_smoothing_is_the_sources() -> None:
    out = smooth(torch.tensor([0.0, 1.0]), 0.01)
    torch.testing.assert_close(out, torch.tensor([0.01, 0.990392]), rtol=0, atol=1e-6)


def test_a_checkpoints_state_says_what_the_task_looks_like() -> None:
    task = MarsTask(SETTINGS, Optim(), 1e-3, STATISTICS)
    state = task.state_dict()
    # a checkpoint's weights are not downloaded first
    settings = MarsModel(**{**SETTINGS.__dict__, "pretrained": "/no/such/file"})
    again = MarsTask(settings, Optim(), 1e-3, MarsTask.statistics_in(state))
    again.load_state_dict(state)
    assert again.target_names == ["acid", "métal"]
    batch = {
        "row_id": torch.arange(2),
        "image": torch.rand(2, 32, 32),
        "derivatized": torch.tensor([-1, 1]),
        "labels": torch.eye(2),
    }
    with torch.no_grad():
        torch.testing.assert_close(
            again.eval().predict_step(batch)["predictions"], task.eval().predict_step(batch)["predictions"]
        )
    with pytest.raises(DataError, match="needs class names and image sizes"):
        MarsTask(SETTINGS, Optim(), 1e-3, None)


def test_validation_scores_hard_labels_at_all_widths() -> None:
    task = MarsTask(SETTINGS, Optim(), 1e-3, STATISTICS).eval()
    batch = {
        "row_id": torch.arange(3),
        "image": torch.rand(3, 32, 32),
        "derivatized": torch.tensor([-1, 0, 1]),
        "labels": torch.tensor([[0.0, 1], [1, 1], [0, 0]]),
    }
    with torch.no_grad():
        loss = task.update_metrics(batch)
        scaled = task.net.images.scaled(task.net.images.linear(batch["image"], batch["derivatized"]))  # type: ignore
        logits = torch.stack([task.net(scaled, width) for width in (24, 32, 40)]).mean(dim=0)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, batch["labels"])
    torch.testing.assert_close(loss, expected)
    assert task.metric_table()["log_loss"] == pytest.approx(float(expected), rel=1e-5)
    assert set(task.figures()) == {"log_loss_by_class"}


def test_members_are_trained_apart_and_averaged_in_prediction() -> None:
    torch.manual_seed(0)
    task = MarsTask(MarsModel(**{**SETTINGS.__dict__, "members": 2}), Optim(), 1e-3, STATISTICS)
    first, second = task.net.classifier.classifiers  # type: ignore
    assert not torch.equal(first.to_classes.weight, second.to_classes.weight)
    batch = {"image": torch.rand(3, 32, 32), "derivatized": torch.tensor([-1, 0, 1]), "labels": torch.eye(3)[:, :2]}
    logits = torch.tensor([[[2.0, -1], [0, 1]]] * 3)  # not the loss of the mean, [1, 0]
    task.training_width = lambda columns: columns  # type: ignore[method-assign]
    first.forward, second.forward = (lambda x, k=k: logits[:, k] + 0 * x.sum() for k in (0, 1))
    smoothed = smooth(batch["labels"], task.model_settings.label_smoothing)[:, None].expand_as(logits)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits, smoothed)
    torch.testing.assert_close(task.compute_loss(batch), expected)
    torch.testing.assert_close(task.eval().logits(batch), logits.mean(dim=1))


def test_a_class_that_is_nowhere_or_everywhere_gets_its_smoothed_log_odds() -> None:
    x = np.random.default_rng(0).normal(size=(20, 3))
    y = np.stack([np.zeros(20), np.ones(20), x[:, 0] > 0], axis=1)
    weights, bias = fit_classes(x, y, strength=1.0)
    assert (weights[:2] == 0).all()
    assert bias[:2] == pytest.approx([np.log(0.5 / 20.5), np.log(20.5 / 0.5)])
    assert weights[2, 0] > 1


def test_stretches_of_time_keep_a_peak_in_its_place() -> None:
    """Two normalisations of four masses in two stretches, maxima first; then the means, then the flag."""
    net = RowsAndColumns(SpectrogramImages("both"), masses=4, times=6, classes=2, stretches=2)
    image = torch.zeros(1, 4, 6)
    image[0, 2, 4] = 1.0
    features = net.features(image, torch.tensor([1]))
    maxima, means = features[0, :-1].view(2, 2, 4, 2)  # maximum or mean, normalisation, mass, stretch
    assert maxima.nonzero().tolist() == [[0, 2, 1], [1, 2, 1]]
    torch.testing.assert_close(means, maxima / 3)
    assert features[0, -1] == 1
    assert net(image, torch.tensor([1])).shape == (1, 2)
