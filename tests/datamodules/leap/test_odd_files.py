"""Tables of the LEAP competition as people have them: read to the plain file's numbers, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from datamodules.errors import DataError
from datamodules.leap import kaggle
from datamodules.leap.convert import KaggleSource, convert, row_names
from datamodules.leap.kaggle import csv_units, open_table, read_rows
from datamodules.leap.netcdf import read_variables
from datamodules.leap.raw import read_pair
from datamodules.leap.schema import TARGET_NAMES
from datamodules.leap.submission import SubmissionForm
from tests.datamodules.leap.raw_files import write_csv, write_pair
from tests.files.odd_tables import ODD, READ, REFUSED, write_odd

ROWS = 9
PREFIX = "träin_"  # for the encodings


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).normal(size=(ROWS, 924)).round(4)
    path: Path = write_csv(tmp_path / "train.csv", values, prefix=PREFIX)
    path.write_bytes(path.read_text().encode())
    return path


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    weights = np.arange(len(TARGET_NAMES)) % 7 / 4
    names = ["sample_id", *reversed(TARGET_NAMES)]
    path: Path = write_csv(tmp_path / "sample_submission.csv", np.tile(weights, (ROWS, 1)), prefix="tést_", names=names)
    return path


def numbers(path: Path, unit_bytes: int) -> list[npt.NDArray[np.float64]]:
    table = open_table(path)
    assert table.id_prefix == PREFIX
    blocks = [block for unit in csv_units(table, unit_bytes) for block in read_rows(table, unit)]
    return [
        np.concatenate([getattr(b, name) for b in blocks]) for name in ("numbers", "profiles", "scalars", "targets")
    ]


@pytest.mark.parametrize("name", READ)
def test_tables_are_read_to_the_same_rows(name: str, plain: Path) -> None:
    expected = numbers(plain, 1 << 30)
    assert expected[0].tolist() == list(range(ROWS))
    path = write_odd(name, plain)
    for unit_bytes in (20_000, 1 << 30):
        for values, wanted in zip(numbers(path, unit_bytes), expected, strict=True):
            np.testing.assert_array_equal(values, wanted)


@pytest.mark.parametrize("name", READ)
def test_sample_submissions_are_read_to_the_same_form(name: str, sample: Path) -> None:
    expected = SubmissionForm(sample)
    assert expected.ids is not None
    form = SubmissionForm(write_odd(name, sample))
    assert form.columns == expected.columns
    np.testing.assert_array_equal(form.weights, expected.weights)
    np.testing.assert_array_equal(form.ids, expected.ids)


@pytest.mark.parametrize("name", REFUSED)
def test_broken_tables_are_named(name: str, plain: Path, sample: Path) -> None:
    if name != "parquet":  # which is read, whatever its name
        path = write_odd(name, plain)
        with pytest.raises(DataError, match=ODD[name].refused):
            numbers(path, 1 << 30)
    with pytest.raises(DataError, match=ODD[name].refused) as caught:
        SubmissionForm(write_odd(name, sample))
    assert "sample_submission.csv" in str(caught.value)


@pytest.mark.parametrize("name", ["utf_16", "zip_of_one_table", "old_mac_line_ends", "nameless_index"])
def test_a_folder_with_an_odd_table_is_converted_to_the_same_store(name: str, plain: Path, tmp_path: Path) -> None:
    expected = convert(plain.parent, tmp_path / "stores", processes=2, progress=False)
    write_odd(name, plain)
    store = convert(plain.parent, tmp_path / "odd", processes=2, progress=False)
    assert store.rows == ROWS
    assert store.hash == expected.hash
    assert row_names(store, slice(0, 2)).tolist() == [f"{PREFIX}0", f"{PREFIX}1"]


def test_large_tables_that_cannot_be_shared_are_announced(
    plain: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(kaggle, "_LARGE", 0)
    open_table(plain)
    assert "one process" not in capsys.readouterr().err
    open_table(write_odd("utf_16", plain))
    assert "train.csv can only be read from its beginning, in one go and by one process" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["tabs", "gzip_under_a_csv_name", "utf_16", "old_mac_line_ends", "empty_lines_around"])
def test_bad_cells_of_odd_tables_are_named(name: str, plain: Path) -> None:
    lines = plain.read_text().splitlines()
    lines[6] = lines[6].rpartition(",")[0] + ",high"
    plain.write_text("\n".join(lines) + "\n")
    source = KaggleSource(write_odd(name, plain), unit_bytes=30_000)
    with pytest.raises(DataError, match=r"column 'cam_out_SOLLD', row 5: not a number: 'high'"):
        [block for unit in source.units() for block in source.read(unit)]


def test_samples_that_are_not_the_judges_are_named(sample: Path) -> None:
    text = sample.read_text()
    for old, new, says in (
        ("ptend_t_5,", "ptend_t_500,", r"has no column 'ptend_t_5' \(is 'ptend_t_500' meant\?\)"),
        ("sample_id,", "sample_id,lat,", "has the unknown column 'lat'"),
        ("tést_4", "tést_3", "sample_id 'tést_3' stands 2 times"),
        ("tést_0,0.0,", "tést_0,heavy,", "row 0, column 'cam_out_SOLLD': 'heavy' is no weight"),
        ("tést_0,0.0,", "tést_0,,", "row 0, column 'cam_out_SOLLD': '' is no weight"),
    ):
        sample.write_text(text.replace(old, new))
        with pytest.raises(DataError, match=says):
            SubmissionForm(sample)
    sample.write_text(text.splitlines()[0] + "\n")
    with pytest.raises(DataError, match=r"sample_submission\.csv has no rows"):
        SubmissionForm(sample)


def test_pointers_of_git_lfs_among_raw_files_are_named(tmp_path: Path) -> None:
    pair = write_pair(tmp_path, "0001-02-01-00000")
    for file in (pair.mlo, pair.mli):
        Path(file).write_bytes(ODD["git_lfs_pointer"].make(""))
        with pytest.raises(DataError, match=rf"{Path(file).name} {ODD['git_lfs_pointer'].refused}"):
            read_pair(pair, 6)
    with pytest.raises(DataError, match="is a Git-LFS pointer"):
        read_variables(pair.mli, ["state_t"])
    table = tmp_path / "train.parquet"
    table.write_bytes(ODD["git_lfs_pointer"].make(""))
    with pytest.raises(DataError, match=r"train\.parquet is a Git-LFS pointer"):
        open_table(table)
