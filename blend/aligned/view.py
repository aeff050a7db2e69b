"""The aligned view of all models: who predicts what for which row, read in chunks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from blend.aligned.chunks import Member
from datamodules.banks.bank import BankError, Manifest

Labels = Literal["values", "binary", "classes", "any"]
"""What the true values are; of classes every row has exactly one."""
CHUNK_VALUES = 2**22
_MOMENT_BYTES = 2**28
_MOST_BLOCKS = 256
_PER_CENT = 0.1  # of the values are above 1 where probabilities were multiplied by 100


@dataclass
class Chunk:
    """Some aligned rows, all of one block.

    Attributes:
        rows: Their range.
        block: Number of the block.
        predictions: ``(models, rows, targets)`` float32, in units of the stack's scale.
        truth: ``(rows, targets)`` float32, empty for test predictions.
    """

    rows: slice
    block: int
    predictions: npt.NDArray[np.float32]
    truth: npt.NDArray[np.float32]


@dataclass
class Blocks:
    """Contiguous ranges of aligned rows inside one fold (and one row group): what sums and the bootstrap work on.

    Attributes:
        start, stop: ``(blocks,)`` aligned rows.
        fold: ``(blocks,)`` label of the nested fold.
        group: ``(blocks,)`` code of the row group, 0 where rows are not grouped.
    """

    start: npt.NDArray[np.int64]
    stop: npt.NDArray[np.int64]
    fold: npt.NDArray[np.int64]
    group: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    @property
    def counts(self) -> npt.NDArray[np.int64]:
        """Rows per block."""
        return self.stop - self.start


@dataclass
class Stack:
    """All models, aligned.

    Attributes:
        members: The models.
        rows: ``row_id``, ``nested`` (fold of the nested scores) and, where known, ``fold`` and ``group``, in aligned order.
        shape: Trailing shape of one prediction.
        scale: judge's units per stored unit, broadcastable to ``shape``.
        manifest: Manifest of the first model's first bank.
        nested_note: How the nested folds came about.
        forward: Nested weights come from earlier folds alone.
        row_groups: Rows are ordered by group inside a fold.
        clip_predictions: Clip probabilities to [0, 1] on reading.
        probabilities: Refuse values outside [0, 1] (set with the metric).
        labels: What the truth must hold (set with the metric); rows of class probabilities are divided by their sum.
        truth: True values, None for test predictions.
    """

    members: list[Member]
    rows: pd.DataFrame
    shape: tuple[int, ...]
    scale: npt.NDArray[np.float64]
    manifest: Manifest
    nested_note: str = ""
    forward: bool = False
    row_groups: bool = False
    clip_predictions: bool = False
    probabilities: bool = False
    labels: Labels = "any"
    truth: Member | None = None
    group_names: list[str] = field(default_factory=list)
    blocks: Blocks = field(init=False)
    _kept: Chunk | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        codes = np.zeros(len(self.rows), dtype=np.int64)
        if self.row_groups:
            codes, names = pd.factorize(self.rows["group"], sort=True)
            self.group_names = [str(name) for name in names]
        self.blocks = _cut(self.rows["nested"].to_numpy(), codes, len(self.members), self.width)

    @property
    def names(self) -> list[str]:
        """Names of the models."""
        return [member.name for member in self.members]

    @property
    def width(self) -> int:
        """Number of targets: the product of the trailing shape."""
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def folds(self) -> list[int]:
        """Labels of the nested folds, in aligned order."""
        return [int(fold) for fold in pd.unique(self.rows["nested"])]

    @property
    def target_scale(self) -> npt.NDArray[np.float64]:
        """``(targets,)`` judge's units per stored unit."""
        return np.broadcast_to(self.scale, self.shape).reshape(self.width).astype(np.float64)

    def factor(self, scale: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
        """Multiplier ``(targets,)`` from another bank's stored units into the stack's; None for 1."""
        own = np.broadcast_to(scale, self.shape).reshape(self.width).astype(np.float64)
        common = self.target_scale
        if np.array_equal(own, common):
            return None
        return np.divide(own, common, out=np.ones(self.width), where=common != 0)

    def others(self, fold: int) -> list[int]:
        """Folds whose rows choose the weights that a fold is judged with; none for the first one of ordered folds."""
        return [other for other in self.folds if (other < fold if self.forward else other != fold)]

    def attach_truth(self, member: Member) -> None:
        """Take true values."""
        self.truth = member

    def chunks(self, values: int = CHUNK_VALUES) -> Iterator[Chunk]:
        """All rows in aligned order, about ``values`` predictions at a time.

        Raises:
            BankError: a prediction is not finite, or not a probability where it must be one; bank and row are named.
        """
        step = max(1, values // max(1, len(self.members) * self.width))
        if self._kept is None and len(self.rows) * self.width * (len(self.members) + 1) <= CHUNK_VALUES:
            self._kept = self.read(0, len(self.rows))  # a hundred models of a few rows would be read in 25,000 pieces
        for block, (first, last) in enumerate(zip(self.blocks.start, self.blocks.stop, strict=True)):
            for start in range(first, last, step):
                rows = slice(start, min(start + step, last))
                if self._kept is None:
                    yield self.read(rows.start, rows.stop, block)
                else:
                    yield Chunk(rows, block, self._kept.predictions[:, rows], self._kept.truth[rows])

    def read(self, start: int, stop: int, block: int = 0) -> Chunk:
        """Aligned rows ``[start, stop)`` of all models and the truth."""
        predictions = np.empty((len(self.members), stop - start, self.width), dtype=np.float32)
        for values, member in zip(predictions, self.members, strict=True):
            values[...] = member.read(start, stop, self.width)
            self._check(member, values, start)
        if self.clip_predictions:
            np.clip(predictions, 0.0, 1.0, out=predictions)
        if self.labels == "classes":
            sums = predictions.sum(axis=2, keepdims=True)
            if (sums <= 0).any():
                model, row, _ = np.argwhere(sums <= 0)[0]
                raise BankError(
                    f"{self.members[model].where(start + int(row))}: row {self._id(start + int(row))!r} gives no class a probability"
                )
            predictions /= sums
        truth = np.empty((0, self.width), dtype=np.float32)
        if self.truth is not None:
            truth = self.truth.read(start, stop, self.width)
            self._check(self.truth, truth, start)
            self._check_labels(truth, start)
        return Chunk(slice(start, stop), block, predictions, truth)

    def _check(self, member: Member, values: npt.NDArray[np.float32], start: int) -> None:
        low, high = values.min(initial=np.inf), values.max(initial=-np.inf)  # a NaN survives both
        if not (np.isfinite(low) and np.isfinite(high)) and values.size:
            position = start + int(np.argmin(np.isfinite(values).all(axis=1)))
            raise BankError(
                f"{member.where(position)}: row {self._id(position)!r} has a value that is not finite; predict it again"
            )
        if self.probabilities and (low < 0 or high > 1) and not (self.clip_predictions and member is not self.truth):
            outside = ((values < 0) | (values > 1)).any(axis=1)
            position = start + int(np.argmax(outside))
            per_cent = low >= 0 and 1 < high <= 100 and bool((values > 1).mean() > _PER_CENT)
            what = (
                "is this in per cent? Divide it by 100"
                if per_cent
                else "these are not probabilities (logits?); --clip_predictions true clips them"
            )
            value = low if low < 0 else high
            raise BankError(
                f"{member.where(position)}: row {self._id(position)!r} has {value:.6g}, outside [0, 1]: {what}"
            )

    def _check_labels(self, truth: npt.NDArray[np.float32], start: int) -> None:
        if self.labels not in ("binary", "classes") or self.truth is None:
            return
        soft = (truth != 0) & (truth != 1)
        if soft.any():
            row, column = (int(i) for i in np.argwhere(soft)[0])
            raise BankError(
                f"{self.truth.where(start + row)}: row {self._id(start + row)!r} has the true value {truth[row, column]:g}; "
                "this metric needs labels, 0 or 1"
            )
        if self.labels == "classes" and (truth.sum(axis=1) != 1).any():
            row = int(np.argmax(truth.sum(axis=1) != 1))
            raise BankError(
                f"{self.truth.where(start + row)}: row {self._id(start + row)!r} has {truth[row].sum():g} true classes, not one"
            )

    def _id(self, position: int) -> str:
        return str(self.rows["row_id"].iloc[position])


def _cut(folds: npt.NDArray[np.int64], groups: npt.NDArray[np.int64], models: int, width: int) -> Blocks:
    """Cut the aligned rows where fold or group change, then into about equal blocks."""
    changes = np.flatnonzero((np.diff(folds) != 0) | (np.diff(groups) != 0)) + 1
    starts, stops = np.r_[0, changes], np.r_[changes, len(folds)]
    moment_bytes = 8 * width * (models + 2) ** 2
    wanted = min(_MOST_BLOCKS, len(folds), max(len(starts), _MOMENT_BYTES // moment_bytes))
    begin, end = [], []
    for start, stop in zip(starts, stops, strict=True):
        pieces = max(1, min(stop - start, round(wanted * (stop - start) / len(folds))))
        edges = np.linspace(start, stop, pieces + 1).round().astype(np.int64)
        begin += list(edges[:-1])
        end += list(edges[1:])
    first = np.asarray(begin, dtype=np.int64)
    return Blocks(first, np.asarray(end, dtype=np.int64), folds[first].astype(np.int64), groups[first])
