"""Training rows that are drawn anew at every step, on their device."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ControlNoise(nn.Module):
    """Adds differences of two controls to a treated row (3rd place): what varies between plates, without a mechanism.

    ``x + sum of (a - b)`` over up to ``pairs`` pairs of control rows of the row's own time and dose; the number of pairs is
    drawn for each row too, from 0. The source trains on three such copies of every row an epoch; here a row is drawn anew
    in every epoch. The controls stay out of checkpoints, because inference does not need them.

    Args:
        values: ``(controls, columns)`` raw measurements.
        condition: ``(controls,)`` number of each control's time and dose.
        conditions: How many there are.
        pairs: Largest number of pairs.
    """

    values: Tensor
    first: Tensor
    count: Tensor

    def __init__(self, values: Tensor, condition: Tensor, conditions: int, pairs: int) -> None:
        super().__init__()
        self.pairs = pairs
        count = torch.bincount(condition, minlength=conditions)
        self.register_buffer("values", values[condition.argsort()].clone(), persistent=False)
        self.register_buffer("first", count.cumsum(0) - count, persistent=False)
        self.register_buffer("count", count, persistent=False)

    def forward(self, values: Tensor, condition: Tensor) -> Tensor:
        """A copy of rows ``(B, columns)``; rows whose condition ``(B,)`` has no control stay as they are."""
        rows, device = len(values), values.device
        first, count = self.first[condition, None], self.count[condition, None]
        used = torch.randint(self.pairs + 1, (rows, 1), device=device) > torch.arange(self.pairs, device=device)
        used = used & (count > 0)
        out = values
        for sign in (1.0, -1.0):
            drawn = (torch.rand(rows, self.pairs, device=device) * count).long().clamp(max=len(self.values) - 1)
            chosen = self.values[(first + drawn).clamp(max=len(self.values) - 1)]
            out = out + sign * (chosen * used[:, :, None]).sum(dim=1)
        return out


def rare_weights(positives: Tensor) -> Tensor:
    """Weight of positives per target (2nd place): 1 for the rarest, less for frequent ones, ``(targets,)``.

    ``log(F_min + 100) / log(F + 100)`` with the number F of a target's positive training rows.
    """
    positives = positives.double()
    return (torch.log(positives.min() + 100) / torch.log(positives + 100)).float()
