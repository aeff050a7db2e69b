from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, nnls

from blend.objectives.simplex import frank_wolfe_gap, minimize_quadratic


def case(seed: int, size: int, rank: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(rank, size))
    return A.T @ A, rng.normal(size=size)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8), st.integers(1, 12))
def test_quadratic_minimum_on_the_simplex_is_certified(seed, size, rank):
    H, g = case(seed, size, rank)
    x = minimize_quadratic(H, g, np.full(size, 1 / size))
    assert (x >= 0).all()
    assert x.sum() == pytest.approx(1.0, abs=1e-10)
    assert frank_wolfe_gap(x, H @ x + g) < 1e-8 * max(1.0, np.abs(H).max())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_free_sum_agrees_with_scipys_nnls(seed, size):
    rng = np.random.default_rng(seed)
    A, b = rng.normal(size=(20, size)), rng.normal(size=20)
    expected, residual = nnls(A, b)
    x = minimize_quadratic(A.T @ A, -A.T @ b, np.zeros(size), sum_to_one=False)
    np.testing.assert_allclose(x, expected, atol=1e-9)
    assert np.linalg.norm(A @ x - b) == pytest.approx(residual, abs=1e-9)


def test_duplicates_do_no_harm():
    H, g = case(1, 4, 6)
    twice = np.ix_([0, 1, 2, 3, 3, 0], [0, 1, 2, 3, 3, 0])
    x = minimize_quadratic(H, g, np.full(4, 0.25))
    y = minimize_quadratic(H[twice], g[[0, 1, 2, 3, 3, 0]], np.full(6, 1 / 6))
    assert 0.5 * x @ H @ x + g @ x == pytest.approx(0.5 * y @ H[twice] @ y + g[[0, 1, 2, 3, 3, 0]] @ y, abs=1e-10)


def test_agrees_with_a_generic_solver():
    H, g = case(3, 6, 9)
    found = minimize(
        lambda x: 0.5 * x @ H @ x + g @ x, np.full(6, 1 / 6), jac=lambda x: H @ x + g, method="SLSQP",
        bounds=[(0, 1)] * 6, constraints={"type": "eq", "fun": lambda x: x.sum() - 1}, options={"ftol": 1e-14},
    )  # fmt: skip
    np.testing.assert_allclose(minimize_quadratic(H, g, np.full(6, 1 / 6)), found.x, atol=1e-6)
