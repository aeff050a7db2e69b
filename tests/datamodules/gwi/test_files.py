from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.gwi.files import check_values, find_files, open_test_gathers
from datamodules.gwi.shards import ShardKey, write_shard

MAPS = np.full((2, 1, 70, 70), 2000, np.float32)
GATHERS = np.zeros((2, 5, 1000, 70), np.float32)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, array)
    return path


def test_finds_every_layout(tmp_path: Path) -> None:
    save(tmp_path / "CurveVel_A/model/model1.npy", MAPS)
    save(tmp_path / "CurveVel_A/data/data1.npy", GATHERS)
    save(tmp_path / "FlatFault_B/vel6_1_0.npy", MAPS)
    save(tmp_path / "FlatFault_B/seis6_1_0.npy", GATHERS)
    save(tmp_path / "real/flatvel-a/vmodel12.npy", MAPS[:, 0])
    write_shard(
        tmp_path, ShardKey("Style_A", 0, 0, 1, 0.0, "compact"), MAPS[:1, 0], GATHERS[:1, :, :288].astype(np.float16)
    )
    files = find_files(tmp_path)
    assert [(f.family, f.name, f.rows, f.gathers is not None) for f in files] == [
        ("CurveVel_A", "model1", 2, True),
        ("FlatFault_B", "vel6_1_0", 2, True),
        ("FlatVel_A", "vmodel12", 2, False),
        ("Style_A", "shard-s0-00000000", 1, True),
    ]
    assert files[0].maps().shape == (2, 70, 70)
    assert files[3].recorded().dtype == np.float16
    for file in files:
        check_values(file)
    assert find_files(tmp_path / "CurveVel_A")[0].family == "CurveVel_A"


@pytest.mark.parametrize(
    ("name", "array", "says"),
    [
        ("CurveVel_A/model/model1.npy", MAPS[..., :60], r"model1\.npy has the shape \(2, 1, 70, 60\)"),
        ("CurveVel_A/model/model1.npy", MAPS.astype(np.float16), "holds float16; velocities are float32"),
        ("CurveVel_A/model/model1.npy", MAPS.astype(np.int32), "holds int32"),
        ("CurveVel_A/data/data1.npy", GATHERS, r"has no partner .*model1\.npy"),
        ("FlatFault_A/seis2_1_0.npy", GATHERS, r"has no partner .*vel2_1_0\.npy"),
        ("FlatVel_A/seismic/seismic1.npy", GATHERS, r"has no partner .*vmodel/vmodel1\.npy"),
        ("CurveVel_A/model/model1.npy", MAPS.astype(">f4"), r"holds >f4 \(big-endian\)"),
        ("CurveVel_A/model/model1.npy", np.array([MAPS[0], "x"], dtype=object), "holds Python objects"),
        ("FlatVale_A/model/model1.npy", MAPS, r"'FlatVale_A' is not a family of OpenFWI; did you mean FlatVel_A"),
    ],
)
def test_bad_files_are_refused_in_a_sentence(tmp_path: Path, name: str, array: np.ndarray, says: str) -> None:
    save(tmp_path / name, array)
    with pytest.raises(DataError, match=says):
        find_files(tmp_path)


@pytest.mark.parametrize(
    ("gathers", "says"),
    [
        (GATHERS[:1], "holds 1 gathers but its partner 2 maps"),
        (GATHERS.astype(np.float64), "holds float64"),
        (GATHERS[:, :, :999], r"gathers are \(maps, \*\(5, 1000, 70\)\)"),
        (GATHERS.astype(np.float16), r"float16 gathers are \(maps, \*\(5, 288, 70\)\)"),
    ],
)
def test_gathers_that_do_not_belong_are_refused(tmp_path: Path, gathers: np.ndarray, says: str) -> None:
    save(tmp_path / "FlatVel_A/model/model1.npy", MAPS)
    save(tmp_path / "FlatVel_A/data/data1.npy", gathers)
    with pytest.raises(DataError, match=says):
        find_files(tmp_path)


def test_what_is_no_npy_is_named_as_what_it_is(tmp_path: Path) -> None:
    path = save(tmp_path / "FlatVel_A/model/model1.npy", MAPS)
    path.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(DataError, match=r"model1\.npy is a Git-LFS pointer, not the file itself"):
        find_files(tmp_path)
    np.savez(path.with_suffix(""), maps=MAPS)
    path.with_suffix(".npz").rename(path)
    with pytest.raises(DataError, match=r"model1\.npy is an \.npz archive"):
        find_files(tmp_path)
    path.rename(path.with_suffix(".npz"))
    with pytest.raises(DataError, match=r"holds no maps; .*model1\.npz is an archive: save its arrays with np\.save"):
        find_files(tmp_path)


def test_seismic_and_vmodel_folders_are_a_pair(tmp_path: Path) -> None:
    save(tmp_path / "FlatVel_A/vmodel/vmodel3.npy", MAPS)
    gathers = save(tmp_path / "FlatVel_A/seismic/seismic3.npy", GATHERS)
    (file,) = find_files(tmp_path)
    assert (file.name, file.gathers) == ("vmodel3", gathers)


def test_two_files_of_one_family_and_name_are_both_named(tmp_path: Path) -> None:
    save(tmp_path / "a/FlatVel_A/model/model1.npy", MAPS)
    save(tmp_path / "b/flatvel-a/model1.npy", MAPS)
    with pytest.raises(
        DataError, match=r"a/FlatVel_A/model/model1\.npy and .*b/flatvel-a/model1\.npy are both model1 of FlatVel_A"
    ):
        find_files(tmp_path)


def test_kilometres_per_second_are_named(tmp_path: Path) -> None:
    save(tmp_path / "FlatVel_A/model/model1.npy", MAPS / 1000)
    with pytest.raises(DataError, match=r"map 0: velocity 2\.0 .*it seems to hold kilometres per second: multiply"):
        check_values(find_files(tmp_path)[0])


@pytest.mark.parametrize("value", [np.nan, 999.0, 6001.0, np.inf])
def test_values_that_are_no_velocities_are_named_with_their_map(tmp_path: Path, value: float) -> None:
    maps = MAPS.copy()
    maps[1, 0, 3, 4] = value
    save(tmp_path / "FlatVel_A/model/model1.npy", maps)
    with pytest.raises(DataError, match=rf"model1\.npy, map 1: velocity {value} is outside of 1,000 to 6,000 m/s"):
        check_values(find_files(tmp_path)[0])


def test_nan_in_gathers_is_named_with_its_map(tmp_path: Path) -> None:
    gathers = GATHERS.copy()
    gathers[1, 0, 3, 4] = np.nan
    save(tmp_path / "FlatVel_A/model/model1.npy", MAPS)
    save(tmp_path / "FlatVel_A/data/data1.npy", gathers)
    with pytest.raises(DataError, match=r"data1\.npy, map 1: NaN"):
        check_values(find_files(tmp_path)[0])


def test_truncated_and_empty_places(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no maps"):
        find_files(tmp_path)
    path = save(tmp_path / "FlatVel_A/model/model1.npy", MAPS)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="not a whole"):
        find_files(tmp_path)


def test_test_files_are_checked(tmp_path: Path) -> None:
    assert open_test_gathers(save(tmp_path / "000039dca2.npy", GATHERS[0])).shape == (5, 1000, 70)
    with pytest.raises(DataError, match="test files are float32"):
        open_test_gathers(save(tmp_path / "0000.npy", GATHERS))
