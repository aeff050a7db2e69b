"""Pictures of DeepInsight's map and images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from datamodules.figures import SEQUENTIAL, colorbar, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS = ("mean", "minimum", "maximum")


def feature_map(
    pixels: npt.NDArray[np.integer], size: int, kinds: Mapping[str, slice], image: npt.NDArray[np.floating], row_id: str
) -> Figure:
    """Where each feature stands, and what one row looks like as an image of three channels.

    Args:
        pixels: ``(features, 2)`` line and column of each feature.
        size: Height and width of the image.
        kinds: Named ranges of the features, drawn in colours of their own.
        image: ``(3, size, size)`` scaled values of the row, 0 where no feature stands.
        row_id: Row id of the row.
    """
    figure, axes = subplots(1, 4, (16, 4.4))
    for name, where in kinds.items():
        line, column = pixels[where].T
        axes[0].scatter(column, line, s=6 if len(line) > 10 else 40, label=f"{name} ({len(line)})")
    occupied = len(np.unique(pixels, axis=0))
    axes[0].set(xlim=(-1, size), ylim=(size, -1), aspect="equal")
    axes[0].set_title(f"{len(pixels)} features on {occupied} of {size * size} pixels")
    axes[0].legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=len(kinds))
    for axis, channel, name in zip(axes[1:], image, CHANNELS, strict=True):
        shown = axis.imshow(channel, cmap=SEQUENTIAL, vmin=0, vmax=1, interpolation="nearest")
        axis.set_title(f"{row_id}: {name}")
    for axis in axes:
        axis.set_xlabel("column [pixels]")
    axes[0].set_ylabel("line [pixels]")
    colorbar(shown, axes[1:], "scaled value of a pixel's features (0 = none)", shrink=0.8)
    return figure
