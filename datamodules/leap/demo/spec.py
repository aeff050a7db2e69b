"""What a demo data set is keyed by: its specification, the generator's version, and the time steps it holds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datamodules.errors import DataError
from datamodules.leap.calendar import MONTH_DAYS, YEAR_DAYS, month_index, month_name, stamp_to_step, step_to_stamp
from datamodules.leap.schema import GRID_COLUMNS, STEPS_PER_DAY

GENERATOR_VERSION: int = 3
"""Raised whenever the same specification would give other numbers, so that an old cache is never taken for a new one."""

_CALENDAR_STREAM = 1


@dataclass(frozen=True)
class Step:
    """One time step of a data set.

    Attributes:
        index: Position in the data set, from 0.
        number: time-step number as in :mod:`datamodules.leap.calendar`.
    """

    index: int
    number: int

    @property
    def stamp(self) -> str:
        """``YYYY-MM-DD-SSSSS``."""
        return step_to_stamp(self.number)

    @property
    def days(self) -> float:
        """Days since 0001-01-01 00:00."""
        return self.number / STEPS_PER_DAY

    @property
    def day_of_year(self) -> float:
        """Days since 1 January 00:00."""
        return self.days % YEAR_DAYS

    @property
    def day_fraction(self) -> float:
        """Universal time as a fraction of the day."""
        return self.days % 1.0


@dataclass(frozen=True)
class DemoSpec:
    """Size and seed of a synthetic ClimSim data set.

    The defaults give 55,680 rows up to 0008-06 and 13,440 rows in 0008-07 to 0009-01, the months that the published
    solutions validate on.

    Attributes:
        seed: Seed of states and noise.
        first_month: ``YYYY-MM``.
        months: Number of consecutive months.
        steps_per_month: Time steps per month, spread irregularly over its days and hours.
        columns: Grid columns in each file; fewer than 384 take an even subset of the grid.
        noise_sigma: Standard deviation of the noise, in standard deviations of what can be learnt; it sets how far below
            1 the best R2 lies.
        expanded: Files with forcings, tendencies of the steps before, and latitude (``ml2steploc``), for ``--data.variables v3``,
            ``v4`` and ``v6``.

    Raises:
        DataError: a value is out of range.
    """

    seed: int = 0
    first_month: str = "0006-02"
    months: int = 36
    steps_per_month: int = 5
    columns: int = GRID_COLUMNS
    noise_sigma: float = 0.4
    expanded: bool = False

    def __post_init__(self) -> None:
        month_index(self.first_month)
        if not 1 <= self.columns <= GRID_COLUMNS:
            raise DataError(f"columns={self.columns}: the grid has {GRID_COLUMNS} columns, give 1 to {GRID_COLUMNS}")
        if self.months < 1 or not 1 <= self.steps_per_month <= 10:
            raise DataError(
                f"months={self.months}, steps_per_month={self.steps_per_month}: give one month or more and 1 to 10 steps"
            )
        if self.seed < 0 or self.noise_sigma < 0:
            raise DataError(f"seed={self.seed}, noise_sigma={self.noise_sigma}: neither may be negative")

    @property
    def name(self) -> str:
        """Folder name: every field, and the generator's version."""
        return (
            f"climsim-demo-v{GENERATOR_VERSION}-seed{self.seed}-{self.first_month}-{self.months}x{self.steps_per_month}"
            f"-{self.columns}columns-sigma{self.noise_sigma:g}{'-expanded' * self.expanded}"
        )

    def steps(self) -> list[Step]:
        """All time steps in order.

        A month is cut into ``steps_per_month`` equal spans and one step is drawn in each, half a day or more from either
        end, so that any two steps are at least a day apart.
        """
        margin = STEPS_PER_DAY // 2
        steps: list[Step] = []
        for month in range(month_index(self.first_month), month_index(self.first_month) + self.months):
            start = stamp_to_step(f"{month_name(month)}-01-00000")
            span = MONTH_DAYS[month % 12] * STEPS_PER_DAY // self.steps_per_month
            random = np.random.default_rng([self.seed, _CALENDAR_STREAM, month])
            for part in range(self.steps_per_month):
                steps.append(Step(len(steps), start + part * span + int(random.integers(margin, span - margin))))
        return steps
