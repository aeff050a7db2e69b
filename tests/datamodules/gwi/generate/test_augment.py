from __future__ import annotations

import numpy as np
import pytest

from datamodules.gwi.generate.augment import cut_mix, generate_augmented, shift, zoom, zoom_smooth
from datamodules.gwi.generate.families import generate_map

A = np.full((70, 70), 2000, np.float32)
B = np.full((70, 70), 3000, np.float32)


def test_cut_mix_lays_one_region_of_the_other_map_in() -> None:
    for i in range(50):
        mixed = cut_mix(A, B, np.random.default_rng(i))
        assert set(np.unique(mixed)) == {2000.0, 3000.0}
        assert mixed.dtype == np.float32


def test_zoom_invents_no_velocity_where_there_are_plateaus() -> None:
    velocity = generate_map("CurveVel_B", 0, 0)
    for i in range(20):
        assert set(np.unique(zoom(velocity, np.random.default_rng(i)))) <= set(np.unique(velocity))


def test_zoom_of_a_ramp_changes_its_slope_around_the_middle() -> None:
    ramp = np.tile(np.arange(70, dtype=np.float32)[:, None], (1, 70))
    factor = np.random.default_rng(0).uniform(0.7, 1.4)
    zoomed = zoom_smooth(ramp, np.random.default_rng(0))
    np.testing.assert_allclose(np.diff(zoomed[30:40, 3]), 1 / factor, rtol=1e-4)
    assert zoomed[34:36, 0].mean() == pytest.approx(34.5)


def test_shift_repeats_the_edge() -> None:
    velocity = generate_map("FlatFault_B", 0, 0)
    down, right = np.random.default_rng(1).integers(-20, 21, 2)
    moved = shift(velocity, np.random.default_rng(1))
    for row, column in ((25, 30), (40, 45)):
        assert moved[row, column] == velocity[row - down, column - right]
    assert np.array_equal(np.unique(moved), np.unique(moved[moved.astype(bool)]))


def test_augmented_maps_are_functions_of_their_arguments() -> None:
    assert np.array_equal(generate_augmented("FlatVel_A", 0, 1, 0.0), generate_map("FlatVel_A", 0, 1))
    changed = [
        not np.array_equal(generate_augmented("CurveFault_A", 0, i, 0.5), generate_map("CurveFault_A", 0, i))
        for i in range(60)
    ]
    assert 15 < sum(changed) < 45
    assert np.array_equal(generate_augmented("Style_B", 2, 9, 1.0), generate_augmented("style_b", 2, 9, 1.0))
