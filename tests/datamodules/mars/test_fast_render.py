from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.mars import render as rendering_module
from datamodules.mars.fast_render import render_file
from datamodules.mars.features import read_run
from datamodules.mars.render import image_of, render
from datamodules.mars.rendering import Rendering
from tests.datamodules.mars.test_render import MICRO, MICRO_IMAGE, MICRO_RENDERING

SMALL = Rendering(m_bins=40, t_bins=24)


@pytest.fixture(autouse=True)
def _wrapping_sums():
    """Without numba the kernels run as plain Python, whose words warn when they wrap."""
    with np.errstate(over="ignore"):
        yield


def write(path: Path, rows: list[str]) -> Path:
    path.write_text("time,mass,intensity\n" + "".join(row + "\n" for row in rows))
    return path


def random_rows(seed: int, scans: int = 9, masses: int = 12) -> list[str]:
    """Numbers of every length: times of one digit to ten, masses around halves, intensities of up to twelve digits."""
    random = np.random.default_rng(seed)
    rows = []
    for time in np.sort(np.round(random.uniform(0, 12, scans), int(random.integers(0, 7)))):
        text = f"{time:.6f}" if random.random() < 0.5 else f"{time:g}"
        for mass in np.sort(random.uniform(0, 50, masses)):
            mass = np.round(mass * 2) / 2 if random.random() < 0.4 else mass
            count = int(10 ** random.uniform(0, 12))
            rows.append(f"{text},{mass:.{random.integers(1, 7)}f},{count}")
    return rows


@pytest.mark.parametrize("seed", range(8))
def test_pixels_are_the_careful_readers_in_every_bit(tmp_path: Path, seed: int) -> None:
    path = write(tmp_path / "S1.csv", random_rows(seed))
    image = render_file(path, SMALL, hashlib.md5(path.read_bytes()).hexdigest())
    assert image is not None
    np.testing.assert_array_equal(image, render(read_run(path), SMALL))
    with_helium = Rendering(m_bins=40, t_bins=24, drop_helium=False, min_mass=3)
    np.testing.assert_array_equal(render_file(path, with_helium), render(read_run(path), with_helium))


def test_golden_micro_example(tmp_path: Path) -> None:
    path = write(tmp_path / "S1.csv", [f"{time:g},{mass:g},{count:.0f}" for time, mass, count in MICRO])
    np.testing.assert_array_equal(render_file(path, MICRO_RENDERING), MICRO_IMAGE)


GOOD = [f"{time},{mass}.25,{time * 100 + mass}" for time in (1, 2, 3) for mass in range(10, 20)]


@pytest.mark.parametrize(
    "strange",
    [
        "3,18.1,-5", "3,18.1,5.5", "3,18.1,1e6", "3,18.1,", "3,18.1,nan", "3,18.1", "3,18.1,5,6", "3,18.1,1234567890123456",
        "3,123456789.5,5", "3,1.12345678,5", "12345678,18,5", "2.5,18.1,5", "+3,18,5", " 3,18,5", "3,-18,5", ",18,5", '"3",18,5',
        "3,.5,4", "",
    ],
)  # fmt: skip
def test_what_is_out_of_the_ordinary_is_left_to_the_careful_reader(tmp_path: Path, strange: str) -> None:
    for place in (5, len(GOOD)):  # in the middle, and in the file's last bytes
        rows = [*GOOD[:place], strange, *GOOD[place:]]
        assert render_file(write(tmp_path / "S1.csv", rows), SMALL) is None
    assert render_file(write(tmp_path / "S1.csv", GOOD), SMALL) is not None


def test_files_that_cannot_be_rendered_are_left_to_the_careful_reader(tmp_path: Path) -> None:
    good = write(tmp_path / "S1.csv", GOOD)
    assert render_file(good, SMALL, md5="0123") is None
    assert render_file(write(tmp_path / "one.csv", GOOD[:10]), SMALL) is None
    assert render_file(write(tmp_path / "silent.csv", [f"{row.rpartition(',')[0]},0" for row in GOOD]), SMALL) is None
    assert render_file(write(tmp_path / "heavy.csv", [row.replace(",1", ",91", 1) for row in GOOD]), SMALL) is None
    for name, text in (
        ("crlf", good.read_text().replace("\n", "\r\n")),
        ("cut", good.read_text()[:-1]),
        ("header", good.read_text().replace("mass", "m/z")),
        ("short", "time,mass,intensity\n1,18,5\n"),
    ):
        path = tmp_path / f"{name}.csv"
        path.write_bytes(text.encode())
        assert render_file(path, SMALL) is None


def test_large_files_take_this_way_and_errors_keep_their_sentences(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []
    monkeypatch.setattr(rendering_module, "is_worth_it", lambda size: size > 500)
    monkeypatch.setattr(
        rendering_module, "render_file", lambda *given: tried.append(given[0].name) or render_file(*given)
    )
    image_of(write(tmp_path / "small.csv", GOOD[:20]), SMALL)
    image_of(write(tmp_path / "large.csv", GOOD * 1 + GOOD[-1:] * 30), SMALL)
    with pytest.raises(DataError, match=r"wrong.csv, row 32: intensity -5 is negative beyond baseline noise"):
        image_of(write(tmp_path / "wrong.csv", [*GOOD, "3,19,-5", *GOOD[-1:] * 30]), SMALL)
    assert tried == ["large.csv", "wrong.csv"]
