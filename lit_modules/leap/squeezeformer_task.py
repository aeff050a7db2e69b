"""The 1st place's training: several representations in, predictions and their own expected errors out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from datamodules.errors import DataError
from lit_modules.base import Batch
from lit_modules.leap.losses import group_mask, learnable_target_mask
from lit_modules.leap.settings import Squeezeformer
from lit_modules.leap.spacetime import SpaceTimeTargets
from lit_modules.leap.targets import soft_clip_outside
from lit_modules.leap.task import LeapTask, fitted


class SqueezeformerTask(LeapTask):
    """Trains :class:`lit_modules.nets.squeezeformer.Squeezeformer` as greySnow (shlomoron) did.

    Its targets are ``(y - mean) * weight`` and, as an option, where and when the column is. The loss is the absolute
    error plus the absolute error of the confidence, the net's own estimate of it, over the targets that can be learnt.
    Targets of high-resolution training rows are compressed where they leave the range of the training rows.

    Raises:
        DataError: the auxiliary targets are wanted but the grid of the data is not known.
    """

    model_settings: Squeezeformer
    loss_mask: Tensor
    target_low: Tensor | None
    target_high: Tensor | None

    def configure_models(self, statistics: Mapping[str, Any] | None) -> None:
        """The net, and what training alone needs: the range of the targets, the places of the grid columns."""
        super().configure_models(statistics)
        s = self.model_settings
        low, high = None, None
        self.spacetime: SpaceTimeTargets | None = None
        statistics = fitted(statistics)
        if statistics is not None:
            if s.high_res_clip > 0:
                low, high = (s.high_res_clip * value for value in self.targets.scaled_range(statistics))
            if s.aux_spacetime:
                self.spacetime = _spacetime(statistics)
        self.register_buffer("target_low", low, persistent=False)
        self.register_buffer("target_high", high, persistent=False)

    def build_loss_mask(self) -> Tensor:
        """Targets that can be learnt, and the auxiliary ones unless single groups are trained."""
        mask, groups = learnable_target_mask(), self.model_settings.trained_groups
        if groups:
            mask &= group_mask(groups)
        auxiliary = torch.full((self.model_settings.n_aux,), not groups)
        return torch.cat([self.of_net(mask), auxiliary])

    def truth(self, batch: Batch) -> Tensor:
        """Scaled targets, then the auxiliary ones."""
        return self._with_spacetime(super().truth(batch), batch)

    def training_truth(self, batch: Batch) -> Tensor:
        """The same with compressed high-resolution targets."""
        truth = self.compress(self.targets.encode(batch["targets"]))
        if self.target_low is not None and self.target_high is not None:
            clipped = soft_clip_outside(truth, self.target_low, self.target_high)
            truth = torch.where(batch["high_res"].unsqueeze(1), clipped, truth)
        return self._with_spacetime(truth, batch)

    def _with_spacetime(self, truth: Tensor, batch: Batch) -> Tensor:
        if self.spacetime is None:
            return truth
        return torch.cat([truth, self.spacetime(batch["step"], batch["column"], batch["high_res"])], dim=1)

    def target_loss(self, scaled: Tensor, confidence: Tensor | None, truth: Tensor) -> Tensor:
        """As the source: without a confidence head too, the mean counts the masked targets with 0."""
        return self.confidence_loss(scaled, confidence, truth)


def _spacetime(statistics: Mapping[str, Any]) -> SpaceTimeTargets:
    if "grid" not in statistics:
        raise DataError(
            "--model.aux_spacetime learns where a column is, but the grid of these data is not known: give its ClimSim "
            "grid-info file with --data.grid_file, or pass --model.aux_spacetime false"
        )
    if "high_res_columns" in statistics and "high_res_grid" not in statistics:
        raise DataError(
            f"--model.aux_spacetime learns where a column is, but the grid of {int(statistics['high_res_columns']):,} "
            "high-resolution columns is not known: give its ClimSim grid-info file with --data.high_res_grid_file, or pass "
            "--model.aux_spacetime false"
        )
    return SpaceTimeTargets(statistics["grid"], statistics.get("high_res_grid"))
