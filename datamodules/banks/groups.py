"""Groups of rows, and the rows that a step of post-processing is for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.text_tables import read_table


def read_groups(path: Path, row_ids: pd.Series) -> npt.NDArray[np.str_]:
    """Groups of some rows, ``(rows,)``, from a table of ``row_id`` and ``group``.

    Raises:
        DataError: it cannot be read, or names no group for a row.
    """
    table = read_table(path, ("row_id", "group"), only=("row_id", "group"))
    named = pd.Series(table.text("group"), index=table.text("row_id"))
    found = row_ids.map(named[~named.index.duplicated()])
    if found.isna().any():
        raise DataError(f"{path} names no group for row {row_ids[found.isna()].iloc[0]!r}")
    return found.to_numpy(dtype=str)


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
