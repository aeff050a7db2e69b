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
from lit_modules.leap.losses import group_mask, pointwise_loss, vertical_difference_loss
from lit_modules.leap.representations import ColumnStatistics, StandardColumns
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
    loss_mask: Tensor | None

    def configure_models(self, statistics: Mapping[str, Any] | None) -> None:
        """Input standardisation, target scaling, net."""
        s = self.model_settings
        self.features = self.build_features(statistics)
        self.targets = TargetScaler(statistics, s.target_scale)
        self.net = build_net(s, self.features.out_channels)
        # not part of a checkpoint: a finishing stage may train other targets than the run it starts from
        self.register_buffer("loss_mask", self.build_loss_mask(), persistent=False)

    def build_features(self, statistics: Mapping[str, Any] | None) -> ColumnStatistics:
        """What turns raw columns into the net's channels."""
        s = self.model_settings
        return StandardColumns(
            statistics, relative_humidity=s.relative_humidity, vertical_difference=s.vertical_difference
        )

    def build_loss_mask(self) -> Tensor | None:
        """Targets that the loss counts, boolean ``(368,)``; None for all."""
        groups = self.model_settings.trained_groups
        return group_mask(groups) if groups else None

    def configure_metrics(self) -> None:
        """Exact streaming R2 per target and group."""
        self.val_r2 = StreamingR2(N_TARGETS, TARGET_GROUPS)
        self.per_target: Tensor | None = None
        if self.model_settings.trained_groups:
            # the other groups drift once they are out of the loss, so the best checkpoint is chosen without them
            self.monitor = "val_r2_trained"  # type: ignore[misc]

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
        loss = pointwise_loss(scaled, truth, s.loss, s.loss_beta, self.loss_mask)
        return loss + self.difference_loss(scaled, truth)

    def difference_loss(self, scaled: Tensor, truth: Tensor) -> Tensor:
        """Weighted losses of the first and second differences along the levels; 0 where both are off."""
        s = self.model_settings
        loss = scaled.new_zeros((), dtype=torch.float32)
        weights: dict[Literal[1, 2], float] = {1: s.difference_weight, 2: s.second_difference_weight}
        for order, weight in weights.items():
            if weight > 0:
                loss = loss + weight * vertical_difference_loss(
                    scaled, truth, order, s.loss, s.loss_beta, self.loss_mask
                )
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
        self.per_target = per_target = table.pop("per_target").cpu()
        groups = self.model_settings.trained_groups
        if groups:
            table["r2_trained"] = per_target[group_mask(groups)].mean()
        return {name: float(value) for name, value in table.items()}

    def reset_metrics(self) -> None:
        """Forget the validation rows seen."""
        self.val_r2.reset()

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Post-processed predictions in bank units (physical / std of the target)."""
        return self.as_bank(self(batch["profiles"], batch["scalars"]), batch)

    def as_bank(self, scaled: Tensor, batch: Batch) -> dict[str, Tensor]:
        """Scaled targets as a bank holds them."""
        physical = self.physical(scaled, batch)
        # a cloud column may lie further out than float32 reaches, counted in training spreads that are 1e-58 themselves
        predictions = (physical / self.targets.bank_scale).clamp(-_FLOAT32_REACH, _FLOAT32_REACH)
        return {"row_id": batch["row_id"], "predictions": predictions.float()}

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
