"""The folds that weights are fitted and scored across."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd

NESTED_BLOCKS = 5
_MONTH = re.compile(r"\d{4}-\d{2}")


def nested_folds(frame: pd.DataFrame, test: bool) -> tuple[pd.DataFrame, str]:
    """Add the column ``nested``: the banks' folds, or blocks of rows where there is only one.

    Rows grouped by months are cut into blocks of whole months; other rows are shuffled.

    Args:
        frame: ``row_id`` and, where known, ``fold`` and ``group``.
        test: Test predictions are not scored and stay together.

    Returns:
        The table, and a sentence on what was done.
    """
    if test:
        return frame.assign(nested=0), ""
    if "fold" in frame and frame["fold"].nunique() > 1:
        return frame.assign(
            nested=frame["fold"].astype(np.int64)
        ), f"nested over the {frame['fold'].nunique()} folds of the banks"
    blocks = min(NESTED_BLOCKS, len(frame))
    months = frame["group"].astype(str) if "group" in frame else pd.Series(dtype=str)
    if months.nunique() >= blocks and all(map(_MONTH.fullmatch, months.unique())):
        names = np.sort(months.unique())
        block_of = {name: i for i, part in enumerate(np.array_split(names, blocks)) for name in part}
        nested = months.map(block_of).to_numpy(dtype=np.int64)
        return frame.assign(nested=nested), f"the banks hold one fold; nested over {blocks} blocks of whole months"
    nested = np.empty(len(frame), dtype=np.int64)
    for i, part in enumerate(np.array_split(np.random.default_rng(0).permutation(len(frame)), blocks)):
        nested[part] = i
    return frame.assign(nested=nested), f"the banks hold one fold; nested over {blocks} shuffled parts of the rows"
