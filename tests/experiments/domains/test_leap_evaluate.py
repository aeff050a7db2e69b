from __future__ import annotations

import json
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import torch
from sklearn.metrics import r2_score

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.leap.schema import LEVELS, N_TARGETS, PROFILES, TENDENCIES
from experiments.domains.leap import evaluate as module
from experiments.domains.leap.evaluate import Moments, moments, zonal_mean
from experiments.domains.leap.evaluate_column import Columns, integrate
from experiments.domains.leap.places import Grid, rows_in_space_and_time
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.inference import load_task
from experiments.engine.training import train
from experiments.evaluate import Request, evaluate, main, one_list
from lit_modules.leap.task import LeapTask
from tests.experiments.tiny import COLUMNS, flags


@pytest.fixture(scope="module")
def runs(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two runs on the same rows, one of them with confidence."""
    out = tmp_path_factory.mktemp("runs")
    first = train(parse(load_experiment("leap_bilstm"), flags(raw_files, out, "--epochs", "1"))).path
    more = ("--epochs", "1", "--model.confidence", "true", "--wandb", "offline")
    return [first, train(parse(load_experiment("leap_bilstm"), flags(raw_files, out, *more))).path]


# --- Numbers by hand ----------------------------------------------------------------------------------------------


def small_grid() -> Grid:
    """Two columns in one band, of areas 1 and 3, and one alone."""
    lat, area = np.array([3.0, 7.0, -40.0]), np.array([1.0, 3.0, 4.0]) / 8
    return Grid(lat, np.array([0.0, 10.0, 200.0]), area, np.array([1e5, 8e4, 1e5]))


def test_zonal_means_are_weighted_by_area() -> None:
    values = np.array([[2.0, np.nan], [6.0, 5.0], [1.0, 1.0]])
    bands = zonal_mean(values, small_grid())
    assert bands[9].tolist() == [5.0, 5.0]  # 0 to 10 degrees north
    assert bands[5].tolist() == [1.0, 1.0]
    assert np.isnan(bands[[0, 8, 10, 17]]).all()


def test_mass_is_area_times_thickness() -> None:
    mass = small_grid().mass
    assert mass.sum() == pytest.approx(1.0)
    # a column's mass is its area times its surface pressure, but for the 0.07 Pa or so above the model top
    expected = np.array([1e5 * 1, 8e4 * 3, 1e5 * 4])
    assert mass.sum(axis=1) == pytest.approx(expected / expected.sum(), rel=1e-5)


def write_grid_file(path: Path, **values: np.ndarray) -> Path:
    with netCDF4.Dataset(path, "w", format="NETCDF3_64BIT_DATA") as file:
        file.createDimension("time", 1)
        file.createDimension("ncol", len(values["lat"]))
        for name, numbers in values.items():
            file.createVariable(name, "f8", ("time", "ncol") if name == "PS" else ("ncol",))[:] = numbers
    return path


@pytest.mark.parametrize("columns", [384, 21_600])
@pytest.mark.parametrize("surface_pressure", [None, 98_500.0])
def test_areas_and_pressure_are_those_of_the_grid_file(
    tmp_path: Path, columns: int, surface_pressure: float | None
) -> None:
    lat = np.linspace(-89.0, 89.0, columns)
    area = np.cos(np.radians(lat))
    more = {} if surface_pressure is None else {"PS": np.full(columns, surface_pressure)}
    file = write_grid_file(tmp_path / "grid.nc", lat=lat, lon=np.zeros(columns), area=area, **more)
    grid = Grid.of(tmp_path, columns, file)
    assert grid.area == pytest.approx(area / area.sum())
    assert grid.mass.sum(axis=1) == pytest.approx(grid.area)  # no mountains
    assert np.unique(grid.surface_pressure).tolist() == [surface_pressure or 1e5]
    np.testing.assert_array_equal(grid.lat, lat)


def test_a_grid_file_without_areas_is_refused(tmp_path: Path) -> None:
    file = write_grid_file(tmp_path / "grid.nc", lat=np.zeros(3), lon=np.zeros(3))
    with pytest.raises(DataError, match=r"grid\.nc has no variable 'area'"):
        Grid.of(tmp_path, 3, file)


def test_the_packaged_grid_has_unequal_areas(raw_files: Path, tmp_path: Path) -> None:
    whole, part = Grid.of(tmp_path, 384), Grid.of(raw_files, COLUMNS)
    for grid in (whole, part):
        assert grid.area.sum() == pytest.approx(1.0)
        assert grid.area.std() > 0.01 * grid.area.mean()
    assert whole.surface_pressure.min() < 8e4  # the Earth's mountains


def synthetic(n_times: int, grid: Grid) -> tuple[Moments, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    columns = np.tile(np.arange(3), n_times)
    truth = rng.normal(size=(len(columns), N_TARGETS)) + columns[:, None]
    predicted = truth + 0.5 * rng.normal(size=truth.shape)
    sums = [np.stack([v[columns == c].sum(0) for c in range(3)]) for v in _powers(truth, predicted)]
    return Moments(np.full(3, float(n_times)), *sums), columns, truth, predicted


def _powers(truth: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, ...]:
    error = predicted - truth
    return truth, truth**2, error, error**2


def test_r2_is_scikit_learns_and_that_of_a_band_is_the_mean_of_its_columns() -> None:
    grid = small_grid()
    result, columns, truth, predicted = synthetic(40, grid)
    assert result.r2() == pytest.approx(r2_score(truth, predicted, multioutput="raw_values"))
    own = [r2_score(truth[columns == c], predicted[columns == c], multioutput="raw_values") for c in range(3)]
    assert result.zonal_r2(grid)[9] == pytest.approx((own[0] + 3 * own[1]) / 4)
    assert result.zonal_r2(grid)[5] == pytest.approx(own[2])


def test_with_few_times_the_columns_of_a_band_are_taken_together() -> None:
    grid = small_grid()
    result, columns, truth, predicted = synthetic(5, grid)
    band = columns < 2
    weight = np.array([1.0, 3.0, 4.0])[columns]
    together = r2_score(truth[band], predicted[band], sample_weight=weight[band], multioutput="raw_values")
    assert result.zonal_r2(grid)[9] == pytest.approx(together)


# --- Runs ---------------------------------------------------------------------------------------------------------


def test_several_runs_side_by_side(runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--run", *map(str, runs), "--output", str(tmp_path), "--flux", "cam_out_FLWDS", "--wandb", "offline"])
    names = ("zonal_r2", "zonal_bias", "r2_by_pressure", "map_cam_out_FLWDS", "r2_by_confidence")
    assert {file.stem for file in tmp_path.glob("*.png")} == set(names)
    assert all((tmp_path / f"{name}.png").stat().st_size > 10_000 for name in names)
    numbers = json.loads((tmp_path / "evaluation.json").read_text())
    assert numbers["rows"] == 64
    assert numbers["times"] == 8
    for run, scores in zip(runs, numbers["runs"].values(), strict=True):
        best = json.loads((run / "run.json").read_text())["best"]
        name = "r2_clipped" if best["metric"].endswith("clipped") else "r2"
        assert scores[name] == pytest.approx(best["score"], abs=1e-5)
    printed = capsys.readouterr().out
    assert "was trained without W&B" in printed  # the first run
    bank = PredictionBank(runs[0] / "bank")
    _, columns = rows_in_space_and_time(bank.index["row_id"], bank.path)
    result = moments(bank, columns, COLUMNS)
    error = bank.in_judge_units(slice(None)) - bank.truth().in_judge_units(slice(None))
    assert result.bias[3, 40] == pytest.approx(error[columns == 3, 40].mean())


def test_figures_reach_the_wandb_run(runs: list[Path], tmp_path: Path) -> None:
    evaluate(Request([runs[1]], tmp_path, wandb="offline"))
    files = list((runs[1] / "wandb").rglob("evaluation/zonal_r2*.png"))
    assert len(files) >= 1


def test_what_cannot_be_evaluated_is_named(runs: list[Path], tmp_path: Path, raw_files: Path) -> None:
    with pytest.raises(DataError, match=r"has no run\.json"):
        evaluate(Request([tmp_path]))
    with pytest.raises(DataError, match="--flux 'PRECC' is no surface flux; there are cam_out_NETSW"):
        evaluate(Request([runs[0]], flux="PRECC"))
    arguments = flags(raw_files, tmp_path, "--epochs", "1", "--fold", "full")
    full = train(parse(load_experiment("leap_bilstm"), arguments)).path
    with pytest.raises(DataError, match="no out-of-fold predictions"):
        evaluate(Request([full]))
    other = train(
        parse(
            load_experiment("leap_bilstm"),
            flags(raw_files, tmp_path, "--epochs", "1", "--data.split", "blocks", "--data.n_folds", "2", "--fold", "1"),
        )
    ).path
    with pytest.raises(DataError, match="predict different rows"):
        evaluate(Request([runs[0], other]))


def test_several_runs_need_no_brackets() -> None:
    assert one_list(["--run", "a", "b", "--flux", "c"]) == ["--run", '["a", "b"]', "--flux", "c"]
    assert one_list(["--flux", "c", "--run", "a"]) == ["--flux", "c", "--run", '["a"]']
    assert one_list(["--run", '["a"]']) == ["--run", '["a"]']


def test_labels_of_equal_runs_differ() -> None:
    assert module.unique_labels(["a", "b", "a"]) == ["a (1)", "b", "a (3)"]


# --- Single columns -----------------------------------------------------------------------------------------------


@pytest.fixture
def task(runs: list[Path]) -> LeapTask:
    task = load_task(runs[0]).task
    assert isinstance(task, LeapTask)
    return task


def one_column(task: LeapTask) -> Columns:
    profiles = next(b for name, b in task.named_buffers() if name.endswith("profile_mean")).clone()[None]
    scalars = next(b for name, b in task.named_buffers() if name.endswith("scalar_mean")).clone()[None]
    forcing = torch.zeros(1, len(TENDENCIES), LEVELS, dtype=torch.float64)
    return Columns(profiles, scalars, forcing, torch.full((1, LEVELS), 1 / LEVELS, dtype=torch.float64))


def test_a_column_in_balance_stays_and_a_forced_one_goes(task: LeapTask, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = one_column(task)
    heating = torch.zeros_like(columns.forcing)
    heating[:, 0] = 1e-3  # 1.2 K a step at every level
    monkeypatch.setattr(
        "experiments.domains.leap.evaluate_column._tendencies", lambda *_: torch.zeros_like(columns.forcing)
    )
    still = integrate(task, columns, 4)
    assert still["drift"]["state_t"] == [0.0] * 5
    assert still["first_outside"] == [-1]
    warmed = integrate(task, Columns(columns.profiles, columns.scalars, heating, columns.mass), 400)
    assert warmed["drift"]["state_t"][:3] == pytest.approx([0.0, 1.2, 2.4])
    first = warmed["first_outside"][0]
    std = next(b for name, b in task.named_buffers() if name.endswith("profile_std"))[0].min()
    assert first == int(10 * std / 1.2) + 1
    assert warmed["inside"][first - 1 : first + 1] == [1.0, 0.0]


def test_dried_out_columns_are_counted(task: LeapTask, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = one_column(task)
    drying = torch.zeros_like(columns.forcing)
    q = PROFILES.index("state_q0001")
    drying[:, q] = -2 * columns.profiles[:, q] / 1200
    monkeypatch.setattr("experiments.domains.leap.evaluate_column._tendencies", lambda *_: drying)
    assert integrate(task, columns, 1)["negative_water"] == [0.0, pytest.approx(1 / 3)]


def test_columns_of_a_run_are_integrated_from_its_own_files(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--run", *map(str, runs), "--column_model", "12", "--output", str(tmp_path)])
    numbers = json.loads((tmp_path / "column_model.json").read_text())
    assert numbers["columns"] == 8 * COLUMNS
    for result in numbers["runs"].values():
        assert len(result["inside"]) == 13
        assert result["drift"]["state_t"][0] == 0.0
        assert result["drift"]["state_t"][-1] > 0.0
    assert (tmp_path / "column_model.png").stat().st_size > 10_000
    assert "not online testing" in capsys.readouterr().out
