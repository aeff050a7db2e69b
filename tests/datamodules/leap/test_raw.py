import os
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.leap import cdf5
from datamodules.leap.netcdf import read_variables
from datamodules.leap.raw import Rows, find_pairs, read_inputs, read_pair
from datamodules.leap.schema import FLUXES, PROFILES, SCALARS, TARGET_GROUPS, TENDENCIES
from tests.datamodules.leap.raw_files import CDF5, write_pair

STAMP = "0008-02-10-42000"
REAL_DATA = os.environ.get("PODIUM_REAL_DATA")


def reference(pair):
    """The rows by the netCDF library, variable by variable."""
    with netCDF4.Dataset(pair.mli) as before, netCDF4.Dataset(pair.mlo) as after:
        b = {name: np.asarray(v[...]) for name, v in before.variables.items()}
        a = {name: np.asarray(v[...]) for name, v in after.variables.items()}
    profiles = np.stack([b[name] for name in PROFILES]).transpose(2, 0, 1)
    scalars = np.stack([b[name] for name in SCALARS], axis=1)
    states = [name.replace("ptend", "state") for name in TENDENCIES]
    tendencies = np.concatenate([((a[name] - b[name]) / 1200).T for name in states], axis=1)
    return profiles, scalars, np.concatenate([tendencies, np.stack([a[name] for name in FLUXES], axis=1)], axis=1)


# --- Finding ------------------------------------------------------------------------------------------------------


def test_pairs_are_found_at_any_depth_in_time_order(tmp_path):
    stamps = ["0008-02-10-42000", "0001-12-31-85200", "0008-02-10-01200"]
    for stamp, folder in zip(stamps, ("deep/train", "other", "deep/train"), strict=True):
        write_pair(tmp_path / folder, stamp)
    (tmp_path / "deep" / "notes.nc").write_text("something else")
    (tmp_path / "deep" / "E3SM-MMF.mli.0008-02-10-02400.nc.incomplete").write_text("half of it")
    assert [pair.stamp for pair in find_pairs(tmp_path)] == sorted(stamps)
    assert [pair.step for pair in find_pairs(tmp_path)][1:] == [(7 * 365 + 40) * 72 + 1, (7 * 365 + 40) * 72 + 35]


def test_no_files(tmp_path):
    with pytest.raises(DataError, match=r"no ClimSim file \(E3SM-MMF.mli.YYYY-MM-DD-SSSSS.nc\) below"):
        find_pairs(tmp_path)
    with pytest.raises(DataError, match=r"no such folder: .*nowhere"):
        find_pairs(tmp_path / "nowhere")


@pytest.mark.parametrize(("missing", "left"), [("mlo", "mli"), ("mli", "mlo")])
def test_a_file_without_its_partner_is_named(tmp_path, missing, left):
    for stamp in (STAMP, "0008-02-10-43200", "0008-02-10-44400"):
        pair = write_pair(tmp_path, stamp)
        if stamp != STAMP:
            Path(getattr(pair, missing)).unlink()
    with pytest.raises(DataError, match=rf"{left}.0008-02-10-43200.nc has no .{missing} file \(and 1 more"):
        find_pairs(tmp_path)


def test_a_stamp_found_twice_is_named(tmp_path):
    write_pair(tmp_path / "a", STAMP)
    write_pair(tmp_path / "b", STAMP)
    with pytest.raises(DataError, match=f"two ml[io] files of {STAMP}"):
        find_pairs(tmp_path)


def test_a_name_off_the_calendar_is_named(tmp_path):
    for kind in ("mli", "mlo"):
        (tmp_path / f"E3SM-MMF.{kind}.0008-02-29-00000.nc").write_text("")
    with pytest.raises(DataError, match=r"E3SM-MMF.mli.0008-02-29-00000.nc: .* not a day of the NO_LEAP calendar"):
        find_pairs(tmp_path)


# --- Reading ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file_format", [CDF5, "NETCDF3_64BIT_OFFSET", "NETCDF3_CLASSIC", "NETCDF4", "NETCDF4_CLASSIC"])
@pytest.mark.parametrize("kind", ["mli", "mlo"])
def test_every_netcdf_format_gives_what_the_library_reads(tmp_path, file_format, kind):
    pair = write_pair(tmp_path, STAMP, columns=7, kind=kind, file_format=file_format)
    rows = read_pair(pair, columns=7)
    for values, expected in zip(rows, reference(pair), strict=True):
        assert values.dtype == np.float64
        assert values.dtype.isnative
        np.testing.assert_array_equal(values, expected)
    for values, expected in zip(read_inputs(pair.mli, 7), rows[:2], strict=True):
        np.testing.assert_array_equal(values, expected)


def test_tendencies_are_differences_over_1200_seconds(tmp_path):
    before, after = {("state_t", (59, 2)): 280.0}, {("state_t", (59, 2)): 280.6}
    write_pair(tmp_path, STAMP, poke=before)
    pair = write_pair(tmp_path, STAMP, poke=before)
    with netCDF4.Dataset(pair.mlo, "a") as file:
        file["state_t"][59, 2] = after["state_t", (59, 2)]
    rows = read_pair(pair, columns=6)
    assert rows.profiles[2, PROFILES.index("state_t"), 59] == 280.0
    assert rows.targets[2, TARGET_GROUPS["t"]][59] == (280.6 - 280.0) / 1200


def pack(path, file_format, dtype="i2", fill=True, **attributes):
    """The file again with ``state_t`` packed into integers, one value in it missing where ``fill``."""
    with netCDF4.Dataset(path) as old:
        variables = {name: (v.dtype, v.dimensions, np.asarray(v[...])) for name, v in old.variables.items()}
        sizes = {name: len(d) for name, d in old.dimensions.items()}
    with netCDF4.Dataset(path, "w", format=file_format) as new:
        for name, size in sizes.items():
            new.createDimension(name, size)
        for name, (kind, dimensions, values) in variables.items():
            packed = name == "state_t"
            made = new.createVariable(
                name, dtype if packed else kind, dimensions, fill_value=-99 if packed and fill else None
            )
            made.set_auto_maskandscale(False)
            if packed:
                for attribute, value in attributes.items():
                    made.setncattr(attribute, value)
                values = np.rint((values - 200) / 0.01).astype(dtype)
                values[3, 1] = -99
                values[4, 2] = -7
            made[...] = values


@pytest.mark.parametrize("file_format", [CDF5, "NETCDF3_CLASSIC", "NETCDF4"])
@pytest.mark.parametrize(
    ("fill", "attributes"),
    [
        (True, {"scale_factor": 0.01, "add_offset": 200.0}),
        (False, {"scale_factor": 0.01}),
        (False, {"add_offset": np.float32(200)}),
        (True, {}),
        (False, {"scale_factor": 0.01, "add_offset": 200.0, "missing_value": np.int16(-7)}),
        (True, {"scale_factor": 0.01, "add_offset": 200.0, "_Unsigned": "false"}),
    ],
)
def test_packed_variables_are_what_xarray_reads(tmp_path, file_format, fill, attributes):
    xarray = pytest.importorskip("xarray")
    pair = write_pair(tmp_path, STAMP)
    pack(pair.mli, file_format, fill=fill, **attributes)
    profiles, _ = read_inputs(pair.mli, 6)
    with xarray.open_dataset(pair.mli) as data:
        expected = data["state_t"].values
    np.testing.assert_allclose(profiles[:, 0].T, expected, rtol=1e-6)
    missing = int(fill) + ("missing_value" in attributes)
    assert np.isnan(expected).sum() == np.isnan(profiles).sum() >= missing
    assert np.isnan(read_pair(pair, 6).targets).sum() == np.isnan(expected).sum()


def test_unsigned_bytes_are_what_xarray_reads(tmp_path):
    xarray = pytest.importorskip("xarray")
    for file_format in ("NETCDF3_CLASSIC", "NETCDF4"):
        path = tmp_path / f"{file_format}.nc"
        with netCDF4.Dataset(path, "w", format=file_format) as file:
            file.createDimension("ncol", 4)
            made = file.createVariable("lat", "i1", ("ncol",))
            made.set_auto_maskandscale(False)
            made.setncatts({"_Unsigned": "true", "scale_factor": 0.5})
            made[...] = np.array([-1, 0, 1, -128], "i1")
        with xarray.open_dataset(path) as data:
            np.testing.assert_array_equal(read_variables(path, ["lat"])["lat"], data["lat"].values)


def test_memory_can_be_used_again(tmp_path):
    first, second = (write_pair(tmp_path, stamp) for stamp in (STAMP, "0008-02-10-43200"))
    memory = Rows.empty(6)
    read_pair(first, 6, memory)
    rows = read_pair(second, 6, memory)
    assert all(values is mine for values, mine in zip(rows, memory, strict=True))
    np.testing.assert_array_equal(rows.targets, read_pair(second, 6).targets)


def test_the_library_is_not_needed_for_cdf5(tmp_path, monkeypatch):
    pair = write_pair(tmp_path, STAMP)
    monkeypatch.setattr(netCDF4, "Dataset", None)
    read_pair(pair, 6)


def test_a_record_dimension_is_left_to_the_library(tmp_path):
    path = tmp_path / "records.nc"
    with netCDF4.Dataset(path, "w", format=CDF5) as file:
        file.createDimension("time", None)
        file.createVariable("x", "f8", ("time",))[:] = np.arange(3.0)
    with pytest.raises(cdf5.UnsupportedError, match="'x' uses a record dimension"):
        cdf5.read(path)


def test_the_header_parser_knows_every_type(tmp_path):
    path, types = tmp_path / "types.nc", ["i1", "i2", "i4", "f4", "f8", "u1", "u2", "u4", "i8", "u8"]
    with netCDF4.Dataset(path, "w", format=CDF5) as file:
        file.createDimension("n", 3)
        file.setncattr("odd", "12345")
        for kind in types:
            variable = file.createVariable(kind, kind, ("n",))
            variable.setncattr("numbers", np.array([1, 2, 3], kind))
            variable[:] = np.array([1, 2, 3])
    content, variables = cdf5.read(path)
    assert list(variables) == types
    for kind in types:
        values = cdf5.values(content, variables[kind])
        assert values.dtype.newbyteorder("=") == np.dtype(kind)
        np.testing.assert_array_equal(values, [1, 2, 3])


# --- Bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["mli", "mlo"])
@pytest.mark.parametrize(
    ("tamper", "message"),
    [
        ({"drop": ("state_q0002",)}, "no variable 'state_q0002'$"),
        ({"rename": {"state_u": "state_U"}}, "no variable 'state_u': the nearest name in it is 'state_U'"),
        ({"rename": {"state_q0002": "q0002"}}, "no variable 'state_q0002': the nearest name in it is 'q0002'"),
        ({"levels": 72}, "has 72 levels, expected 60"),
        ({"clock": "0008-02-10-43200"}, "holds the time 0008-02-10-43200 .* its name says 0008-02-10-42000"),
        ({"drop": ("state_t",), "file_format": "NETCDF4"}, "no variable 'state_t'"),
    ],
)
def test_a_bad_file_is_named(tmp_path, kind, tamper, message):
    pair = write_pair(tmp_path, STAMP, kind=kind, **tamper)
    with pytest.raises(DataError, match=rf"E3SM-MMF\.{kind}\.0008-02-10-42000\.nc.*{message}"):
        read_pair(pair, columns=6)


def test_another_grid_size_is_named(tmp_path):
    pair = write_pair(tmp_path, STAMP, columns=6)
    with pytest.raises(DataError, match="has 6 grid columns, expected 384: is this another grid"):
        read_pair(pair)


def test_a_profile_lying_the_other_way_is_named(tmp_path):
    pair = write_pair(tmp_path, STAMP, columns=6)
    with netCDF4.Dataset(pair.mli, "r") as old, netCDF4.Dataset(tmp_path / "turned.nc", "w", format=CDF5) as new:
        for name, size in (("lev", 60), ("ncol", 6)):
            new.createDimension(name, size)
        for name, variable in old.variables.items():
            dimensions = variable.dimensions[::-1]
            new.createVariable(name, variable.dtype, dimensions)[...] = variable[...].T
    with pytest.raises(DataError, match=r"'state_t' has shape \(6, 60\), expected \(60, 6\)"):
        read_inputs(tmp_path / "turned.nc", 6)


@pytest.mark.parametrize("file_format", [CDF5, "NETCDF4"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_named(tmp_path, file_format, share):
    pair = write_pair(tmp_path, STAMP, file_format=file_format)
    os.truncate(pair.mli, int(Path(pair.mli).stat().st_size * share))
    with pytest.raises(DataError, match=r"mli\.0008-02-10-42000\.nc is (truncated|not a netCDF file).*fetch it again"):
        read_pair(pair, columns=6)


def test_a_file_of_something_else_is_named(tmp_path):
    pair = write_pair(tmp_path, STAMP)
    Path(pair.mlo).write_text("<html>404 not found</html>")
    with pytest.raises(DataError, match=r"mlo\.0008-02-10-42000\.nc is not a netCDF file"):
        read_pair(pair, columns=6)


def test_a_file_that_vanished_is_named(tmp_path):
    pair = write_pair(tmp_path, STAMP)
    Path(pair.mlo).unlink()
    with pytest.raises(DataError, match=r"cannot read .*mlo.*: No such file"):
        read_pair(pair, columns=6)


@pytest.mark.real_data
@pytest.mark.skipif(not REAL_DATA, reason="PODIUM_REAL_DATA is not set")
def test_the_real_files_give_what_the_library_reads():
    pairs = find_pairs(Path(REAL_DATA) / "leap" / "climsim_low_res")
    assert len(pairs) == 47
    for pair in pairs:
        for values, expected in zip(read_pair(pair), reference(pair), strict=True):
            assert np.isfinite(values).all()
            np.testing.assert_array_equal(values, expected)
