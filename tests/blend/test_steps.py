from __future__ import annotations

import numpy as np
import pytest

from blend.bank import BankError
from blend.steps import make_steps

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


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"clip": 3}, "step clip: 3 is unknown"),
        ({"sharpen": True}, "step sharpen"),
        ({"call": "no.such:thing"}, "cannot be imported"),
        ({"clip": [0, 1], "round": True}, "a step has one key"),
    ],
)
def test_unknown_steps(step, message):
    with pytest.raises(BankError, match=message):
        make_steps([step])


def test_groups_must_be_known():
    with pytest.raises(BankError, match="give --groups FILE"):
        make_steps([{"round": {"only_groups": ["a"]}}])(MAPS, None)
