from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from datamodules.gwi.generate.families import generate_map
from lit_modules.gwi.imitation import draw_errors, imitate


def test_maps_without_errors_stay_as_they_are() -> None:
    maps = 1500 + 3000 * torch.rand(3, 70, 70)
    none = {name: torch.zeros_like(values) for name, values in draw_errors(3, 70).items()}
    torch.testing.assert_close(imitate(maps, none), maps)


def test_the_bottom_is_blurred_by_a_gaussian_and_the_surface_less() -> None:
    velocity = generate_map("CurveVel_A", 0, 0)
    errors = {name: torch.zeros_like(values) for name, values in draw_errors(2, 70).items()}
    errors["blur"] = torch.tensor([0.0, 1.5])
    shown = imitate(torch.from_numpy(np.stack([velocity, velocity])), errors).numpy()
    blurred = gaussian_filter(velocity, 1.5, mode="nearest", radius=9)
    np.testing.assert_allclose(shown[0], velocity, rtol=1e-5)
    np.testing.assert_allclose(shown[1, -1], blurred[-1], rtol=1e-4)
    np.testing.assert_allclose(shown[1, 0], velocity[0] + 0.3 * (blurred - velocity)[0], rtol=1e-4)


def test_errors_are_of_a_predictions_size_and_a_function_of_the_seed() -> None:
    maps = torch.from_numpy(np.stack([generate_map("FlatVel_A", 0, index) for index in range(40)]))
    errors = [draw_errors(40, 70, 1.0, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    shown = [imitate(maps, drawn) for drawn in errors]
    assert torch.equal(shown[0], shown[1])
    assert not torch.equal(shown[0], shown[2])
    error = (shown[0] - maps).abs().mean((1, 2))
    assert 10 < error.mean() < 80
    assert (error < 1e-3).float().mean() == pytest.approx(0.2, abs=0.15)
    twice = draw_errors(40, 70, 2.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(twice, {name: 2 * values for name, values in errors[0].items()})
