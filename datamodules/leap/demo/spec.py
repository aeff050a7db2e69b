"""What a demo data set is keyed by: its specification, the generator's version, and its calendar of time steps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datamodules.leap.schema import GRID_COLUMNS, STEP_SECONDS, STEPS_PER_DAY

GENERATOR_VERSION: int = 1
"""Raised whenever the same specification would give other numbers, so that old caches are never taken for new ones."""

MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
"""Days of the months; the climate model's calendar has no leap years."""

DAYS_PER_YEAR = 365
_CALENDAR_STREAM = 1


@dataclass(frozen=True)
class Step:
    """One time step of the climate model.

    Attributes:
        index: position in the data set, from 0.
        year, month, day: date (no leap years).
        second: seconds of the day, a multiple of 1,200.
    """

    index: int
    year: int
    month: int
    day: int
    second: int

    @property
    def day_of_year(self) -> float:
        """Days since 1 January 00:00, with the fraction of the day."""
        return sum(MONTH_DAYS[: self.month - 1]) + self.day - 1 + self.second / 86_400

    @property
    def days(self) -> float:
        """Days since the start of year 0, with the fraction of the day."""
        return self.year * DAYS_PER_YEAR + self.day_of_year

    @property
    def ymd(self) -> int:
        """The date as the files spell it, e.g. 80215 for 0008-02-15."""
        return self.year * 10_000 + self.month * 100 + self.day

    @property
    def month_name(self) -> str:
        """``YYYY-MM``."""
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def stamp(self) -> str:
        """``YYYY-MM-DD-SSSSS``, the time stamp in file names."""
        return f"{self.month_name}-{self.day:02d}-{self.second:05d}"


@dataclass(frozen=True)
class DemoSpec:
    """Size and seed of a synthetic ClimSim data set.

    The defaults give 55,680 rows up to 0008-06 and 13,440 rows in 0008-07 to 0009-01, the months that the published
    solution validates on.

    Attributes:
        seed: weather and unresolved noise.
        first_month: ``YYYY-MM``.
        months: number of consecutive months.
        steps_per_month: time steps per month, spread irregularly over its days and over the hours.
        columns: grid columns in each file; fewer than 384 take an even subset of the grid.
        noise_sigma: log-standard deviation of the unresolved variability; it sets how far below 1 the best R2 lies.

    Raises:
        ValueError: a value is out of range.
    """

    seed: int = 0
    first_month: str = "0006-02"
    months: int = 36
    steps_per_month: int = 5
    columns: int = GRID_COLUMNS
    noise_sigma: float = 0.7

    def __post_init__(self) -> None:
        self._first_month()
        if not 1 <= self.columns <= GRID_COLUMNS:
            raise ValueError(f"columns={self.columns}: the grid has {GRID_COLUMNS} columns, give 1 to {GRID_COLUMNS}.")
        if self.months < 1 or not 1 <= self.steps_per_month <= 20:
            raise ValueError(
                f"months={self.months}, steps_per_month={self.steps_per_month}: give at least one month and 1 to 20 steps."
            )
        if self.seed < 0 or self.noise_sigma < 0:
            raise ValueError(f"seed={self.seed}, noise_sigma={self.noise_sigma}: neither may be negative.")

    def _first_month(self) -> tuple[int, int]:
        year, _, month = self.first_month.partition("-")
        if not (year.isdigit() and month.isdigit() and len(year) == 4 and 1 <= int(month) <= 12):
            raise ValueError(f"first_month={self.first_month!r} is not a month written YYYY-MM, such as '0006-02'.")
        return int(year), int(month)

    @property
    def name(self) -> str:
        """Folder name: every field that changes the numbers, and the generator's version."""
        return (
            f"climsim-demo-v{GENERATOR_VERSION}-seed{self.seed}-{self.first_month}-{self.months}x{self.steps_per_month}"
            f"-{self.columns}columns-sigma{self.noise_sigma:g}"
        )

    def steps(self) -> list[Step]:
        """All time steps in order.

        A month is cut into ``steps_per_month`` equal spans and one step is drawn in each, at least half a day away
        from either end, so that two steps (of one month or of neighbouring ones) are at least a day apart.
        """
        year, month = self._first_month()
        steps = []
        for offset in range(self.months):
            y, m = year + (month - 1 + offset) // 12, (month - 1 + offset) % 12 + 1
            random = np.random.default_rng([self.seed, _CALENDAR_STREAM, y, m])
            span = MONTH_DAYS[m - 1] * STEPS_PER_DAY // self.steps_per_month
            margin = STEPS_PER_DAY // 2
            for part in range(self.steps_per_month):
                drawn = part * span + int(random.integers(margin, span - margin))
                day, tick = divmod(drawn, STEPS_PER_DAY)
                steps.append(Step(len(steps), y, m, day + 1, tick * STEP_SECONDS))
        return steps
