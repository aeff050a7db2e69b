import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import netCDF4
import numpy as np
import pyarrow.csv
import pyarrow.parquet
import pytest

from datamodules.errors import DataError
from datamodules.leap.__main__ import main
from datamodules.leap.calendar import stamp_to_step, step_to_stamp
from datamodules.leap.convert import (
    KaggleSource,
    RawSource,
    convert,
    convert_part,
    describe,
    describe_bad_rows,
    open_source,
    raw_row_ids,
    row_names,
    store_name,
)
from datamodules.leap.raw import find_pairs, read_pair
from datamodules.leap.schema import EXPANDED_PROFILES, UNITS
from datamodules.stores.build import build_part, build_store
from datamodules.stores.store import Store
from tests.datamodules.leap.raw_files import CSV_NAMES, csv_rows, write_csv, write_pair

COLUMNS = 6
STAMPS = [
    f"0008-{month}-{day}-{second}"
    for month in ("01", "02", "03")
    for day in ("05", "28")
    for second in ("00000", "85200")
]
REAL_DATA = os.environ.get("PODIUM_REAL_DATA")


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """Twelve pairs of small files in three months."""
    folder = tmp_path_factory.mktemp("raw")
    for stamp in STAMPS:
        write_pair(folder / "train", stamp, COLUMNS)
    return folder


def raw_store(raw, destination, processes=1, **options):
    return convert(raw, destination, columns=COLUMNS, processes=processes, progress=False, **options)


def expected(raw, stamps=STAMPS):
    pairs = {pair.stamp: pair for pair in find_pairs(raw)}
    rows = [read_pair(pairs[stamp], COLUMNS) for stamp in stamps]
    return [np.concatenate(parts) for parts in zip(*rows, strict=True)]


def stamps_of(store):
    return [step_to_stamp(step) for step in np.unique(store.arrays["step"])]


# --- Raw files ----------------------------------------------------------------------------------------------------


def test_a_store_of_raw_files_holds_their_rows(raw, tmp_path):
    store = raw_store(raw, tmp_path)
    arrays, (profiles, scalars, targets) = store.arrays, expected(raw)
    np.testing.assert_array_equal(arrays["profiles"], profiles)
    np.testing.assert_array_equal(arrays["scalars"], scalars)
    np.testing.assert_array_equal(arrays["targets"], targets)
    np.testing.assert_array_equal(arrays["step"], np.repeat([stamp_to_step(s) for s in STAMPS], COLUMNS))
    np.testing.assert_array_equal(arrays["column"], np.tile(np.arange(COLUMNS), len(STAMPS)))
    assert not arrays["bad"].any()
    assert arrays["row_id"][COLUMNS + 2] == 80105_85200_00002
    assert len(np.unique(arrays["row_id"])) == store.rows
    assert {name: str(array.dtype) for name, array in arrays.items()} == {
        **dict.fromkeys(("profiles", "scalars", "targets"), "float64"),
        "step": "int64",
        "column": "int32",
        "row_id": "int64",
        "bad": "bool",
    }


def test_the_manifest_tells_what_is_in_the_store(raw, tmp_path):
    store = raw_store(raw, tmp_path)
    info = store.info
    assert info["months"] == dict.fromkeys(("0008-01", "0008-02", "0008-03"), 4 * COLUMNS)
    assert info["grid_columns"] == COLUMNS
    assert info["row_id_kind"] == "raw"
    assert info["bad_rows"] == {"count": 0, "first": None}
    assert {name: unit for group in info["variable_units"].values() for name, unit in group.items()} == UNITS
    assert describe_bad_rows(store) == ""
    assert "72 rows\n3 months, 0008-01 to 0008-03" in describe(store)


def test_rows_have_names(raw, tmp_path):
    store = raw_store(raw, tmp_path)
    assert row_names(store, np.array([0, COLUMNS + 5])).tolist() == ["0008-01-05-00000_000", "0008-01-05-85200_005"]
    assert row_names(store, slice(2, 3)).tolist() == ["0008-01-05-00000_002"]
    mask = np.zeros(store.rows, bool)
    assert row_names(store, mask).shape == (0,)


def test_row_ids_of_the_high_resolution_grid_do_not_collide():
    step = np.array([stamp_to_step("9999-12-31-85200"), stamp_to_step("0001-01-01-00000")])
    assert raw_row_ids(step, np.array([21_599, 0])).tolist() == [9999_12_31_85200_21599, 1_01_01_00000_00000]


def test_processes_do_not_change_the_store(raw, tmp_path):
    stores = [
        build_store(RawSource(raw, COLUMNS, files_per_unit=5), tmp_path / str(n), n, progress=False) for n in (1, 2)
    ]
    assert stores[0].hash == stores[1].hash
    assert stores[0].manifest.units[0].name == "0008-01-05-00000..0008-02-05-00000"
    np.testing.assert_array_equal(stores[1].arrays["profiles"], expected(raw)[0])


@pytest.mark.parametrize(
    ("options", "stamps"),
    [
        ({"months": "0008-02"}, STAMPS[4:8]),
        ({"months": "0008-01,0008-03"}, STAMPS[:4] + STAMPS[8:]),
        ({"months": "0001-02:0008-02"}, STAMPS[:8]),
        ({"stride": 5}, STAMPS[::5]),
        ({"drop_last_file": True}, STAMPS[:-1]),
        ({"stride": 11, "drop_last_file": True}, STAMPS[0:-1:11]),
        ({"months": "0008-02:0008-03", "stride": 3, "drop_last_file": True}, STAMPS[4:][0:-1:3]),
    ],
)
def test_choosing_files(raw, tmp_path, options, stamps):
    store = raw_store(raw, tmp_path, **options)
    assert stamps_of(store) == list(stamps)
    np.testing.assert_array_equal(store.arrays["targets"], expected(raw, stamps)[2])


def test_float32_is_rounded_last(raw, tmp_path):
    store = raw_store(raw, tmp_path, dtype="float32")
    for name, values in zip(("profiles", "scalars", "targets"), expected(raw), strict=True):
        assert store.arrays[name].dtype == np.float32
        np.testing.assert_array_equal(store.arrays[name], values.astype(np.float32))


def test_each_choice_and_each_change_of_a_file_has_its_store(tmp_path):
    for stamp in STAMPS[:3]:
        write_pair(tmp_path / "raw", stamp, COLUMNS)

    def name(**options):
        return store_name(RawSource(tmp_path / "raw", COLUMNS, **options))

    names = [name(), name(stride=2), name(dtype="float32"), name(drop_last_file=True)]
    assert names[0] == name(months="0008-01")  # the same files
    os.utime(find_pairs(tmp_path / "raw")[1].mlo, (0, 0))
    names.append(name())
    write_pair(tmp_path / "raw", STAMPS[3], COLUMNS)
    names.append(name())
    assert len(set(names)) == len(names)
    (tmp_path / "raw").rename(tmp_path / "moved")
    assert store_name(RawSource(tmp_path / "moved", COLUMNS)) == names[-1]


def test_the_second_conversion_reads_no_file(raw, tmp_path, monkeypatch):
    first = raw_store(raw, tmp_path)
    monkeypatch.setattr("datamodules.leap.convert.read_pair", None)
    assert raw_store(raw, tmp_path).hash == first.hash


def test_killed_half_way_it_goes_on_and_ends_byte_for_byte_the_same(tmp_path):
    for i in range(40):
        write_pair(tmp_path / "raw", step_to_stamp(stamp_to_step(STAMPS[0]) + i), COLUMNS)
    code = (
        "import sys, time; from datamodules.leap import convert; from datamodules.stores.build import build_store\n"
        "read = convert.read_pair\n"
        "convert.read_pair = lambda *a: time.sleep(0.02) or read(*a)\n"
        f"source = convert.RawSource({str(tmp_path / 'raw')!r}, {COLUMNS}, files_per_unit=4)\n"
        f"build_store(source, {str(tmp_path / 'store')!r}, 1, False)"
    )
    builder = subprocess.Popen([sys.executable, "-c", code], cwd=Path(__file__).parents[3])
    journal = tmp_path / "store.partial" / "journal.jsonl"
    end = time.monotonic() + 60
    while not (journal.exists() and journal.read_text().count("\n") >= 3):
        assert time.monotonic() < end
        time.sleep(0.01)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert not (tmp_path / "store").exists()
    source = RawSource(tmp_path / "raw", COLUMNS, files_per_unit=4)
    read, units = source.read, []
    source.read = lambda unit: units.append(unit.name) or read(unit)
    build_store(source, tmp_path / "store", 1, progress=False).verify()
    assert 0 < len(units) <= 7
    whole = build_store(RawSource(tmp_path / "raw", COLUMNS, files_per_unit=4), tmp_path / "whole", 1, progress=False)
    for path in whole.directory.glob("*.npy"):
        assert path.read_bytes() == (tmp_path / "store" / path.name).read_bytes()
    assert Store.open(tmp_path / "store").hash == whole.hash


# --- In parts -----------------------------------------------------------------------------------------------------


def command(raw, dest, part):
    arguments = [str(raw), "--dest", str(dest), "--columns", str(COLUMNS), "--processes", "1", "--part", part]
    return subprocess.Popen(
        [sys.executable, "-m", "datamodules.leap", "convert", *arguments],
        cwd=Path(__file__).parents[3],
        stdout=subprocess.PIPE,
        text=True,
    )


def test_four_parts_at_once_one_killed_and_given_again_give_the_bytes_of_one(tmp_path):
    for i in range(240):
        write_pair(tmp_path / "raw", step_to_stamp(stamp_to_step(STAMPS[0]) + i), COLUMNS)
    whole = raw_store(tmp_path / "raw", tmp_path / "whole")
    parts = [command(tmp_path / "raw", tmp_path / "parts", f"{k}/4") for k in (1, 2, 3, 4)]
    parts[2].send_signal(signal.SIGKILL)
    said = [part.communicate(timeout=120)[0] for part in parts]
    assert [part.returncode for part in parts] == [0, 0, -signal.SIGKILL, 0]
    assert "part 1/4 is done; the store in" in said[0]
    assert not list((tmp_path / "parts").glob("climsim-raw-????????????"))
    assert len(list((tmp_path / "parts").glob("files-*.parquet"))) == 1
    again = command(tmp_path / "raw", tmp_path / "parts", "3/4")
    assert "1,440 rows" in again.communicate(timeout=120)[0]
    store = Store.open(next((tmp_path / "parts").glob("climsim-raw-????????????")))
    store.verify()
    assert (store.hash, store.directory.name) == (whole.hash, whole.directory.name)
    for path in whole.directory.glob("*.npy"):
        assert path.read_bytes() == (store.directory / path.name).read_bytes()
    assert not list((tmp_path / "parts").glob("files-*.parquet"))


def test_the_files_are_listed_once_for_all_parts(raw, tmp_path, monkeypatch):
    options = {"columns": COLUMNS, "processes": 1, "progress": False}
    assert convert_part(raw, tmp_path, (1, 2), **options) is None
    monkeypatch.setattr("datamodules.leap.convert.find_pairs", None)
    whole = convert_part(raw, tmp_path, (2, 2), **options)
    monkeypatch.undo()
    assert whole.hash == raw_store(raw, tmp_path / "whole").hash


def test_a_file_that_changed_since_it_was_listed_is_refused(tmp_path):
    for stamp in STAMPS:
        write_pair(tmp_path / "raw", stamp, COLUMNS)
    options = {"columns": COLUMNS, "processes": 1, "progress": False}
    source = RawSource(tmp_path / "raw", COLUMNS, files_per_unit=4, listing=tmp_path / "files.parquet")
    build_part(source, tmp_path / "store", 1, 2, 1, progress=False)
    os.utime(find_pairs(tmp_path / "raw")[9].mlo, (0, 0))
    source = RawSource(tmp_path / "raw", COLUMNS, files_per_unit=4, listing=tmp_path / "files.parquet")
    with pytest.raises(DataError, match=rf"{STAMPS[9]}.*changed since the files were listed"):
        build_part(source, tmp_path / "store", 2, 2, 1, progress=False)
    (tmp_path / "files.parquet").write_bytes(b"half")
    with pytest.raises(DataError, match=r"files\.parquet cannot be read .* delete it"):
        RawSource(tmp_path / "raw", COLUMNS, listing=tmp_path / "files.parquet")
    assert convert_part(tmp_path / "raw", tmp_path, (1, 1), **options).rows == 72


def test_a_table_is_converted_in_parts_too(tmp_path):
    path = write_csv(tmp_path / "train.csv", np.random.default_rng(0).normal(size=(40, 924)))
    whole = build_store(KaggleSource(path, unit_bytes=100_000), tmp_path / "whole", 1, progress=False)
    source = KaggleSource(path, unit_bytes=100_000)
    assert len(source.units()) > 3
    stores = [build_part(source, tmp_path / "store", k, 3, 1, progress=False) for k in (2, 3, 1)]
    assert stores[2].hash == whole.hash


def test_the_plan_tells_what_the_conversion_will_do(raw, tmp_path, capsys):
    main(["plan", str(raw), "--dest", str(tmp_path), "--columns", str(COLUMNS), "--parts", "3", "--processes", "2"])
    said = capsys.readouterr().out
    store = raw_store(raw, tmp_path / "stores")
    size = sum(path.stat().st_size for path in raw.rglob("*.nc"))
    assert re.search(rf"files   24 of {size / 1e3:.0f} kB, 12 time steps, {STAMPS[0]} to {STAMPS[-1]}", said)
    assert f"rows    72 of {sum(spec.row_bytes for spec in store.specs.values()):,} bytes" in said
    assert re.search(r"rate    [\d,]+ rows/s and process, measured on 12 time steps", said)
    assert "with 2 processes in each of 3 parts" in said
    assert [path.suffix for path in tmp_path.glob("files-*")].count(".parquet") == 1
    assert not list(tmp_path.glob(".plan-*"))


@pytest.mark.parametrize(("part", "message"), [("x", "K/N"), ("0/3", "parts 1/3 to 3/3"), ("4/3", "parts 1/3 to 3/3")])
def test_a_part_that_there_is_not_is_refused(raw, tmp_path, part, message, capsys):
    with pytest.raises(SystemExit):
        main(["convert", str(raw), "--dest", str(tmp_path), "--columns", str(COLUMNS), "--part", part])
    assert message in capsys.readouterr().err


# --- Bad rows and bad files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "poke", "variable"),
    [
        ("mli", {("state_v", (59, 3)): np.nan}, "state_v_59"),
        ("mli", {("cam_in_SNOWHLAND", (3,)): np.inf}, "cam_in_SNOWHLAND"),
        ("mlo", {("state_q0003", (7, 3)): -np.inf}, "ptend_q0003_7"),
        ("mlo", {("cam_out_SOLLD", (3,)): np.nan}, "cam_out_SOLLD"),
    ],
)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_bad_rows_are_kept_marked_and_the_first_is_named(tmp_path, kind, poke, variable, dtype):
    write_pair(tmp_path / "raw", STAMPS[0], COLUMNS)
    write_pair(tmp_path / "raw", STAMPS[1], COLUMNS, kind=kind, poke=poke)
    write_pair(tmp_path / "raw", STAMPS[2], COLUMNS, kind=kind, poke=poke)
    store = raw_store(tmp_path / "raw", tmp_path, dtype=dtype)
    assert np.flatnonzero(store.arrays["bad"]).tolist() == [COLUMNS + 3, 2 * COLUMNS + 3]
    assert re.fullmatch(
        rf"2 of 18 rows hold a NaN or an infinity, the first in .*E3SM-MMF\.mli\.{STAMPS[1]}\.nc, grid column 3, "
        rf"variable {variable}",
        describe_bad_rows(store),
    )


def test_snow_on_ice_of_1e30_is_no_bad_row(tmp_path):
    """It is in the real files, but not among the competition's inputs."""
    write_pair(tmp_path / "raw", STAMPS[0], COLUMNS, poke={("cam_in_SNOWHICE", (1,)): np.inf})
    assert not raw_store(tmp_path / "raw", tmp_path).arrays["bad"].any()


@pytest.mark.parametrize("processes", [1, 2])
def test_a_damaged_file_is_named_and_mending_it_goes_on(tmp_path, processes):
    pairs = [write_pair(tmp_path / "raw", stamp, COLUMNS) for stamp in STAMPS]
    whole = Path(pairs[7].mlo).read_bytes()
    os.truncate(pairs[7].mlo, 5000)
    os.utime(pairs[7].mlo, (0, 0))
    source = RawSource(tmp_path / "raw", COLUMNS, files_per_unit=3)
    with pytest.raises(DataError, match=rf"unit '{STAMPS[6]}\.\.{STAMPS[8]}': .*mlo\.{STAMPS[7]}\.nc is truncated"):
        build_store(source, tmp_path / "store", processes, progress=False)
    assert not (tmp_path / "store").exists()
    Path(pairs[7].mlo).write_bytes(whole)
    build_store(RawSource(tmp_path / "raw", COLUMNS, files_per_unit=3), tmp_path / "store", 1, progress=False).verify()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"months": "0009-02:0009-05"}, "no file of the months 0009-02:0009-05 .* files from 0008-01 to 0008-03"),
        ({"months": "0008-02:0008-01"}, "runs backwards"),
        ({"stride": 0}, "stride is 0, it must be 1 or more"),
        ({"dtype": "float16"}, "float64 or float32, not float16"),
    ],
)
def test_bad_options(raw, tmp_path, options, message):
    with pytest.raises(DataError, match=message):
        raw_store(raw, tmp_path, **options)


def test_dropping_the_only_file_is_refused(tmp_path):
    write_pair(tmp_path, STAMPS[0], COLUMNS)
    with pytest.raises(DataError, match="leaves none"):
        RawSource(tmp_path, COLUMNS, drop_last_file=True)


# --- Tables -------------------------------------------------------------------------------------------------------


def test_the_same_rows_from_raw_files_csv_and_parquet_are_equal(raw, tmp_path):
    from_raw = raw_store(raw, tmp_path / "stores")
    values = np.concatenate([csv_rows(read_pair(pair, COLUMNS)) for pair in find_pairs(raw)])
    path = write_csv(tmp_path / "train.csv", values)
    table = pyarrow.csv.read_csv(path)
    pyarrow.parquet.write_table(table, tmp_path / "train.parquet", row_group_size=17)
    for file in (path, tmp_path / "train.parquet"):
        store = build_store(KaggleSource(file, unit_bytes=200_000), tmp_path / f"{file.name}.store", 2, progress=False)
        for name in ("profiles", "scalars", "targets"):
            np.testing.assert_array_equal(store.arrays[name], from_raw.arrays[name])
        assert row_names(store, np.array([0, 71])).tolist() == ["train_0", "train_71"]


def test_the_number_of_a_train_row_tells_its_step_and_grid_column(tmp_path):
    path = write_csv(tmp_path / "train.csv", np.ones((3, 924)), first=10_091_517)
    store = convert(path, tmp_path, processes=1, progress=False)
    assert store.arrays["column"].tolist() == [381, 382, 383]
    assert row_names(store, slice(None)).tolist() == ["train_10091517", "train_10091518", "train_10091519"]
    assert stamps_of(store) == [step_to_stamp(31 * 72 + 7 * 26_279)]
    assert stamps_of(store)[0].startswith("0008-01-31-")  # the end of the competition's training period
    assert store.info["months"] == {"0008-01": 3}


def test_a_test_table_has_neither_targets_nor_time(tmp_path):
    path = write_csv(tmp_path / "test.csv", np.ones((3, 556)), first=5, prefix="test_", names=CSV_NAMES[:557])
    store = convert(path, tmp_path, processes=1, progress=False)
    assert "targets" not in store.arrays
    assert "targets" not in store.info["variable_units"]
    assert store.arrays["step"].tolist() == store.arrays["column"].tolist() == [-1] * 3
    assert store.info["months"] == {}
    assert row_names(store, slice(None)).tolist() == ["test_5", "test_6", "test_7"]


def test_a_bad_row_of_a_table_is_named(tmp_path):
    values = np.ones((3, 924))
    values[1, 360] = np.nan
    store = convert(write_csv(tmp_path / "train.csv", values), tmp_path, processes=1, progress=False)
    assert store.arrays["bad"].tolist() == [False, True, False]
    assert describe_bad_rows(store).endswith("train.csv (data row 1), grid column 1, variable state_ps")


def test_a_repeated_sample_id_is_refused(tmp_path):
    path = write_csv(tmp_path / "train.csv", np.ones((3, 924)))
    path.write_text(path.read_text().replace("train_2", "train_0"))
    with pytest.raises(DataError, match=r"train\.csv: sample_id 'train_0' stands in it more than once"):
        convert(path, tmp_path, processes=1, progress=False)


# --- Other variables and grids, inputs alone --------------------------------------------------------------------------


def test_the_grid_of_the_first_file_is_taken(tmp_path):
    for stamp in STAMPS[:2]:
        write_pair(tmp_path / "raw", stamp, columns=17)
    store = convert(tmp_path / "raw", tmp_path, columns=0, processes=1, progress=False)
    assert store.info["grid_columns"] == 17
    assert store.arrays["column"].tolist() == [*range(17)] * 2
    write_pair(tmp_path / "raw", STAMPS[2], columns=18)
    with pytest.raises(DataError, match=r"has 18 grid columns, expected 17"):
        convert(tmp_path / "raw", tmp_path, columns=0, processes=1, progress=False)


LATITUDES = np.linspace(-80, 80, COLUMNS)


@pytest.fixture
def expanded(tmp_path):
    """Files of the expanded set, by its own names."""
    for stamp in STAMPS[:2]:
        pair = write_pair(tmp_path / "expanded", stamp, COLUMNS, more=(*EXPANDED_PROFILES,))
        with netCDF4.Dataset(pair.mli, "a") as file:
            file.createVariable("lat", "f8", ("ncol",))[...] = LATITUDES
            file["cam_in_SNOWHICE"][1] = 1e30  # no ice
        Path(pair.mli).rename(pair.mli.replace(".mli.", ".ml2steploc."))
    return tmp_path / "expanded"


def test_a_variable_set_keeps_more_of_the_files(expanded, tmp_path):
    store = convert(expanded, tmp_path, COLUMNS, processes=1, progress=False, variables="v4")
    plain = convert(expanded, tmp_path, COLUMNS, processes=1, progress=False)
    assert store.hash != plain.hash
    assert "more_profiles" not in plain.arrays
    for name in ("profiles", "scalars", "targets"):
        np.testing.assert_array_equal(store.arrays[name], plain.arrays[name])
    assert list(store.info["more_profiles"]) == list(EXPANDED_PROFILES)
    assert store.info["more_profiles"]["tm_state_t_dyn"] == "K/s"
    assert store.info["more_scalars"] == {"cam_in_SNOWHICE": "m", "clat": "1", "slat": "1"}
    for i, pair in enumerate(find_pairs(expanded)):
        with netCDF4.Dataset(pair.mli) as file:
            rows = slice(i * COLUMNS, (i + 1) * COLUMNS)
            for k, name in enumerate(EXPANDED_PROFILES):
                np.testing.assert_array_equal(store.arrays["more_profiles"][rows, k].T, file.variables[name][...])
            snow = file.variables["cam_in_SNOWHICE"][...]
            snow[1] = 0.0
            np.testing.assert_array_equal(store.arrays["more_scalars"][rows, 0], snow)
            places = np.stack([np.cos(np.deg2rad(LATITUDES)), np.sin(np.deg2rad(LATITUDES))], axis=1)
            np.testing.assert_allclose(store.arrays["more_scalars"][rows, 1:], places)
    store.verify()


def test_a_variable_that_the_files_lack_is_named_with_where_it_stands(raw, tmp_path):
    with pytest.raises(DataError, match=r"has no variable 'state_t_dyn'.*ClimSim_low-res-expanded"):
        raw_store(raw, tmp_path, variables="v4")
    with pytest.raises(
        DataError, match=r"there is no variable set 'v5', only kaggle, v2, v2_pmid, v2_rh_mc, v3, v4, v6"
    ):
        raw_store(raw, tmp_path, variables="v5")
    np.testing.assert_array_equal(raw_store(raw, tmp_path, variables="v2").arrays["scalars"], expected(raw)[1])


def inputs(place):
    source = open_source(place, columns=0, targets=False)
    blocks = [block for unit in source.units() for block in map(dict, source.read(unit))]
    assert all("targets" not in block for block in blocks)
    return source, np.concatenate([block["profiles"].copy() for block in blocks[-1:]])


def test_inputs_alone_are_read_from_a_folder_a_file_or_a_pattern(tmp_path):
    pairs = [write_pair(tmp_path / "raw", stamp, 9) for stamp in STAMPS]
    wanted = [read_pair(pair, 9).profiles for pair in pairs]
    for pair in pairs:
        Path(pair.mlo).unlink()
    assert len(inputs(tmp_path / "raw")[0].pairs) == 12
    source, profiles = inputs(tmp_path / "raw" / "*" / "*.mli.0008-02-*.nc")
    assert [pair.stamp for pair in source.pairs] == STAMPS[4:8]
    np.testing.assert_array_equal(profiles, wanted[7])
    source, profiles = inputs(Path(pairs[3].mli))
    np.testing.assert_array_equal(profiles, wanted[3])
    alone = tmp_path / "my step.nc"
    Path(pairs[5].mli).rename(alone)
    source, profiles = inputs(alone)
    assert source.pairs[0].stamp == STAMPS[5]
    assert source.columns == 9
    np.testing.assert_array_equal(profiles, wanted[5])


def test_inputs_that_are_not_there_are_named(raw, tmp_path):
    with pytest.raises(DataError, match="names no ClimSim file of inputs"):
        inputs(tmp_path / "*.mli.*.nc")
    with pytest.raises(DataError, match="names no ClimSim file of inputs"):
        inputs(tmp_path)
    with pytest.raises(DataError, match="holds the state after the physics"):
        inputs(Path(find_pairs(raw)[0].mlo))


# --- What is there decides ----------------------------------------------------------------------------------------


def test_the_source_follows_from_what_is_there(raw, tmp_path):
    path = write_csv(tmp_path / "train.csv", np.ones((1, 924)))
    assert isinstance(open_source(raw, COLUMNS), RawSource)
    assert isinstance(open_source(path), KaggleSource)
    assert open_source(tmp_path).table.path == path
    with pytest.raises(DataError, match="no such file or folder"):
        open_source(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"train\.csv is a table: months, stride"):
        open_source(path, stride=7)


def test_the_command_converts(raw, tmp_path, capsys):
    arguments = ["convert", str(raw), "--dest", str(tmp_path), "--columns", str(COLUMNS), "--processes", "1"]
    main([*arguments, "--months", "0008-02", "--verify", "--store_dtype", "float32"])
    assert re.search(r"climsim-raw-[0-9a-f]{12}: 24 rows\n1 months, 0008-02 to 0008-02", capsys.readouterr().out)
    with pytest.raises(SystemExit, match="1"):
        main([*arguments, "--months", "0009-01"])
    assert "error: no file of the months 0009-01" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*arguments, "--strid", "2"])
    assert "--strid" in capsys.readouterr().err


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA, reason="PODIUM_REAL_DATA is not set")
def test_the_real_files_convert(tmp_path):
    store = convert(Path(REAL_DATA) / "leap" / "climsim_low_res", tmp_path, processes=2, progress=False)
    assert store.rows == 47 * 384
    assert list(store.info["months"]) == [f"0008-{month:02d}" for month in range(1, 13)]
    assert not store.arrays["bad"].any()
    temperature = store.arrays["profiles"][:, 0]
    assert 140 < temperature.min() < temperature.max() < 345
    q2 = store.arrays["profiles"][:, 2, 12:27]
    trick = store.arrays["targets"][:, 132:147]
    np.testing.assert_allclose(trick, -q2 / 1200, rtol=1e-12)  # one step removes all cloud liquid of these levels
    store.verify()
