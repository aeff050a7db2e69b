"""The rows that a step of post-processing is for, by their group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError


def chosen_rows(argument: Mapping[str, Any], groups: npt.NDArray[np.str_] | None) -> npt.NDArray[np.bool_]:
    """Rows of ``only_groups``, or of all but ``except_groups``.

    Args:
        argument: A step's argument.
        groups: ``(rows,)`` group of each row.

    Raises:
        DataError: nobody says the rows' groups.
    """
    if groups is None:
        raise DataError("a step for some groups needs the group of every row; give --groups FILE")
    only, spared = argument.get("only_groups"), argument.get("except_groups", ())
    return ~np.isin(groups, list(spared)) if only is None else np.isin(groups, list(only))
