"""Tables for the terminal, and a report of figures and markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import Metric
from blend.weights import Weights
from datamodules.figures import ACCENT, DENSITY, INK, SECOND, SEQUENTIAL, colorbar, save, subplots

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
_MOST_BARS = 20
_MOST_NUMBERS = 12  # models of a map that shows its numbers
_MOST_NAMES = 30  # targets that are named
_MOST_STEPS = 40  # of a path whose models are named


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A markdown table with aligned columns, which also reads well in a terminal."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def draw_weights(weights: Weights, spread: tuple[Array, Array], folder: Path) -> Path:
    """Bars of global weights with their range over the nested folds, or a map of weights per target or group."""
    order = np.argsort(np.abs(weights.mean()))[-_MOST_BARS:]
    names = [weights.models[k] for k in order]
    if weights.level == "global":
        figure, axes = subplots(size=(7, 1.2 + 0.25 * len(order)))
        axes.barh(names, weights.values[order], color=ACCENT, alpha=0.8)
        low, high = (bound[order] for bound in spread)
        axes.hlines(np.arange(len(order)), low, high, color=INK, linewidth=1.5, label="range over the nested folds")
        axes.axvline(0, color=INK, linewidth=0.6)
        axes.set_xlabel("weight")
        axes.legend(loc="lower right", fontsize=8)
    else:
        figure, axes = subplots(size=(8, 1.5 + 0.3 * len(order)))
        shown = axes.imshow(weights.values.T[order[::-1]], aspect="auto", cmap=SEQUENTIAL, interpolation="nearest")
        axes.set_yticks(range(len(order)), names[::-1])
        axes.set_xlabel("target" if weights.level == "targets" else "row group")
        if weights.level == "rows":
            axes.set_xticks(range(len(weights.segments)), weights.segments, rotation=45, ha="right")
        colorbar(shown, axes, "weight")
    most = "" if len(order) == len(weights.models) else f", the {len(order)} heaviest of {len(weights.models)} models"
    axes.set_title(f"weights ({weights.method}{most})")
    return save(figure, folder / "weights.png")


def draw_path(weights: Weights, metric: Metric, folder: Path) -> Path:
    """Loss along the steps of a greedy method, or the best score along the trials of a study."""
    if "trial" in weights.path[0]:
        figure, axes = subplots(size=(7, 3.6))
        scores = np.array([step["score"] for step in weights.path])
        running = (np.maximum if metric.higher_is_better else np.minimum).accumulate(scores)
        axes.plot(scores, ".", color=SECOND, markersize=3, label="trial")
        axes.plot(running, color=ACCENT, label="best so far")
        axes.set_ylim(
            *np.sort([running[-1], np.median(scores)]) + np.array([-1, 1]) * 0.1 * abs(np.median(scores) - running[-1])
        )
        axes.set_xlabel("trial")
        axes.set_ylabel(metric.name)
        axes.legend()
    else:
        figure = _steps_figure(weights)
    figure.axes[0].set_title(f"path ({weights.method})")
    return save(figure, folder / "path.png")


def _steps_figure(weights: Weights) -> Figure:
    """Loss after every step of a greedy method; short paths name the model of each step."""
    losses = np.array([step["loss"] for step in weights.path])
    named = len(losses) <= _MOST_STEPS
    figure, axes = subplots(size=(max(7.0, 2 + 0.28 * len(losses)) if named else 7, 4.6 if named else 3.6))
    best = int(np.argmin(losses))
    axes.plot(losses, color=ACCENT, marker="." if named else None)
    axes.plot(best, losses[best], "o", color=SECOND, label=f"best at step {best + 1}: {losses[best]:.6g}")
    axes.set_ylabel("loss")
    axes.legend()
    if named:
        experiments = {name.partition("/")[0] + "/" for name in weights.models}
        shared = min(experiments) if len(experiments) == 1 else ""
        names = [_step_name(step, shared) for step in weights.path]
        axes.set_xticks(range(len(losses)), names, rotation=60, ha="right", fontsize=7)
    else:
        axes.set_xlabel("step")
    return figure


def _step_name(step: dict[str, Any], shared: str) -> str:
    """What a greedy method did in a step, such as ``+ hrnet_w64``, without what all models' names begin with."""
    if "removed" in step:
        return "all models" if step["removed"] is None else f"- {step['removed'].removeprefix(shared)}"
    return f"+ {step['added'].removeprefix(shared)}"


def draw_correlations(correlations: Array, names: Sequence[str], what: str, folder: Path) -> Path:
    """A map of correlations between models."""
    size = min(9.0, 3 + 0.35 * len(names))
    figure, axes = subplots(size=(size + 1.5, size))
    low = float(correlations.min())
    shown = axes.imshow(correlations, cmap=DENSITY, vmin=low, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    if len(names) <= _MOST_NUMBERS:
        for (i, j), value in np.ndenumerate(correlations):
            dark = value < low + 0.6 * (1 - low)
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else INK)
    colorbar(shown, axes, what)
    axes.set_title(what)
    return save(figure, folder / "correlations.png")


def draw_calibration(curves: Mapping[str, tuple[Array, Array]], folder: Path) -> Path:
    """Mean truth against mean prediction, in bins of equal size."""
    figure, axes = subplots(size=(5.2, 4.6))
    ends = [bound for curve in curves.values() for part in curve for bound in (part.min(), part.max())]
    axes.plot([min(ends), max(ends)], [min(ends), max(ends)], color=INK, linewidth=0.8, linestyle=":", label="perfect")
    for color, (label, (predicted, observed)) in zip((ACCENT, SECOND), curves.items(), strict=False):
        axes.plot(predicted, observed, "o-", color=color, markersize=4, label=label)
    axes.set_xlabel("mean prediction")
    axes.set_ylabel("mean truth")
    axes.set_title("calibration")
    axes.legend(fontsize=8)
    return save(figure, folder / "calibration.png")


def draw_gains(gains: Array, names: Sequence[str], groups: dict[str, list[int]], metric: str, folder: Path) -> Path:
    """What the blend gains over the best single model, per target."""
    named = len(names) == len(gains) <= _MOST_NAMES
    figure, axes = subplots(size=(8, 4.4 if named else 3.8))
    axes.bar(np.arange(len(gains)), gains, width=0.9 if named else 1.0, color=np.where(gains >= 0, ACCENT, SECOND))
    axes.axhline(0, color=INK, linewidth=0.8)
    if named:
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
        axes.set_xlabel("target")
    elif groups:
        for start, _ in groups.values():
            axes.axvline(start - 0.5, color=INK, linewidth=0.5)
        axes.set_xticks(
            [(a + b - 1) / 2 for a, b in groups.values()], list(groups), rotation=60, ha="right", fontsize=7
        )
        axes.set_xlabel("target, by group")
    else:
        axes.set_xlabel("target (number)")
    axes.set_ylabel(f"gain in {metric} (positive = better)")
    axes.set_title("gain over the best single model")
    return save(figure, folder / "gains.png")


def draw_comparison(
    names: Sequence[str], in_sample: Array, nested: Array, intervals: Array, metric: str, folder: Path
) -> Path:
    """In-sample and nested scores of all methods, with the intervals of the difference to the best."""
    figure, axes = subplots(size=(7.5, 1.7 + 0.3 * len(names)))
    places = np.arange(len(names))[::-1]
    axes.errorbar(
        nested,
        places,
        xerr=intervals,
        fmt="o",
        color=ACCENT,
        label="nested (bar: 95 % interval of the difference to the best)",
    )
    axes.plot(in_sample, places, "x", color=SECOND, label="in-sample")
    axes.set_yticks(places, names)
    axes.set_xlabel(metric)
    axes.set_title("methods")
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18))
    middle = np.median(nested)
    reach = 3 * float(np.median(np.abs(nested - middle))) + 2 * float(np.median(intervals)) + 1e-12
    if (np.abs(nested - middle) > 5 * reach).any():  # a hopeless method must not flatten the others
        axes.set_xlim(middle - 5 * reach, middle + 5 * reach)
    return save(figure, folder / "comparison.png")
