"""Pictures of GC-MS images and of their scores."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datamodules.figures import DENSITY, colorbar, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]
_BINS = np.array([0, 0.01, 0.03, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 1.0])


def spectrograms(images: Mapping[str, Array], title: str) -> Figure:
    """A sample's log-scaled image in several normalisations, side by side.

    Args:
        images: By the name of the normalisation, ``(masses, times)`` in [0, 1].
        title: Sample and what it contains.
    """
    figure, axes = subplots(1, len(images), (4.2 * len(images), 5), squeeze=False)
    for axis, (name, image) in zip(axes[0], images.items(), strict=True):
        shown = axis.imshow(
            image, origin="lower", aspect="auto", vmin=0, vmax=1, cmap=DENSITY, interpolation="nearest",
            extent=(0, 1, -0.5, len(image) - 0.5),
        )  # fmt: skip
        axis.set(title=name, xlabel="time (share of the run)", ylabel="mass [m/z]")
    colorbar(shown, axes[0].tolist(), "log intensity, 0 = floor, 1 = maximum")
    figure.suptitle(textwrap.fill(title, 35 * len(images)))
    return figure


def log_loss_by_class(classes: Sequence[str], scores: Mapping[str, Array]) -> Figure:
    """Bars of the log loss of every class.

    Args:
        classes: Names.
        scores: By predictor, ``(classes,)``.
    """
    figure, axis = subplots(size=(8, 1.5 + 0.45 * len(classes)))
    height = 0.8 / len(scores)
    for i, (name, values) in enumerate(scores.items()):
        positions = np.arange(len(classes)) + i * height
        axis.barh(positions, values, height, label=f"{name} (mean {np.mean(values):.4f})")
    axis.set_yticks(np.arange(len(classes)) + 0.4 - height / 2, classes)
    axis.invert_yaxis()
    axis.set(xlabel="log loss (lower is better)")
    figure.legend(loc="outside upper center", ncols=len(scores), fontsize=8)
    return figure


def reliability(probabilities: Array, labels: Array) -> Figure:
    """How often what was predicted with a probability is true, over all cells, with the number of cells in each bin.

    Args:
        probabilities: ``(rows, classes)``.
        labels: 0 or 1, the same shape.
    """
    p, y = probabilities.ravel(), labels.ravel()
    where = np.clip(np.searchsorted(_BINS, p, side="right") - 1, 0, len(_BINS) - 2)
    count = np.bincount(where, minlength=len(_BINS) - 1)
    full = count > 0
    mean, share = (np.bincount(where, weights=v, minlength=len(count))[full] / count[full] for v in (p, y))
    error = np.sqrt(np.maximum(share * (1 - share), 1e-12) / count[full])
    figure, (top, bottom) = subplots(2, 1, (5.5, 6.5), height_ratios=(3, 1), sharex=True)
    top.plot((0, 1), (0, 1), color="grey", linewidth=0.8)
    top.errorbar(mean, share, yerr=error, marker="o", capsize=2)
    top.set(ylabel="share that is true", title="reliability of all predicted probabilities", ylim=(-0.02, 1.02))
    bottom.bar(_BINS[:-1], count, np.diff(_BINS), align="edge", edgecolor="white")
    bottom.set(yscale="log", xlabel="predicted probability", ylabel="cells")
    return figure
