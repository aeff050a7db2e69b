"""Single columns under an emulator: what its tendencies do to a column over many steps.

A column starts from a real state and is stepped by ``state + 1200 s * (predicted tendency + forcing)``. The forcing stands in
for the dynamics: over long times a column hardly drifts, so the dynamics bring about what the physics take away, and the
forcing of a grid column is minus the mean of its true tendencies over the given files. Boundary conditions (radiation, surface
fluxes, trace gases, and the tendencies and forcings that expanded inputs hold) stay those of the start. The model's own
physics would keep the column near its climate.

This is a cheap test of stability, not online testing: nothing feeds back through the circulation, day and season stand still,
and a column that stays sane here may still break a coupled run.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from datamodules.errors import DataError
from datamodules.figures import save, subplots
from datamodules.files import write_json
from datamodules.leap.convert import RawSource, join_more
from datamodules.leap.schema import LEVELS, STATE_PROFILES, STEP_SECONDS, TENDENCIES
from experiments.domains.leap.evaluate_figures import log_figures, unique_labels
from experiments.domains.leap.places import Grid
from experiments.engine.inference import load_task
from experiments.engine.run_directory import RunDirectory
from experiments.evaluate import Request
from lit_modules.leap.representations import ColumnStatistics
from lit_modules.leap.task import LeapTask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SPREADS = 10.0
"""Half the width of the training range in standard deviations of a level, where a checkpoint does not hold the range itself."""
LARGEST_FILES = 8
_CLOUD = tuple(STATE_PROFILES.index(name) for name in ("state_q0002", "state_q0003"))
_WATER = tuple(STATE_PROFILES.index(name) for name in ("state_q0001", "state_q0002", "state_q0003"))
_N_STATE = len(STATE_PROFILES)


@dataclass(frozen=True)
class Columns:
    """States to start from, and the forcing of each.

    Args:
        profiles: (columns, 9, 60) float64, SI units; more with more variables.
        scalars: (columns, 16).
        forcing: (columns, 6, 60), per second.
        mass: Share of each cell in the mass of its column, (columns, 60).
    """

    profiles: Tensor
    scalars: Tensor
    forcing: Tensor
    mass: Tensor


def read_columns(folder: Path, columns: int, grid: Grid, variables: str = "kaggle") -> Columns:
    """States and balancing forcings of raw file pairs.

    The forcing is of all files; the integrations start from the first and at most seven further files, evenly spread.
    """
    source = RawSource(folder, columns, variables=variables)
    total = torch.zeros(columns, len(TENDENCIES) * LEVELS, dtype=torch.float64)
    chosen = set(np.linspace(0, len(source.pairs) - 1, min(LARGEST_FILES, len(source.pairs))).astype(int).tolist())
    profiles, scalars = [], []
    place = 0
    for unit in source.units():
        for block in source.read(unit):
            if block["bad"].any():
                raise DataError(f"{source.pairs[place].mli} holds NaN or infinite values; leave it out")
            total += torch.from_numpy(block["targets"][:, : len(TENDENCIES) * LEVELS])
            if place in chosen:
                state = join_more(block)
                profiles.append(torch.from_numpy(state["profiles"].copy()))
                scalars.append(torch.from_numpy(state["scalars"].copy()))
            place += 1
    forcing = (-total / place).unflatten(1, (len(TENDENCIES), LEVELS))
    mass = torch.from_numpy(grid.mass / grid.mass.sum(axis=1, keepdims=True))
    n = len(profiles)
    return Columns(torch.cat(profiles), torch.cat(scalars), forcing.repeat(n, 1, 1), mass.repeat(n, 1))


@torch.no_grad()
def integrate(task: LeapTask, columns: Columns, steps: int) -> dict[str, Any]:
    """Step the columns and watch them.

    Args:
        task: Trained, in eval mode, on the CPU.
        columns: Where to start.
        steps: Steps of 1200 s.

    Returns:
        Lists over the steps, the start first: ``drift`` of every state variable (root mean square distance from the start,
        weighted by mass, SI units), ``negative_water`` (share of cells with negative water), ``inside`` (share of columns
        that are still in the training range), and ``first_outside`` (step at which each column left it; -1 = never).
    """
    low, high = training_range(task)
    profiles = columns.profiles.clone()
    start = columns.profiles[:, :_N_STATE]
    # the first states may lie outside too: what counts is where the emulator takes them
    low, high = torch.minimum(low, start), torch.maximum(high, start)
    first = torch.full((len(profiles),), -1)
    series: dict[str, Any] = {"drift": {name: [] for name in STATE_PROFILES}, "negative_water": [], "inside": []}
    for step in range(steps + 1):
        state = profiles[:, :_N_STATE]
        outside = ~((state >= low) & (state <= high)).flatten(1).all(dim=1)
        first[outside & (first < 0)] = step
        squares = (state - start).square() * columns.mass.unsqueeze(1)
        for name, value in zip(STATE_PROFILES, squares.sum(dim=2).mean(dim=0).sqrt(), strict=True):
            series["drift"][name].append(float(value))
        series["negative_water"].append(float((state[:, _WATER] < 0).double().mean()))
        series["inside"].append(float((first < 0).double().mean()))
        if step < steps:
            tendency = _tendencies(task, profiles, columns.scalars) + columns.forcing
            profiles[:, :_N_STATE] = state + STEP_SECONDS * tendency
    return {**series, "first_outside": first.tolist()}


def _tendencies(task: LeapTask, profiles: Tensor, scalars: Tensor) -> Tensor:
    batch = {"profiles": profiles, "scalars": scalars}
    physical: Tensor = task.physical(task(profiles, scalars), batch)
    of_levels: Tensor = physical[:, : len(TENDENCIES) * LEVELS].unflatten(1, (len(TENDENCIES), LEVELS))
    return of_levels


def training_range(task: LeapTask) -> tuple[Tensor, Tensor]:
    """Smallest and largest allowed state, each (6, 60).

    Of a net trained with ``--model.hold`` it is the range of its training rows. Other checkpoints know means and spreads alone:
    then it is ten standard deviations for temperature, vapour and wind, and no bound for cloud, whose tails are far longer.
    """
    if task.range is not None:
        return tuple(task.range.get_buffer(f"profile_{end}")[:_N_STATE] for end in ("min", "max"))  # type: ignore[return-value]
    statistics = next(module for module in task.modules() if isinstance(module, ColumnStatistics))
    mean, reach = (statistics.get_buffer(f"profile_{kind}")[:_N_STATE] for kind in ("mean", "std"))
    reach = SPREADS * reach
    reach[list(_CLOUD)] = torch.inf
    return mean - reach, mean + reach


def integrate_runs(request: Request) -> None:
    """Integrate the same columns under several runs; print, store and draw what became of them.

    Raises:
        DataError: There are no raw files to start from, or the grid is not known.
    """
    config = RunDirectory(request.run[0]).settings()
    folder = request.input or (Path(config["data_dir"]) if config["data_dir"] else None)
    if folder is None or not folder.is_dir():
        raise DataError("--column_model starts from raw file pairs: give their folder with --input")
    n_columns = RawSource(folder, request.columns or int(config["data"]["columns"])).columns
    grid = Grid.of(folder, n_columns, request.grid_file)
    labels = unique_labels([str(RunDirectory(run).record()["experiment"]) for run in request.run])
    results: dict[str, Any] = {}
    for label, run in zip(labels, request.run, strict=True):
        trained = load_task(run, request.checkpoint)
        task = trained.task
        assert isinstance(task, LeapTask)
        columns = read_columns(folder, n_columns, grid, trained.data_settings.variables)
        results[label] = integrate(task, columns, request.column_model)
    out = request.output or request.run[0] / "evaluation"
    out.mkdir(parents=True, exist_ok=True)
    figure = draw(results)
    save(figure, out / "column_model.png")
    write_json(out / "column_model.json", {"columns": len(columns.profiles), "runs": _plain(results)})
    if request.wandb != "disabled":
        for run in request.run:
            log_figures(run, {"column_model": figure}, request.wandb)
    _print(results, len(columns.profiles), request.column_model)
    print(f"figure and numbers: {out}")


def _plain(value: Any) -> Any:
    """Numbers that JSON has; a column that blew up has none."""
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _print(results: dict[str, Any], columns: int, steps: int) -> None:
    days = steps * STEP_SECONDS / 86_400
    table = Table(
        title=f"{columns:,} single columns after {steps} steps ({days:.1f} days): a stability test, not online testing"
    )
    for name in (
        "run",
        "T drift [K]",
        "q drift [g/kg]",
        "negative water [% of cells]",
        "still in range [%]",
        "first outside",
    ):
        table.add_column(name, justify="left" if name == "run" else "right")
    for label, result in results.items():
        left = [step for step in result["first_outside"] if step >= 0]
        table.add_row(
            label,
            f"{result['drift']['state_t'][-1]:.2f}",
            f"{1e3 * result['drift']['state_q0001'][-1]:.3f}",
            f"{100 * result['negative_water'][-1]:.1f}",
            f"{100 * result['inside'][-1]:.1f}",
            f"step {min(left)}" if left else "never",
        )
    table.caption = (
        f"range: {SPREADS:.0f} standard deviations of the training rows, at every level of T, water and wind"
    )
    Console(width=120).print(table)


def draw(results: dict[str, Any]) -> Figure:
    """Drift of temperature and vapour, negative water, and columns in range, over the steps."""
    figure, axes = subplots(2, 2, (11, 7))
    panels: dict[str, Any] = {
        "drift of temperature [K]": lambda r: np.array(r["drift"]["state_t"]),
        "drift of vapour [g/kg]": lambda r: 1e3 * np.array(r["drift"]["state_q0001"]),
        "cells with negative water [%]": lambda r: 100 * np.array(r["negative_water"]),
        "columns in the training range [%]": lambda r: 100 * np.array(r["inside"]),
    }
    for axis, (title, values) in zip(axes.flat, panels.items(), strict=True):
        for label, result in results.items():
            shown: npt.NDArray[np.float64] = values(result)
            axis.plot(
                np.arange(len(shown)) * STEP_SECONDS / 86_400, np.where(np.isfinite(shown), shown, np.nan), label=label
            )
        axis.set(ylabel=title, xlabel="time [days]")
        if "drift" in title and any((np.asarray(values(r)) > 0).any() for r in results.values()):
            axis.set_yscale("symlog", linthresh=1.0)
    axes[0][0].legend(fontsize="small")
    return figure
