"""Pictures of LEAP scores: R2 by level and variable, predicted against true."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datamodules.figures import ACCENT, SECOND, SEQUENTIAL, colorbar, subplots
from datamodules.leap.schema import FLUXES, LEVELS, TARGET_GROUPS, TARGET_NAMES, TENDENCIES, UNITS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_TARGETS = (
    "ptend_t_20", "ptend_t_40", "ptend_t_55", "ptend_q0001_30", "ptend_q0001_50", "ptend_q0002_45",
    "ptend_q0003_35", "ptend_u_50", "ptend_v_50", "cam_out_NETSW", "cam_out_FLWDS", "cam_out_PRECC",
)  # fmt: skip


def r2_by_level(per_target: npt.NDArray[np.float64]) -> Figure:
    """Heat map of R2, level by variable, beside bars of the eight fluxes.

    Args:
        per_target: R2 of the 368 targets.
    """
    levels = per_target[: len(TENDENCIES) * LEVELS].reshape(len(TENDENCIES), LEVELS).T
    figure, (left, right) = subplots(1, 2, (11, 6), width_ratios=(2, 1))
    image = left.imshow(np.clip(levels, 0, 1), aspect="auto", vmin=0, vmax=1, cmap=SEQUENTIAL, interpolation="nearest")
    left.set_xticks(range(len(TENDENCIES)), [name.removeprefix("ptend_") for name in TENDENCIES])
    left.set(
        xlabel="tendency", ylabel="level (0 = model top)", title=f"mean R2 {per_target.mean():.4f} (below 0 drawn as 0)"
    )
    colorbar(image, left, "R2")
    fluxes = per_target[TARGET_GROUPS["surface"]]
    right.barh(range(len(FLUXES)), np.clip(fluxes, 0, 1), color=ACCENT)
    right.set_yticks(range(len(FLUXES)), [name.removeprefix("cam_out_") for name in FLUXES])
    right.invert_yaxis()
    right.set(xlim=(0, 1), xlabel="R2", title="surface fluxes")
    for position, value in enumerate(fluxes):
        right.text(0.02, position, f"{value:.3f}", va="center", color="white" if value > 0.2 else "black")
    return figure


def predicted_against_true(
    predicted: npt.NDArray[Any], true: npt.NDArray[Any], per_target: npt.NDArray[np.float64]
) -> Figure:
    """Density panels of twelve targets.

    Args:
        predicted: ``(rows, 368)`` in SI units.
        true: The same shape.
        per_target: R2 of the 368 targets, for the titles.
    """
    figure, axes = subplots(3, 4, (14, 10))
    for axis, name in zip(axes.flat, PANEL_TARGETS, strict=True):
        column = TARGET_NAMES.index(name)
        x, y = true[:, column], predicted[:, column]
        low, high = np.quantile(x, (0.001, 0.999))
        if low == high:
            low, high = low - 1, high + 1
        axis.hexbin(x, y, gridsize=50, bins="log", extent=(low, high, low, high), mincnt=1, cmap=SEQUENTIAL)
        axis.plot((low, high), (low, high), color=SECOND, linewidth=0.8)
        unit = UNITS[name] if name in UNITS else UNITS[name.rsplit("_", 1)[0]]
        axis.set(xlim=(low, high), ylim=(low, high))
        axis.set_title(f"{name}  R2 {per_target[column]:.3f}", loc="right")  # the left has the power of ten
        axis.set(xlabel=f"true [{unit}]", ylabel=f"predicted [{unit}]")
        ticks = [tick for tick in axis.get_xticks() if low <= tick <= high]  # both axes alike, power of ten included
        axis.set(xticks=ticks, yticks=ticks)
    return figure
