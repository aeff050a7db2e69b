from __future__ import annotations

import numpy as np
import pytest
import torch

from datamodules.gwi.gathers import resize_time, zero_last_sample
from datamodules.gwi.simulator import Simulator
from lit_modules.gwi.scaling import scaled, scaling_matrix


@pytest.fixture(scope="module")
def layered() -> torch.Tensor:
    rows, columns = torch.meshgrid(torch.arange(70), torch.arange(70), indexing="ij")
    return torch.where(rows > 25 + columns / 10, 3300.0, 2100.0)[None] + 10 * rows


@pytest.mark.parametrize("samples", [288, 1000])
@pytest.mark.parametrize("factor", [0.8, 1.1])
def test_scaled_gathers_are_those_of_the_scaled_map(layered: torch.Tensor, samples: int, factor: float) -> None:
    simulator = Simulator()
    one, other = (
        resize_time(zero_last_sample(simulator(layered * f, shots=[1])), samples)[0, 0].numpy() for f in (1, factor)
    )
    made = scaling_matrix(factor, samples) @ one
    recorded = slice(0, int(0.97 * samples / max(factor, 1)))
    off = np.linalg.norm(made[recorded] - other[recorded]) / np.linalg.norm(other[recorded])
    assert off < 0.03
    assert np.linalg.norm(one[recorded] - other[recorded]) > np.linalg.norm(other[recorded]) * 0.5


def test_factors_keep_the_range_of_velocities_and_each_gather_follows_its_own_map() -> None:
    torch.manual_seed(0)
    velocity = torch.tensor([1500.0, 1600.0, 3000.0])[:, None, None].repeat(1, 70, 70)
    velocity[0, -1] = 4500.0
    gathers = torch.randn(3, 5, 288, 70)
    new, maps = scaled(gathers, velocity, 0.25)
    factors = (maps / velocity)[:, 0, 0]
    torch.testing.assert_close(maps, velocity * factors[:, None, None])
    assert factors[0] == 1
    assert maps.min() >= 1500
    assert maps.max() <= 4500
    assert factors[1] != factors[2]
    for i, factor in enumerate(factors):
        expected = torch.from_numpy(scaling_matrix(float(factor), 288)).float() @ gathers[i]
        torch.testing.assert_close(new[i], expected, rtol=1e-3, atol=1e-3)


def test_a_factor_of_one_leaves_what_a_ricker_wavelet_holds() -> None:
    times = np.arange(288) * 1000 / 288
    phase = np.pi * 0.015 * (times[:, None] - np.array([150.0, 480.0, 800.0]))
    trace = (1 - 2 * phase**2) * np.exp(-(phase**2))
    np.testing.assert_allclose(scaling_matrix(1.0, 288) @ trace, trace, atol=2e-3)
