"""How a row was treated, as columns: time, dose, control or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from datamodules.moa.features.table import GENES, FeatureTable, Step


class OneHotConditions(Step):
    """One column per treatment time, then one per dose."""

    name: ClassVar[str] = "one_hot"

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append the columns."""
        columns = [one_hot(table.time, table.n_times), one_hot(table.dose, table.n_doses)]
        return table.with_blocks(one_hot=torch.cat(columns, dim=1).to(table.blocks[GENES].dtype))


class ConditionCodes(Step):
    """Two columns of category numbers, time and dose, for nets that embed them."""

    name: ClassVar[str] = "codes"

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append the columns."""
        return table.with_blocks(codes=torch.stack([table.time, table.dose], dim=1).to(table.blocks[GENES].dtype))


class ConditionLevels(Step):
    """Three columns from 0 to 1: treated or control, dose, time in equal steps (DeepInsight)."""

    name: ClassVar[str] = "levels"

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append the columns."""
        dtype = table.blocks[GENES].dtype
        dose = table.dose.to(dtype) / max(1, table.n_doses - 1)
        time = table.time.to(dtype) / max(1, table.n_times - 1)
        return table.with_blocks(levels=torch.stack([(~table.control).to(dtype), dose, time], dim=1))
