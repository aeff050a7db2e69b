"""What the steps of a feature pipeline pass on: named blocks of columns, and the conditions of each row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.errors import DataError

GENES, CELLS = "genes", "cells"
MEASURED = (GENES, CELLS)
State = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class FeatureTable:
    """Rows on their way through a pipeline.

    Args:
        blocks: float64 ``(rows, columns)`` by name, in the order in which a net sees them; ``cells`` may have no column.
        time: ``(rows,)`` position of the treatment time among the known ones.
        dose: ``(rows,)`` position of the dose.
        control: ``(rows,)`` bool.
        n_times: Number of known treatment times.
        n_doses: Number of known doses.
        meta: ``(rows, predictions)`` of an earlier stage, NaN in rows that it did not predict; None without one.
    """

    blocks: dict[str, Tensor]
    time: Tensor
    dose: Tensor
    control: Tensor
    n_times: int
    n_doses: int
    meta: Tensor | None = None

    def __len__(self) -> int:
        return len(self.time)

    def with_blocks(self, **blocks: Tensor) -> FeatureTable:
        """The table with some blocks replaced in place or appended at the end."""
        return replace(self, blocks={**self.blocks, **blocks})

    def with_only(self, **blocks: Tensor) -> FeatureTable:
        """The table with other blocks in place of all."""
        return replace(self, blocks=blocks)

    def rows(self, where: slice) -> FeatureTable:
        """A stretch of rows."""
        blocks = {name: block[where] for name, block in self.blocks.items()}
        meta = None if self.meta is None else self.meta[where]
        time, dose, control = self.time[where], self.dose[where], self.control[where]
        return replace(self, blocks=blocks, time=time, dose=dose, control=control, meta=meta)

    def matrix(self) -> Tensor:
        """All blocks side by side, ``(rows, columns)``."""
        return torch.cat(list(self.blocks.values()), dim=1)

    @staticmethod
    def stack(tables: list[FeatureTable]) -> FeatureTable:
        """Stretches of rows under each other."""
        first = tables[0]
        blocks = {name: torch.cat([table.blocks[name] for table in tables]) for name in first.blocks}
        time, dose, control = (torch.cat([getattr(table, n) for table in tables]) for n in ("time", "dose", "control"))
        meta = None if first.meta is None else torch.cat([table.meta for table in tables if table.meta is not None])
        return replace(first, blocks=blocks, time=time, dose=dose, control=control, meta=meta)


@dataclass(frozen=True)
class FitContext:
    """What a step may use beside the table when it is fitted.

    Args:
        seed: Seed of random algorithms.
        labels: ``(rows, targets)`` of 0 and 1, for steps that choose columns by them; None for a transductive fit's
            rows, which have none.
        labelled: Number of leading rows of the table that the labels belong to.
        names: Names of the gene and of the cell columns.
    """

    seed: int
    labels: npt.NDArray[np.uint8] | None
    labelled: int
    names: Mapping[str, tuple[str, ...]]


class Step(ABC):
    """One step of a pipeline; its fitted state is a dictionary of arrays, and applying it is torch alone.

    Args:
        options: What stands behind the colon of the step's text, such as ``genes=50,cells=15``.

    Attributes:
        name: Name of the step in a recipe.
        allowed: Option names with their defaults.
    """

    name: ClassVar[str]
    allowed: ClassVar[dict[str, float]] = {}

    def __init__(self, options: Mapping[str, float]) -> None:
        unknown = sorted(set(options) - set(self.allowed))
        if unknown:
            known = ", ".join(self.allowed) or "none"
            raise DataError(f"data.features: step {self.name!r} has no option {unknown[0]!r}; it knows {known}")
        self.options = {**self.allowed, **options}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Learn the arrays from rows; a step without any learns nothing."""
        return {}

    @abstractmethod
    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Change or append blocks."""

    def components(self, block: str, table: FeatureTable) -> int:
        """The whole-number option for a block, 0 where the data have no such columns.

        Raises:
            DataError: more components than columns or rows.
        """
        wanted = int(self.options[block])
        columns = table.blocks[block].shape[1]
        if columns == 0:
            return 0
        if wanted > min(columns, len(table)):
            raise DataError(
                f"data.features: {self.name}:{block}={wanted} asks for more than the {columns} {block} columns of "
                f"{len(table)} rows can give; choose a smaller number"
            )
        return wanted


def numpy_of(block: Tensor) -> npt.NDArray[np.float64]:
    """A block for scikit-learn."""
    return block.detach().cpu().numpy()
