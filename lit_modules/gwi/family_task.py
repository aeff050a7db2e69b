"""The family task: velocity map, true or predicted, to probabilities of OpenFWI's ten families."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from datamodules.gwi.schema import FAMILIES, SIDE
from lit_modules.base import BaseTask, Batch
from lit_modules.gwi.figures import confusion_matrix
from lit_modules.gwi.imitation import draw_errors, imitate
from lit_modules.gwi.metrics import FamilyConfusion
from lit_modules.gwi.settings import FamilyNet
from lit_modules.metrics import ColumnLogLoss
from lit_modules.nets.gwi_inversion import GwiFamilyNet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CENTRE, _SCALE = 3000.0, 1500.0
_KINDS = 257  # ways in which held-out maps are spoilt, taken in turn


class FamilyTask(BaseTask):
    """Trains :class:`GwiFamilyNet` by cross entropy on maps that imitate predictions.

    Held-out maps are imitations too, always the same one of the same map, so that scores do not depend on batches. Maps that a
    net has predicted out of fold are scored as it predicted them, and trained on as predictions and imitations in turn.
    """

    monitor: ClassVar[str] = "val_log_loss"
    mode: ClassVar[str] = "min"
    model_settings: FamilyNet

    def configure_models(self, statistics: Mapping[str, Any] | None) -> None:
        """The net, and the errors of held-out maps."""
        s = self.model_settings
        self.net = GwiFamilyNet(s.dim, s.blocks, s.head_dim, len(FAMILIES), s.checkpoint_blocks, s.norm_momentum)
        for name, values in draw_errors(_KINDS, SIDE, s.imitation, torch.Generator().manual_seed(0)).items():
            self.register_buffer(f"errors_{name}", values, persistent=False)

    def configure_metrics(self) -> None:
        """The judge's log loss, and who is taken for whom."""
        self.val_log_loss = ColumnLogLoss(len(FAMILIES))
        self.val_confusion = FamilyConfusion()
        self._drawn: Tensor | None = None

    def forward(self, velocity: Tensor) -> Tensor:
        """Maps in m/s ``(B, 70, 70)`` to logits ``(B, 10)`` in float32."""
        logits: Tensor = self.net((velocity - _CENTRE) / _SCALE)
        return logits.float()

    def compute_loss(self, batch: Batch) -> Tensor:
        """Cross entropy on imitated predictions."""
        velocity = batch["velocity"]
        if self.model_settings.imitation > 0:
            errors = draw_errors(len(velocity), velocity.shape[1], self.model_settings.imitation)
            velocity = imitate(velocity, {name: values.to(velocity.device) for name, values in errors.items()})
        if "predicted" in batch:
            shown = torch.rand(len(velocity)) < self.model_settings.predicted_share
            velocity = _exchange(velocity, batch, batch["is_predicted"] & shown.to(velocity.device))
        return F.cross_entropy(self(velocity), batch["family"], label_smoothing=self.model_settings.label_smoothing)

    def held_out(self, batch: Batch) -> Tensor:
        """Held-out maps as they are scored."""
        velocity = batch["velocity"]
        if self.model_settings.imitation > 0:
            kind = batch["row_id"] % _KINDS
            errors = {name: getattr(self, f"errors_{name}")[kind] for name in ("blur", "smooth", "fine")}
            velocity = imitate(velocity, errors)
        return _exchange(velocity, batch, batch["is_predicted"]) if "predicted" in batch else velocity

    def update_metrics(self, batch: Batch) -> Tensor:
        """Score a validation batch."""
        logits = self(self.held_out(batch))
        self.val_log_loss.update(logits.softmax(1), F.one_hot(batch["family"], len(FAMILIES)))
        self.val_confusion.update(logits.argmax(1), batch["family"])
        return F.cross_entropy(logits, batch["family"])

    def metric_table(self) -> dict[str, float]:
        """``log_loss``, ``accuracy`` and the accuracy of each family seen."""
        return {"log_loss": float(self.val_log_loss.compute()), **self.val_confusion.table()}

    def reset_metrics(self) -> None:
        """Forget the validation rows seen."""
        self._drawn = self.val_confusion.compute().cpu()
        self.val_log_loss.reset()
        self.val_confusion.reset()

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Probabilities ``(B, 10)`` of held-out maps as they are scored."""
        return {"row_id": batch["row_id"], "predictions": self.probabilities(self.held_out(batch))}

    def probabilities(self, velocity: Tensor) -> Tensor:
        """Probabilities ``(B, 10)`` of maps in m/s ``(B, 70, 70)``, taken as they are."""
        out: Tensor = self(velocity).softmax(1)
        return out

    @property
    def target_names(self) -> Sequence[str]:
        """The families in order."""
        return FAMILIES

    def figures(self) -> dict[str, Figure]:
        """Who is taken for whom, in the last validation."""
        return {"confusion": confusion_matrix(self._drawn.numpy())} if self._drawn is not None else {}


def _exchange(velocity: Tensor, batch: Batch, which: Tensor) -> Tensor:
    """Maps, some of them as they were predicted."""
    return torch.where(which[:, None, None], batch["predicted"], velocity)
