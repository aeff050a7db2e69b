"""The figures of ``experiments/evaluate.py``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from datamodules.figures import DIVERGING, SEQUENTIAL, colorbar, subplots
from datamodules.leap.schema import FLUXES, LEVELS, TARGET_GROUPS, TENDENCIES, UNITS
from datamodules.tracking import WandbPlace, group_name, kept_run, run_name
from experiments.domains.leap.places import Grid, reference_levels
from experiments.engine.run_directory import RunDirectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = npt.NDArray[np.float64]
DISPLAY = {
    "ptend_t": (1.0, "K/s"),
    "ptend_q0001": (1e3, "g/kg/s"),
    "ptend_q0002": (1e6, "mg/kg/s"),
    "ptend_q0003": (1e6, "mg/kg/s"),
    "ptend_u": (1.0, "m/s2"),
    "ptend_v": (1.0, "m/s2"),
}
"""Factor from SI units and unit that a tendency is shown in."""
_BANDS = np.linspace(-90.0, 90.0, 19)


def _panels(rows: int, columns: int, width: float, height: float) -> tuple[Figure, Any]:
    return subplots(rows, columns, (width * columns, height * rows), squeeze=False)


def _profile(values: Floats, variable: int) -> Floats:
    """Levels of one tendency, (..., 60)."""
    return values[..., variable * LEVELS : (variable + 1) * LEVELS]


def _zonal(panels: dict[str, Floats], limits: list[float], kind: str, colours: str, low: float | None) -> Figure:
    """Latitude and pressure, a row a run, a column a tendency; ``limits`` are the largest values shown."""
    figure, axes = _panels(len(panels), len(TENDENCIES), 2.9, 3.4)
    levels = reference_levels()
    centres = (_BANDS[1:] + _BANDS[:-1]) / 2
    for row, (label, values) in zip(axes, panels.items(), strict=True):
        for i, (axis, name) in enumerate(zip(row, TENDENCIES, strict=True)):
            shown = np.ma.masked_invalid(_profile(values, i).T)
            image = axis.pcolormesh(
                centres, levels, shown, shading="nearest", cmap=colours, vmin=-limits[i] if low is None else low,
                vmax=limits[i],
            )  # fmt: skip
            unit = DISPLAY[name][1] if low is None else ""
            colorbar(image, axis, unit or "R2", orientation="horizontal", shrink=0.9)
            axis.set(title=f"{name.removeprefix('ptend_')} {kind}", xlabel="latitude [degrees north]", ylim=(1000, 0))
        row[0].set_ylabel(f"{label}\nhybrid pressure [hPa]")
    return figure


def zonal_r2(panels: dict[str, Floats]) -> Figure:
    """R2 by latitude and pressure; below 0 drawn as 0.

    Args:
        panels: By run, (18, 368).
    """
    return _zonal(panels, [1.0] * len(TENDENCIES), "R2", SEQUENTIAL, 0.0)


def zonal_bias(panels: dict[str, Floats]) -> Figure:
    """Mean error by latitude and pressure, in the units of :data:`DISPLAY`; white is none.

    Args:
        panels: By run, (18, 368), SI units.
    """
    factors = np.concatenate([np.full(LEVELS, DISPLAY[name][0]) for name in TENDENCIES] + [np.ones(len(FLUXES))])
    scaled = {label: values * factors for label, values in panels.items()}
    limits = []
    for i in range(len(TENDENCIES)):
        sizes = np.concatenate([np.abs(_profile(values, i)).ravel() for values in scaled.values()])
        largest = np.nanquantile(sizes, 0.98) if np.isfinite(sizes).any() else 0.0
        limits.append(float(largest) or 1.0)
    return _zonal(scaled, limits, "bias", DIVERGING, None)


def r2_by_pressure(panels: dict[str, Floats]) -> Figure:
    """R2 of every level, and of the fluxes, a line or bar a run; below 0 drawn as 0.

    Args:
        panels: By run, (368,).
    """
    figure, axes = _panels(1, len(TENDENCIES) + 1, 2.6, 4.5)
    levels = reference_levels()
    for i, (axis, name) in enumerate(zip(axes[0], TENDENCIES, strict=False)):
        for label, values in panels.items():
            axis.plot(_profile(values, i).clip(0, 1), levels, label=label)
        axis.set(title=name.removeprefix("ptend_"), xlabel="R2", xlim=(0, 1), ylim=(1000, 0))
    axes[0][0].set_ylabel("hybrid pressure [hPa]")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize="small")
    bars = axes[0][-1]
    thickness = 0.8 / len(panels)
    places = np.linspace(50, 950, len(FLUXES))
    for i, values in enumerate(panels.values()):
        offset = (i - (len(panels) - 1) / 2) * thickness
        bars.barh(places + offset * 110, values[TARGET_GROUPS["surface"]].clip(0, 1), height=100 * thickness)
    bars.set_yticks(places, [name.removeprefix("cam_out_") for name in FLUXES])
    bars.set(title="surface fluxes", xlabel="R2", xlim=(0, 1))
    return figure


def flux_map(biases: dict[str, Floats], truth: Floats, grid: Grid, flux: str) -> Figure:
    """Time means of a flux and of the runs' errors on the map, a dot a grid column.

    Args:
        biases: By run, (columns,).
        truth: Time mean of the truth, (columns,).
        grid: The columns.
        flux: Name of the flux.
    """
    factor, unit = (86_400e3, "mm/day") if UNITS[flux] == "m/s" else (1.0, UNITS[flux])
    figure, axes = _panels(len(biases) + 1, 1, 8.0, 3.4)
    size = 90_000 / len(grid.lat) ** 0.9
    largest = max(float(np.nanquantile(np.abs(bias), 0.98)) for bias in biases.values()) * factor or 1.0
    first = axes[0][0].scatter(grid.lon, grid.lat, c=truth * factor, s=size, marker="s", cmap=SEQUENTIAL)
    colorbar(first, axes[0][0], unit)
    axes[0][0].set(title=f"{flux}, mean of the truth")
    for axis, (label, bias) in zip(axes[1:, 0], biases.items(), strict=True):
        image = axis.scatter(
            grid.lon, grid.lat, c=bias * factor, s=size, marker="s", cmap=DIVERGING, vmin=-largest, vmax=largest
        )
        colorbar(image, axis, unit)
        axis.set(title=f"{label}, mean error")
    for axis in axes[:, 0]:
        axis.set(xlim=(0, 360), ylim=(-90, 90), ylabel="latitude [degrees north]")
    axes[-1][0].set_xlabel("longitude [degrees east]")
    return figure


def r2_by_confidence(curves: dict[str, Any]) -> Figure:
    """R2 against the spread of all rows, of the rows whose expected error is smallest.

    Args:
        curves: By run, as :func:`experiments.domains.leap.confidence.risk_coverage` gives them.
    """
    figure, axes = _panels(1, 2, 5.0, 4.0)
    for label, curve in curves.items():
        kept = [100 * share for share in curve["kept"]]
        axes[0][0].plot(kept, curve["skill"], marker="o", label=label)
        axes[0][1].plot(kept, curve["error"], marker="o", label=label)
    axes[0][0].set(ylabel="R2 against the spread of all rows")
    axes[0][1].set(ylabel="mean absolute error [standard deviations]")
    for axis in axes[0]:
        axis.invert_xaxis()
        axis.set(xlabel="rows kept, smallest expected error first [%]")
        axis.legend(fontsize="small")
    return figure


def unique_labels(names: list[str]) -> list[str]:
    """Names of runs, numbered where two are the same."""
    return [f"{name} ({i + 1})" if names.count(name) > 1 else name for i, name in enumerate(names)]


def log_figures(run: Path, drawn: dict[str, Figure], mode: str) -> None:
    """Add figures to the W&B run of a run directory, where it has one."""
    if not kept_run(run):
        print(f"{run} was trained without W&B; its figures are in the output folder alone")
        return
    import wandb

    from experiments.engine.loggers import MetricsCsv, wandb_logger

    directory = RunDirectory(run)
    record = directory.record()
    of = [record[name] for name in ("experiment", "variant", "seed", "fold")]
    monitor = record["best"]["metric"], "max"
    logger = wandb_logger(
        mode, run, MetricsCsv(run / "metrics.csv"), monitor, config=directory.settings(), job_type="train",
        name=run_name(*of), **WandbPlace().options(group_name(*of[:2])),
    )  # fmt: skip
    if logger is not None:
        before = {path.stem: wandb.Image(str(path)) for path in sorted(directory.figures.glob("*.png"))}
        added = {f"evaluation/{name}": wandb.Image(figure) for name, figure in drawn.items()}
        logger.experiment.log({**before, **added})
        logger.keep(directory, directory.settings().get("wandb_artifacts", "none"))
        logger.experiment.finish()
