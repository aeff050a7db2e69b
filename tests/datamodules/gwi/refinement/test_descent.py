from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.refinement.descent import Descent, Refined
from datamodules.gwi.refinement.misfit import Misfit
from datamodules.gwi.refinement.priors import Edges
from datamodules.gwi.refinement.side_by_side import Job, refine_maps
from datamodules.gwi.simulator import Simulator

SMALL = Acquisition(samples=160, sponge=10, source_columns=(0, 8, 16), frequency=25.0)
SIMULATOR = Simulator(SMALL)


def layers() -> np.ndarray:
    return np.repeat([2000.0, 2600.0, 3200.0], [6, 6, 5])[:, None] * np.ones((1, 17))


def gathers(velocity: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return SIMULATOR(torch.from_numpy(velocity.astype(np.float32))[None])[0].numpy()


def refine_map(velocity: np.ndarray, misfit: Misfit, prior: Edges, settings: Descent) -> Refined:
    """One map alone."""
    [(_, result)] = refine_maps([Job(0, velocity, misfit, prior)], settings, 1)
    return result


def test_the_misfit_and_its_gradient() -> None:
    misfit = Misfit(gathers(layers()), SIMULATOR)
    assert misfit(layers()).rms == 0
    moved = layers() + np.random.default_rng(0).normal(0, 60, (17, 17))
    fit = misfit(moved, 2000.0)
    assert fit.value > 0
    direction = fit.gradient / np.abs(fit.gradient).max()
    up, down = (misfit(moved + sign * 2 * direction, 2000.0).value for sign in (1, -1))
    assert (up - down) / 4 == pytest.approx((fit.gradient * direction).sum(), rel=2e-2)


def test_the_last_sample_does_not_count() -> None:
    recorded = gathers(layers())
    spoilt = recorded.copy()
    spoilt[:, -1] += 100
    assert Misfit(spoilt, SIMULATOR)(layers()).rms == 0


def test_compact_gathers_do_as_well() -> None:
    from datamodules.gwi.gathers import compact

    recorded = torch.from_numpy(gathers(layers()))[None]
    short = compact(torch.nn.functional.pad(recorded, (0, 0, 0, 160)))[0][
        :, :144
    ]  # half the rate of a record twice as long
    assert short.shape == (3, 144, 17)
    small = Misfit(short, SIMULATOR)
    assert small(layers() + 100, 2000.0).value > 10 * small(layers(), 2000.0).value


def test_a_blurred_map_becomes_the_true_one_again() -> None:
    truth = layers()
    start = np.clip(gaussian_filter(truth, 1.5, mode="nearest") + 40, 1500, 4500)
    result = refine_map(start, Misfit(gathers(truth), SIMULATOR), Edges(), Descent(max_iterations=60))
    assert abs(result.velocity - truth).mean() < 0.5 * abs(start - truth).mean()
    assert result.after < 0.2 * result.before
    assert 1500 <= result.velocity.min() <= result.velocity.max() <= 4500
    assert result.reason in ("plateau", "iterations", "explained")


def test_side_by_side_every_map_ends_as_it_would_alone() -> None:
    """Maps that take different numbers of iterations, two at a time; later ones are begun as others end."""
    rng = np.random.default_rng(0)
    settings = Descent(max_iterations=7, round_iterations=3, settled=3, enough=2e-3)
    jobs = []
    for row in range(4):
        truth = layers() + 100 * row
        start = truth + (rng.normal(0, 40, truth.shape) if row != 1 else 0)
        jobs.append(Job(row, start, Misfit(gathers(truth), SIMULATOR), Edges()))
    together = dict(refine_maps(iter(jobs), settings, 2))
    assert next(iter(together)) == 1, "the one that was right ends first"
    assert {result.reason for result in together.values()} == {"explained", "iterations"}
    for job in jobs:
        alone = refine_map(job.velocity, job.misfit, job.prior, settings)
        np.testing.assert_array_equal(together[job.row].velocity, alone.velocity)
        assert (together[job.row].after, together[job.row].iterations) == (alone.after, alone.iterations)


def test_it_stops_by_itself() -> None:
    truth = layers()
    result = refine_map(truth, Misfit(gathers(truth), SIMULATOR), Edges(), Descent(max_iterations=500))
    assert result.iterations < 50
    assert result.after <= result.before
    explained = refine_map(truth + 20, Misfit(gathers(truth), SIMULATOR), Edges(), Descent(enough=10.0))
    assert explained.reason == "explained"


def test_a_map_that_only_gets_worse_is_left_as_it_was() -> None:
    """A prior of overwhelming weight flattens the map; what comes back is the map that came."""
    truth = layers()
    settings = Descent(max_iterations=10, prior_weight=1e6)
    start = truth + np.random.default_rng(0).normal(0, 5, truth.shape)
    result = refine_map(start, Misfit(gathers(truth), SIMULATOR), Edges(), settings)
    assert (result.reason, result.after) == ("no better", result.before)
    np.testing.assert_array_equal(result.velocity, start)


class _Watched(Edges):
    """Records how much the prior weighs in each round."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.late_weight = 0.5, 8.0


def test_the_prior_is_light_then_heavy_then_fades(monkeypatch: pytest.MonkeyPatch) -> None:
    from datamodules.gwi.refinement import descent

    weights: list[float] = []
    run_round = descent._round

    def watch(point: descent._Point, objective: descent._Objective, *rest: Any) -> Any:
        weights.append(objective.weight * point.penalty.value / point.fit.value)
        return run_round(point, objective, *rest)

    monkeypatch.setattr(descent, "_round", watch)
    truth = layers()
    start = np.clip(gaussian_filter(truth, 1.5, mode="nearest") + 40, 1500, 4500)
    misfit = Misfit(gathers(truth), SIMULATOR)
    short = {"max_iterations": 14, "round_iterations": 2, "tolerance": 0.0, "settled": 4, "fitted": 10.0}
    refine_map(start, misfit, _Watched(), Descent(**short))
    assert weights[:3] == pytest.approx([0.5, 0.5, 8.0])
    assert all(weight <= limit * 1.001 for weight, limit in zip(weights[3:], [4.0, 2.0, 1.0, 0.5], strict=True))
    weights.clear()
    refine_map(start, misfit, _Watched(), Descent(**short | {"fitted": 0.0, "prior_weight": 0.2}))
    assert weights == pytest.approx([0.2] * 7, rel=1e-3)  # not fitted: never heavy


def test_wrong_settings() -> None:
    with pytest.raises(ValueError, match="fade must be above 0"):
        Descent(fade=0.0)
    with pytest.raises(ValueError, match="max_iterations must be at least 1"):
        Descent(max_iterations=0)
    with pytest.raises(ValueError, match="tolerance must not be negative"):
        Descent(tolerance=-1)
