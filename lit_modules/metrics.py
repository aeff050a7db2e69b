"""The judges' metrics as streaming sums: float64, O(outputs) state, exact on any number of processes.

``torchmetrics.R2Score`` treats sums below an absolute tolerance as zero and so returns 1.0 for any prediction of a
target whose standard deviation is below about 1e-6; the competition's targets go down to 1e-58. These metrics keep
per-process moments and join them exactly (Chan, Golub & LeVeque 1983) when they are computed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torchmetrics import Metric

from datamodules.scoring import r2_of_sums


class StreamingR2(Metric):
    """Coefficient of determination per target, as ``sklearn.metrics.r2_score`` gives it on all rows at once.

    A target that is constant over all rows scores 1 if every prediction equals it and 0 otherwise, the judge's rule
    (scikit-learn's ``force_finite``). ``compute`` returns the unweighted mean over the targets.

    Args:
        n_targets: Number of targets.
        groups: Named target slices of the per-group means.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False

    count: Tensor
    mean: Tensor
    m2: Tensor
    rss: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, n_targets: int, groups: Mapping[str, slice] | None = None) -> None:
        super().__init__()
        self.groups = dict(groups or {})
        zeros = torch.zeros(n_targets, dtype=torch.float64)
        # None: the states of all processes are stacked, not summed, because means cannot be summed
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx=None)
        self.add_state("mean", zeros.clone(), dist_reduce_fx=None)
        self.add_state("m2", zeros.clone(), dist_reduce_fx=None)
        self.add_state("rss", zeros.clone(), dist_reduce_fx="sum")
        self.add_state("low", torch.full_like(zeros, torch.inf), dist_reduce_fx="min")
        self.add_state("high", torch.full_like(zeros, -torch.inf), dist_reduce_fx="max")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add rows.

        Args:
            predictions: ``(rows, targets)``, any float type; differences are taken in float64.
            targets: The same shape.
        """
        targets = targets.double()
        if len(targets) == 0:
            return
        batch_mean = targets.mean(dim=0)
        batch_m2 = (targets - batch_mean).square().sum(dim=0)
        rows = torch.as_tensor(float(len(targets)), dtype=torch.float64, device=targets.device)
        self.count, self.mean, self.m2 = _join_moments((self.count, self.mean, self.m2), (rows, batch_mean, batch_m2))
        self.rss += (predictions.double() - targets).square().sum(dim=0)
        self.low = torch.minimum(self.low, targets.amin(dim=0))
        self.high = torch.maximum(self.high, targets.amax(dim=0))

    def per_target(self) -> Tensor:
        """R2 of every target, ``(targets,)`` float64. Call it after :meth:`compute`'s synchronisation, see :meth:`table`."""
        counts, means, m2s = (
            self.count.reshape(-1),
            self.mean.reshape(-1, len(self.rss)),
            self.m2.reshape(-1, len(self.rss)),
        )
        joined = (counts[0], means[0], m2s[0])
        for other in zip(counts[1:], means[1:], m2s[1:], strict=True):
            joined = _join_moments(joined, other)
        sums = [values.cpu().numpy() for values in (self.rss, joined[2], self.low == self.high)]
        return torch.from_numpy(r2_of_sums(sums[0], sums[1], sums[2])).to(self.rss.device)

    def compute(self) -> Tensor:
        """Mean R2 over all targets."""
        return self.per_target().mean()

    def table(self) -> dict[str, Tensor]:
        """Means over the targets and the vector behind them (``per_target``), synchronised over the processes.

        ``r2`` is the judge's mean and ``r2_<group>`` that of a group; ``r2_clipped`` and ``r2_<group>_clipped`` hold every
        target's R2 to [-1, 1] before the mean. A collective call: every process must make it.
        """
        with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self._to_sync):
            scores = self.per_target()
        parts = {"r2": slice(None), **{f"r2_{name}": where for name, where in self.groups.items()}}
        means = {name: scores[where].mean() for name, where in parts.items()}
        clipped = {f"{name}_clipped": scores[where].clamp(-1, 1).mean() for name, where in parts.items()}
        return {**means, **clipped, "per_target": scores}


def _join_moments(a: tuple[Tensor, Tensor, Tensor], b: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and centred second moment of two sets of rows together."""
    count = a[0] + b[0]
    share = b[0] / count.clamp(min=1)
    delta = b[1] - a[1]
    return count, a[1] + delta * share, a[2] + b[2] + delta.square() * (a[0] * share)


class ColumnLogLoss(Metric):
    """Mean column-wise log loss as the MoA and Mars judges compute it, from probabilities, in float64.

    All columns have the same rows, so the mean over columns equals the mean over all cells.

    Args:
        n_targets: Number of columns.
        clip: Probabilities are clipped to ``[clip, 1 - clip]``.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, n_targets: int, clip: float = 1e-15) -> None:
        super().__init__()
        self.clip = clip
        self.add_state("total", torch.zeros(n_targets, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, probabilities: Tensor, labels: Tensor) -> None:
        """Add rows: ``(rows, columns)`` probabilities and 0/1 labels."""
        p = probabilities.double().clamp(self.clip, 1.0 - self.clip)
        self.total -= torch.where(labels > 0.5, p.log(), torch.log1p(-p)).sum(dim=0)
        self.count += len(p)

    def per_target(self) -> Tensor:
        """Log loss of every column, ``(columns,)``."""
        return self.total / self.count

    def compute(self) -> Tensor:
        """Mean over columns and rows."""
        return self.per_target().mean()


class StreamingMAE(Metric):
    """Mean absolute error over everything but the rows' axis too, in float64 sums (OpenFWI's velocity maps).

    Args:
        shape: Shape of the sums, where a sub-class keeps several.
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.add_state("total", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros(shape, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, predictions: Tensor, targets: Tensor) -> None:
        """Add rows of any equal shape."""
        self.total += (predictions.double() - targets.double()).abs().sum()
        self.count += targets.numel()

    def compute(self) -> Tensor:
        """Mean over all values seen."""
        return self.total / self.count
