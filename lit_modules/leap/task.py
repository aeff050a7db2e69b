"""The LEAP task: a column of the atmosphere to its tendencies and fluxes, judged by mean R2."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from datamodules.leap.effective_rows import FEWEST_EFFECTIVE_ROWS, estimable
from datamodules.leap.schema import N_TARGETS, TARGET_GROUPS, TARGET_NAMES, VARIABLE_SETS
from datamodules.leap.settings import LeapData
from datamodules.leap.total_water import mix_mask
from lit_modules.base import BaseTask, Batch
from lit_modules.leap.figures import r2_by_level
from lit_modules.leap.losses import (
    error_of_loss,
    group_mask,
    learnable_target_mask,
    masked_confidence_loss,
    pointwise_loss,
    vertical_difference_loss,
)
from lit_modules.leap.representations import ColumnStatistics, MultiRepresentation, StandardColumns
from lit_modules.leap.settings import LeapModel
from lit_modules.leap.targets import TrainingRange, make_scaler, postprocess, soft_clip_outside
from lit_modules.metrics import StreamingR2
from lit_modules.nets.blocks.attention import batch_axis_evaluation
from lit_modules.nets.blocks.headed import ColumnOutput
from lit_modules.settings import Optim

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FLOAT32_REACH = 1e38
_NAMES_SHOWN = 12


class LeapTask(BaseTask):
    """Trains any net ``(B, 60, channels) -> (B, 368)`` on scaled targets; scores and predicts physical ones.

    A net with a confidence head gives the expected error of every target too (:class:`ColumnOutput`), and banks keep it.
    Validation and prediction de-scale in float64 and post-process (:func:`lit_modules.leap.targets.postprocess`)
    before anything is scored, so that model selection sees what the judge would.
    """

    monitor: ClassVar[str] = "val_r2"
    mode: ClassVar[str] = "max"
    model_settings: LeapModel
    loss_mask: Tensor | None

    @classmethod
    def statistics_in(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any] | None:
        """The name of the set of variables, where it is not the competition's."""
        return {"variables": bytes(state["variables_name"].tolist()).decode()} if "variables_name" in state else None

    @classmethod
    def net_of(cls, model: LeapModel, data: LeapData) -> nn.Module:
        """The net for the variables that are read."""
        return cls(model, Optim(), 1.0, {"variables": data.variables}).net

    def configure_models(self, statistics: Mapping[str, Any] | None) -> None:
        """Input standardisation, target scaling, net."""
        s = self.model_settings
        self.variables = variables = VARIABLE_SETS[name := variables_name(statistics)]
        if name != "kaggle":
            self.register_buffer("variables_name", torch.tensor(list(name.encode()), dtype=torch.uint8))
        statistics = fitted(statistics)
        self.features = self.build_features(statistics)
        self.targets = make_scaler(variables, statistics, s.target_scale)
        self.range = TrainingRange(statistics, self.targets, s.target_clip, variables) if s.hold else None
        effective = None if statistics is None else statistics.get("effective_rows")
        self.estimable = None if effective is None else torch.from_numpy(estimable(effective))
        n_level_targets = self.targets.n_level_targets
        self.net = build_net(s, self.features.out_channels, self.features.scalar_channels, n_level_targets)
        # not part of a checkpoint: a finishing stage may train other targets than the run it starts from
        self.register_buffer("loss_mask", self.build_loss_mask(), persistent=False)

    def build_features(self, statistics: Mapping[str, Any] | None) -> ColumnStatistics:
        """What turns raw columns into the net's channels."""
        s = self.model_settings
        kind = MultiRepresentation if s.representation == "multi" else StandardColumns
        return kind(statistics, s.relative_humidity, s.vertical_difference, self.variables)

    def build_loss_mask(self) -> Tensor | None:
        """Targets that the loss counts, boolean, a value for each that the net learns; None for all."""
        groups = self.model_settings.trained_groups
        return self.of_net(group_mask(groups)) if groups else None

    def of_net(self, mask: Tensor) -> Tensor:
        """A mask of the judge's targets as one of the targets that the net learns."""
        return mix_mask(mask) if self.variables.total_water else mask

    def configure_metrics(self) -> None:
        """Exact streaming R2 per target and group."""
        self.val_r2 = StreamingR2(N_TARGETS, TARGET_GROUPS)
        self.per_target: Tensor | None = None
        s = self.model_settings
        # groups that are out of the loss drift, so the best checkpoint is chosen without them
        counted = group_mask(s.trained_groups) if s.trained_groups else slice(None)
        unsteady = self.estimable is not None and not bool(self.estimable[counted].all())
        clipped = s.select_by == "clipped" or (s.select_by == "auto" and unsteady)
        name = "val_r2_trained" if s.trained_groups else "val_r2"
        self.monitor = f"{name}_clipped" if clipped else name  # type: ignore[misc]

    def on_fit_start(self) -> None:
        """Say which targets these rows cannot tell, and what the best epoch is chosen by."""
        if self.trainer.is_global_zero and self.estimable is not None and not self.estimable.all():
            names = [TARGET_NAMES[i] for i in (~self.estimable).nonzero().flatten().tolist()]
            shown = ", ".join(names[:_NAMES_SHOWN]) + (" and others" if len(names) > _NAMES_SHOWN else "")
            mean = "with every target's R2 held to [-1, 1]" if self.monitor.endswith("_clipped") else "of the judge"
            chosen = f". The best epoch is chosen by the mean {mean} (--model.select_by)."
            print(
                f"{len(names)} of {N_TARGETS} targets are not estimable here (a spread that fewer than "
                f"{FEWEST_EFFECTIVE_ROWS:g} rows carry): {shown}{chosen if self.trainer.enable_validation else '.'}",
                flush=True,
            )

    def outputs(self, batch: Batch) -> ColumnOutput:
        """Scaled predictions of a batch and, with the head, their expected errors; auxiliary targets included."""
        profiles, scalars = batch["profiles"].double(), batch["scalars"].double()
        if self.range is not None:
            profiles, scalars = self.range.hold("profile", profiles), self.range.hold("scalar", scalars)
        answer = self.net(self.features(profiles, scalars))
        if isinstance(answer, Tensor):
            return ColumnOutput(answer, None)
        return ColumnOutput(answer.prediction, None if answer.confidence is None else answer.confidence.float())

    def forward(self, profiles: Tensor, scalars: Tensor) -> Tensor:
        """Raw columns to scaled targets, ``(B, 368)``."""
        return self.outputs({"profiles": profiles, "scalars": scalars}).prediction[:, :N_TARGETS]

    def compute_loss(self, batch: Batch) -> Tensor:
        """Loss of a training batch."""
        return self.loss(self.outputs(batch), self.training_truth(batch))

    def truth(self, batch: Batch) -> Tensor:
        """Scaled targets of a batch, in the order of the net's predictions."""
        return self.targets.encode(batch["targets"])

    def training_truth(self, batch: Batch) -> Tensor:
        """What training compares with in place of :meth:`truth`."""
        return self.compress(self.truth(batch))

    def compress(self, scaled: Tensor) -> Tensor:
        """Scaled targets as the loss sees them, far ones drawn in where the settings say so."""
        limit = self.model_settings.target_clip
        return soft_clip_outside(scaled, -limit, limit) if limit > 0 else scaled

    def loss(self, output: ColumnOutput, truth: Tensor) -> Tensor:
        """Loss of scaled predictions and their expected errors, in float32 under any precision.

        It is the pointwise loss, that of the confidence, and if asked for those of vertical differences.
        """
        scaled = output.prediction.float()
        return self.target_loss(scaled, output.confidence, truth) + self.difference_loss(scaled, truth)

    def target_loss(self, scaled: Tensor, confidence: Tensor | None, truth: Tensor) -> Tensor:
        """Loss of the values themselves and of the confidence."""
        s = self.model_settings
        if confidence is None:
            return pointwise_loss(scaled, truth, s.loss, s.loss_beta, self.loss_mask)
        return self.confidence_loss(scaled, confidence, truth)

    def confidence_loss(self, scaled: Tensor, confidence: Tensor | None, truth: Tensor) -> Tensor:
        """Loss of the values and of the confidence, a mean over all targets."""
        s = self.model_settings
        return masked_confidence_loss(
            scaled,
            confidence,
            truth,
            self.loss_mask,
            s.detach_confidence,
            s.loss,
            s.loss_beta,
            s.confidence_learns,
        )

    def difference_loss(self, scaled: Tensor, truth: Tensor) -> Tensor:
        """Weighted losses of the first and second differences along the levels; 0 where both are off."""
        s = self.model_settings
        loss = scaled.new_zeros((), dtype=torch.float32)
        weights: dict[Literal[1, 2], float] = {1: s.difference_weight, 2: s.second_difference_weight}
        for order, weight in weights.items():
            if weight > 0:
                loss = loss + weight * vertical_difference_loss(
                    scaled, truth, order, s.loss, s.loss_beta, self.loss_mask, self.targets.n_level_targets
                )
        return loss

    def physical(self, scaled: Tensor, batch: Batch) -> Tensor:
        """Post-processed prediction in SI units, float64."""
        if self.range is not None:
            scaled = self.range.hold("target", scaled)
        physical = self.targets.decode(scaled, batch["profiles"])
        return postprocess(physical, batch["profiles"], self.model_settings.clamp_water)

    def update_metrics(self, batch: Batch) -> Tensor:
        """Score a validation batch in physical units."""
        # the batch-axis quirk may be scored, as the source scored it, but predicts nothing
        with batch_axis_evaluation(self.net) if self.cannot_predict else nullcontext():
            output = self.outputs(batch)
        self.val_r2.update(self.physical(output.prediction[:, : self.targets.n_targets], batch), batch["targets"])
        return self.loss(output, self.truth(batch))

    def metric_table(self) -> dict[str, float]:
        """Mean R2, and the mean of each variable group."""
        table = self.val_r2.table()
        self.per_target = per_target = table.pop("per_target").cpu()
        groups = self.model_settings.trained_groups
        if groups:
            trained = per_target[group_mask(groups)]
            table |= {"r2_trained": trained.mean(), "r2_trained_clipped": trained.clamp(-1, 1).mean()}
        if self.estimable is not None and self.estimable.any():
            table["r2_estimable"] = per_target[self.estimable].mean()
        return {name: float(value) for name, value in table.items()}

    def reset_metrics(self) -> None:
        """Forget the validation rows seen."""
        self.val_r2.reset()

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Post-processed predictions and, with the head, ``confidence``: expected absolute errors ``(B, 368)``.

        Both are in bank units (physical / std of the target). Post-processing knows the targets that cannot be learnt, so
        that their expected error is 0.
        """
        output = self.outputs(batch)
        n_targets = self.targets.n_targets
        result = self.as_bank(output.prediction[:, :n_targets], batch)
        if output.confidence is not None:
            s = self.model_settings
            expected = output.confidence[:, :n_targets]
            if s.confidence_learns == "loss":
                expected = error_of_loss(expected, s.loss, s.loss_beta)
            expected = self.targets.decode_error(expected).clamp(min=0)
            learnable = learnable_target_mask().to(expected.device)
            result["confidence"] = torch.where(learnable, expected, 0.0).float()
        return result

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
    def cannot_predict(self) -> str:
        """Attention over the batch makes a row's prediction depend on the rows beside it."""
        if getattr(self.model_settings, "attention_axis", "level") == "level":
            return ""
        return (
            "with its attention over the batch a row's prediction depends on the rows beside it; train it with "
            "--model.attention_axis level"
        )

    def figures(self) -> dict[str, Figure]:
        """R2 by level and variable of the last validation."""
        return {} if self.per_target is None else {"r2_by_level": r2_by_level(self.per_target.numpy())}

    @property
    def bank_scale(self) -> Tensor:
        """What turns bank units into the judge's."""
        return self.targets.bank_scale


def variables_name(statistics: Mapping[str, Any] | None) -> str:
    """Which set of variables statistics are of; a key of :data:`datamodules.leap.schema.VARIABLE_SETS`."""
    return "kaggle" if statistics is None else str(statistics.get("variables", "kaggle"))


def fitted(statistics: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Statistics, or None where only the name of the variables is known and a checkpoint will bring the rest."""
    return None if statistics is None or set(statistics) <= {"variables"} else statistics


def build_net(
    settings: LeapModel,
    in_channels: int,
    scalar_channels: tuple[int, int] | None = None,
    n_level_targets: int = 6,
) -> nn.Module:
    """The net that the settings name.

    Args:
        settings: The ``--model.*`` settings.
        in_channels: Channels of its input.
        scalar_channels: Which of them are scalars repeated on the levels, for nets that treat these apart.
        n_level_targets: Targets of every level.
    """
    module, name = settings.net.split(":")
    more: dict[str, Any] = {"in_channels": in_channels, "n_level_targets": n_level_targets}
    more |= {"scalars": scalar_channels} if settings.splits_scalars else {}
    net: nn.Module = getattr(import_module(module), name)(**settings.net_arguments(), **more)
    return net
