"""The rule of R2 that nets, reports and blends share; arrays only, no torch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def r2_of_sums(errors: Array, total: Array, constant: npt.NDArray[np.bool_]) -> Array:
    """R2 of targets from their sums of squares.

    A target that does not vary scores 1 if every prediction equals it, else 0: scikit-learn's and Kaggle's rule.

    Args:
        errors: ``(..., targets)`` sums of squared errors.
        total: ``(..., targets)`` sums of squares about the target's mean.
        constant: ``(..., targets)`` the targets that do not vary.

    Returns:
        ``(..., targets)`` scores, float64.
    """
    return np.where(constant, (errors == 0).astype(np.float64), 1.0 - errors / np.where(constant, 1.0, total))
