from __future__ import annotations

import numpy as np
import pytest

from blend.judging.steps import make_steps
from datamodules.errors import DataError
from datamodules.gwi.plateaus import bucket

MAPS = np.array([[[1499.4, 2000.6]], [[4600.2, 3000.4]]])
FAMILIES = np.array(["FlatVel_A", "Style_A"])


def half(values, groups):
    return values / 2


def test_clip_round_and_call_in_order():
    steps = make_steps(
        [{"clip": [1500, 4500]}, {"round": {"except_groups": ["Style_A"]}}, {"call": f"{__name__}:half"}]
    )
    np.testing.assert_array_equal(steps(MAPS, FAMILIES), [[[750, 1000.5]], [[2250, 1500.2]]])
    np.testing.assert_array_equal(make_steps([{"round": True}])(MAPS, None), np.round(MAPS))
    only = make_steps([{"round": {"only_groups": ["Style_A"]}}])(MAPS, FAMILIES)
    np.testing.assert_array_equal(only, [MAPS[0], np.round(MAPS[1])])
    assert make_steps([]) is None


def test_shrink():
    np.testing.assert_allclose(make_steps([{"shrink": 0.01}])(np.array([[0.0, 1.0, 0.5]]), None), [[0.01, 0.99, 0.5]])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"shrink": 0.5}, "step shrink: 0.5 is unknown; use clip: .*, shrink: c"),
        ({"clip": 3}, "step clip: 3 is unknown"),
        ({"sharpen": True}, "step sharpen"),
        ({"call": "no.such:thing"}, "cannot be imported"),
        ({"clip": [0, 1], "round": True}, "a step has one key"),
    ],
)
def test_unknown_steps(step, message):
    with pytest.raises(DataError, match=message):
        make_steps([step])


def test_groups_must_be_known():
    with pytest.raises(DataError, match="give --groups FILE"):
        make_steps([{"round": {"only_groups": ["a"]}}])(MAPS, None)


def test_bucket_gives_near_values_the_most_frequent_one():
    """Worked by hand: 2000 is most frequent and takes 1995 and 2004; 2100 takes 2098; 2050 and 2051 are too few."""
    values = np.array([2000.0] * 5 + [1995, 2004] + [2100] * 3 + [2098] + [2050, 2051])
    expected = [2000.0] * 7 + [2100] * 4 + [2050, 2051]
    np.testing.assert_array_equal(bucket(values, 5, 3), expected)
    np.testing.assert_array_equal(bucket(values, 0, 1), values)


def test_bucket_restores_plateaus_but_never_those_of_style_maps():
    rng = np.random.default_rng(0)
    truth = np.repeat([1800.0, 2500.0, 3300.0], 30)[:, None] * np.ones((1, 40))
    rough = np.stack([truth + rng.normal(0, 3, truth.shape)] * 2)
    step = make_steps([{"bucket": {"width": 12, "fewest": 30, "except_groups": []}}], "gwi")
    out = step(rough, FAMILIES)
    assert abs(out[0] - truth).mean() < 0.35 * abs(rough[0] - truth).mean()
    np.testing.assert_array_equal(out[1], rough[1])
    narrow = make_steps([{"bucket": {"width": 12, "widths": {"FlatVel_A": 0}}}], "gwi")(rough, FAMILIES)
    np.testing.assert_array_equal(narrow[0], np.round(rough[0]))


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ({"only_groups": ["Style_B"]}, "Style_B maps are images without plateaus"),
        ({"widths": {"Style_A": 3}}, "Style_A maps are images"),
        ({"width": -1}, "widths are not negative"),
        ({"wide": 3}, "step bucket: .* is unknown"),
    ],
)
def test_wrong_buckets(argument, message):
    with pytest.raises(DataError, match=message):
        make_steps([{"bucket": argument}], "gwi")


def test_a_step_belongs_to_its_domain_and_a_raising_function_is_named_with_its_line():
    with pytest.raises(DataError, match=r"step bucket: .* is unknown"):
        make_steps([{"bucket": {"width": 1}}], "leap")
    with pytest.raises(
        DataError, match=rf"step call: {__name__}:broken raised ZeroDivisionError.*test_steps.py, line \d+"
    ):
        make_steps([{"call": f"{__name__}:broken"}])(MAPS, None)


def broken(values, groups):
    return values / (1 // 0)
