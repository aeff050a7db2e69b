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
        steps: distinct step numbers, ascending.
        settings: months or blocks, and the gap between training and validation.

    Raises:
        DataError: a month range that holds no file, or ranges that overlap.
    """
    gap = round(settings.gap_days * STEPS_PER_DAY)
    keys = np.array([step_to_stamp(int(step)) for step in steps])
    train, valid = (steps_in_months(steps, parse_months(text)) for text in (settings.train_months, settings.val_months))
    both = train & valid
    if both.any():
        raise DataError(
            f"data.train_months {settings.train_months!r} and data.val_months {settings.val_months!r} overlap in "
            f"{keys[both][0][:7]}; training and validation time must be apart"
        )
    if settings.split == "months" or (settings.split == "auto" and train.any() and valid.any()):
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


def _month_roles(
    steps: Steps, train: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_], gap: int
) -> npt.NDArray[np.str_]:
    roles = np.full((len(steps), 1), UNUSED, dtype="<U6")
    valid_steps = steps[valid]
    after = np.searchsorted(valid_steps, steps)
    to_next = valid_steps[np.minimum(after, len(valid_steps) - 1)] - steps
    to_previous = steps - valid_steps[np.maximum(after - 1, 0)]
    near = ((after < len(valid_steps)) & (to_next < gap)) | ((after > 0) & (to_previous < gap))
    roles[train & ~near, 0] = TRAIN
    roles[valid, 0] = VALID
    return roles
