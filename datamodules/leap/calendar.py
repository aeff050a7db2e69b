"""The climate model's calendar: 365-day years, no leap days, one step every 1200 seconds.

A *step* is the number of 1200 s intervals since ``0001-01-01-00000``; a *stamp* is how file names write it,
``YYYY-MM-DD-SSSSS`` with the seconds of the day. A *month index* is ``12 * year + month - 1``. Year 1 lies outside
what numpy's and pandas' nanosecond dates can hold, hence these few functions on integers.
"""

from __future__ import annotations

import re
from itertools import accumulate

import numpy as np

from datamodules.errors import DataError
from datamodules.leap.schema import STEP_SECONDS, STEPS_PER_DAY

MONTH_DAYS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
YEAR_DAYS = sum(MONTH_DAYS)
_FIRST_YEAR = 1
_MONTH_STARTS = np.array([0, *accumulate(MONTH_DAYS)])  # day of the year on which a month begins; 13 entries

_STAMP = re.compile(r"(\d{4})-(\d{2})-(\d{2})-(\d{5})")
_MONTH = re.compile(r"(\d{4})-(\d{2})")

MonthRanges = list[tuple[int, int]]
"""Ranges of month indices, both ends included."""


def stamp_to_step(stamp: str) -> int:
    """Step number of a stamp such as ``0001-02-01-00000``.

    Raises:
        DataError: Not a stamp, a day the calendar does not have, or seconds between two steps.
    """
    match = _STAMP.fullmatch(stamp)
    if match is None:
        raise DataError(f"'{stamp}' is not a time stamp YYYY-MM-DD-SSSSS")
    year, month, day, second = map(int, match.groups())
    if year < _FIRST_YEAR or not 1 <= month <= 12 or not 1 <= day <= MONTH_DAYS[month - 1]:
        raise DataError(f"'{stamp}' is not a day of the NO_LEAP calendar")
    if second % STEP_SECONDS or second >= STEP_SECONDS * STEPS_PER_DAY:
        raise DataError(f"'{stamp}' is not on a time step (a multiple of {STEP_SECONDS} s below 86400)")
    days = (year - _FIRST_YEAR) * YEAR_DAYS + int(_MONTH_STARTS[month - 1]) + day - 1
    return days * STEPS_PER_DAY + second // STEP_SECONDS


def step_to_stamp(step: int) -> str:
    """Stamp of a step number; the inverse of :func:`stamp_to_step`."""
    dates, seconds = steps_to_dates(np.array([step]))
    date = int(dates[0])
    return f"{date // 10_000:04d}-{date // 100 % 100:02d}-{date % 100:02d}-{int(seconds[0]):05d}"


def steps_to_dates(steps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dates as integers ``yyyymmdd`` and seconds of the day, as the raw files' ``ymd`` and ``tod``."""
    days, step_of_day = np.divmod(np.asarray(steps, np.int64), STEPS_PER_DAY)
    years, day_of_year = np.divmod(days, YEAR_DAYS)
    months = np.searchsorted(_MONTH_STARTS, day_of_year, side="right")  # 1 ... 12
    dates = (years + _FIRST_YEAR) * 10_000 + months * 100 + day_of_year - _MONTH_STARTS[months - 1] + 1
    return dates, step_of_day * STEP_SECONDS


def steps_to_months(steps: np.ndarray) -> np.ndarray:
    """Month index of each step."""
    dates, _ = steps_to_dates(steps)
    result: np.ndarray = dates // 10_000 * 12 + dates // 100 % 100 - 1
    return result


def month_index(name: str) -> int:
    """Month index of ``YYYY-MM``.

    Raises:
        DataError: Not a month.
    """
    match = _MONTH.fullmatch(name.strip())
    if match is None or not 1 <= int(match[2]) <= 12 or int(match[1]) < _FIRST_YEAR:
        raise DataError(f"'{name.strip()}' is not a month YYYY-MM (such as 0001-02)")
    return int(match[1]) * 12 + int(match[2]) - 1


def month_name(index: int) -> str:
    """``YYYY-MM`` of a month index."""
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


def parse_months(text: str) -> MonthRanges:
    """Months of a selection such as ``0001-02:0008-06`` or ``0008-01,0008-03:0008-05``; both ends are included.

    Returns:
        Ranges of month indices, sorted, overlapping or adjoining ones joined.

    Raises:
        DataError: Empty, not a month, or a range that runs backwards.
    """
    ranges = []
    for part in text.split(","):
        first, colon, last = part.partition(":")
        start = month_index(first)
        stop = month_index(last) if colon else start
        if stop < start:
            raise DataError(f"month range '{part.strip()}' runs backwards: write the earlier month first")
        ranges.append((start, stop))
    joined: MonthRanges = []
    for start, stop in sorted(ranges):
        if joined and start <= joined[-1][1] + 1:
            joined[-1] = (joined[-1][0], max(stop, joined[-1][1]))
        else:
            joined.append((start, stop))
    return joined


def format_months(ranges: MonthRanges) -> str:
    """The inverse of :func:`parse_months`."""
    return ",".join(month_name(a) if a == b else f"{month_name(a)}:{month_name(b)}" for a, b in ranges)


def steps_in_months(steps: np.ndarray, ranges: MonthRanges) -> np.ndarray:
    """Boolean mask of the steps that lie in one of the ranges; steps below 0 (time unknown) never do."""
    steps = np.asarray(steps)
    months = steps_to_months(steps)
    inside = np.zeros(steps.shape, bool)
    for first, last in ranges:
        inside |= (months >= first) & (months <= last)
    return inside & (steps >= 0)
