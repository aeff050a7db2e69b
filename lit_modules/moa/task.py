"""The MoA task: measurements of a treated cell line to probabilities of mechanisms, judged by mean column log loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from datamodules.errors import DataError
from datamodules.folds import TRAIN
from datamodules.moa.datamodule import MoaDataModule
from datamodules.moa.features import FeaturePipeline
from datamodules.moa.settings import MoaData
from datamodules.names import decode_names
from lit_modules.base import BaseTask, Batch
from lit_modules.metrics import ColumnLogLoss
from lit_modules.moa.augment import ControlNoise, rare_weights
from lit_modules.moa.estimate import announce_cost
from lit_modules.moa.nets import build_net
from lit_modules.moa.settings import DeepInsightModel, MoaModel

FEATURES = "features."
PRIOR_SMOOTHING = 1e-3
_LIKELY_WIDTH = 1000
_OWN = ("targets_utf8", "treated_share", "prior")


class MoaTask(BaseTask):
    """Trains any net from features to logits; features are made on the device by the fitted pipeline, a buffer-only module.

    Two conventions of the score are logged, because published numbers mix them. ``NC`` counts rows that are not
    controls; it is what the folds validate on and what blends use. ``ALL`` also counts the controls, which are predicted
    as exactly 0 and so cost nothing: NC times the share of treated rows (0.921643 in the competition's data).
    """

    monitor: ClassVar[str] = "val_log_loss_nc"
    mode: ClassVar[str] = "min"
    new_head: ClassVar[tuple[str, ...]] = ("net.head.",)
    frozen: ClassVar[tuple[str, ...]] = (FEATURES,)
    model_settings: MoaModel
    targets_utf8: Tensor
    treated_share: Tensor
    prior: Tensor
    positive_weights: Tensor | None

    def own_entries(self, state: Mapping[str, Tensor]) -> set[str]:
        """What this run keeps of its own when it starts from the weights of another (``--init_from``).

        Features and shares are those of its own rows; the head too where the other run has other targets, as after
        training on the non-scored ones.

        Args:
            state: Weights and statistics of the other run.
        """
        names = {*self.state_dict(), *state}
        own = {name for name in names if name.startswith(FEATURES) or name in _OWN}
        if "targets_utf8" in state and decode_names(state["targets_utf8"]) != self.target_names:
            own |= {name for name in names if name.startswith(self.new_head)}
        return own

    @classmethod
    def statistics_in(cls, state: Mapping[str, Tensor]) -> Mapping[str, Any]:
        """The fitted features decide how wide the net is, so a checkpoint's own are taken."""
        return {name: value for name, value in state.items() if name.startswith(FEATURES) or name in _OWN} | {
            "from_checkpoint": True
        }

    @classmethod
    def net_of(cls, model: MoaModel, data: MoaData) -> None:
        """Build the net for features of a likely width; image nets follow from their fitted map and are built later."""
        del data
        if not isinstance(model, DeepInsightModel):
            blocks = {"screened": slice(_LIKELY_WIDTH // 2, _LIKELY_WIDTH)}
            features: Any = SimpleNamespace(width=_LIKELY_WIDTH, blocks=blocks, times=(), doses=())
            build_net(model, features, torch.zeros(1), initialise=False)

    def configure_models(self, statistics: Mapping[str, Any] | None) -> None:
        """Feature pipeline, target names, net."""
        if statistics is None:
            raise DataError("a MoA task needs fitted features: statistics of the data module, or a checkpoint's")
        self.features = FeaturePipeline(
            {name.removeprefix(FEATURES): value for name, value in statistics.items() if name.startswith(FEATURES)}
        )
        for name in _OWN:
            self.register_buffer(name, torch.as_tensor(statistics[name]).clone())
        # a target without positives in training starts where label smoothing will leave it
        prior = (self.prior * (1 - PRIOR_SMOOTHING) + 0.5 * PRIOR_SMOOTHING).float()
        self.net = build_net(self.model_settings, self.features, prior, "from_checkpoint" not in statistics)
        self._configure_training(statistics)

    def _configure_training(self, statistics: Mapping[str, Any]) -> None:
        """What only training needs, and no checkpoint holds."""
        s = self.model_settings
        self.control_noise: ControlNoise | None = None
        weights = None
        if "from_checkpoint" not in statistics:
            if s.control_pairs > 0:
                values, condition = (torch.as_tensor(statistics[f"control_{name}"]) for name in ("values", "condition"))
                if len(values) == 0:
                    raise DataError(
                        "model.control_pairs needs control rows (ctl_vehicle) in train_features.csv; there are none"
                    )
                self.control_noise = ControlNoise(values, condition, self._conditions, s.control_pairs)
            if s.rare_weight:
                weights = rare_weights(torch.as_tensor(statistics["positives"]))
        self.register_buffer("positive_weights", weights, persistent=False)

    @property
    def _conditions(self) -> int:
        return len(self.features.times) * len(self.features.doses)

    def configure_metrics(self) -> None:
        """The judge's log loss over rows without controls."""
        self.val_log_loss = ColumnLogLoss(len(self.target_names))

    def on_fit_start(self) -> None:
        """Features of fixed rows are computed once, by the data module, with this task's pipeline."""
        data = getattr(self.trainer, "datamodule", None)
        if isinstance(data, MoaDataModule):
            data.serve_features(self.features)

    def on_train_start(self) -> None:
        """Image nets take hours to weeks on a CPU, so what is ahead is said first."""
        data = getattr(self.trainer, "datamodule", None)
        alone = self.trainer.world_size == 1 and isinstance(self.model_settings, DeepInsightModel)
        if alone and isinstance(data, MoaDataModule) and data.progress:
            announce_cost(self, data.read(data.rows(TRAIN)[: data.micro_batch]))

    def forward(self, batch: Batch) -> Tensor:
        """Logits ``(B, targets)``, float32 under any precision (half-precision sigmoids are coarse below 6e-5)."""
        x = batch["features"] if "features" in batch else self.features.of_batch(batch)
        logits: Tensor = self.net(x)
        return logits.float()

    def compute_loss(self, batch: Batch) -> Tensor:
        """Binary cross entropy against smoothed labels, mean over all cells."""
        s = self.model_settings
        if s.swap_noise > 0 or self.control_noise is not None:  # rows drawn anew have features of their own
            batch = {name: value for name, value in batch.items() if name != "features"}
        if s.swap_noise > 0:
            batch = {**batch, "values": swap_noise(batch["values"], s.swap_noise, s.swap_share)}
        if self.control_noise is not None:
            condition = batch["time"] * len(self.features.doses) + batch["dose"]
            batch = {**batch, "values": self.control_noise(batch["values"], condition)}
        labels = batch["labels"] * (1 - s.label_smoothing) + 0.5 * s.label_smoothing
        return binary_cross_entropy_with_logits(self(batch), labels, pos_weight=self.positive_weights)

    def update_metrics(self, batch: Batch) -> Tensor:
        """Score a validation batch; the loss is not smoothed."""
        logits = self(batch)
        self.val_log_loss.update(logits.double().sigmoid(), batch["labels"])
        return binary_cross_entropy_with_logits(logits, batch["labels"])

    def metric_table(self) -> dict[str, float]:
        """Log loss in both conventions."""
        score = float(self.val_log_loss.compute())
        return {"log_loss_nc": score, "log_loss_all": score * float(self.treated_share)}

    def reset_metrics(self) -> None:
        """Forget the validation rows seen."""
        self.val_log_loss.reset()

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> dict[str, Tensor]:
        """Probabilities; exactly 0 for controls, which have no mechanism."""
        probabilities = self(batch).sigmoid()
        return {"row_id": batch["row_id"], "predictions": probabilities.masked_fill(batch["control"][:, None], 0.0)}

    @property
    def target_names(self) -> Sequence[str]:
        """The judge's column names."""
        return decode_names(self.targets_utf8)


def swap_noise(values: Tensor, rows: float, share: float) -> Tensor:
    """A copy in which some rows have a share of their measurements from another row of the batch.

    Args:
        values: ``(B, columns)``.
        rows: Share of the rows.
        share: Share of their columns, chosen anew for each row.
    """
    n, columns = values.shape
    hit = torch.rand(n, 1, device=values.device) < rows
    count = int(share * columns)
    rank = torch.rand(n, columns, device=values.device).argsort(dim=1)
    other = values[torch.randint(n, (n,), device=values.device)]
    return torch.where(hit & (rank < count), other, values)
