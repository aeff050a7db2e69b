from __future__ import annotations

import numpy as np
import pytest

from datamodules.gwi.refinement.priors import Edges, GaussianProcess, Prior, prior_of


@pytest.mark.parametrize("prior", [Edges(), Edges(1.0, 5.0), GaussianProcess(2.0, 150.0, 10.0, 30.0, (9, 12))])
def test_the_gradient_is_that_of_finite_differences(prior: Prior) -> None:
    velocity = np.random.default_rng(0).uniform(1500, 4500, (9, 12))
    _, gradient = prior(velocity)
    numeric = np.zeros_like(velocity)
    for index in np.ndindex(*velocity.shape):
        step = np.zeros_like(velocity)
        step[index] = 1e-2
        numeric[index] = (prior(velocity + step)[0] - prior(velocity - step)[0]) / 2e-2
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-7 * abs(numeric).max())


def test_a_sharp_edge_costs_less_than_a_blurred_one() -> None:
    sharp = np.repeat([2000.0, 3000.0], 10)[:, None] * np.ones((1, 5))
    blurred = np.repeat([2000.0, 3000.0], [8, 8]).tolist()
    blurred = np.array([*blurred[:8], 2200, 2400, 2600, 2800, *blurred[8:]])[:, None] * np.ones((1, 5))
    assert Edges()(sharp)[0] < 0.7 * Edges()(blurred)[0]
    assert Edges(1.0, 1e-6)(sharp)[0] == pytest.approx(
        Edges(1.0, 1e-6)(blurred)[0]
    )  # plain total variation cannot tell
    assert Edges()(np.full((4, 4), 2500.0))[0] == 0


def test_a_field_as_smooth_as_its_process_costs_one_half_a_cell() -> None:
    rng = np.random.default_rng(0)
    distance = np.arange(40)[:, None] - np.arange(40)
    one_way = np.linalg.cholesky(np.exp(-0.5 * (distance / 3.0) ** 2) + 1e-8 * np.eye(40))
    field = 180 * one_way @ rng.standard_normal((40, 40)) @ one_way.T
    rough = 180 * rng.standard_normal((40, 40))
    prior = GaussianProcess(3.0, 180.0, 5.0, 30.0, (40, 40))
    assert prior(3000 + field)[0] < 1.5 * field.size
    assert prior(3000 + rough)[0] > 10 * prior(3000 + field)[0]
    assert prior(np.full((40, 40), 2000.0))[0] == pytest.approx(0, abs=1e-9)


def test_style_maps_are_smooth_fields_and_the_others_have_few_edges() -> None:
    assert isinstance(prior_of("Style_A"), GaussianProcess)
    assert isinstance(prior_of("Style_B"), GaussianProcess)
    assert isinstance(prior_of("CurveFault_B"), Edges)
