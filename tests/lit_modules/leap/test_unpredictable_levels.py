"""The rule of post-processing against real files: on which levels one step removes all cloud liquid."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.leap.raw import find_pairs, read_pair
from datamodules.leap.schema import PROFILES, PTEND_TRICK_LEVELS, STEP_SECONDS, TARGET_GROUPS

LIQUID = PROFILES.index("state_q0002")


@pytest.mark.real_data
def test_liquid_is_removed_on_the_judges_levels_and_not_always_on_the_next(real_data: Path) -> None:
    pairs = find_pairs(real_data / "leap" / "climsim_low_res")[::4]
    missed = np.zeros(60, dtype=int)
    for pair in pairs:
        rows = read_pair(pair)
        liquid = rows.profiles[:, LIQUID]
        left = liquid + STEP_SECONDS * rows.targets[:, TARGET_GROUPS["q0002"]]
        missed += (np.abs(left) > 1e-6 * np.abs(liquid)).sum(axis=0)
    assert missed[list(PTEND_TRICK_LEVELS)].sum() == 0
    assert missed[29] > 0
    assert missed[30] > missed[29] > missed[28]
