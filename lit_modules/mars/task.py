"""The Mars task: a GC-MS image to probabilities of compound classes, judged by mean log loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from datamodules.errors import DataError
from datamodules.mars.settings import MarsData
from datamodules.names import decode_names, encode_names
from lit_modules.base import BaseTask, Batch
from lit_modules.mars.figures import log_loss_by_class
from lit_modules.mars.images import Members, SizeAveragedNet, SpectrogramImages, mixup
from lit_modules.mars.settings import MarsModel
from lit_modules.metrics import ColumnLogLoss
from lit_modules.nets.spectrogram import SpectrogramClassifier
from lit_modules.settings import Optim

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class MarsTask(BaseTask):
    """Trains a vision backbone on log-scaled images of a random width; scores and predicts the mean over all widths.

    The class names and the rendering's sizes are buffers, so that a checkpoint knows what its inputs look like.
    """

    monitor: ClassVar[str] = "val_log_loss"
    mode: ClassVar[str] = "min"
    model_settings: MarsModel
    classes_utf8: Tensor
    rendering: Tensor

    @classmethod
    def statistics_in(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """Class names and image sizes, which decide how large the head is."""
        return {
            "classes": decode_names(state["classes_utf8"]),
            "rendering": state["rendering"].cpu().numpy(),
            "from_checkpoint": True,
        }

    @classmethod
    def net_of(cls, model: MarsModel, data: MarsData) -> nn.Module:
        """Backbone and head for the image size of the settings and nine classes; weights are not read."""
        task = cls(
            model,
            Optim(),
            1.0,
            {
                "classes": [str(number) for number in range(9)],
                "rendering": [data.m_bins, data.t_bins, 0, 1],
                "from_checkpoint": True,
            },
        )
        return task.net

    def configure_models(self, statistics: Mapping[str, Any] | None) -> None:
        """Image module, backbone and head; a checkpoint's weights are not downloaded first."""
        if statistics is None:
            raise DataError(
                "a Mars task needs class names and image sizes: statistics of the data module, or a checkpoint"
            )
        names = encode_names([str(name) for name in statistics["classes"]])
        self.register_buffer("classes_utf8", torch.from_numpy(names))
        self.register_buffer("rendering", torch.as_tensor(np.asarray(statistics["rendering"]), dtype=torch.int64))
        self.target_list = [str(name) for name in statistics["classes"]]
        self.net = self.build_net("from_checkpoint" in statistics)

    def build_net(self, from_checkpoint: bool) -> nn.Module:
        """The net of the settings."""
        s = self.model_settings
        pretrained = False if from_checkpoint else s.pretrained
        images = build_images(s, self.height)
        columns = int(self.rendering[1])
        widths = images.widths(columns)
        if min(widths) < 1:
            raise DataError(
                f"images of {columns} columns cannot be narrowed by {s.tta_step} twice; choose a smaller --model.tta_step or --model.tta_steps"
            )
        tried = () if from_checkpoint else widths
        classifiers = [
            SpectrogramClassifier(s.backbone, s.head, len(self.target_list), self.height, pretrained, tried)
            for _ in range(s.members)
        ]
        return SizeAveragedNet(images, Members(classifiers) if s.members > 1 else classifiers[0], s.channels_last)

    @property
    def height(self) -> int:
        """Masses that the net looks at: all of an image, or those that most runs hold (``--data.trim_masses``)."""
        return int(self.rendering[4] if len(self.rendering) > 4 else self.rendering[0])

    def configure_metrics(self) -> None:
        """The judge's log loss, per class."""
        self.val_log_loss = ColumnLogLoss(len(self.target_list))
        self.per_class: Tensor | None = None

    def training_width(self, columns: int) -> int:
        """The width of this optimiser step: the same on all processes and in all its micro-batches."""
        widths = self.net.images.widths(columns)  # type: ignore[union-attr, operator]
        draw = np.random.default_rng((int(self.identity.get("seed", 0)), self.global_step)).integers(len(widths))
        return int(widths[draw])

    def compute_loss(self, batch: Batch) -> Tensor:
        """Binary cross entropy against smoothed labels, mean over rows, classes and members."""
        s = self.model_settings
        images: SpectrogramImages = self.net.images  # type: ignore[assignment]
        with torch.no_grad():
            linear = images.linear(batch["image"], batch["derivatized"])
            linear, labels = mixup(linear, batch["labels"], s.mixup, s.mixup_low, s.mixup_high)
            scaled = images.scaled(linear)
        logits = self.net(scaled, self.training_width(scaled.shape[-1])).float()
        labels = smooth(labels, s.label_smoothing)
        return binary_cross_entropy_with_logits(logits, labels if s.members == 1 else labels[:, None].expand_as(logits))

    def logits(self, batch: Batch) -> Tensor:
        """Logits averaged over all widths, float32 ``(B, classes)``."""
        net: SizeAveragedNet = self.net  # type: ignore[assignment]
        return net.averaged(net.images.scaled(net.images.linear(batch["image"], batch["derivatized"])))

    def update_metrics(self, batch: Batch) -> Tensor:
        """Score a validation batch against its hard labels."""
        logits = self.logits(batch)
        self.val_log_loss.update(logits.double().sigmoid(), batch["labels"])
        return binary_cross_entropy_with_logits(logits, batch["labels"])

    def metric_table(self) -> dict[str, float]:
        """Mean log loss; the classes' own are kept for the picture."""
        score = float(self.val_log_loss.compute())
        with self.val_log_loss.sync_context(should_sync=self.val_log_loss._to_sync):
            self.per_class = self.val_log_loss.per_target().cpu()
        return {"log_loss": score}

    def reset_metrics(self) -> None:
        """Forget the validation rows seen."""
        self.val_log_loss.reset()

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Probabilities ``(B, classes)``."""
        return {"row_id": batch["row_id"], "predictions": self.logits(batch).sigmoid()}

    @property
    def target_names(self) -> Sequence[str]:
        """Class names, as the labels' header orders them."""
        return self.target_list

    def figures(self) -> dict[str, Figure]:
        """Log loss of every class in the last validation."""
        if self.per_class is None:
            return {}
        return {"log_loss_by_class": log_loss_by_class(self.target_list, {"validation": self.per_class.numpy()})}


def build_images(settings: MarsModel, rows: int | None = None) -> SpectrogramImages:
    """The image module of the settings, for the first rows of an image."""
    s = settings
    return SpectrogramImages(
        s.normalise, s.log, s.min_clip, s.log_scale, s.derivatized_states, s.tta_step, s.tta_steps, rows, s.background
    )


def smooth(labels: Tensor, s: float) -> Tensor:
    """The source's label smoothing, ``y / (1 + 2 s) + s``: not symmetric, 0 becomes s and 1 a little less than 1 - s."""
    return labels / (1.0 + 2.0 * s) + s
