"""Pictures of gathers, velocity maps and families."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from datamodules.figures import DENSITY, DIVERGING, SEQUENTIAL, colorbar, subplots
from datamodules.gwi.acquisition import OPENFWI
from datamodules.gwi.schema import FAMILIES, VMAX, VMIN

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def gathers_and_maps(samples: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Figure:
    """One row for each sample: first, central and last gather, true map, predicted map, error.

    Args:
        samples: Gathers ``(shots, samples, receivers)``, true and predicted map ``(70, 70)`` in m/s.
    """
    figure, axes = subplots(len(samples), 6, (13, 2.3 * len(samples)), squeeze=False)
    for row, (gathers, truth, predicted) in zip(axes, samples, strict=True):
        for axis, shot in zip(row, (0, len(gathers) // 2, len(gathers) - 1), strict=False):
            receivers = gathers.shape[-1]
            axis.imshow(
                gathers[shot].float(), cmap="gray", vmin=-1, vmax=1, aspect="auto", interpolation="nearest",
                extent=(0, receivers, OPENFWI.samples * OPENFWI.interval, 0),
            )  # fmt: skip
            axis.set_title(f"shot {shot}")
        depth, width = (OPENFWI.spacing * cells for cells in truth.shape)
        for axis, velocity, name in ((row[3], truth, "true"), (row[4], predicted, "predicted")):
            image = axis.imshow(velocity.float(), cmap=SEQUENTIAL, vmin=VMIN, vmax=VMAX, extent=(0, width, depth, 0))
            axis.set_title(name)
        colorbar(image, row[3:5], "velocity [m/s]")
        error = (predicted - truth).float()
        shown = row[5].imshow(error, cmap=DIVERGING, vmin=-500, vmax=500, extent=(0, width, depth, 0))
        row[5].set_title(f"off by {float(error.abs().mean()):.0f} m/s")
        colorbar(shown, row[5], "predicted - true [m/s]")
        row[0].set_ylabel("time [s]")
        row[3].set_ylabel("depth [m]")
    for axis, name in zip(axes[-1], ("receiver",) * 3 + ("distance [m]",) * 3, strict=True):
        axis.set_xlabel(name)
    return figure


def confusion_matrix(counts: npt.NDArray[np.integer]) -> Figure:
    """Share of each family's maps that were taken for each family, with the numbers of maps.

    Args:
        counts: ``(10, 10)``, true families along the rows; families without maps are left out.
    """
    seen = [f for f in range(len(FAMILIES)) if counts[f].sum() > 0 or counts[:, f].sum() > 0]
    names, counts = [FAMILIES[f] for f in seen], counts[np.ix_(seen, seen)]
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure, axis = subplots(size=(7.5, 6.5))
    image = axis.imshow(shares, cmap=DENSITY, vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(counts):
        if count:
            colour = "black" if shares[row, column] > 0.5 else "white"
            axis.text(column, row, f"{count}", ha="center", va="center", color=colour, fontsize=8)
    axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axis.set_yticks(range(len(names)), names)
    axis.set(
        xlabel="predicted",
        ylabel="true",
        title=f"{np.trace(counts) / max(1, counts.sum()):.1%} of {counts.sum():,} maps right",
    )
    colorbar(image, axis, "share of the true family")
    return figure
