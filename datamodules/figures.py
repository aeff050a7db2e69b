"""The look of every figure: one style sheet, maps of colours that colour-blind readers tell apart, one notation of numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEQUENTIAL = "viridis"
"""For quantities from low to high, velocities too."""
DIVERGING = "RdBu_r"
"""For differences; white is none."""
DENSITY = "cividis"
"""For intensities, shares and counts."""
INK, ACCENT, SECOND = "#333333", "#0072b2", "#d55e00"
STYLE: Mapping[str, Any] = {
    # the colours of Okabe and Ito (2008), which stay apart under the common colour-vision deficiencies
    "axes.prop_cycle": "cycler('color', ['0072b2', 'd55e00', '009e73', 'cc79a7', 'e69f00', '56b4e9', '999999'])",
    "axes.formatter.limits": (-3, 4),
    "axes.formatter.use_mathtext": True,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "font.size": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "savefig.dpi": 110,
}
"""Settings of matplotlib under which :func:`subplots` makes a figure."""


def subplots(
    rows: int = 1, columns: int = 1, size: tuple[float, float] = (7.0, 4.0), **options: Any
) -> tuple[Figure, Any]:
    """A figure in the common style and its axes, apart from pyplot and so freed like any object.

    Args:
        rows: Rows of axes.
        columns: Columns of axes.
        size: Width and height in inches.
        options: Further options of ``Figure.subplots``, such as ``squeeze=False``.
    """
    from matplotlib import style
    from matplotlib.ticker import MaxNLocator

    with style.context(dict(STYLE)):
        figure = empty(size)
        axes = figure.subplots(rows, columns, **options)
        for axis in figure.axes:  # few ticks, so that their labels never meet
            inches = axis.get_position().width * size[0]
            axis.xaxis.set_major_locator(MaxNLocator(max(2, min(8, int(inches / 0.6)))))
    return figure, axes


def colorbar(image: Any, axes: Any, label: str, **options: Any) -> None:
    """The bar of an image's colours beside axes.

    Args:
        image: What ``imshow``, ``scatter`` or ``pcolormesh`` gave.
        axes: Axes, or several, which share the bar.
        label: Quantity and unit.
        options: Further options of ``Figure.colorbar``.
    """
    from matplotlib import style
    from matplotlib.ticker import MaxNLocator

    with style.context(dict(STYLE)):
        bar = image.axes.figure.colorbar(image, ax=axes, ticks=MaxNLocator(5), **options)
        bar.set_label(label)


def empty(size: tuple[float, float]) -> Figure:
    """A figure without axes, for parts of its own.

    Args:
        size: Width and height in inches.
    """
    from matplotlib.figure import Figure

    return Figure(figsize=size, layout="constrained")


def save(figure: Figure, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all, and make its folder.

    Args:
        figure: From :func:`subplots`.
        path: File to write.
    """
    from matplotlib import style

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, style.context(dict(STYLE)):
        figure.savefig(temporary, format="png")
    return path
