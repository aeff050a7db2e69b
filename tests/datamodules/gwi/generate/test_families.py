from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from datamodules.errors import DataError
from datamodules.gwi.archives import unpack_archives
from datamodules.gwi.files import find_files
from datamodules.gwi.generate.families import generate_map, generate_maps
from datamodules.gwi.generate.faults import Fault, Offset, draw, join, slip
from datamodules.gwi.generate.layers import both_halves, stick_breaking, vel_curve
from datamodules.gwi.generate.statistics import map_statistics
from datamodules.gwi.schema import FAMILIES


@pytest.mark.parametrize("family", FAMILIES)
def test_a_map_is_a_function_of_family_seed_and_index(family: str) -> None:
    maps = generate_maps(family, 3, range(20))
    assert maps.shape == (20, 70, 70)
    assert maps.dtype == np.float32
    assert maps.min() >= 1500
    assert maps.max() <= 4500
    assert np.array_equal(maps[7], generate_map(family.lower().replace("_", "-"), 3, 7))
    assert len(np.unique(maps.reshape(20, -1), axis=0)) == 20
    assert not np.array_equal(maps[0], generate_map(family, 4, 0))


@pytest.mark.parametrize("family", ["FlatVel_A", "FlatVel_B", "CurveVel_A", "CurveVel_B"])
def test_vel_maps_are_whole_numbers_in_three_to_eight_layers(family: str) -> None:
    maps = generate_maps(family, 0, range(60))
    assert np.array_equal(maps, np.round(maps))
    layers = [len(np.unique(velocity)) for velocity in maps]
    assert min(layers) >= 3
    assert max(layers) == 8
    rising = np.array([(np.diff(velocity, axis=0) >= 0).all() for velocity in maps])
    assert rising.all() if family.endswith("A") else rising.mean() < 0.3
    flat = (maps == maps[:, :, :1]).all()
    assert flat == family.startswith("Flat")


def test_curve_vel_shows_every_layer_and_its_interfaces_are_nearly_parallel() -> None:
    for velocity in generate_maps("CurveVel_A", 1, range(10)):
        layer = np.searchsorted(np.unique(velocity), velocity)
        depths = np.array([(layer >= k).argmax(0) for k in range(1, layer.max() + 1)])
        inside = ((layer.min(0) == 0) & (layer.max(0) == layer.max()))[None, :] & (depths > 0)
        usable = inside.all(0)
        if usable.sum() > 10:
            assert np.ptp(np.diff(depths[:, usable], axis=0), axis=1).max() <= 14  # a cell at a knot, more between


def test_curves_reach_as_far_as_real_ones() -> None:
    """Peak to peak of the curves of 5707 real CurveVel_A maps: 9, 14, 21, 30, 48 cells at 5, 25, 50, 75, 95 %."""
    rng = np.random.default_rng(0)
    ranges = np.quantile([np.ptp(vel_curve(rng)) for _ in range(2000)], [0.05, 0.25, 0.5, 0.75, 0.95])
    np.testing.assert_allclose(ranges, [9, 14, 21, 30, 48], rtol=0.25)


def test_four_layers_split_the_left_over_rows_as_real_maps_do() -> None:
    rng = np.random.default_rng(0)
    extra = np.array([np.diff([0, *stick_breaking(rng, 4), 70]) for _ in range(4000)]) - 15
    shares = np.bincount(extra.astype(int).ravel(), minlength=11) / extra.size
    np.testing.assert_allclose(
        shares, [0.336, 0.172, 0.117, 0.086, 0.067, 0.053, 0.045, 0.037, 0.033, 0.028, 0.026], atol=0.012
    )


@pytest.mark.parametrize("layers", [2, 3, 4])
def test_fault_a_velocities_fall_on_both_sides_of_3000(layers: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        velocities = both_halves(rng, layers)
        assert (np.diff(velocities) > 0).all()
        assert velocities[0] < 3000 <= velocities[-1]
        if layers == 4:
            assert velocities[1] < 3000 <= velocities[2]


def test_a_block_sinks_by_its_throw_and_leaves_ground_where_no_part_of_it_lies() -> None:
    """Two layers, the right one of a line that falls to the right stays; columns lean by six degrees, so depths shrink by the cosine."""
    ground = np.where(np.arange(70)[:, None] < 30, 2000.0, 4000.0).repeat(70, axis=1)
    made = draw(ground, (Fault((0, 0), (139, 139), throw=16),))

    def depth(column: int) -> float:
        return float((4000.0 - made[:, column]).sum() / 2000.0) - 0.5

    lean = np.cos(np.radians(6))
    assert depth(10) == pytest.approx((29.5 + 8) * lean, abs=0.02)
    assert depth(50) == pytest.approx(29.5 * lean, abs=0.02)
    assert depth(69) == pytest.approx(29.5, abs=0.02)  # beyond the leant edge
    assert depth(0) == pytest.approx(29.5, abs=0.05)  # the block slid away to the right


def test_an_interface_is_blurred_as_real_ones_are() -> None:
    ground = np.where(np.arange(70)[:, None] < 30, 2000.0, 3000.0).repeat(70, axis=1)
    np.testing.assert_allclose(draw(ground, ())[28:32, 5], [2000, 2053.49, 2946.51, 3000], atol=0.2)


def test_the_top_layer_of_a_sunk_block_is_seen_through_beside_the_fault() -> None:
    ground = np.where(np.arange(70)[:, None] < 20, 2000.0, 3000.0).repeat(70, axis=1)
    sunk = draw(ground, (Fault((0, 48), (139, 113), throw=16),))
    risen = draw(ground, (Fault((0, 48), (139, 113), throw=-16),))
    assert (np.abs(sunk - 2500) < 0.01).sum() > 30
    assert (np.abs(risen - 2500) < 0.01).sum() == 0
    np.testing.assert_allclose(
        draw(ground, (Fault((0, 48), (139, 113), 16, mirrored=True),)), sunk[:, ::-1], rtol=1e-12
    )


@pytest.mark.parametrize("throw", [-7, 9])
def test_ground_slips_by_whole_cells_and_nothing_is_left_over(throw: int) -> None:
    """What is left of the line shows the ground a throw above and its share aside; all other cells stay."""
    ground = np.random.default_rng(0).uniform(2000, 3000, (70, 70))
    made = slip(ground, (Offset(column=35, slope=1.0, throw=throw),))
    y, x = np.mgrid[20:50, 20:50]
    left = x < 35 + (y - 35)
    expected = np.where(left, ground[20 - throw : 50 - throw, 20 - throw : 50 - throw], ground[20:50, 20:50])
    np.testing.assert_array_equal(made[20:50, 20:50], expected)
    mirrored = slip(ground[:, ::-1], (Offset(35, 1.0, throw, mirrored=True),))
    np.testing.assert_array_equal(mirrored[:, ::-1], made)


def test_the_b_families_join_two_grounds_at_a_steep_line() -> None:
    for seed in range(20):
        made = join(np.zeros((70, 70)), np.ones((70, 70)), np.random.default_rng(seed))
        steps = np.abs(np.diff(made, axis=1)).sum(1)
        assert (steps[20:50] == 1).all()  # one line, which may leave the map above or below
        assert np.abs(np.diff(made, axis=0)).sum() < 70
    for name in ("FlatFault_B", "CurveFault_B"):
        for index in range(10):
            assert 7 <= len(np.unique(generate_map(name, 4, index, layers=6))) <= 12


_FITTED = {  # rows at which layers 2 to 4 begin, the line's ends as (row, column), throw, whether mirrored
    1: ((21, 38, 53), (0, 42), (139, 59), -12, False),
    7: ((16, 34, 55), (0, 18), (139, 100), -19, False),
    17: ((16, 31, 55), (0, 43), (139, 124), -15, True),
    22: ((24, 40, 55), (34, 0), (139, 59), 18, False),
    23: ((19, 37, 54), (67, 0), (89, 139), 17, False),
    35: ((15, 30, 45), (0, 103), (139, 40), -17, True),
    45: ((20, 37, 54), (6, 0), (139, 48), 19, True),
    47: ((15, 30, 55), (60, 0), (139, 51), 11, False),
    60: ((17, 34, 54), (0, 87), (139, 77), 15, True),
}


@pytest.mark.real_data
@pytest.mark.parametrize("index", _FITTED)
def test_real_maps_come_out_of_their_parameters(index: int, real_data: Path, tmp_path: Path) -> None:
    """Maps of file 11: four velocities, three whole depths, a line and a throw give all 4,900 cells to a hundredth of a m/s."""
    unpack_archives(real_data / "gwi", tmp_path, "*FlatFaultA_model11-12.zip")
    real = next(file for file in find_files(tmp_path) if file.name.endswith("11")).maps()[index]
    depths, start, end, throw, mirrored = _FITTED[index]
    velocities, cells = np.unique(real, return_counts=True)
    layers = velocities[(cells >= 60) & (velocities == np.round(velocities))]
    ground = layers[np.searchsorted(depths, np.arange(70), side="right")][:, None].repeat(70, axis=1).astype(float)
    made = draw(ground, (Fault(start, end, throw, mirrored),))
    np.testing.assert_allclose(made, real, atol=0.01, rtol=0)


def test_traces_along_faults_went_through_a_median() -> None:
    """Neighbours aslant are equal to the bit where both differ from their layer: about 21 times in a real map, and 3 in one without a median."""
    equal = []
    for made in generate_maps("FlatFault_A", 0, range(20), layers=4):
        velocities, cells = np.unique(made, return_counts=True)
        layers = velocities[cells >= 35]
        trace = np.abs(made[..., None] - layers).min(-1) > 0.05
        equal.append(((made[:-1, :-1] == made[1:, 1:]) & trace[:-1, :-1]).sum())
    assert 12 < np.mean(equal) < 30


def test_b_faults_have_more_layers_than_a() -> None:
    few, many = (map_statistics(generate_maps(f"FlatFault_{kind}", 0, range(30)))["layers"] for kind in "AB")
    assert few < 4.2
    assert many > 5


def test_layers_can_be_chosen_for_faults_only() -> None:
    assert map_statistics(generate_maps("FlatFault_A", 0, range(20), layers=2))["layers"] < 2.5
    with pytest.raises(DataError, match="layers of Style_A cannot be chosen"):
        generate_map("Style_A", 0, 0, layers=3)


def test_style_a_is_style_b_blurred_and_neither_is_whole() -> None:
    a, b = generate_map("Style_A", 0, 5), generate_map("Style_B", 0, 5)
    assert np.corrcoef(a.ravel(), gaussian_filter(b, 1.4).ravel())[0, 1] > 0.999
    assert (a == np.round(a)).mean() < 0.1
    assert np.abs(np.diff(a)).mean() < 0.8 * np.abs(np.diff(b)).mean()


def test_an_unknown_family_is_refused_with_a_hint() -> None:
    with pytest.raises(DataError, match=r"'curvefalt_b' is not a family of OpenFWI; did you mean CurveFault_B\?"):
        generate_map("curvefalt_b", 0, 0)


def test_statistics_of_a_hand_made_map() -> None:
    """Two layers of 2000 and 3000 m/s, the interface at row 30 and, right of the middle, at row 40."""
    velocity = np.full((70, 70), 3000.0)
    velocity[:30] = 2000
    velocity[:40, 36:] = 2000
    found = map_statistics(velocity[None])
    assert found["layers"] == 2
    assert found["curve"] == 10
    assert found["blurred"] == 0
    assert found["integer"] == 1
    assert found["increasing"] == 1
    assert found["at row 0"] == 2000
