from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.mars.features import read_run

GOOD = "time,mass,intensity\n0.5,18.01,7\n0.5,44.2,3\n0.6,18,9\n"


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "S0001.csv"
    path.write_text(text)
    return path


@pytest.mark.parametrize("text", [GOOD, GOOD.replace("\n", "\r\n"), GOOD.rstrip("\n")], ids=["lf", "crlf", "no end"])
def test_a_run_is_read_as_it_stands(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    run = read_run(path, hashlib.md5(path.read_bytes()).hexdigest())
    np.testing.assert_array_equal(run.time, [0.5, 0.5, 0.6])
    np.testing.assert_array_equal(run.mass, [18.01, 44.2, 18.0])
    np.testing.assert_array_equal(run.intensity, [7, 3, 9])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "S0001.csv is empty"),
        ("time,mass,intensity\n", "S0001.csv is empty: it has a header but no row"),
        (
            "time,temp,m/z,abundance\n1,2,3,4\n",
            "first competition .*; python -m datamodules.mars convert turns it into time,mass,intensity",
        ),
        ("time,mass,intensity\n1,18,5\n1,19,6\n", r"has one scan only \(time 1\); a run needs at least two"),
        ("time,mass,intensity\n1,18,5\n2,18,-4000\n", "row 3: intensity -4000 is negative far beyond the largest, 5"),
        ("time,mass,intensity\n1,18,5\n2,18,\n", "row 3: intensity is absent or not finite .*on_nan zero"),
        ("time,mass,intensity\n1,18,5\n2,18,nan\n", "row 3: intensity is absent or not finite"),
        ("time,mass,intensity\n1,18,5\nnan,18,4\n", "row 3: time is absent or not finite"),
        ("time,mass,intensity\n1,inf,5\n2,18,4\n", "row 2: mass is absent or not finite"),
        ("time,mass,intensity\n2,18,5\n1,18,4\n3,1,1\n", "row 3: time 1 comes after 2; rows must be sorted by time"),
        ("time,mass,intensity\n1,18,5\n2,18,many\n", "column 'intensity', row 3: not a number: 'many'"),
        ("time,mass,intensity\n1,18,5\n2,18\n", "row 3: Expected 3 columns, got 2"),
        ("time,mass,intensity\n1,18,0\n2,18,0\n", "no intensity is above zero"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence) as error:
        read_run(write(tmp_path, text))
    assert "S0001.csv" in str(error.value)


def test_a_missing_file_and_another_md5_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"S0009.csv does not exist, but metadata.csv names it"):
        read_run(tmp_path / "S0009.csv")
    with pytest.raises(DataError, match=r"has md5 [0-9a-f]{32}, metadata.csv says 0123; the file was changed or cut"):
        read_run(write(tmp_path, GOOD), md5="0123")


def test_baseline_noise_and_nan_can_be_allowed(tmp_path: Path) -> None:
    noisy = write(tmp_path, "time,mass,intensity\n1,18,1e-7\n2,18,-1e-12\n")
    assert read_run(noisy).intensity[1] == -1e-12
    with pytest.raises(DataError, match="negative"):
        read_run(noisy, negative_tolerance=0)
    gap = write(tmp_path, "time,mass,intensity\n1,18,5\n2,18,\n")
    np.testing.assert_array_equal(read_run(gap, on_nan="zero").intensity, [5, 0])
