import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datamodules.errors import DataError
from datamodules.leap.calendar import (
    format_months,
    month_index,
    month_name,
    parse_months,
    stamp_to_step,
    step_to_stamp,
    steps_in_months,
    steps_to_dates,
    steps_to_months,
)


@pytest.mark.parametrize(
    ("stamp", "step"),
    [
        ("0001-01-01-00000", 0),
        ("0001-01-01-01200", 1),
        ("0001-02-01-00000", 31 * 72),
        ("0001-03-01-00000", 59 * 72),  # no leap day, in any year
        ("0004-03-01-00000", (3 * 365 + 59) * 72),
        ("0002-01-01-00000", 365 * 72),
        ("0009-01-31-85200", (8 * 365 + 31) * 72 - 1),
    ],
)
def test_steps_worked_by_hand(stamp, step):
    assert stamp_to_step(stamp) == step
    assert step_to_stamp(step) == stamp


def test_the_training_period_of_climsim_has_210240_steps():
    assert stamp_to_step("0009-02-01-00000") - stamp_to_step("0001-02-01-00000") == 210_240


@given(st.integers(0, 9998 * 365 * 72))
def test_stamp_and_step_are_inverse(step):
    assert stamp_to_step(step_to_stamp(step)) == step


def test_dates_of_many_steps_at_once():
    stamps = ["0001-02-28-85200", "0008-12-31-01200", "0009-01-01-00000"]
    dates, seconds = steps_to_dates(np.array([stamp_to_step(stamp) for stamp in stamps]))
    assert dates.tolist() == [10228, 81231, 90101]
    assert seconds.tolist() == [85200, 1200, 0]


@pytest.mark.parametrize(
    ("stamp", "message"),
    [
        ("0001-02-01", "not a time stamp"),
        ("0001-02-29-00000", "not a day of the NO_LEAP calendar"),
        ("0004-02-29-00000", "not a day of the NO_LEAP calendar"),
        ("0001-13-01-00000", "not a day of the NO_LEAP calendar"),
        ("0000-01-01-00000", "not a day of the NO_LEAP calendar"),
        ("0001-01-01-00600", "not on a time step"),
        ("0001-01-01-86400", "not on a time step"),
    ],
)
def test_bad_stamps(stamp, message):
    with pytest.raises(DataError, match=f"'{stamp}' is {message}"):
        stamp_to_step(stamp)


def test_months_of_steps():
    steps = np.array([stamp_to_step(s) for s in ("0001-01-31-85200", "0001-02-01-00000", "0008-12-31-85200")])
    assert [month_name(m) for m in steps_to_months(steps)] == ["0001-01", "0001-02", "0008-12"]


@given(st.integers(12, 9999 * 12 + 11))
def test_month_names_are_inverse(index):
    assert month_index(month_name(index)) == index


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("0001-02", "0001-02"),
        ("0001-02:0008-06", "0001-02:0008-06"),
        ("0008-03:0008-05, 0008-01", "0008-01,0008-03:0008-05"),
        ("0008-01:0008-03,0008-02:0008-04,0008-05", "0008-01:0008-05"),
        ("0007-12,0008-01", "0007-12:0008-01"),
    ],
)
def test_month_ranges(text, normal):
    assert format_months(parse_months(text)) == normal


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'' is not a month"),
        ("0008-13", "'0008-13' is not a month"),
        ("8-1", "'8-1' is not a month"),
        ("0008-01:", "'' is not a month"),
        ("0008-06:0008-01", "runs backwards"),
    ],
)
def test_bad_month_ranges(text, message):
    with pytest.raises(DataError, match=message):
        parse_months(text)


def test_both_ends_of_a_month_range_belong_to_it():
    stamps = ["0008-01-31-85200", "0008-02-01-00000", "0008-03-31-85200", "0008-04-01-00000"]
    steps = np.array([*map(stamp_to_step, stamps), -1])
    assert steps_in_months(steps, parse_months("0008-02:0008-03")).tolist() == [False, True, True, False, False]
