"""Where and when a column is, as auxiliary targets: the net that learns them must find the climate in its input.

Training on place and time was ruled legal in the competition (reading neighbours at test time was not); the 1st place
(greySnow) gains about nothing from it, so that it is an option of its models.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from datamodules.leap.calendar import MONTH_DAYS, YEAR_DAYS
from datamodules.leap.schema import STEPS_PER_DAY

_TABLE_DAYS = 12 * 31


class SpaceTimeTargets(nn.Module):
    """Normalised latitude and longitude, sine and cosine of the day of the year, sine and cosine of the second of the day.

    The day is counted as the source does, in a table of 372 days with 31 in every month: ``(month - 1) * 31 + day - 1``.
    Everything is looked up in small tables on the device. They are no part of a checkpoint: only training needs them.

    Args:
        grid: Latitude and longitude of the grid columns in degrees, ``(columns, 2)``; their mean and standard deviation
            normalise both grids.
        high_res_grid: The same for the second source of rows.
    """

    places: Tensor
    days: Tensor
    seconds: Tensor

    def __init__(self, grid: npt.NDArray[np.float64], high_res_grid: npt.NDArray[np.float64] | None = None) -> None:
        super().__init__()
        grids = [grid] if high_res_grid is None else [grid, high_res_grid]
        spread = grid.std(axis=0)
        normalised = (np.concatenate(grids) - grid.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
        self.n_columns = len(grid)
        self.register_buffer("places", torch.from_numpy(normalised).float(), persistent=False)
        self.register_buffer("days", _circle(_table_days(), _TABLE_DAYS), persistent=False)
        self.register_buffer("seconds", _circle(np.arange(STEPS_PER_DAY), STEPS_PER_DAY), persistent=False)

    def forward(self, step: Tensor, column: Tensor, high_res: Tensor) -> Tensor:
        """Look up rows.

        Args:
            step: Time steps (B,), whole numbers as in :mod:`datamodules.leap.calendar`.
            column: Grid columns (B,), each counted in its own grid.
            high_res: (B,) boolean, rows of the second source.

        Returns:
            (B, 6) float32.
        """
        place = self.places[column.long() + self.n_columns * high_res.long()]
        step = step.long()
        day = self.days[(step // STEPS_PER_DAY) % YEAR_DAYS]
        return torch.cat([place, day, self.seconds[step % STEPS_PER_DAY]], dim=1)


def _table_days() -> npt.NDArray[np.int64]:
    """Number of each day of the year in the table of 372."""
    return np.concatenate([month * 31 + np.arange(length) for month, length in enumerate(MONTH_DAYS)])


def _circle(numbers: npt.NDArray[np.int64], period: int) -> Tensor:
    angle = torch.from_numpy(numbers).double() * (2.0 * math.pi / period)
    return torch.stack([angle.sin(), angle.cos()], dim=1).float()
