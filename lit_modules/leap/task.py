"""The LEAP task: a column of the atmosphere to its tendencies and fluxes, judged by mean R2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from datamodules.leap.schema import N_TARGETS, TARGET_GROUPS, TARGET_NAMES
from lit_modules.base import BaseTask, Batch
from lit_modules.leap.figures import r2_by_level
from lit_modules.leap.losses import pointwise_loss, vertical_difference_loss
from lit_modules.leap.representations import StandardColumns
from lit_modules.leap.settings import LeapModel
from lit_modules.leap.targets import TargetScaler, postprocess
from lit_modules.metrics import StreamingR2
from lit_modules.nets.blocks.attention import batch_axis_evaluation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FLOAT32_REACH = 1e38


class LeapTask(BaseTask):
    """Trains any net ``(B, 60, channels) -> (B, 368)`` on scaled targets; scores and predicts physical ones.

    Validation and prediction de-scale in float64 and post-process (:func:`lit_modules.leap.targets.postprocess`)
    before anything is scored, so that model selection sees what the judge would.
    """

    monitor: ClassVar[str] = "val_r2"
    mode: ClassVar[str] = "max"
    model_settings: LeapModel

    def configure_models(self, statistics: Mapping[str, Any] | None) -> None:
        """Input standardisation, target scaling, net."""
        s = self.model_settings
        if statistics is not None and s.target_scale == "std":
            statistics = {**statistics, "target_rms": _spread(statistics)}
        self.features = StandardColumns(
            statistics, relative_humidity=s.relative_humidity, vertical_difference=s.vertical_difference
        )
        self.targets = TargetScaler(statistics)
        self.net = build_net(s, self.features.out_channels)

    def configure_metrics(self) -> None:
        """Exact streaming R2 per target and group."""
        self.val_r2 = StreamingR2(N_TARGETS, TARGET_GROUPS)
        self.per_target: Tensor | None = None

    def forward(self, profiles: Tensor, scalars: Tensor) -> Tensor:
        """Raw columns to scaled targets, ``(B, 368)``."""
        scaled: Tensor = self.net(self.features(profiles.double(), scalars.double()))
        return scaled

    def compute_loss(self, batch: Batch) -> Tensor:
        """Pointwise loss and, if asked for, losses on vertical differences."""
        scaled = self(batch["profiles"], batch["scalars"])
        return self.loss(scaled, self.targets.encode(batch["targets"]))

    def loss(self, scaled: Tensor, truth: Tensor) -> Tensor:
        """Loss of scaled predictions against scaled targets, in float32 under any precision."""
        s = self.model_settings
        scaled = scaled.float()
        loss = pointwise_loss(scaled, truth, s.loss, s.loss_beta)
        weights: dict[Literal[1, 2], float] = {1: s.difference_weight, 2: s.second_difference_weight}
        for order, weight in weights.items():
            if weight > 0:
                loss = loss + weight * vertical_difference_loss(scaled, truth, order, s.loss, s.loss_beta)
        return loss

    def physical(self, scaled: Tensor, batch: Batch) -> Tensor:
        """Post-processed prediction in SI units, float64."""
        return postprocess(self.targets.decode(scaled), batch["profiles"], self.model_settings.clamp_water)

    def update_metrics(self, batch: Batch) -> Tensor:
        """Score a validation batch in physical units."""
        # the batch-axis quirk may be scored, as the source scored it, but predicts nothing
        with nullcontext() if self.can_predict else batch_axis_evaluation(self.net):
            scaled = self(batch["profiles"], batch["scalars"])
        self.val_r2.update(self.physical(scaled, batch), batch["targets"])
        return self.loss(scaled, self.targets.encode(batch["targets"]))

    def metric_table(self) -> dict[str, float]:
        """Mean R2, and the mean of each variable group."""
        table = self.val_r2.table()
        self.per_target = table.pop("per_target").cpu()
        return {name: float(value) for name, value in table.items()}

    def reset_metrics(self) -> None:
        """Forget the validation rows seen."""
        self.val_r2.reset()

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Post-processed predictions in bank units (physical / std of the target)."""
        physical = self.physical(self(batch["profiles"], batch["scalars"]), batch)
        # a cloud column may lie further out than float32 reaches, counted in training spreads that are 1e-58 themselves
        scaled = (physical / self.targets.bank_scale).clamp(-_FLOAT32_REACH, _FLOAT32_REACH)
        return {"row_id": batch["row_id"], "predictions": scaled.float()}

    @property
    def target_names(self) -> Sequence[str]:
        """The judge's column names."""
        return TARGET_NAMES

    @property
    def target_groups(self) -> Mapping[str, slice]:
        """Variable groups."""
        return TARGET_GROUPS

    @property
    def can_predict(self) -> bool:
        """False where attention runs over the batch."""
        return getattr(self.model_settings, "attention_axis", "level") == "level"

    def figures(self) -> dict[str, Figure]:
        """R2 by level and variable of the last validation."""
        return {} if self.per_target is None else {"r2_by_level": r2_by_level(self.per_target.numpy())}

    @property
    def bank_scale(self) -> Tensor:
        """What turns bank units into the judge's."""
        return self.targets.bank_scale


def build_net(settings: LeapModel, in_channels: int) -> nn.Module:
    """The net that the settings name, for a number of input channels."""
    module, name = settings.net.split(":")
    net: nn.Module = getattr(import_module(module), name)(in_channels=in_channels, **settings.net_arguments())
    return net


def _spread(statistics: Mapping[str, Any]) -> Tensor:
    weighted = torch.as_tensor(statistics["target_std"]) * torch.as_tensor(statistics["target_weight"])
    return torch.where(weighted > 0, weighted, 1.0)
