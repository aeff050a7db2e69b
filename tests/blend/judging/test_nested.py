from __future__ import annotations

import numpy as np
import pytest

from blend.judging.nested import difference, error_correlations, fit, judge_all, what_each_adds
from blend.solvers import make_solver
from tests.blend.banks import memory_problem, random_case

METRICS = ["r2", "column_log_loss", "mae"]


@pytest.fixture(scope="module")
def problems():
    return {m: memory_problem(m, *random_case(m, 3, 60, (3,), seed=2)) for m in METRICS}


@pytest.mark.parametrize("metric", METRICS)
def test_nested_weights_never_see_the_rows_they_judge(metric):
    """Spoiling a fold's truth changes the weights that judge other folds, not its own."""
    truth, predictions = random_case(metric, 3, 60, (3,), seed=2)
    problem = memory_problem(metric, truth, predictions)
    before = fit(make_solver("convex", {}), problem).nested
    held = problem.stack.rows["nested"].to_numpy() == 2
    rows = [int(row[3:]) for row in problem.stack.rows["row_id"][held]]
    spoiled = truth.copy()
    spoiled[rows] = 1 - spoiled[rows]
    after = fit(make_solver("convex", {}), memory_problem(metric, spoiled, predictions)).nested
    np.testing.assert_allclose(after[2].values, before[2].values, atol=1e-9)
    assert np.abs(after[1].values - before[1].values).max() > 1e-3


@pytest.mark.parametrize("metric", METRICS)
def test_the_nested_score_is_that_of_each_rows_held_out_weights(problems, metric):
    problem = problems[metric]
    fitted = fit(make_solver("greedy", {"steps": 10}), problem)
    judge_all(problem, [fitted])
    P, y = problem.everything()
    folds = problem.stack.rows["nested"].to_numpy()
    blended = np.zeros(y.shape)
    for fold, weights in fitted.nested.items():
        blended[folds == fold] = np.tensordot(weights.values, P[:, folds == fold], 1)
    if metric == "r2":
        expected = np.mean(1 - ((y - blended) ** 2).sum(0) / ((y - y.mean(0, dtype=np.float64)) ** 2).sum(0))
    elif metric == "mae":
        expected = np.abs(y - blended).mean()
    else:
        expected = -np.log(np.where(y == 1, blended, 1 - blended)).mean()
    assert fitted.held_out.score() == pytest.approx(expected, rel=1e-9)


def test_equal_weights_have_one_score_nested_or_not(problems):
    for problem in problems.values():
        fitted = fit(make_solver("equal", {}), problem)
        judge_all(problem, [fitted])
        assert fitted.held_out.score() == pytest.approx(fitted.in_sample.score(), rel=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_bootstrap_of_a_difference(problems, metric):
    problem = problems[metric]
    fits = [fit(make_solver(name, {}), problem) for name in ("single", "equal")]
    judge_all(problem, fits)
    same = difference(fits[0].honest, fits[0].honest)
    assert (same.value, same.low, same.high, same.error) == (0, 0, 0, 0)
    ours = difference(fits[1].honest, fits[0].honest)
    assert ours.low <= ours.value <= ours.high
    assert ours.error > 0
    assert ours == difference(fits[1].honest, fits[0].honest)


def test_the_standard_error_is_that_of_independent_rows():
    """MAE of one target: the difference is a mean over rows, whose standard error has a formula."""
    rng = np.random.default_rng(0)
    truth = np.zeros((200, 1), np.float32)
    predictions = rng.normal(0, 1, (2, 200, 1)).astype(np.float32)
    problem = memory_problem("mae", truth, predictions)
    fits = [fit(make_solver("equal", {}), problem), fit(make_solver("single", {}), problem, nested=False)]
    judge_all(problem, fits)
    gaps = np.abs(predictions.mean(0)) - np.abs(predictions[int(np.argmax(fits[1].weights.values))])
    found = difference(fits[0].in_sample, fits[1].in_sample, samples=4000)
    assert found.error == pytest.approx(gaps.std() / np.sqrt(200), rel=0.1)


@pytest.mark.parametrize("metric", METRICS)
def test_what_each_model_adds(problems, metric):
    """A model that repeats another adds nothing; a noisy blend partner adds something."""
    problem = problems[metric]
    for name in ("convex", "grow"):
        solver = make_solver(name, {})
        fitted = fit(solver, problem)
        judge_all(problem, [fitted])
        adds, how = what_each_adds(problem, solver, fitted)
        assert set(adds) == set(problem.names)
        assert ("fitted again" in how) == (name == "convex")
    truth, predictions = random_case(metric, 2, 60, (3,), seed=2)
    twins = memory_problem(metric, truth, predictions[[0, 0, 1]])
    solver = make_solver("convex", {})
    fitted = fit(solver, twins)
    judge_all(twins, [fitted])
    adds, _ = what_each_adds(twins, solver, fitted)
    assert adds["model0"] == pytest.approx(0.0, abs=1e-7)


@pytest.mark.parametrize("metric", METRICS)
def test_error_correlations_are_numpys(problems, metric):
    problem = problems[metric]
    P, y = problem.everything()
    errors = P.astype(np.float64) - y
    if metric == "r2":  # targets of equal weight: divided by their spread, about their own means
        errors = (errors - errors.mean(axis=1, keepdims=True)) / y.std(axis=0, dtype=np.float64)
    np.testing.assert_allclose(error_correlations(problem), np.corrcoef(errors.reshape(3, -1)), atol=1e-7)


def test_what_each_model_adds_to_weights_of_free_sum():
    """Of root mean squares as of mean squares: one target has one minimum for both."""
    truth, predictions = random_case("r2", 3, 60, (1,), seed=2)
    adds = []
    for metric in ("rmse", "mse"):
        problem = memory_problem(metric, truth, predictions)
        solver = make_solver("nnls", {})
        fitted = fit(solver, problem)
        judge_all(problem, [fitted])
        found, how = what_each_adds(problem, solver, fitted)
        assert "fitted again" in how
        adds.append(found)
    assert [value > 0 for value in adds[0].values()] == [value > 0 for value in adds[1].values()]
