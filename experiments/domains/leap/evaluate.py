"""Skill and bias of LEAP runs by latitude, pressure and place, from their banks of out-of-fold predictions.

Definitions follow "Crowdsourcing the Frontier" (arXiv:2511.20963): R2 of every output over all times and columns, unweighted;
zonal figures in 18 bands of 10 degrees, weighted by area; errors over the globe weighted by area, and profiles by mass too.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.figures import save
from datamodules.files import write_json
from datamodules.leap.schema import FLUXES, LEVELS, N_TARGETS, TARGET_GROUPS, TARGET_NAMES, TENDENCIES
from experiments.domains.leap import evaluate_figures as figures
from experiments.domains.leap.confidence import risk_coverage
from experiments.domains.leap.evaluate_figures import log_figures, unique_labels
from experiments.domains.leap.places import Grid, rows_in_space_and_time
from experiments.engine.run_directory import RunDirectory
from experiments.evaluate import Request

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BANDS = np.linspace(-90.0, 90.0, 19)
"""Edges of the zonal means, degrees north."""
FEW_TIMES = 30
"""With fewer time steps than these, R2 in a band is of its columns together and not the mean of the columns' own."""
_CHUNK = 16_384
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Sums over time of every grid column, (columns, 368), and the number of times, (columns,)."""

    count: Floats
    truth: Floats
    square: Floats
    error: Floats
    squared_error: Floats

    @property
    def bias(self) -> Floats:
        """Mean error of every column; NaN where a column has no row."""
        with np.errstate(invalid="ignore"):
            return self.error / self.count[:, None]

    def r2(self) -> Floats:
        """R2 of every output over all rows."""
        n = self.count.sum()
        return _r2(self.squared_error.sum(0), self.square.sum(0) - self.truth.sum(0) ** 2 / n)

    def zonal_r2(self, grid: Grid) -> Floats:
        """R2 by band, (18, 368); NaN in bands without columns."""
        spread = self.square - self.truth**2 / np.maximum(self.count, 1)[:, None]
        if self.count.max() >= FEW_TIMES:
            return zonal_mean(np.where(self.count[:, None] > 1, _r2(self.squared_error, spread), np.nan), grid)
        weighted = (grid.area * self.count)[:, None]
        band = band_sums(np.ones_like(self.truth) * weighted, grid)
        mean = band_sums(self.truth * grid.area[:, None], grid) / np.maximum(band, 1e-300)
        total = band_sums(self.square * grid.area[:, None], grid) - band * mean**2
        return np.where(band > 0, _r2(band_sums(self.squared_error * grid.area[:, None], grid), total), np.nan)


def evaluate(request: Request) -> None:
    """Figures and numbers of one or several runs.

    Raises:
        DataError: A run has no predictions, the runs hold different rows, or the places of the columns are not known.
    """
    if request.column_model:
        from experiments.domains.leap.evaluate_column import integrate_runs

        integrate_runs(request)
        return
    if request.flux not in FLUXES:
        raise DataError(f"--flux {request.flux!r} is no surface flux; there are {', '.join(FLUXES)}")
    banks = [_bank(run) for run in request.run]
    labels = unique_labels([bank.name for bank in banks])
    for run, bank in zip(request.run[1:], banks[1:], strict=True):
        if not bank.index["row_id"].equals(banks[0].index["row_id"]):
            raise DataError(
                f"{run} and {request.run[0]} predict different rows; compare runs of the same data and fold"
            )
    config = RunDirectory(request.run[0]).settings()
    times, columns = rows_in_space_and_time(banks[0].index["row_id"], banks[0].path)
    n_columns = int(config["data"]["columns"]) or int(columns.max()) + 1
    grid = Grid.of(Path(config["data_dir"] or "."), n_columns, request.grid_file)
    results = {label: moments(bank, columns, len(grid.lat)) for label, bank in zip(labels, banks, strict=True)}
    curves = {
        label: risk_coverage(bank)
        for label, bank in zip(labels, banks, strict=True)
        if (bank.path / "confidence.npy").is_file()
    }
    folder = request.output or request.run[0] / "evaluation"
    folder.mkdir(parents=True, exist_ok=True)
    drawn = draw(results, grid, request.flux, curves)
    for name, figure in drawn.items():
        save(figure, folder / f"{name}.png")
    numbers = {label: summary(result, grid) for label, result in results.items()}
    facts = {"rows": len(columns), "times": len(np.unique(times)), "columns": len(grid.lat)}
    write_json(folder / "evaluation.json", {**facts, "runs": numbers, "confidence": curves})
    np.savez(folder / "zonal.npz", allow_pickle=False, bands=BANDS, **_zonal_arrays(results, grid))
    _print(numbers, facts)
    if request.wandb != "disabled":
        for run in request.run:
            log_figures(run, drawn, request.wandb)
    print(f"{len(drawn)} figures and their numbers: {folder}")


def _bank(run: Path) -> PredictionBank:
    name = RunDirectory(run).record().get("bank")
    if not name:
        raise DataError(f"{run} has no out-of-fold predictions: the run is not finished, or was trained on every row")
    return PredictionBank(run / name)


def moments(bank: PredictionBank, columns: npt.NDArray[np.int64], n_columns: int) -> Moments:
    """Sums over time of every grid column, in the judge's units.

    Args:
        bank: Predictions with their truth.
        columns: Grid column of every row.
        n_columns: Grid columns of the data set.
    """
    from scipy.sparse import csr_array

    truth = bank.truth()
    sums = [np.zeros((n_columns, N_TARGETS)) for _ in range(4)]
    for start in range(0, len(columns), _CHUNK):
        rows = slice(start, start + _CHUNK)
        here = columns[rows]
        by_column = csr_array((np.ones(len(here)), (here, np.arange(len(here)))), shape=(n_columns, len(here)))
        true = truth.in_judge_units(rows)
        error = bank.in_judge_units(rows) - true
        for total, values in zip(sums, (true, true**2, error, error**2), strict=True):
            total += np.asarray(by_column @ values)
    return Moments(np.bincount(columns, minlength=n_columns).astype(np.float64), *sums)


def band_sums(values: Floats, grid: Grid) -> Floats:
    """Sums of ``(columns, ...)`` over the columns of each band of latitude; NaN counts 0."""
    band = np.clip(np.digitize(grid.lat, BANDS) - 1, 0, len(BANDS) - 2)
    out = np.zeros((len(BANDS) - 1, *values.shape[1:]))
    np.add.at(out, band, np.nan_to_num(values, nan=0.0))
    return out


def zonal_mean(values: Floats, grid: Grid) -> Floats:
    """Area-weighted means of ``(columns, targets)`` in the bands, (18, targets); NaN values and empty bands are left out."""
    weight = np.where(np.isnan(values), 0.0, grid.area[:, None])
    total = band_sums(weight, grid)
    with np.errstate(invalid="ignore"):
        return band_sums(values * weight, grid) / np.where(total > 0, total, np.nan)


def _r2(residual: Floats, spread: Floats) -> Floats:
    """1 - residual / spread; where nothing varies, 1 if nothing is missed, else 0 (scikit-learn's rule)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(spread > 0, 1.0 - residual / spread, np.where(residual == 0, 1.0, 0.0))


def summary(result: Moments, grid: Grid) -> dict[str, Any]:
    """Scores of a run: R2 of every output, and by variable R2, bias and RMSE over the globe.

    Bias and RMSE are weighted by the columns' area; those of a profile by the mass of its layers too.
    """
    r2 = result.r2()
    cells = np.ones((len(grid.lat), N_TARGETS)) * grid.area[:, None]
    for name in TARGET_GROUPS:
        if name != "surface":
            cells[:, TARGET_GROUPS[name]] = grid.mass
    cells *= result.count[:, None] > 0
    count = np.maximum(result.count, 1)[:, None]
    variables = {}
    groups = {f"ptend_{name}": where for name, where in TARGET_GROUPS.items() if name != "surface"}
    groups |= {name: slice(i, i + 1) for i, name in enumerate(FLUXES, start=len(TENDENCIES) * LEVELS)}
    for name, where in groups.items():
        weight = cells[:, where] / cells[:, where].sum()
        variables[name] = {
            "r2": float(r2[where].mean()),
            "r2_clipped": float(r2[where].clip(-1, 1).mean()),
            "bias": float((weight * result.error[:, where] / count).sum()),
            "rmse": float(np.sqrt((weight * result.squared_error[:, where] / count).sum())),
        }
    return {
        "r2": float(r2.mean()),
        "r2_clipped": float(r2.clip(-1, 1).mean()),
        "variables": variables,
        "per_target": dict(zip(TARGET_NAMES, r2.tolist(), strict=True)),
    }


def draw(results: dict[str, Moments], grid: Grid, flux: str, curves: dict[str, Any]) -> dict[str, Figure]:
    """All figures, by file name."""
    column = TARGET_NAMES.index(flux)
    drawn = {
        "zonal_r2": figures.zonal_r2({label: r.zonal_r2(grid) for label, r in results.items()}),
        "zonal_bias": figures.zonal_bias({label: zonal_mean(r.bias, grid) for label, r in results.items()}),
        "r2_by_pressure": figures.r2_by_pressure({label: r.r2() for label, r in results.items()}),
        f"map_{flux}": figures.flux_map(
            {label: r.bias[:, column] for label, r in results.items()},
            next(iter(results.values())).truth[:, column] / np.maximum(next(iter(results.values())).count, 1),
            grid,
            flux,
        ),
    }
    if curves:
        drawn["r2_by_confidence"] = figures.r2_by_confidence(curves)
    return drawn


def _zonal_arrays(results: dict[str, Moments], grid: Grid) -> dict[str, Floats]:
    arrays = {"pressure": zonal_mean(grid.pressure, grid)}
    for label, result in results.items():
        arrays |= {f"{label}/r2": result.zonal_r2(grid), f"{label}/bias": zonal_mean(result.bias, grid)}
    return arrays


def _print(numbers: dict[str, dict[str, Any]], facts: dict[str, int]) -> None:
    table = Table(title=f"R2 and RMSE on {facts['rows']:,} held-out rows of {facts['times']:,} time steps")
    table.add_column("variable")
    for label in numbers:
        table.add_column(f"{label}\nR2 (clipped)", justify="right")
        table.add_column("RMSE", justify="right")
    for name in next(iter(numbers.values()))["variables"]:
        cells = []
        for result in numbers.values():
            variable = result["variables"][name]
            cells += [f"{variable['r2_clipped']:.4f}", f"{variable['rmse']:.3e}"]
        table.add_row(name, *cells)
    table.caption = "R2 unweighted, each output held to [-1, 1]; RMSE in SI units, weighted by area and mass"
    Console(width=120).print(table)
