"""Time splits of ClimSim rows: neighbours 20 minutes apart are nearly copies, so rows are never split at random."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.folds import TRAIN, UNUSED, VALID, FoldTable, time_blocks
from datamodules.leap.calendar import parse_months, step_to_stamp, steps_in_months
from datamodules.leap.schema import STEPS_PER_DAY
from datamodules.leap.settings import LeapData

Steps = npt.NDArray[np.int64]


def split_steps(steps: Steps, settings: LeapData) -> FoldTable:
    """Fold table over the time steps that are there, keys ``YYYY-MM-DD-SSSSS``.

    Args:
        steps: Distinct step numbers, ascending.
        settings: Months or blocks, and the gap between training and validation.

    Raises:
        DataError: a month range that holds no file, or ranges that overlap.
    """
    gap = round(settings.gap_days * STEPS_PER_DAY)
    keys = np.array([step_to_stamp(int(step)) for step in steps])
    train, valid = _in_month_ranges(steps, settings)
    both = train & valid
    if both.any():
        raise DataError(
            f"data.train_months {settings.train_months!r} and data.val_months {settings.val_months!r} overlap in "
            f"{keys[both][0][:7]}; training and validation time must be apart"
        )
    if _splits_by_months(train, valid, settings):
        for name, where, months in (("train", train, settings.train_months), ("val", valid, settings.val_months)):
            if not where.any():
                raise DataError(
                    f"data.{name}_months {months!r} holds none of the {len(steps)} time steps ({keys[0]} to {keys[-1]})"
                )
        return FoldTable(keys, _month_roles(steps, train, valid, gap))
    n_folds = min(settings.n_folds, len(steps))
    if n_folds < 2:
        raise DataError(f"one time step ({keys[0]}) cannot be split into training and validation time; give more files")
    # reversed, so that fold 0 validates on the latest block
    return FoldTable(keys, time_blocks(steps, n_folds, gap)[:, ::-1])


def may_train_on(steps: Steps, own_steps: Steps, valid_steps: Steps, settings: LeapData) -> npt.NDArray[np.bool_]:
    """Which times of a second source may be trained on beside a fold of the first, by the same rule.

    Args:
        steps: Time steps of the second source.
        own_steps: Distinct steps of the first source, ascending, as :func:`split_steps` got them.
        valid_steps: Those of them that the fold validates on, ascending.
        settings: As :func:`split_steps` got them.

    Returns:
        Boolean mask over ``steps``.
    """
    gap = round(settings.gap_days * STEPS_PER_DAY)
    if _splits_by_months(*_in_month_ranges(own_steps, settings), settings):
        train, valid = _in_month_ranges(steps, settings)
        return train & ~valid & ~_near(steps, valid_steps, gap)
    apart = max(gap, 1)
    result: npt.NDArray[np.bool_] = (steps <= valid_steps[0] - apart) | (steps >= valid_steps[-1] + apart)
    return result


def _in_month_ranges(steps: Steps, settings: LeapData) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    train, valid = (steps_in_months(steps, parse_months(text)) for text in (settings.train_months, settings.val_months))
    return train, valid


def _splits_by_months(train: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_], settings: LeapData) -> bool:
    return settings.split == "months" or (settings.split == "auto" and bool(train.any()) and bool(valid.any()))


def _month_roles(
    steps: Steps, train: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_], gap: int
) -> npt.NDArray[np.str_]:
    roles = np.full((len(steps), 1), UNUSED, dtype="<U6")
    roles[train & ~_near(steps, steps[valid], gap), 0] = TRAIN
    roles[valid, 0] = VALID
    return roles


def _near(steps: Steps, valid_steps: Steps, gap: int) -> npt.NDArray[np.bool_]:
    """Which steps are closer than the gap to a validation step."""
    after = np.searchsorted(valid_steps, steps)
    to_next = valid_steps[np.minimum(after, len(valid_steps) - 1)] - steps
    to_previous = steps - valid_steps[np.maximum(after - 1, 0)]
    return ((after < len(valid_steps)) & (to_next < gap)) | ((after > 0) & (to_previous < gap))
