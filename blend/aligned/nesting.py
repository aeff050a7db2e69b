"""The folds that weights are fitted and scored across."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.banks.bank import BankError

Truth = npt.NDArray[np.floating[Any]]
NESTED_BLOCKS = 5
_MONTH = re.compile(r"\d{4}-\d{2}")
_MOST_CLASSES = 50  # whole numbers of more values are counts rather than labels


@dataclass(frozen=True)
class Nesting:
    """How rows are parted for the nested score.

    Attributes:
        folds: Number of parts; None for the banks' own folds, or five where these hold only one.
        seed: Seed of the shuffle.
        time: Parts are consecutive rows in the order of the first model's file, and later ones do not choose the weights
            that earlier ones judge.
        grouped: Rows of one group stay together.
    """

    folds: int | None = None
    seed: int = 0
    time: bool = False
    grouped: bool = False


_DEFAULT = Nesting()


def nested_folds(
    frame: pd.DataFrame, nesting: Nesting = _DEFAULT, truth: Callable[[], Truth | None] = lambda: None
) -> tuple[pd.DataFrame, str]:
    """Add the column ``nested``: the banks' folds, or parts of the rows where there is only one.

    Rows grouped by months are cut into blocks of whole months; others are shuffled by their place in the file (never by what
    their ids are called), every class of labels spread evenly over the parts.

    Args:
        frame: ``row_id`` and, where known, ``fold`` and ``group``, in the order of the file.
        nesting: What is wanted.
        truth: Reads the true values ``(rows, *shape)`` in the same order, for spreading classes evenly.

    Returns:
        The table, and a sentence on what was done.

    Raises:
        BankError: there are fewer rows or groups than parts, or no groups.
    """
    own = "fold" in frame and frame["fold"].nunique() > 1
    if own and nesting.folds is None and not nesting.time and not nesting.grouped:
        folds = frame["fold"].nunique()
        return frame.assign(nested=frame["fold"].astype(np.int64)), f"nested over the {folds} folds of the banks"
    if nesting.grouped and "group" not in frame:
        raise BankError("--group needs a group for every row: a column group, or a CSV file with row_id and group")
    parts = min(NESTED_BLOCKS, len(frame)) if nesting.folds is None else nesting.folds
    if parts > len(frame):
        raise BankError(f"--nested_folds {parts}: there are only {len(frame)} rows")
    why = "the banks hold one fold; " if nesting.folds is None and not own else ""
    rng = np.random.default_rng(nesting.seed)
    months = frame["group"].astype(str) if "group" in frame else pd.Series(dtype=str)
    if months.nunique() >= parts and all(map(_MONTH.fullmatch, months.unique())):
        names = np.sort(months.unique())
        block_of = {name: i for i, part in enumerate(np.array_split(names, parts)) for name in part}
        nested, how = months.map(block_of).to_numpy(dtype=np.int64), f"{parts} blocks of whole months"
    elif nesting.time:
        nested, how = np.arange(len(frame)) * parts // len(frame), f"{parts} blocks of consecutive rows"
    elif nesting.grouped:
        nested = _grouped(frame["group"].to_numpy(dtype=str), parts, rng)
        how = f"{parts} parts of whole groups"
    else:
        values = truth()
        labels = None if values is None else class_codes(values)
        nested = _shuffled(len(frame), parts, labels, rng)
        how = f"{parts} shuffled parts of the rows" + ("" if labels is None else ", every class spread evenly")
    forward = "; weights come from earlier blocks alone, the first block is not judged" if nesting.time else ""
    return frame.assign(nested=nested), f"{why}nested over {how}{forward}"


def class_codes(truth: Truth) -> npt.NDArray[np.int64] | None:
    """Class of every row where the truth is one label (0/1, a small whole number, or a column per class), else None."""
    flat = truth.reshape(len(truth), -1)
    if flat.shape[1] > 1:
        one_hot = bool(((flat == 0) | (flat == 1)).all() and (flat.sum(axis=1) == 1).all())
        return flat.argmax(axis=1) if one_hot else None
    values, codes = np.unique(flat[:, 0], return_inverse=True)
    whole = bool((values == np.rint(values)).all())
    return codes.astype(np.int64) if whole and len(values) <= min(_MOST_CLASSES, len(flat) // 5) else None


def _shuffled(
    rows: int, parts: int, labels: npt.NDArray[np.int64] | None, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Shuffle, order by class, and deal."""
    order = rng.permutation(rows)
    if labels is not None:
        order = order[np.argsort(labels[order], kind="stable")]
    nested = np.empty(rows, dtype=np.int64)
    nested[order] = np.arange(rows) % parts
    return nested


def _grouped(groups: npt.NDArray[np.str_], parts: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Largest groups first, each into the part that has the fewest rows."""
    codes, names = pd.factorize(groups)  # by first appearance: names do not count
    if len(names) < parts:
        raise BankError(f"--group: {len(names)} groups cannot be parted into {parts}; give --nested_folds {len(names)}")
    sizes = np.bincount(codes)
    order = rng.permutation(len(names))
    part_of, filled = np.empty(len(names), dtype=np.int64), np.zeros(parts, dtype=np.int64)
    for group in order[np.argsort(-sizes[order], kind="stable")]:
        part_of[group] = int(np.argmin(filled))
        filled[part_of[group]] += sizes[group]
    return part_of[codes]
