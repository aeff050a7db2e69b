"""Linear projections of the genes and of the cells: factor analysis and principal components."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from datamodules.moa.features.table import MEASURED, FeatureTable, FitContext, State, Step, numpy_of

Array = npt.NDArray[np.float64]


class _Projection(Step):
    """Appends ``(block - mean) @ matrix`` for genes and for cells."""

    allowed: ClassVar[dict[str, float]] = {"genes": 0, "cells": 0}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Mean and matrix of each block."""
        state: State = {}
        for block in MEASURED:
            if count := self.components(block, table):
                mean, matrix = self.solve(numpy_of(table.blocks[block]), count, context.seed)
                state |= {f"{block}_mean": mean, f"{block}_matrix": np.ascontiguousarray(matrix)}
        return state

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append the projections."""
        new = {
            f"{self.name}_{block}": (table.blocks[block] - state[f"{block}_mean"]) @ state[f"{block}_matrix"]
            for block in MEASURED
            if f"{block}_mean" in state
        }
        return table.with_blocks(**new)

    @abstractmethod
    def solve(self, values: Array, components: int, seed: int) -> tuple[Array, Array]:
        """Mean ``(columns,)`` and matrix ``(columns, components)``."""


class FactorAnalysis(_Projection):
    """Expected latent factors given the measurements (scikit-learn's ``FactorAnalysis``). Options: ``genes``, ``cells``."""

    name: ClassVar[str] = "factor_analysis"

    def solve(self, values: Array, components: int, seed: int) -> tuple[Array, Array]:
        """The posterior mean of the factors is linear in the measurements."""
        from sklearn.decomposition import FactorAnalysis as Factors

        model = Factors(components, random_state=seed).fit(values)
        weighted = model.components_ / model.noise_variance_
        precision = np.eye(components) + weighted @ model.components_.T
        return model.mean_, np.linalg.solve(precision, weighted).T


class PrincipalComponents(_Projection):
    """Principal components (scikit-learn's ``PCA``). Options: ``genes``, ``cells``."""

    name: ClassVar[str] = "pca"

    def solve(self, values: Array, components: int, seed: int) -> tuple[Array, Array]:
        """Projection on the leading components."""
        from sklearn.decomposition import PCA

        model = PCA(components, random_state=seed).fit(values)
        return model.mean_, model.components_.T
