"""Tables for the terminal, and a report of figures and markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import Metric
from blend.weights import Weights
from datamodules.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = npt.NDArray[np.float64]
_MOST_BARS = 60
_MOST_STEPS = 40  # of a path whose models are named
_INK, _ACCENT, _SECOND = "#333333", "#2a6f97", "#d1495b"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A markdown table with aligned columns, which also reads well in a terminal."""
    cells = [[str(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in cells
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def draw_weights(weights: Weights, folder: Path) -> Path:
    """Bars of global weights, or a map of weights per target or group."""
    if weights.level == "global":
        order = np.argsort(weights.values)[-_MOST_BARS:]
        figure = _figure(7, 1.2 + 0.25 * len(order))
        axes = figure.subplots()
        axes.barh([weights.models[k] for k in order], weights.values[order], color=_ACCENT)
        axes.set_xlabel("weight")
    else:
        figure = _figure(8, 1.5 + 0.3 * len(weights.models))
        axes = figure.subplots()
        shown = axes.imshow(weights.values.T, aspect="auto", cmap="viridis", interpolation="nearest")
        axes.set_yticks(range(len(weights.models)), weights.models)
        axes.set_xlabel("target" if weights.level == "targets" else "row group")
        if weights.level == "rows":
            axes.set_xticks(range(len(weights.segments)), weights.segments, rotation=45, ha="right")
        figure.colorbar(shown, label="weight")
    axes.set_title(f"weights ({weights.method})")
    return _save(figure, folder / "weights.png")


def draw_path(weights: Weights, metric: Metric, folder: Path) -> Path:
    """Loss along the steps of a greedy method, or the best score along the trials of a study."""
    if "trial" in weights.path[0]:
        figure = _figure(7, 3.6)
        axes = figure.subplots()
        scores = np.array([step["score"] for step in weights.path])
        running = (np.maximum if metric.higher_is_better else np.minimum).accumulate(scores)
        axes.plot(scores, ".", color=_SECOND, markersize=3, label="trial")
        axes.plot(running, color=_ACCENT, label="best so far")
        axes.set_ylim(
            *np.sort([running[-1], np.median(scores)]) + np.array([-1, 1]) * 0.1 * abs(np.median(scores) - running[-1])
        )
        axes.set_xlabel("trial")
        axes.set_ylabel(metric.name)
        axes.legend()
    else:
        figure = _steps_figure(weights)
    figure.axes[0].set_title(f"path ({weights.method})")
    return _save(figure, folder / "path.png")


def _steps_figure(weights: Weights) -> Figure:
    """Loss after every step of a greedy method; short paths name the model of each step."""
    losses = np.array([step["loss"] for step in weights.path])
    named = len(losses) <= _MOST_STEPS
    figure = _figure(max(7.0, 2 + 0.28 * len(losses)) if named else 7, 4.6 if named else 3.6)
    axes = figure.subplots()
    best = int(np.argmin(losses))
    axes.plot(losses, color=_ACCENT, marker="." if named else None)
    axes.plot(best, losses[best], "o", color=_SECOND, label=f"best at step {best + 1}: {losses[best]:.6g}")
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


def draw_correlations(correlations: Array, names: Sequence[str], folder: Path) -> Path:
    """Correlations of the models' errors."""
    size = min(12.0, 3 + 0.35 * len(names))
    figure = _figure(size + 1, size)
    axes = figure.subplots()
    shown = axes.imshow(correlations, cmap="magma_r", vmin=min(0.0, float(correlations.min())), vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    if len(names) <= 12:
        for (i, j), value in np.ndenumerate(correlations):
            axes.text(
                j, i, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if value > 0.6 else _INK
            )
    figure.colorbar(shown, label="correlation of errors")
    axes.set_title("error correlations")
    return _save(figure, folder / "correlations.png")


def draw_gains(gains: Array, names: Sequence[str], groups: dict[str, list[int]], metric: str, folder: Path) -> Path:
    """What the blend gains over the best single model, per target."""
    figure = _figure(8, 3.6)
    axes = figure.subplots()
    axes.bar(np.arange(len(gains)), gains, width=1.0, color=np.where(gains >= 0, _ACCENT, _SECOND))
    for name, (start, stop) in groups.items():
        axes.axvline(start - 0.5, color=_INK, linewidth=0.5)
        axes.text((start + stop) / 2, axes.get_ylim()[1], name, ha="center", va="bottom", fontsize=7)
    axes.axhline(0, color=_INK, linewidth=0.8)
    if len(names) == len(gains) <= _MOST_BARS:
        axes.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
    axes.set_xlabel("target")
    axes.set_ylabel(f"gain in {metric}")
    axes.set_title("gain over the best single model")
    return _save(figure, folder / "gains.png")


def draw_comparison(
    names: Sequence[str], in_sample: Array, nested: Array, errors: Array, metric: str, folder: Path
) -> Path:
    """In-sample and nested scores of all methods."""
    figure = _figure(7, 1.5 + 0.35 * len(names))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    axes.errorbar(
        nested, places, xerr=errors, fmt="o", color=_ACCENT, label="nested (bar: standard error against the best)"
    )
    axes.plot(in_sample, places, "x", color=_SECOND, label="in-sample")
    axes.set_yticks(places, names)
    axes.set_xlabel(metric)
    axes.legend(fontsize=8)
    return _save(figure, folder / "comparison.png")


def write_markdown(path: Path, title: str, paragraphs: Sequence[str], figures: Sequence[Path]) -> None:
    """Write a report that refers to figures in its folder."""
    images = [f"![{figure.stem}]({figure.name})" for figure in figures]
    with atomic_path(path) as temporary:
        temporary.write_text("\n\n".join([f"# {title}", *paragraphs, *images]) + "\n")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save(figure: Figure, path: Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
    return path
