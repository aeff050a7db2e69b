"""Ridge regression on the standardised inputs: what a net must beat to be worth training."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from datamodules.folds import TRAIN
from datamodules.leap.schema import FLUXES, LEVELS
from lit_modules.base import Batch
from lit_modules.leap.task import LeapTask

ALPHAS = (*(10.0**power for power in range(-6, 3)), 1e9)
_HELD_OUT_SHARE = 0.2
_REACH = 10.0


class ColumnLinear(nn.Module):
    """One linear map from a standardised column ``(B, 60, in_channels)`` to the scaled targets.

    Args:
        in_channels: Channels of the column.
        scalars: Which of them are scalars repeated on the levels: the first, and the one after the last.
        n_level_targets: Targets of every level.
    """

    def __init__(self, in_channels: int = 25, scalars: tuple[int, int] = (9, 25), n_level_targets: int = 6) -> None:
        super().__init__()
        self.scalars = slice(*scalars)
        n_scalars = scalars[1] - scalars[0]
        n_inputs, n_targets = LEVELS * (in_channels - n_scalars) + n_scalars, LEVELS * n_level_targets + len(FLUXES)
        self.linear = nn.Linear(n_inputs, n_targets, dtype=torch.float64)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def flat(self, x: Tensor) -> Tensor:
        """Column to its distinct values, float64, held to ten spreads: cloud columns lie thousands out."""
        before, after = self.scalars.start, self.scalars.stop
        levels = x[..., :before] if after == x.shape[-1] else torch.cat([x[..., :before], x[..., after:]], dim=-1)
        flat = torch.cat([levels.flatten(1), x[:, 0, self.scalars]], dim=1)
        return flat.double().clamp(-_REACH, _REACH)

    def forward(self, x: Tensor) -> Tensor:
        """Scaled targets, ``(B, 368)`` or 308 in the total-water form."""
        out: Tensor = self.linear(self.flat(x))
        return out


class RidgeTask(LeapTask):
    """Closed-form fit in one pass: normal equations are summed over the batches and solved before validation.

    Each target's penalty is chosen on the latest fifth of the training rows (by store position, which is time), then
    all training rows are fitted with it. The largest penalty leaves the training mean.
    """

    one_pass: ClassVar[bool] = True
    net: ColumnLinear
    gram: Tensor
    moment: Tensor
    square: Tensor

    def configure_models(self, statistics: Any) -> None:
        """The linear map, and the sums of the early and the late training rows."""
        super().configure_models(statistics)
        self.automatic_optimization = False
        n, n_targets = self.net.linear.in_features + 1, self.net.linear.out_features
        # index 0: early rows, 1: late rows; not part of a checkpoint, the solution is
        self.register_buffer("gram", torch.zeros(2, n, n, dtype=torch.float64), persistent=False)
        self.register_buffer("moment", torch.zeros(2, n, n_targets, dtype=torch.float64), persistent=False)
        self.register_buffer("square", torch.zeros(2, n_targets, dtype=torch.float64), persistent=False)
        self.first_late_row = 0
        self.alphas: list[float] | None = None

    def on_fit_start(self) -> None:
        """Find where the late rows begin."""
        super().on_fit_start()
        rows = self.trainer.datamodule.rows(TRAIN)  # type: ignore[attr-defined]
        self.first_late_row = int(rows[int(len(rows) * (1 - _HELD_OUT_SHARE))])

    @torch.no_grad()
    def collect(self, batch: Batch) -> None:
        """Add a batch to the normal equations."""
        x = self.net.flat(self.features(batch["profiles"].double(), batch["scalars"].double()))
        x = torch.cat([x, torch.ones_like(x[:, :1])], dim=1)
        y = self.training_truth(batch).double()
        late = batch["row_id"] >= self.first_late_row
        for part, where in enumerate((~late, late)):
            if where.any():
                self.gram[part] += x[where].T @ x[where]
                self.moment[part] += x[where].T @ y[where]
                self.square[part] += y[where].square().sum(dim=0)

    @torch.no_grad()
    def solve(self) -> None:
        """Choose the penalty, fit, and set the net's weights; all processes' sums are joined first."""
        if torch.distributed.is_available() and torch.distributed.is_initialized() and self._trainer is not None:
            for sums in (self.gram, self.moment, self.square):
                torch.distributed.all_reduce(sums)
        errors = torch.stack([self._late_error(_ridge(self.gram[0], self.moment[0], alpha)) for alpha in ALPHAS])
        choice = errors.argmin(dim=0)
        gram, moment = self.gram.sum(dim=0), self.moment.sum(dim=0)
        weights = torch.zeros_like(moment)
        for i, alpha in enumerate(ALPHAS):
            weights[:, choice == i] = _ridge(gram, moment[:, choice == i], alpha)
        self.alphas = [ALPHAS[i] for i in choice.tolist()]
        self.net.linear.weight.copy_(weights[:-1].T)
        self.net.linear.bias.copy_(weights[-1])

    def _late_error(self, weights: Tensor) -> Tensor:
        """Squared error of each target on the late rows."""
        fitted = (weights * (self.gram[1] @ weights)).sum(dim=0)
        return self.square[1] - 2 * (weights * self.moment[1]).sum(dim=0) + fitted

    def on_validation_start(self) -> None:
        """Solve before the rows are scored."""
        if self.trainer.state.fn == "fit":
            self.solve()

    def on_train_epoch_end(self) -> None:
        """Solve where no validation did."""
        if self.alphas is None:
            self.solve()

    def configure_optimizers(self) -> torch.optim.Optimizer:  # type: ignore[override]
        """An optimiser that changes nothing; Lightning counts its steps."""
        return torch.optim.SGD(self.net.parameters(), lr=0.0)


class ZerosTask(RidgeTask):
    """Predicts 0 in scaled units, the training mean, and post-processes it like any other: the floor of every table."""

    def collect(self, batch: Batch) -> None:
        """Nothing is fitted."""

    def solve(self) -> None:
        """The weights stay zero."""


def _ridge(gram: Tensor, moment: Tensor, alpha: float) -> Tensor:
    """Weights ``(inputs + 1, targets)`` with penalty ``alpha * rows`` on everything but the bias."""
    rows = gram[-1, -1].clamp(min=1)
    penalty = torch.full((len(gram),), alpha, dtype=gram.dtype, device=gram.device) * rows
    penalty[-1] = 0.0
    out: Tensor = torch.linalg.solve(gram + torch.diag(penalty + 1e-12 * rows), moment)
    return out
