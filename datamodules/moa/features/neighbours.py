"""Features from distances to training rows: k-means clusters and UMAP coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from datamodules.errors import DataError
from datamodules.moa.features.table import MEASURED, FeatureTable, FitContext, State, Step, numpy_of

_NEIGHBOURS = 15


class KMeansClusters(Step):
    """The nearest of k centres as one-hot columns. Options: ``genes``, ``cells`` (numbers of clusters)."""

    name: ClassVar[str] = "kmeans"
    allowed: ClassVar[dict[str, float]] = {"genes": 0, "cells": 0}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Centres of each block."""
        state: State = {}
        for block in MEASURED:
            clusters = int(self.options[block]) if table.blocks[block].shape[1] else 0
            if clusters > len(table):
                raise DataError(f"data.features: kmeans:{block}={clusters} asks for more clusters than there are rows")
            if clusters:
                state[f"{block}_centres"] = cluster_centres(numpy_of(table.blocks[block]), clusters, context.seed)
        return state

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append the one-hot columns."""
        new = {}
        for block in MEASURED:
            if f"{block}_centres" in state:
                centres = state[f"{block}_centres"]
                nearest = torch.cdist(table.blocks[block], centres).argmin(dim=1)
                new[f"kmeans_{block}"] = one_hot(nearest, len(centres)).to(centres.dtype)
        return table.with_blocks(**new)


def cluster_centres(values: npt.NDArray[np.float64], clusters: int, seed: int) -> npt.NDArray[np.float64]:
    """Centres ``(clusters, columns)`` of k-means.

    The source restarted Lloyd's algorithm ten times, which takes minutes at the competition's size; mini-batches end within a
    percent of its inertia in seconds (``benchmarks/moa_features.py``).

    Args:
        values: ``(rows, columns)``.
        clusters: How many.
        seed: Seed of the starts and batches.
    """
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(clusters, batch_size=4096, n_init=3, random_state=seed, max_no_improvement=20)
    return np.asarray(model.fit(values).cluster_centers_)


class UmapCoordinates(Step):
    """UMAP coordinates of genes and cells (needs ``umap-learn`` to be fitted, nothing to be applied).

    A row is placed at the weighted mean of the coordinates of its 15 nearest training rows, which is where ``umap``
    starts for new rows too; its random refinement after that is left out, so that a row's features are always the same.
    Training and new rows go through the same rule. Options: ``genes``, ``cells``.
    """

    name: ClassVar[str] = "umap"
    allowed: ClassVar[dict[str, float]] = {"genes": 0, "cells": 0}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Training rows and their coordinates."""
        try:
            UMAP = import_module("umap").UMAP
        except ModuleNotFoundError:
            raise DataError(
                "data.features: the step 'umap' needs umap-learn: pip install \"podium[umap]\", or leave the step out (factor "
                "analysis and PCA carry most of what it adds)"
            ) from None
        state: State = {}
        for block in MEASURED:
            if count := self.components(block, table):
                values = numpy_of(table.blocks[block])
                neighbours = min(_NEIGHBOURS, len(values) - 1)
                model = UMAP(n_components=count, n_neighbors=neighbours, random_state=context.seed, n_jobs=1).fit(
                    values
                )
                # half precision moves a distance by 0.03 % and halves what every checkpoint carries
                state[f"{block}_rows"] = values.astype(np.float16)
                state[f"{block}_coordinates"] = np.asarray(model.embedding_, dtype=np.float32)
        return state

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Append the coordinates."""
        new = {
            f"umap_{block}": place(table.blocks[block], state[f"{block}_rows"], state[f"{block}_coordinates"])
            for block in MEASURED
            if f"{block}_rows" in state
        }
        return table.with_blocks(**new)


def place(values: Tensor, rows: Tensor, coordinates: Tensor) -> Tensor:
    """Weighted mean of the coordinates of the nearest rows; nearer rows weigh exponentially more.

    Args:
        values: ``(batch, columns)`` to place.
        rows: ``(rows, columns)`` with known coordinates.
        coordinates: ``(rows, dimensions)``.
    """
    distance, nearest = torch.cdist(values.float(), rows.float()).topk(min(_NEIGHBOURS, len(rows)), largest=False)
    excess = distance - distance[:, :1]
    weight = torch.exp(-excess / excess.mean(dim=1, keepdim=True).clamp(min=1e-6)).to(coordinates.dtype)
    placed = (weight[:, :, None] * coordinates[nearest]).sum(dim=1) / weight.sum(dim=1, keepdim=True)
    return placed.to(values.dtype)
