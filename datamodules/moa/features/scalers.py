"""Scaling and selection of columns: standardisation, DeepInsight's logarithm, variance threshold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.moa.features.table import FeatureTable, FitContext, State, Step, numpy_of


def _put_back(table: FeatureTable, matrix: Tensor) -> FeatureTable:
    widths = [block.shape[1] for block in table.blocks.values()]
    return table.with_blocks(**dict(zip(table.blocks, matrix.split(widths, dim=1), strict=True)))


class Standard(Step):
    """Every column so far to mean 0 and variance 1 (scikit-learn's ``StandardScaler``)."""

    name: ClassVar[str] = "standard"

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Mean and spread of each column; a constant column is only shifted."""
        from sklearn.preprocessing import StandardScaler

        scaler = StandardScaler().fit(numpy_of(table.matrix()))
        return {"mean": scaler.mean_, "scale": scaler.scale_}

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Scale all blocks."""
        return _put_back(table, (table.matrix() - state["mean"]) / state["scale"])


class LogScaler(Step):
    """DeepInsight's second normalisation: every column so far to [0, 1] on a logarithmic scale.

    ``log(x + |min| + 1)`` with each column's training minimum, below which values are clipped, divided by the largest
    such value of the training table (Sharma et al. 2019).
    """

    name: ClassVar[str] = "log_scaler"

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Minimum of each column, and the largest logarithm of all."""
        low = table.matrix().amin(dim=0)
        top = torch.log(table.matrix() + low.abs() + 1).clamp(min=0).max()
        return {"low": low.numpy(), "top": np.asarray(max(float(top), 1e-12))}

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Scale all blocks."""
        low = state["low"]
        z = torch.log(torch.maximum(table.matrix(), low) + low.abs() + 1).clamp(min=0)
        return _put_back(table, (z / state["top"]).clamp(0, 1))


class VarianceThreshold(Step):
    """Drops columns so far whose training variance does not exceed ``above`` (0.5)."""

    name: ClassVar[str] = "variance_threshold"
    allowed: ClassVar[dict[str, float]] = {"above": 0.5}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Positions of the kept columns of each block."""
        state: State = {}
        for name, block in table.blocks.items():
            variance = numpy_of(block).var(axis=0)
            state[name] = np.flatnonzero(variance > self.options["above"])
        if sum(len(kept) for kept in state.values()) == 0:
            raise DataError(
                f"data.features: no column has a variance above {self.options['above']:g}; choose a lower variance_threshold:above"
            )
        return state

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Keep the columns that were chosen."""
        return table.with_blocks(**{name: block[:, state[name].long()] for name, block in table.blocks.items()})
