"""The total-water form against its definition in arXiv:2511.20963."""

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.leap.humidity import level_pressure, liquid_share, relative_humidity
from datamodules.leap.schema import LEVELS, SCALARS, STEP_SECONDS, TARGET_GROUPS, VARIABLE_SETS
from datamodules.leap.total_water import (
    MIXED_GROUPS,
    N_MIXED_TARGETS,
    mix_profiles,
    mix_targets,
    mixed_names,
    mixed_zero_mask,
    split_water,
    spread_to_targets,
)


@pytest.fixture
def columns() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    n = len(VARIABLE_SETS["v6"].all_profiles)
    profiles = torch.rand(7, n, LEVELS, generator=generator, dtype=torch.float64)
    profiles[:, 0] = 220 + 80 * profiles[:, 0]
    profiles[:, 1] *= 1e-3
    profiles[:, 2:4] *= 1e-4
    scalars = torch.rand(7, len(VARIABLE_SETS["v6"].all_scalars), generator=generator, dtype=torch.float64)
    scalars[:, SCALARS.index("state_ps")] = 1e5
    return profiles, scalars


@pytest.mark.parametrize(("name", "profiles", "scalars", "flat"), [("v2_rh_mc", 9, 17, 557), ("v6", 23, 19, 1399)])
def test_the_papers_sets_have_their_sizes(name: str, profiles: int, scalars: int, flat: int) -> None:
    variables = VARIABLE_SETS[name]
    assert len(mixed_names(variables)) == profiles
    assert len(variables.all_scalars) == scalars
    assert profiles * LEVELS + scalars == flat


def test_profiles_follow_their_names(columns: tuple[Tensor, Tensor]) -> None:
    variables = VARIABLE_SETS["v6"]
    names, seen = mixed_names(variables), mix_profiles(*columns, variables)
    assert seen.shape == (7, 23, LEVELS)

    def raw(name: str) -> Tensor:
        return columns[0][:, variables.all_profiles.index(name)]

    def found(name: str) -> Tensor:
        return seen[:, names.index(name)]

    pressure = level_pressure(columns[1][:, SCALARS.index("state_ps")])
    assert torch.equal(found("state_rh"), relative_humidity(raw("state_t"), raw("state_q0001"), pressure))
    assert torch.equal(found("state_qn"), raw("state_q0002") + raw("state_q0003"))
    assert torch.equal(found("liq_partition"), liquid_share(raw("state_t")))
    for when in ("", "tm_"):
        both = raw(f"{when}state_q0002_prvphy") + raw(f"{when}state_q0003_prvphy")
        assert torch.equal(found(f"{when}state_qn_prvphy"), both)
    for name in set(names) & set(variables.all_profiles):
        assert torch.equal(found(name), raw(name))


def test_water_is_conserved_and_divided_by_the_temperature_after_the_step(columns: tuple[Tensor, Tensor]) -> None:
    profiles = columns[0]
    generator = torch.Generator().manual_seed(1)
    mixed = torch.randn(7, N_MIXED_TARGETS, generator=generator, dtype=torch.float64) * 1e-8
    mixed[:, MIXED_GROUPS["t"]] *= 1e6
    targets = split_water(mixed, profiles)
    liquid, ice = (targets[:, TARGET_GROUPS[name]] for name in ("q0002", "q0003"))
    torch.testing.assert_close(liquid + ice, mixed[:, MIXED_GROUPS["qn"]], rtol=1e-7, atol=1e-15)
    torch.testing.assert_close(mix_targets(targets), mixed, rtol=1e-7, atol=1e-15)
    after = profiles[:, 2:4] + STEP_SECONDS * torch.stack([liquid, ice], dim=1)
    warmth = profiles[:, 0] + STEP_SECONDS * mixed[:, MIXED_GROUPS["t"]]
    assert ((liquid_share(warmth) > 0) & (liquid_share(warmth) < 1)).any()
    torch.testing.assert_close(after[:, 0], liquid_share(warmth) * after.sum(dim=1), rtol=1e-7, atol=1e-15)
    cold = warmth < 253
    torch.testing.assert_close(liquid[cold], -profiles[:, 2][cold] / STEP_SECONDS)  # all liquid leaves cold cells


def test_what_is_known_of_cloud_water_goes_to_liquid_and_ice() -> None:
    numbers = torch.arange(float(N_MIXED_TARGETS)).unsqueeze(0)
    spread = spread_to_targets(numbers)[0]
    assert spread.shape == (368,)
    for name in ("q0002", "q0003"):
        assert torch.equal(spread[TARGET_GROUPS[name]], numbers[0, MIXED_GROUPS["qn"]])
    for name in ("t", "q0001", "u", "v", "surface"):
        assert torch.equal(spread[TARGET_GROUPS[name]], numbers[0, MIXED_GROUPS[name]])


def test_48_of_the_308_are_always_zero() -> None:
    zero = mixed_zero_mask().numpy()
    assert zero.sum() == 48
    expected = [first + level for first in (60, 120, 180, 240) for level in range(12)]
    np.testing.assert_array_equal(np.flatnonzero(zero), expected)
