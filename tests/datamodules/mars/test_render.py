from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.errors import DataError
from datamodules.mars.features import Run, read_run
from datamodules.mars.render import render, rendered
from datamodules.mars.rendering import Rendering
from datamodules.mars.tables import read_metadata
from tests.datamodules.mars.files import write_data_set

# time, mass, intensity: half-to-even rounding on both axes, helium at 4.2 and 3.51, one mass out of range
MICRO = np.array(
    [
        (1.0, 0.4, 5), (1.0, 1.5, 7), (1.0, 2.5, 2), (1.0, 4.2, 999), (1.5, 3.49, 4), (1.5, 3.51, 1),
        (2.0, 5.0, 6), (2.5, 7.4, 3), (2.5, 7.6, 50), (3.0, 1.6, 8), (4.0, 6.0, 10), (4.0, 2.0, 1),
    ]
)  # fmt: skip
MICRO_RENDERING = Rendering(m_bins=8, t_bins=4)
MICRO_IMAGE = np.zeros((8, 4), dtype=np.float32)
MICRO_IMAGE[0, 0], MICRO_IMAGE[2], MICRO_IMAGE[3, 0] = 0.5, (0.9, 0, 0.8, 0.1), 0.4
MICRO_IMAGE[5, 1], MICRO_IMAGE[6, 3], MICRO_IMAGE[7, 2] = 0.6, 1.0, 0.3


def run_of(rows: np.ndarray) -> Run:
    return Run(*np.ascontiguousarray(rows.T))


def test_golden_micro_example() -> None:
    np.testing.assert_array_equal(render(run_of(MICRO), MICRO_RENDERING), MICRO_IMAGE)


def test_helium_and_small_masses_are_a_choice() -> None:
    with_helium = render(run_of(MICRO), Rendering(m_bins=8, t_bins=4, drop_helium=False))
    assert with_helium[4, 0] == 1.0
    np.testing.assert_allclose(with_helium[6, 3], 10 / 1000)
    assert (render(run_of(MICRO), Rendering(m_bins=8, t_bins=4, min_mass=3))[:3] == 0).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_agrees_with_a_group_by(seed: int) -> None:
    """Time is stretched per sample after the mass filter, in any units."""
    random = np.random.default_rng(seed)
    n = int(random.integers(20, 200))
    time = np.sort(random.integers(0, 30, n)) / 7.0
    time[0], time[-1] = -1.0, 40.0
    mass = random.uniform(0, 14, n)
    mass[[0, -1]] = (3.0, 20.0)  # the last scan falls to the filter
    rows = np.stack([time, mass, random.integers(1, 1000, n)], axis=1)
    frame = pd.DataFrame(rows, columns=["time", "mass", "intensity"])
    frame["mass"] = frame["mass"].round().astype(int)
    frame = frame[(frame["mass"] < 12) & (frame["mass"] != 4)]
    scaled = (frame["time"] - frame["time"].min()) / (frame["time"].max() - frame["time"].min())
    frame["column"] = (scaled * 8).round().astype(int)
    expected = np.zeros((12, 9))
    for (m, column), total in frame.groupby(["mass", "column"])["intensity"].sum().items():
        expected[m, column] = total
    image = render(run_of(rows), Rendering(m_bins=12, t_bins=9))
    np.testing.assert_allclose(image, expected / expected.max(), rtol=1e-6)
    moved = run_of(rows * (64.0, 1.0, 3.0))
    np.testing.assert_allclose(render(moved, Rendering(m_bins=12, t_bins=9)), image, rtol=1e-6)


def test_nothing_left_of_the_kept_masses_is_named() -> None:
    for rows in (MICRO[MICRO[:, 1] > 7.5], MICRO[:1]):
        with pytest.raises(DataError, match=r"S1.csv has fewer than two scans with masses from 0 to 7"):
            render(run_of(rows), MICRO_RENDERING, "S1.csv")
    silent = MICRO * (1, 1, 0)
    with pytest.raises(DataError, match="no intensity above zero at masses from 0 to 7"):
        render(run_of(silent), MICRO_RENDERING)


def test_images_are_cached_under_options_and_source(tmp_path: Path) -> None:
    samples = read_metadata(write_data_set(tmp_path / "data", train=4, val=0, test=0))
    small = Rendering(m_bins=32, t_bins=16)
    store = rendered(samples, small, tmp_path / "cache", processes=1)
    assert store.arrays["image"].shape == (4, 32, 16)
    for i, path in enumerate(samples.paths):
        expected = render(read_run(samples.data_dir / path), small)
        np.testing.assert_array_equal(store.arrays["image"][i], expected)
    assert rendered(samples, small, tmp_path / "cache", processes=1).directory == store.directory
    folders = {store.directory}
    for other in (Rendering(32, 17), Rendering(32, 16, min_mass=12), Rendering(32, 16, drop_helium=False)):
        folders.add(rendered(samples, other, tmp_path / "cache", processes=1).directory)
    first = samples.data_dir / samples.paths[0]
    os.utime(first, ns=(1, 1))
    folders.add(rendered(samples, small, tmp_path / "cache", processes=1).directory)
    assert len(folders) == 5
    assert rendered(samples, small, tmp_path / "other", processes=2).hash == store.hash


def test_a_changed_file_is_refused_unless_the_check_is_off(tmp_path: Path) -> None:
    samples = read_metadata(write_data_set(tmp_path / "data", train=3, val=0, test=0))
    path = samples.data_dir / samples.paths[1]
    path.write_text(path.read_text() + "9.0,18.0,5\n")
    with pytest.raises(DataError, match=r"S0001.csv has md5"):
        rendered(samples, MICRO_RENDERING, tmp_path / "cache", processes=1)
    assert not list((tmp_path / "cache").glob("mars-*/manifest.json"))
    assert len(rendered(samples, MICRO_RENDERING, tmp_path / "cache", check_md5=False, processes=1)) == 3
    path.unlink()
    with pytest.raises(DataError, match=r"S0001.csv does not exist, but metadata.csv names it for sample 'S0001'"):
        rendered(samples, MICRO_RENDERING, tmp_path / "cache", processes=1)


@pytest.mark.real_data
@pytest.mark.parametrize(("sample", "rows", "cells"), [("S0592", 54, 0.019), ("S0801", 117, 0.11)])
def test_real_images_come_back_from_a_table_of_their_pixels(
    real_data: Path, sample: str, rows: int, cells: float
) -> None:
    image = np.load(real_data / "mars" / "reconstructed_S0592_S0801_256x192.npz", allow_pickle=False)[sample]
    mass, column = np.nonzero(image)
    order = np.lexsort((mass, column))
    table = Run(7.0 + column[order] / 191 * 30.0, mass[order] + 0.3, image[mass, column][order] * 1e8)
    assert set(column) >= {0, 191}
    again = render(table, Rendering())
    np.testing.assert_allclose(again, image, rtol=1e-6)
    assert again.max() == 1.0
    assert (again[4] == 0).all()
    assert np.argmax(again.max(axis=1)) in (17, 18, 28, 32, 44)  # water or air
    assert (again.max(axis=1) > 1e-4).sum() == rows
    assert (again > 1e-4).mean() == pytest.approx(cells, rel=0.05)


@pytest.mark.real_data
def test_real_runs_render(real_data: Path, tmp_path: Path) -> None:
    samples = read_metadata(real_data / "mars" / "ega_as_gcms")
    store = rendered(samples, Rendering(), tmp_path, processes=1)
    images = store.arrays["image"]
    assert images.shape == (48, 256, 192)
    np.testing.assert_array_equal(images.max(axis=(1, 2)), 1.0)
    assert (images[:, 4] == 0).all()
    assert images.min() > -1e-3  # some have a baseline below zero
