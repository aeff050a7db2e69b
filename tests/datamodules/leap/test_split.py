from __future__ import annotations

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.folds import TRAIN, UNUSED, VALID
from datamodules.leap.calendar import stamp_to_step
from datamodules.leap.schema import STEPS_PER_DAY
from datamodules.leap.settings import LeapData
from datamodules.leap.split import split_steps


def steps(*stamps: str) -> np.ndarray:
    return np.array([stamp_to_step(stamp) for stamp in stamps])


def test_the_published_months_are_taken_where_they_are_there() -> None:
    there = steps(
        "0007-01-05-00000",
        "0008-06-29-00000",
        "0008-06-30-84000",
        "0008-07-01-00000",
        "0009-01-31-00000",
        "0009-02-01-00000",
    )
    table = split_steps(there, LeapData())
    assert table.n_folds == 1
    # the step 20 minutes before the validation months is in the gap, the month after them is unused
    assert list(table.roles[:, 0]) == [TRAIN, TRAIN, UNUSED, VALID, VALID, UNUSED]
    without_gap = split_steps(there, LeapData(gap_days=0))
    assert list(without_gap.roles[:3, 0]) == [TRAIN] * 3


def test_other_months_become_time_blocks_with_the_latest_first() -> None:
    there = np.arange(0, 100) * STEPS_PER_DAY + stamp_to_step("0003-01-01-00000")
    table = split_steps(there, LeapData(n_folds=4, gap_days=3))
    assert table.n_folds == 4
    assert (table.where(0, VALID) == np.arange(75, 100)).all()
    for fold in range(4):
        train, valid = there[table.where(fold, TRAIN)], there[table.where(fold, VALID)]
        assert np.abs(train[:, None] - valid[None, :]).min() >= 3 * STEPS_PER_DAY
    assert sorted(np.concatenate([table.where(fold, VALID) for fold in range(4)])) == list(range(100))


def test_bad_splits_are_named() -> None:
    there = steps("0007-01-05-00000", "0008-07-01-00000")
    with pytest.raises(DataError, match="overlap in 0008-07"):
        split_steps(there, LeapData(train_months="0008-01:0008-07"))
    with pytest.raises(
        DataError,
        match=r"data.val_months '0004-01' holds none of the 2 time steps \(0007-01-05-00000 to 0008-07-01-00000\)",
    ):
        split_steps(there, LeapData(split="months", val_months="0004-01"))
    with pytest.raises(DataError, match=r"one time step .* cannot be split"):
        split_steps(there[:1], LeapData())
