from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from datamodules.errors import DataError
from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.gathers import resize_time
from datamodules.gwi.refinement.descent import Descent
from datamodules.gwi.refinement.gauss_newton import (
    FINER,
    NEAR,
    PROFILE,
    SHARPENING,
    TEXTURED,
    GaussNewton,
    Sharpening,
    Stage,
    _Damped,
    suits,
)
from datamodules.gwi.refinement.inversion import Plan, invert, parse_start, stages_for, stages_near
from datamodules.gwi.refinement.misfit import Misfit
from datamodules.gwi.refinement.priors import Edges, GaussianProcess
from datamodules.gwi.refinement.sensitivity import Sensitivities, laplace
from datamodules.gwi.simulator import Simulator

SURVEY = Acquisition(
    samples=400, sponge=25, source_columns=(2, 15, 27), source_rows=(2, 2, 3), receiver_columns=tuple(range(1, 30, 2)),
    receiver_rows=(1,) * 15, frequency=25.0,
)  # fmt: skip
SHAPE = (24, 30)


def shoot(velocity: np.ndarray, slowest: float | None = None) -> np.ndarray:
    with torch.no_grad():
        x = torch.from_numpy(velocity.astype(np.float32))[None]
        held = None if slowest is None else x.new_tensor([slowest])
        return np.asarray(Simulator(SURVEY)(x, slowest=held)[0].numpy())


def ground() -> np.ndarray:
    velocity = np.full(SHAPE, 1800.0)
    velocity[8:] = 2200
    velocity[14:, 12:] = 2600
    return velocity


@pytest.mark.parametrize("where", ["everywhere", "below the line", "at the edge"])
def test_sensitivities_are_those_of_finite_differences(where: str) -> None:
    """Of the simulator itself, sources' own cells and the edges that the sponge repeats included."""
    velocity, change = ground(), np.zeros(SHAPE)
    if where == "everywhere":
        change = 4 * gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 2)
    elif where == "below the line":
        change[1:3, 2] = 2.0
    else:
        change[:, -1] = change[-1] = 2.0
    s = 14 / 0.4 + 2j * np.pi * np.array([3.0, 12.0, 25.0])
    found = Sensitivities(Simulator(SURVEY))(velocity, 1800.0, s, SURVEY.sources(), SURVEY.receivers(SHAPE[1]))
    up, down = (
        laplace(shoot(velocity + sign * change, 1800.0).astype(np.float64).transpose(1, 0, 2), SURVEY.interval, s)
        for sign in (1, -1)
    )
    expected, linear = (up - down) / 2, (found * change).sum((-2, -1))
    assert np.linalg.norm(linear - expected) < 0.01 * np.linalg.norm(expected)


def test_damped_steps_are_the_same_by_unknowns_and_by_equations() -> None:
    rng = np.random.default_rng(0)
    for equations, unknowns in ((5, 9), (9, 5)):
        rows, residual = rng.normal(size=(equations, unknowns)), rng.normal(size=equations)
        largest = np.linalg.norm(rows, 2) ** 2
        expected = -np.linalg.solve(rows.T @ rows + 0.1 * largest * np.eye(unknowns), rows.T @ residual)
        np.testing.assert_allclose(_Damped(rows, residual)(0.1), expected, rtol=1e-6)


def test_a_profile_is_found_from_a_gradient() -> None:
    truth = np.repeat([1700.0, 2100.0, 2500.0], 8)[:, None] * np.ones((1, 30))
    start = parse_start("gradient:1600:3200", SHAPE)
    told: list[float] = []
    steps = GaussNewton(Misfit(shoot(truth), Simulator(SURVEY)), 1500, 4500, told.append)
    found = steps(steps(start, PROFILE[0]), PROFILE[1])
    assert np.abs(found - truth).mean() < 0.5 * np.abs(start - truth).mean()
    assert np.ptp(found, axis=1).max() < 1e-6
    assert told[-1] < 0.5 * told[0]
    assert steps(truth, PROFILE[0]) is not truth
    np.testing.assert_allclose(steps(truth, PROFILE[0]), truth, atol=1.0)


def test_edges_are_sharpened() -> None:
    truth = ground()
    start = gaussian_filter(truth, 2.0, mode="nearest")
    steps = GaussNewton(Misfit(shoot(truth), Simulator(SURVEY)), 1500, 4500)
    found = start
    for stage in (*FINER[1:], SHARPENING[0]):
        found = steps(found, stage)
    assert np.abs(found - truth).mean() < 0.4 * np.abs(start - truth).mean()


def test_texture_is_found_where_every_stage_adds_to_it() -> None:
    """Higher frequencies and more traces tell what lower ones leave open."""
    texture = gaussian_filter(np.random.default_rng(0).standard_normal(SHAPE), 1.5)
    truth = parse_start("gradient:1800:2800", SHAPE) + 150 * texture / texture.std()
    found = start = gaussian_filter(truth, 2.0, mode="nearest")
    steps, errors = GaussNewton(Misfit(shoot(truth), Simulator(SURVEY)), 1500, 4500), []
    for stage in TEXTURED:
        found = steps(found, stage)
        errors.append(np.abs(found - truth).mean())
    assert errors[-1] < 0.5 * np.abs(start - truth).mean()
    assert errors == sorted(errors, reverse=True)


def test_compact_gathers_lead_to_nearly_the_same_map() -> None:
    truth, start = ground(), gaussian_filter(ground(), 2.0, mode="nearest")
    whole = shoot(truth)
    short = resize_time(torch.from_numpy(whole)[None], 200)[0].numpy()
    ends = [GaussNewton(Misfit(g, Simulator(SURVEY)), 1500, 4500)(start, FINER[1]) for g in (whole, short)]
    moved = np.abs(ends[0] - start).mean()
    assert moved > 5
    assert np.abs(ends[0] - ends[1]).mean() < 0.5 * moved


@pytest.mark.parametrize("stage", [*FINER, *SHARPENING, *TEXTURED])
def test_noise_is_not_explained(stage: Stage | Sharpening) -> None:
    truth, clean = ground(), shoot(ground())
    noisy = clean + 0.3 * clean.std() * np.random.default_rng(0).standard_normal(clean.shape)
    np.testing.assert_array_equal(GaussNewton(Misfit(noisy, Simulator(SURVEY)), 1500, 4500)(truth, stage), truth)


def test_noise_is_measured_where_the_wavelet_has_nothing() -> None:
    clean = shoot(ground())
    noise = 0.1 * np.random.default_rng(0).standard_normal(clean.shape)
    assert Misfit(clean + noise, Simulator(SURVEY)).noise == pytest.approx(0.1, rel=0.1)
    assert Misfit(clean, Simulator(SURVEY)).noise < 0.01


def test_lows_that_were_not_recorded_do_not_count() -> None:
    clean = shoot(ground())
    hum = np.sin(2 * np.pi * 4.2 * np.arange(SURVEY.samples)[:, None] * SURVEY.interval)
    fits = [Misfit(clean + 3 * hum, Simulator(SURVEY), lowest=lowest)(ground()).value for lowest in (None, 12.0)]
    assert fits[1] < 0.05 * fits[0]


def test_what_starts_and_surveys_need() -> None:
    gradient, layered = parse_start("gradient:1600:3200", SHAPE), ground()
    smooth = GaussianProcess(2.0, 150.0, 10.0, 30.0, SHAPE)
    assert stages_for(gradient, Edges()) == (*PROFILE, *FINER, *SHARPENING)
    assert stages_for(layered, Edges()) == (*FINER, *SHARPENING)
    assert stages_for(layered, smooth) == FINER
    assert stages_near(Edges()) == NEAR
    assert stages_near(smooth) == TEXTURED
    assert suits(SURVEY, SHAPE)
    assert not suits(SURVEY, (150, 460))
    surface = replace(SURVEY, free_surface=True)
    assert not suits(surface, SHAPE)
    with pytest.raises(DataError, match="use --method quasi_newton"):
        invert(shoot(layered), gradient, surface, Edges(), Plan(Descent(), method="gauss_newton"))
