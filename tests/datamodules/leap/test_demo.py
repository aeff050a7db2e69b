"""The synthetic ClimSim generator: raw schema, exact rules of the real files, determinism, caching, competition files."""

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import netCDF4
import numpy as np
import pyarrow.csv
import pytest

from datamodules.errors import DataError
from datamodules.leap import schema
from datamodules.leap.demo import GENERATOR_VERSION, DemoSpec, demo_main, generate, read_info, write_kaggle_files
from datamodules.leap.demo.climate import load_climate
from datamodules.leap.demo.teacher import after, before, smooth_levels, targets
from datamodules.leap.raw import find_pairs, read_pair

SMALL = DemoSpec(seed=3, first_month="0007-12", months=3, steps_per_month=2, columns=24)
CAM_IN = ("ALDIF", "ALDIR", "ASDIF", "ASDIR", "ICEFRAC", "LANDFRAC", "LWUP", "OCNFRAC", "SNOWHICE", "SNOWHLAND")
PBUF = ("COSZRS", "LHFLX", "SHFLX", "SOLIN", "TAUX", "TAUY", "CH4", "N2O", "ozone")
CAM_OUT = ("FLWDS", "NETSW", "PRECC", "PRECSC", "SOLL", "SOLLD", "SOLS", "SOLSD")
STATE = ("q0001", "q0002", "q0003", "t", "u", "v")
MLI = [
    *(f"cam_in_{name}" for name in CAM_IN),
    *(f"pbuf_{name}" for name in PBUF),
    *(f"state_{name}" for name in ("pmid", "ps", *STATE)),
]
MLO = [*(f"cam_out_{name}" for name in CAM_OUT), *(f"state_{name}" for name in STATE)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("demo"), SMALL, progress=False)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Enough columns and seasons for statistics."""
    spec = DemoSpec(months=12, steps_per_month=1, columns=192)
    return generate(tmp_path_factory.mktemp("demo"), spec, progress=False)


@pytest.fixture(scope="module")
def raw(folder):
    """All variables of all steps as {kind: {name: (steps, lev, ncol) or (steps, ncol)}}."""
    return read_all(folder)


def read_all(folder):
    variables = {"mli": {}, "mlo": {}}
    for pair in find_pairs(folder):
        for kind, path in (("mli", pair.mli), ("mlo", pair.mlo)):
            with netCDF4.Dataset(path) as dataset:
                for name, variable in dataset.variables.items():
                    variables[kind].setdefault(name, []).append(variable[...].data)
    return {kind: {name: np.stack(values) for name, values in named.items()} for kind, named in variables.items()}


# --- Files --------------------------------------------------------------------------------------------------------


def test_layout_and_names(folder):
    assert folder.name == SMALL.name
    assert f"v{GENERATOR_VERSION}" in folder.name
    stamps = [pair.stamp for pair in find_pairs(folder)]
    assert stamps == [step.stamp for step in SMALL.steps()]
    for pair in find_pairs(folder):
        assert pair.mli == str(folder / "train" / pair.stamp[:7] / f"E3SM-MMF.mli.{pair.stamp}.nc")
    written = {path.suffix for path in folder.rglob("*") if path.is_file()}
    assert written == {".nc", ".json"}


@pytest.mark.parametrize(("kind", "names"), [("mli", MLI), ("mlo", MLO)])
def test_raw_schema(folder, kind, names):
    pair = find_pairs(folder)[1]
    path = getattr(pair, kind)
    with open(path, "rb") as file:
        assert file.read(4) == b"CDF\x05"
    with netCDF4.Dataset(path) as dataset:
        assert dataset.data_model == "NETCDF3_64BIT_DATA"
        assert {name: len(size) for name, size in dataset.dimensions.items()} == {"lev": 60, "ncol": SMALL.columns}
        assert not any(size.isunlimited() for size in dataset.dimensions.values())
        assert dataset.calendar == "NO_LEAP"
        assert dataset.ne == 4
        assert set(dataset.variables) == {"ymd", "tod", *names}
        for name, variable in dataset.variables.items():
            assert not variable.ncattrs()  # no _FillValue either
            if name in ("ymd", "tod"):
                assert (variable.dtype, variable.dimensions) == (np.int32, ())
            else:
                scalar = name in schema.SCALARS or name in schema.FLUXES or name == "cam_in_SNOWHICE"
                assert (variable.dtype, variable.dimensions) == (np.float64, ("ncol",) if scalar else ("lev", "ncol"))
        assert f"{int(dataset['ymd'][...]):08d}" == pair.stamp[:10].replace("-", "")
        assert f"{int(dataset['tod'][...]):05d}" == pair.stamp[-5:]


def test_a_full_grid_file_is_as_large_as_a_real_one(tmp_path):
    folder = generate(tmp_path, DemoSpec(months=1, steps_per_month=1), progress=False)
    assert Path(find_pairs(folder)[0].mli).stat().st_size == 1_897_632


def test_the_same_specification_gives_the_same_bytes(folder, tmp_path):
    code = (
        "import sys; from pathlib import Path; from datamodules.leap.demo import *\n"
        f"generate(Path(sys.argv[1]), DemoSpec(**{vars(SMALL)!r}), progress=False)"
    )
    environment = dict(os.environ, OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2", MKL_NUM_THREADS="2")
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, env=environment)
    other = tmp_path / SMALL.name
    files = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other) for path in other.rglob("*") if path.is_file())
    for file in files:
        assert (folder / file).read_bytes() == (other / file).read_bytes(), file


def test_seeds_share_the_teacher(folder):
    """Another data set's rows follow the same law, as high-resolution rows that are mixed in must."""
    spec = DemoSpec(seed=8, months=1, steps_per_month=1, columns=SMALL.columns, noise_sigma=0.0)
    state = before(spec, spec.steps()[0])
    other = DemoSpec(seed=9, months=1, steps_per_month=1, columns=SMALL.columns, noise_sigma=0.0)
    first, second = (after(s, s.steps()[0], state) for s in (spec, other))
    np.testing.assert_array_equal(targets(state, first), targets(state, second))


def test_seed_changes_the_states_but_not_the_grid(raw, tmp_path):
    spec = DemoSpec(seed=4, first_month="0007-12", months=1, steps_per_month=1, columns=SMALL.columns)
    other = read_all(generate(tmp_path, spec, progress=False))
    assert not np.allclose(raw["mli"]["state_t"][0], other["mli"]["state_t"][0], atol=1.0)
    np.testing.assert_array_equal(raw["mli"]["cam_in_LANDFRAC"][0], other["mli"]["cam_in_LANDFRAC"][0])


# --- Rules that hold exactly in the real files ----------------------------------------------------------------------


def test_ablated_tendencies_are_exactly_zero_and_the_others_vary(folder):
    targets = np.concatenate([read_pair(pair, SMALL.columns).targets for pair in find_pairs(folder)])
    ablated = schema.zero_weight_mask()
    assert (targets[:, ablated] == 0).all()
    q0002 = schema.TARGET_GROUPS["q0002"].start
    nearly_always_empty = np.isin(np.arange(schema.N_TARGETS), [q0002 + 15, q0002 + 16])
    assert (targets[:, ~ablated & ~nearly_always_empty].std(axis=0) > 0).all()


def test_liquid_at_the_trick_levels_is_removed_in_one_step(folder):
    for pair in find_pairs(folder):
        rows = read_pair(pair, SMALL.columns)
        liquid = rows.profiles[:, schema.PROFILES.index("state_q0002")]
        levels = list(schema.PTEND_TRICK_LEVELS)
        np.testing.assert_array_equal(rows.targets[:, schema.PTEND_TRICK_TARGETS], -liquid[:, levels] / 1200)


def test_state_plus_tendency_is_the_next_state(folder, raw):
    for i, pair in enumerate(find_pairs(folder)):
        targets = read_pair(pair, SMALL.columns).targets
        for name in schema.STATE_PROFILES:
            before, after = raw["mli"][name][i].T, raw["mlo"][name][i].T
            tendency = targets[:, schema.TARGET_GROUPS[name.removeprefix("state_")]]
            np.testing.assert_allclose(before + 1200 * tendency, after, rtol=1e-12, atol=1e-15 * np.abs(before).max())


def test_values_are_finite_and_water_is_not_negative(raw):
    for variables in raw.values():
        for name, values in variables.items():
            assert np.isfinite(values).all(), name
            if name.startswith("state_q"):
                assert (values >= 0).all(), name
            if name != "cam_in_SNOWHICE":
                assert np.abs(values).max() < 1e9, name
    assert (raw["mli"]["cam_in_SNOWHICE"] == 1e30).any()


def test_liquid_aloft_spans_decades_down_to_zero(wide):
    liquid = read_all(wide)["mli"]["state_q0002"]
    for level in range(14, 28):
        values = liquid[:, level]
        assert (values == 0).any()
        assert (values > 0).any()
    sizes = [liquid[:, level].max() for level in (12, 16, 20, 24, 27)]
    assert sizes[1] < 1e-50 < sizes[0] < 1e-37
    assert sizes[1] < sizes[2] < sizes[3] < sizes[4] < 1e-6
    positive = liquid[:, 24][liquid[:, 24] > 0]
    assert np.log10(positive.max() / positive.min()) > 15


# --- Plausible ------------------------------------------------------------------------------------------------------


def test_inputs_follow_the_real_climate(wide):
    climate = load_climate(192)
    inputs = read_all(wide)["mli"]
    for name in (*schema.PROFILES, *schema.SCALARS):
        low, high = climate.table[f"{name}/min"], climate.table[f"{name}/max"]
        values = np.moveaxis(inputs[name], 1, -1) if name in schema.PROFILES else inputs[name]
        slack = 1e-3 * np.abs(high)
        assert (values >= low - slack).all(), name
        assert (values <= high + slack).all(), name
    for name in ("state_t", "state_u", "state_v", "pbuf_ozone"):
        values = np.moveaxis(inputs[name], 1, -1).reshape(-1, 60)
        assert (np.abs(values.mean(axis=0) - climate.mean(name)) < 0.5 * climate.std(name)).all(), name
        ratio = values.std(axis=0) / climate.std(name)
        assert ((ratio > 0.4) & (ratio < 1.6)).all(), name
    humidity = inputs["state_q0001"].mean(axis=(0, 2)) / climate.mean("state_q0001")
    assert ((humidity > 0.6) & (humidity < 1.5)).all()


def test_constant_inputs_are_constant_as_in_the_real_files(wide):
    gas = read_all(wide)["mli"]["pbuf_CH4"]
    assert (gas[:, 28:] == gas[:1, 28:, :1]).all()
    assert (gas[:, :20].std(axis=(0, 2)) > 0).all()


def test_tendencies_have_the_size_of_the_real_ones(wide):
    targets = np.concatenate([read_pair(pair, 192).targets for pair in find_pairs(wide)])
    climate = load_climate(192)
    for name in ("t", "q0001", "u", "v"):
        ratio = targets[:, schema.TARGET_GROUPS[name]].std(axis=0)[22:] / climate.std(f"ptend_{name}")[22:]
        assert ((ratio > 0.5) & (ratio < 2.0)).all(), name
    for name, values in zip(schema.FLUXES, targets[:, schema.TARGET_GROUPS["surface"]].T, strict=True):
        assert 0.3 < values.std() / climate.std(name) < 3, name
        assert values.min() >= 0, name
    rain, snow = (targets[:, schema.TARGET_NAMES.index(f"cam_out_{name}")] for name in ("PRECC", "PRECSC"))
    assert (snow <= rain).all()
    assert 0.05 < (snow > 0).mean() < 0.6


def test_sun_is_in_the_files(raw):
    night = raw["mli"]["pbuf_COSZRS"] == 0
    assert 0.2 < night.mean() < 0.8
    assert (raw["mli"]["pbuf_SOLIN"][night] == 0).all()
    assert (raw["mli"]["cam_in_ASDIR"][night] == 1).all()
    assert (raw["mlo"]["cam_out_NETSW"][night] == 0).all()
    assert (raw["mlo"]["cam_out_NETSW"][~night] > 0).all()


def test_ceiling_lies_below_one_and_above_what_a_net_reaches(wide):
    info = read_info(wide)
    assert info["generator_version"] == GENERATOR_VERSION
    assert info["spec"]["columns"] == 192
    assert info["rows"] == 12 * 192
    assert set(info["ceiling"]) == {"all", *schema.TARGET_GROUPS}
    assert 0.75 < info["ceiling"]["all"] < 0.95
    assert all(0.6 < value <= 1 for value in info["ceiling"].values())
    sizes = np.array([part.stop - part.start for part in schema.TARGET_GROUPS.values()])
    groups = np.array([info["ceiling"][name] for name in schema.TARGET_GROUPS])
    assert info["ceiling"]["all"] == pytest.approx((sizes * groups).sum() / sizes.sum())


def test_without_unresolved_noise_the_ceiling_is_one(tmp_path):
    spec = DemoSpec(months=1, steps_per_month=2, columns=8, noise_sigma=0.0)
    info = read_info(generate(tmp_path, spec, progress=False))
    assert info["ceiling"]["all"] == 1.0


# --- Time steps -----------------------------------------------------------------------------------------------------


def test_default_split_sizes_and_gaps():
    steps = DemoSpec().steps()
    train = [step for step in steps if step.stamp[:7] <= "0008-06"]
    validation = [step for step in steps if "0008-07" <= step.stamp[:7] <= "0009-01"]
    assert (len(train) * 384, len(validation) * 384) == (55_680, 13_440)
    assert len(train) + len(validation) == len(steps) <= 200
    days = np.array([step.days for step in steps])
    assert np.diff(days).min() >= 1
    assert len(np.unique(np.diff(days))) > 100  # irregular
    hours = np.array([step.day_fraction for step in steps])
    assert np.histogram(hours, bins=6, range=(0, 1))[0].min() > 10


@pytest.mark.parametrize(
    "wrong",
    [{"columns": 0}, {"columns": 385}, {"months": 0}, {"steps_per_month": 11}, {"first_month": "6-2"}, {"seed": -1}],
)
def test_impossible_specifications_are_refused(wrong):
    with pytest.raises(DataError, match=str(next(iter(wrong.values())))):
        DemoSpec(**wrong)


# --- Cache ----------------------------------------------------------------------------------------------------------


def test_a_finished_data_set_is_not_touched(folder):
    times = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    assert generate(folder.parent, SMALL, progress=False) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == times


def test_a_killed_run_leaves_nothing_that_counts(tmp_path, folder):
    code = (
        "import sys; from pathlib import Path; from datamodules.leap.demo import *\n"
        f"generate(Path(sys.argv[1]), DemoSpec(**{dict(vars(SMALL)) | {'months': 30}!r}), progress=False)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], start_new_session=True)
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.rglob("*.mlo.*.nc")) and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.01)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    spec = DemoSpec(**dict(vars(SMALL)) | {"months": 30})
    assert not (tmp_path / spec.name).exists()
    (partial,) = tmp_path.glob("*.partial")
    victim = next(partial.rglob("*.nc"))
    victim.write_bytes(victim.read_bytes()[:1000])  # as a power cut would leave it
    made = generate(tmp_path, spec, progress=False)
    assert not partial.exists()
    assert len(find_pairs(made)) == 60
    for pair in find_pairs(made):
        read_pair(pair, SMALL.columns)


def test_two_processes_at_once_make_one_data_set(tmp_path):
    context = multiprocessing.get_context("spawn")
    spec = DemoSpec(months=1, steps_per_month=2, columns=4)
    with context.Pool(2) as pool:
        folders = pool.starmap(generate, [(tmp_path, spec, False)] * 2)
    assert folders[0] == folders[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [spec.name, f"{spec.name}.lock"]


def test_a_foreign_folder_is_not_overwritten(tmp_path):
    spec = DemoSpec(months=1, steps_per_month=1, columns=2)
    (tmp_path / spec.name).mkdir()
    (tmp_path / spec.name / "mine.txt").write_text("keep")
    with pytest.raises(DataError, match=spec.name):
        generate(tmp_path, spec, progress=False)
    assert (tmp_path / spec.name / "mine.txt").exists()


# --- Pieces ---------------------------------------------------------------------------------------------------------


def test_level_noise_is_standard_normal_and_smooth():
    fields = smooth_levels(np.random.default_rng(0), 4000, 6.0)
    assert abs(fields.mean()) < 0.05
    assert fields.std(axis=0) == pytest.approx(np.ones(60), abs=0.06)
    assert np.corrcoef(fields[:, 30], fields[:, 31])[0, 1] == pytest.approx(np.exp(-0.5 / 36), abs=0.01)


def test_ridge_lies_far_below_the_ceiling(wide):
    """What a linear map of the column finds leaves a net 0.2 of R2 to find."""
    rows = [read_pair(pair, 192) for pair in find_pairs(wide)]
    inputs = np.concatenate([np.concatenate([r.profiles.reshape(192, -1), r.scalars], axis=1) for r in rows])
    outputs = np.concatenate([r.targets for r in rows])
    train = np.arange(len(inputs)) % (4 * 192) < 3 * 192
    spread = inputs[train].std(axis=0)
    x = (inputs - inputs[train].mean(axis=0)) / np.where(spread > 0, spread, np.inf)
    weight = outputs[train].std(axis=0)
    y = (outputs - outputs[train].mean(axis=0)) / np.where(weight > 0, weight, np.inf)
    gram = x[train].T @ x[train] + 0.3 * train.sum() * np.eye(x.shape[1])
    predicted = x[~train] @ np.linalg.solve(gram, x[train].T @ y[train])
    residual, total = ((predicted - y[~train]) ** 2).sum(axis=0), (y[~train] ** 2).sum(axis=0)
    learnable = total > 0
    score = 1 - residual[learnable] / total[learnable]
    ceiling = np.mean([read_info(wide)["ceiling"][name] for name in ("t", "u", "v")])
    assert 0.0 < np.clip(score, -1, 1).mean() < ceiling - 0.2


# --- Competition files ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def competition(folder, tmp_path_factory):
    return write_kaggle_files(folder, tmp_path_factory.mktemp("kaggle"), 3, 40, seed=1, columns=SMALL.columns)


def table(path):
    read = pyarrow.csv.read_csv(path)
    names = read.column_names
    assert names[0] == "sample_id"
    return names[1:], read["sample_id"].to_pylist(), np.stack([read[name].to_numpy() for name in names[1:]], axis=1)


def test_train_table_holds_the_raw_rows_bit_for_bit(folder, competition):
    names, ids, values = table(competition / "train.csv")
    assert names == [*schema.CSV_INPUT_NAMES, *schema.TARGET_NAMES]
    assert ids == [f"train_{i}" for i in range(3 * SMALL.columns)]
    rows = [read_pair(pair, SMALL.columns) for pair in find_pairs(folder)[:3]]
    inputs = np.concatenate([np.concatenate([r.profiles.reshape(len(r.scalars), -1), r.scalars], axis=1) for r in rows])
    np.testing.assert_array_equal(values[:, :556][:, schema.CSV_TO_MODEL], inputs)
    np.testing.assert_array_equal(values[:, 556:], np.concatenate([r.targets for r in rows]))
    assert ((values > 0) & (values < 1e-45)).any()  # text keeps what float32 cannot


def test_test_table_solution_and_weights_belong_together(folder, competition):
    names, ids, inputs = table(competition / "test.csv")
    assert names == schema.CSV_INPUT_NAMES
    assert sorted(ids) == sorted(f"test_{i}" for i in range(40))
    assert ids != [f"test_{i}" for i in range(40)]
    target_names, solution_ids, solution = table(competition / "solution.csv")
    assert (target_names, solution_ids) == (schema.TARGET_NAMES, ids)

    later = [read_pair(pair, SMALL.columns) for pair in find_pairs(folder)[3:]]
    temperature = np.concatenate([rows.profiles[:, 0] for rows in later])
    row = np.array([np.flatnonzero((temperature == values[:60]).all(axis=1)).item() for values in inputs])
    np.testing.assert_array_equal(solution, np.concatenate([rows.targets for rows in later])[row])

    live = ~schema.zero_weight_mask()
    new_names, new_ids, new = table(competition / "sample_submission.csv")
    assert (new_names, new_ids) == (schema.TARGET_NAMES, ids)
    np.testing.assert_array_equal(new, np.tile(live.astype(float), (40, 1)))
    _, _, train = table(competition / "train.csv")
    _, old_ids, old = table(competition / "sample_submission_old.csv")
    assert old_ids == ids
    std = np.maximum(train[:, 556:].std(axis=0, ddof=1), 1e-15)
    np.testing.assert_allclose(old[0], np.where(live, 1 / std, 0), rtol=1e-9)
    assert (old == old[0]).all()


def test_too_few_steps_for_the_tables_are_refused(folder, tmp_path):
    with pytest.raises(DataError, match="6 time steps"):
        write_kaggle_files(folder, tmp_path, train_steps=6, columns=SMALL.columns)
    with pytest.raises(DataError, match="5000"):
        write_kaggle_files(folder, tmp_path, train_steps=3, test_rows=5000, columns=SMALL.columns)


def test_command_writes_both_forms(tmp_path, capsys):
    demo_main(tmp_path, kaggle=True, months=2, steps_per_month=2, columns=4, train_steps=2, test_rows=6, processes=1)
    (folder,) = (path for path in tmp_path.iterdir() if path.is_dir())
    assert {path.name for path in (folder / "kaggle").iterdir()} == {
        "train.csv",
        "test.csv",
        "sample_submission.csv",
        "sample_submission_old.csv",
        "solution.csv",
    }
    assert str(folder) in capsys.readouterr().out
    assert json.loads((folder / "demo.json").read_text())["rows"] == 16
