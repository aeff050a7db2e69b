from __future__ import annotations

import numpy as np
import pytest

from datamodules.gwi.refinement.quasi_newton import SecantHessian, solve

N = 6


def spd(seed: int = 0) -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(N, N))
    return root @ root.T + np.eye(N)


def test_the_compact_form_is_the_recursive_one() -> None:
    """Against the textbook's update of a dense matrix, with steps dropped from the memory."""
    rng, hessian = np.random.default_rng(1), spd()
    pairs = [(step, hessian @ step) for step in rng.normal(size=(7, N))]
    learnt = SecantHessian(most=4)
    for step, change in pairs:
        learnt.remember(step, change)
    last_step, last_change = pairs[-1]
    dense = np.eye(N) * (last_change @ last_change) / (last_step @ last_change)
    for step, change in pairs[-4:]:
        image = dense @ step
        dense += np.outer(change, change) / (change @ step) - np.outer(image, image) / (step @ image)
    multiply = learnt.operator()
    for vector in rng.normal(size=(3, N)):
        np.testing.assert_allclose(multiply(vector), dense @ vector, rtol=1e-8)
    np.testing.assert_allclose(multiply(last_step), last_change, rtol=1e-8)


def test_maps_are_multiplied_as_vectors() -> None:
    learnt = SecantHessian(5)
    learnt.remember(np.ones((2, 3)), np.full((2, 3), 4.0))
    np.testing.assert_allclose(learnt.operator()(np.ones((2, 3))), np.full((2, 3), 4.0))


def test_steps_against_the_curvature_are_not_remembered() -> None:
    learnt = SecantHessian(5)
    learnt.remember(np.ones(3), -np.ones(3))
    assert not learnt
    with pytest.raises(ValueError, match="no step is remembered"):
        learnt.operator()
    learnt.remember(np.ones(3), np.ones(3))
    assert learnt
    learnt.forget()
    assert not learnt


def test_conjugate_gradients_solve_and_go_downhill_when_cut_short() -> None:
    matrix, right = spd(2), np.random.default_rng(3).normal(size=N)
    np.testing.assert_allclose(solve(lambda x: matrix @ x, right, tolerance=1e-12), np.linalg.solve(matrix, right))
    for most in (0, 1, 2, 3):
        assert solve(lambda x: matrix @ x, right, most=most) @ right > 0
    assert (solve(lambda x: matrix @ x, np.zeros(N)) == 0).all()
