from __future__ import annotations

import numpy as np
import pytest

from datamodules.gwi.refinement.priors import Edges, GaussianProcess, Prior, prior_of

PRIORS = [Edges(), Edges(1.0, 5.0), GaussianProcess(2.0, 150.0, 10.0, 30.0, (9, 12))]


@pytest.mark.parametrize("prior", PRIORS)
def test_the_gradient_is_that_of_finite_differences(prior: Prior) -> None:
    velocity = np.random.default_rng(0).uniform(1500, 4500, (9, 12))
    gradient = prior(velocity).gradient
    numeric = np.zeros_like(velocity)
    for index in np.ndindex(*velocity.shape):
        step = np.zeros_like(velocity)
        step[index] = 1e-2
        numeric[index] = (prior(velocity + step).value - prior(velocity - step).value) / 2e-2
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-7 * abs(numeric).max())


@pytest.mark.parametrize("prior", PRIORS)
def test_the_curvature_is_symmetric_and_its_quadratic_lies_above_the_penalty(prior: Prior) -> None:
    rng = np.random.default_rng(1)
    velocity = np.repeat(rng.uniform(1500, 4500, 3), 3)[:, None] + rng.normal(0, 20, (9, 12))
    here = prior(velocity)
    for size in (1.0, 30.0, 500.0):
        one, other = rng.normal(0, size, (2, 9, 12))
        assert (one * here.curvature(other)).sum() == pytest.approx((other * here.curvature(one)).sum())
        bend = float((one * here.curvature(one)).sum())
        assert bend > 0
        above = here.value + float((here.gradient * one).sum()) + bend / 2
        assert prior(velocity + one).value <= above * (1 + 1e-9)


def test_a_gaussian_process_has_its_hessian_as_curvature() -> None:
    prior = GaussianProcess(2.0, 150.0, 10.0, 30.0, (9, 12))
    one, other = np.random.default_rng(2).uniform(1500, 4500, (2, 9, 12))
    change = prior(one).gradient - prior(other).gradient
    np.testing.assert_allclose(prior(one).curvature(one - other), change, rtol=1e-8, atol=1e-12)


def test_edges_count_less_in_the_depth() -> None:
    shallow, deep = np.full((2, 20, 5), 2000.0)
    shallow[:5], deep[:15] = 1500.0, 1500.0
    assert Edges()(shallow).value > 2 * Edges()(deep).value


def test_a_sharp_edge_costs_less_than_a_blurred_one() -> None:
    sharp = np.repeat([2000.0, 3000.0], 10)[:, None] * np.ones((1, 5))
    blurred = np.repeat([2000.0, 3000.0], [8, 8]).tolist()
    blurred = np.array([*blurred[:8], 2200, 2400, 2600, 2800, *blurred[8:]])[:, None] * np.ones((1, 5))
    assert Edges()(sharp).value < 0.4 * Edges()(blurred).value
    plain = Edges(1.0, 1e-6)  # total variation cannot tell, but for the rows' weights
    assert plain(sharp).value > 0.9 * plain(blurred).value
    assert Edges()(np.full((4, 4), 2500.0)).value == 0


def test_a_field_as_smooth_as_its_process_costs_one_half_a_cell() -> None:
    rng = np.random.default_rng(0)
    distance = np.arange(40)[:, None] - np.arange(40)
    one_way = np.linalg.cholesky(np.exp(-0.5 * (distance / 3.0) ** 2) + 1e-8 * np.eye(40))
    field = 180 * one_way @ rng.standard_normal((40, 40)) @ one_way.T
    rough = 180 * rng.standard_normal((40, 40))
    prior = GaussianProcess(3.0, 180.0, 5.0, 30.0, (40, 40))
    assert prior(3000 + field).value < 1.5 * field.size
    assert prior(3000 + rough).value > 10 * prior(3000 + field).value
    assert prior(np.full((40, 40), 2000.0)).value == pytest.approx(0, abs=1e-9)


def test_style_maps_are_smooth_fields_and_the_others_have_few_edges() -> None:
    assert isinstance(prior_of("Style_A"), GaussianProcess)
    assert isinstance(prior_of("Style_B"), GaussianProcess)
    assert isinstance(prior_of("CurveFault_B"), Edges)
