"""Tables of GC-MS data sets as people have them: read to the plain files' values, or refused by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.mars.features import read_run
from datamodules.mars.render import image_of, rendered
from datamodules.mars.rendering import Rendering
from datamodules.mars.tables import Samples, read_labels, read_metadata
from tests.datamodules.mars.files import write_data_set
from tests.files.odd_tables import ODD, READ, REFUSED, write_odd

TABLES = ("metadata", "train_labels")
SMALL = Rendering(m_bins=32, t_bins=16)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = write_data_set(tmp_path / "data", train=6, val=2, test=1)
    for name in ("train_labels.csv", "val_labels.csv"):  # an umlaut in a class, for the encodings
        (folder / name).write_text((folder / name).read_text().replace("acid", "Säure"), encoding="utf-8")
    metadata = folder / "metadata.csv"
    metadata.write_text(metadata.read_text().replace("S0003", "Sü003"), encoding="utf-8")
    labels = folder / "train_labels.csv"
    labels.write_text(labels.read_text(encoding="utf-8").replace("S0003", "Sü003"), encoding="utf-8")
    (folder / "train_features" / "S0003.csv").rename(folder / "train_features" / "Sü003.csv")
    return folder


def change(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text(encoding="utf-8").replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("name", READ)
def test_tables_are_read_to_the_same_samples_and_labels(name: str, folder: Path) -> None:
    plain = read_metadata(folder)
    labels = read_labels(plain)
    assert labels.classes[0] == "Säure"
    for table in TABLES:
        write_odd(name, folder / f"{table}.csv")
    samples = read_metadata(folder)
    for field in ("ids", "splits", "derivatized", "paths", "md5"):
        np.testing.assert_array_equal(getattr(samples, field), getattr(plain, field))
    again = read_labels(samples)
    assert again.classes == labels.classes
    np.testing.assert_array_equal(again.values, labels.values)


@pytest.mark.parametrize("name", [name for name in READ if not ODD[name].suffix])
def test_runs_are_read_to_the_same_image(name: str, folder: Path) -> None:
    path = folder / "train_features" / "S0001.csv"
    image = image_of(path, SMALL)
    assert image.max() == 1
    path = write_odd(name, path)
    np.testing.assert_array_equal(image_of(path, SMALL, hashlib.md5(path.read_bytes()).hexdigest().upper()), image)


@pytest.mark.parametrize("name", REFUSED)
def test_broken_files_are_named(name: str, folder: Path) -> None:
    run = write_odd(name, folder / "train_features" / "S0001.csv")
    if name != "last_column_twice":  # the column that is not needed would stand more than once
        with pytest.raises(DataError, match=ODD[name].refused):
            read_run(run)
    write_odd(name, folder / "train_labels.csv")
    with pytest.raises(DataError, match=ODD[name].refused) as caught:
        read_labels(read_metadata(folder))
    assert "train_labels.csv" in str(caught.value)


@pytest.mark.parametrize(
    ("edit", "field", "expected"),
    [
        (lambda t: t.replace("train_features/S0001", "train_features\\S0001"), "paths", "train_features/S0001.csv"),
        (lambda t: "\n".join(line[:-32] + line[-32:].upper() for line in t.splitlines()), "md5", None),
        (lambda t: t.replace("S0001,train,,", "S0001,Train,1.0,"), "splits", "train"),
        (lambda t: t.replace("S0001,train,,", "S0001,train,NaN,"), "derivatized", -1),
        (lambda t: t.replace("S0001,train,,", "S0001,train,TRUE,"), "derivatized", 1),
        (lambda t: t.replace("sample_id,split", "Sample_ID,SPLIT"), "ids", "S0001"),
    ],
)
def test_cells_of_windows_and_spreadsheets(
    edit: Callable[[str], str], field: str, expected: object, folder: Path
) -> None:
    plain = read_metadata(folder)
    path = folder / "metadata.csv"
    path.write_text(edit(path.read_text(encoding="utf-8")), encoding="utf-8")
    samples: Samples = read_metadata(folder)
    assert getattr(samples, field)[1] == (getattr(plain, field)[1] if expected is None else expected)
    rendered(samples, SMALL, folder.parent / "cache", processes=1)


def test_a_baseline_around_zero_is_read_and_a_changed_sign_is_not(tmp_path: Path) -> None:
    """A labelled evolved-gas run has minimum -1.8e-10 and maximum 1.1e-10."""
    noise = tmp_path / "noise.csv"
    rows = [f"{t}.5,{m},{(1.1 if (t + m) % 2 else -1.8) * 1e-10}" for t in range(4) for m in range(10, 20)]
    noise.write_text("time,mass,intensity\n" + "\n".join(rows) + "\n")
    image = image_of(noise, SMALL)
    assert image.min() == 0
    assert image.max() == 1
    sign = tmp_path / "sign.csv"
    sign.write_text("time,mass,intensity\n1,18,-5e6\n2,18,-3e6\n3,18,12\n")
    with pytest.raises(DataError, match=r"sign.csv, row 2: intensity -5e\+06 is negative far beyond the largest, 12"):
        read_run(sign)
    sign.write_text("time,mass,intensity\n1,18,-5e6\n2,18,0\n")
    with pytest.raises(DataError, match="no intensity is above zero"):
        read_run(sign)


@pytest.mark.parametrize("processes", [1, 2])
def test_all_unusable_files_are_listed_at_once_and_leave_no_cache(folder: Path, processes: int) -> None:
    samples = read_metadata(folder)
    for name in ("S0001", "S0004"):
        path = folder / "train_features" / f"{name}.csv"
        path.write_text(path.read_text() + "0.1,18,5\n")
    with pytest.raises(DataError) as caught:
        rendered(samples, SMALL, folder.parent / "cache", processes=processes)
    first, *others = str(caught.value).splitlines()
    assert first == "2 of 9 feature files cannot be used:"
    assert ["S0001.csv has md5" in others[0], "S0004.csv has md5" in others[1]] == [True, True]
    with pytest.raises(DataError, match=r"S0001.csv, row 582: time 0.1 comes after"):
        rendered(samples.take(np.array([0, 1])), SMALL, folder.parent / "cache", check_md5=False, processes=processes)
    assert not [path for path in (folder.parent / "cache").iterdir() if path.is_dir()]
    for path in folder.glob("train_features/S000[14].csv"):
        path.unlink()
    with pytest.raises(DataError, match=r"S0001.csv does not exist.* \(2 such files, the last .*S0004.csv\)"):
        rendered(samples, SMALL, folder.parent / "cache", processes=processes)
