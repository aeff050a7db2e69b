"""Logistic regression on row and column features of a GC-MS image: what a net must beat to be worth training."""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, adaptive_max_pool2d

from datamodules.errors import DataError
from lit_modules.base import Batch
from lit_modules.mars.images import SpectrogramImages
from lit_modules.mars.settings import MarsLogistic
from lit_modules.mars.task import MarsTask, build_images


class RowsAndColumns(nn.Module):
    """Linear layer on standardised features of a log-scaled image and the derivatized flag.

    Features are the maximum and mean of each mass and of each time, or of each mass in each of a few stretches of time.

    Args:
        images: Scaling of the images.
        masses: Rows of an image.
        times: Columns.
        classes: Number of outputs.
        stretches: Stretches of time; 0 = masses and times apart.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, images: SpectrogramImages, masses: int, times: int, classes: int, stretches: int = 0) -> None:
        super().__init__()
        self.images = images
        self.stretches = stretches
        n = 1 + 2 * (len(images.normalisations) * masses * stretches or masses + times)
        self.register_buffer("mean", torch.zeros(n))
        self.register_buffer("std", torch.ones(n))
        self.linear = nn.Linear(n, classes)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def features(self, image: Tensor, derivatized: Tensor) -> Tensor:
        """Features ``(B, 2 masses + 2 times + 1)``, or ``(B, 2 normalisations masses stretches + 1)``."""
        scaled = self.images.scaled(self.images.linear(image, derivatized))
        if self.stretches:
            planes = scaled.unflatten(1, (-1, len(self.images.normalisations))).amax(dim=1)
            size = (planes.shape[2], self.stretches)
            pooled = [pool(planes, size).flatten(1) for pool in (adaptive_max_pool2d, adaptive_avg_pool2d)]
        else:
            plane = scaled.amax(dim=1)
            pooled = [pool(plane, dim) for dim in (2, 1) for pool in (torch.amax, torch.mean)]
        return torch.cat([*pooled, (derivatized == 1).to(scaled.dtype)[:, None]], dim=1)

    def forward(self, image: Tensor, derivatized: Tensor) -> Tensor:
        """Logits ``(B, classes)``."""
        logits: Tensor = self.linear((self.features(image, derivatized) - self.mean) / self.std)
        return logits


class MarsLogisticTask(MarsTask):
    """Collects the features of one epoch and fits scikit-learn's regression to them before validation."""

    one_pass: ClassVar[bool] = True
    net: RowsAndColumns
    model_settings: MarsLogistic

    def build_net(self, from_checkpoint: bool) -> nn.Module:
        """The linear layer; nothing is pretrained."""
        self.automatic_optimization = False
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []
        s, times, classes = self.model_settings, int(self.rendering[1]), len(self.target_list)
        if s.stretches > times:
            raise DataError(
                f"images of {times} columns have no {s.stretches} stretches (--model.stretches); raise --data.t_bins"
            )
        return RowsAndColumns(build_images(s, self.height), self.height, times, classes, s.stretches)

    def logits(self, batch: Batch) -> Tensor:
        """Logits ``(B, classes)``."""
        out: Tensor = self.net(batch["image"], batch["derivatized"]).float()
        return out

    @torch.no_grad()
    def collect(self, batch: Batch) -> None:
        """Keep the features."""
        x = self.net.features(batch["image"], batch["derivatized"])
        self.seen.append((batch["row_id"].cpu(), x.float().cpu(), batch["labels"].float().cpu()))

    def on_validation_start(self) -> None:
        """Fit before the rows are scored."""
        if self.trainer.state.fn == "fit":
            self.fit()

    def on_train_epoch_end(self) -> None:
        """Fit where no validation did."""
        self.fit()

    @torch.no_grad()
    def fit(self) -> None:
        """Fit one regression for each class to what was collected."""
        if not self.seen:
            return
        parts = [torch.cat(part) for part in zip(*self.seen, strict=True)]
        self.seen.clear()
        if self.trainer.world_size > 1:
            gathered: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(gathered, parts)
            parts = [torch.cat(part) for part in zip(*gathered, strict=True)]
        order = parts[0].argsort()
        x, y = (part[order].numpy() for part in parts[1:])
        mean, std = x.mean(axis=0), x.std(axis=0)
        std[std < 1e-4] = 1.0  # what never varies says nothing
        weights, bias = fit_classes((x - mean) / std, y, self.model_settings.strength)
        for parameter, value in (
            (self.net.mean, mean), (self.net.std, std), (self.net.linear.weight, weights), (self.net.linear.bias, bias)
        ):  # fmt: skip
            parameter.copy_(torch.as_tensor(value, dtype=parameter.dtype))

    def configure_optimizers(self) -> torch.optim.Optimizer:  # type: ignore[override]
        """An optimiser that changes nothing; Lightning counts its steps."""
        return torch.optim.SGD(self.net.linear.parameters(), lr=0.0)


def fit_classes(x: np.ndarray, y: np.ndarray, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights ``(classes, features)`` and biases; a class that is in all or no rows gets its smoothed log odds alone."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    weights, bias = np.zeros((y.shape[1], x.shape[1])), np.zeros(y.shape[1])
    for i, labels in enumerate(y.T > 0.5):
        if labels.min() == labels.max():
            share = (labels.sum() + 0.5) / (len(labels) + 1)
            bias[i] = np.log(share / (1 - share))
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = LogisticRegression(C=strength, max_iter=500).fit(x, labels)
        weights[i], bias[i] = model.coef_[0], model.intercept_[0]
    return weights, bias
