"""DeepInsight's map: every feature gets a pixel, and features that behave alike are neighbours (Sharma et al. 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from torch import Tensor

from datamodules.moa.features.table import FeatureTable, FitContext, State, Step, numpy_of

Array = npt.NDArray[np.float64]


class ImageMap(Step):
    """Learns the pixel of every column so far; the columns stay as they are.

    t-SNE of the transposed training table (cosine distances, perplexity 5, random start, 1,000 steps), rotated into the
    smallest rectangle around the points, binned into ``size`` times ``size`` pixels. Cosine distances are squared, as
    scikit-learn does since version 1.1; the source's older version did not.
    """

    name: ClassVar[str] = "image_map"
    allowed: ClassVar[dict[str, float]] = {"size": 224, "perplexity": 5, "steps": 1000}

    def fit(self, table: FeatureTable, context: FitContext) -> State:
        """Pixels ``(columns, 2)`` and the points they were made of."""
        from sklearn.manifold import TSNE

        columns = numpy_of(table.matrix()).T
        points = TSNE(
            n_components=2, metric="cosine", perplexity=min(self.options["perplexity"], (len(columns) - 1) / 3),
            method="exact", init="random", learning_rate=200.0, max_iter=int(self.options["steps"]), random_state=context.seed,
        ).fit_transform(columns)  # fmt: skip
        points = rotate_to_smallest_rectangle(points.astype(np.float64))
        size = int(self.options["size"])
        return {"pixels": bin_pixels(points, size), "size": np.asarray(size), "points": points}

    def apply(self, table: FeatureTable, state: Mapping[str, Tensor]) -> FeatureTable:
        """Nothing changes; the net asks the pipeline for the pixels."""
        return table


def rotate_to_smallest_rectangle(points: Array) -> Array:
    """Points ``(n, 2)`` in the axes of the rectangle of smallest area around them.

    One side of that rectangle lies on an edge of the convex hull, so only the hull's angles are tried.
    """
    from scipy.spatial import ConvexHull

    hull = points[ConvexHull(points).vertices]
    edges = np.roll(hull, -1, axis=0) - hull
    angles = np.unique(np.mod(np.arctan2(edges[:, 1], edges[:, 0]), np.pi / 2))
    cos, sin = np.cos(angles), np.sin(angles)
    u = hull[:, :1] * cos + hull[:, 1:] * sin
    v = -hull[:, :1] * sin + hull[:, 1:] * cos
    best = int(np.argmin(np.ptp(u, axis=0) * np.ptp(v, axis=0)))
    result: Array = points @ np.array([[cos[best], -sin[best]], [sin[best], cos[best]]])
    return result


def bin_pixels(points: Array, size: int) -> npt.NDArray[np.int64]:
    """Integer coordinates 0 to ``size`` - 1 of each point on equally spaced edges from the smallest to the largest."""
    edges = np.linspace(points.min(axis=0), points.max(axis=0), size)
    coordinates = [np.digitize(points[:, axis], edges[:, axis]) - 1 for axis in range(2)]
    return np.stack(coordinates, axis=1).clip(0, size - 1).astype(np.int64)
