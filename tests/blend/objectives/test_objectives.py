from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from blend.judging.judge import judge
from blend.metrics import cells
from blend.objectives import AbsoluteLoss, Composed, LogLoss, WithPrior
from blend.solvers.exact import exact_minimum
from blend.weights import LOGIT_CLIP, Weights
from tests.blend.banks import memory_problem, random_case

KINDS = [("r2", "arithmetic"), ("column_log_loss", "arithmetic"), ("column_log_loss", "logit"), ("mae", "arithmetic")]


def on_simplex(size: int, count: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(size), count)


@pytest.fixture(scope="module")
def problems():
    return {m: memory_problem(m, *random_case(m, 4, 80, (4,))) for m in ("r2", "column_log_loss", "mae")}


@pytest.mark.parametrize(("metric", "kind"), KINDS)
def test_loss_is_the_judges_score(problems, metric, kind):
    problem = problems[metric]
    clip = LOGIT_CLIP if kind == "logit" else 0.0
    for w in on_simplex(4, 3):
        score = judge(problem, [Weights("", problem.names, w, kind=kind, clip=clip)])[0].score()
        assert problem.metric.score_of_loss(problem.objective(kind=kind).loss(w)) == pytest.approx(score, rel=2e-7)


@pytest.mark.parametrize(("metric", "kind"), KINDS)
def test_losses_of_folds_are_of_their_rows(problems, metric, kind):
    """For sums of errors, all folds are the mean of single folds by their number of rows; R2 has totals of its own."""
    problem = problems[metric]
    w = on_simplex(4)[0]
    if metric == "r2":
        return
    counts = [problem.count([fold], 0) for fold in problem.folds]
    losses = [problem.objective([fold], kind).loss(w) for fold in problem.folds]
    assert np.average(losses, weights=counts) == pytest.approx(problem.objective(kind=kind).loss(w), rel=1e-10)


@pytest.mark.parametrize("kind", ["arithmetic", "logit", "rank"])
@pytest.mark.parametrize("metric", ["auc", "column_log_loss", "f1"])
def test_a_model_more_is_the_mean_with_it(metric, kind):
    """By sums of predictions, or by all weights: greedy sees the same losses."""
    truth, predictions = random_case("column_log_loss", 5, 60, (2,), seed=4)
    objective = memory_problem(metric, truth, predictions).objective(kind=kind)
    counts, among = np.array([2.0, 0.0, 1.0, 0.0, 3.0]), np.array([0, 1, 4])
    weights = (counts + np.eye(5)[among]) / (counts.sum() + 1)
    np.testing.assert_allclose(objective.additions(counts, among), objective.losses(weights), rtol=1e-9)


@pytest.mark.parametrize("metric", ["column_log_loss", "mae"])
def test_cells_in_one_piece_are_those_of_the_parts(monkeypatch, metric):
    case, w = random_case(metric, 4, 80, (4,)), on_simplex(4)[0]
    joined = memory_problem(metric, *case).objective()
    assert len(list(joined.spans())) == 1
    monkeypatch.setattr("blend.objectives.cells._JOINED", 0)
    parts = memory_problem(metric, *case).objective()
    assert len(list(parts.spans())) == 5
    assert joined.loss(w) == pytest.approx(parts.loss(w), rel=1e-12)
    np.testing.assert_allclose(joined.minimum()[0], parts.minimum()[0], atol=1e-6)


@pytest.mark.parametrize(("metric", "kind"), KINDS[:3])
def test_derivatives_are_those_of_the_loss(problems, metric, kind):
    objective = problems[metric].objective(kind=kind)
    w, direction = np.full(4, 0.25), np.array([0.5, -0.2, 0.1, -0.4])
    value, gradient, hessian = objective.derivatives(w)
    assert value == pytest.approx(objective.loss(w), rel=1e-12)
    step = 1e-5
    up, down = objective.loss(w + step * direction), objective.loss(w - step * direction)
    assert gradient @ direction == pytest.approx((up - down) / (2 * step), rel=1e-6)
    step = 1e-4
    up, down = objective.loss(w + step * direction), objective.loss(w - step * direction)
    assert direction @ hessian @ direction == pytest.approx((up + down - 2 * value) / step**2, rel=1e-4)


@pytest.mark.parametrize(("metric", "kind"), KINDS[:3])
def test_convex_minimum_agrees_with_a_generic_solver(problems, metric, kind):
    objective = problems[metric].objective(kind=kind)
    w, gap = exact_minimum(objective)
    found = minimize(
        objective.loss, np.full(4, 0.25), jac=lambda v: objective.derivatives(v)[1], method="SLSQP", bounds=[(0, 1)] * 4,
        constraints={"type": "eq", "fun": lambda v: v.sum() - 1}, options={"ftol": 1e-15, "maxiter": 500},
    )  # fmt: skip
    assert gap < 1e-6
    assert objective.loss(w) <= found.fun + 1e-12
    assert objective.loss(w) == pytest.approx(found.fun, abs=1e-8)


def test_mae_minimum_agrees_with_the_linear_programme(problems, tmp_path):
    problem = problems["mae"]
    w, gap = exact_minimum(problem.objective())
    P, y = problem.everything()
    P, y = P.reshape(4, -1).astype(np.float64), y.reshape(-1).astype(np.float64)
    n = len(y)  # variables: weights, then |residuals|
    cost = np.r_[np.zeros(4), np.full(n, 1 / n)]
    bounds_of = np.block([[P.T, -np.eye(n)], [-P.T, -np.eye(n)]])
    found = linprog(cost, bounds_of, np.r_[y, -y], np.r_[np.ones(4), np.zeros(n)][None], [1.0])
    assert problem.objective().loss(w) == pytest.approx(found.fun, rel=2e-7)
    assert found.fun >= problem.objective().loss(w) - gap - 1e-7


def test_the_reduction_of_agreeing_cells_keeps_its_promise(monkeypatch):
    """Sparse labels: sums over cells on which the models agree are a cubic polynomial, within the stated bound."""
    monkeypatch.setattr(cells, "_FEWEST_VALUES", 0)
    rng = np.random.default_rng(0)
    logit = rng.normal(-4.5, 1.0, (200, 6))
    truth = (rng.random((200, 6)) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    predictions = np.array([1 / (1 + np.exp(-logit - rng.normal(0, 0.3, logit.shape))) for _ in range(4)], np.float32)
    problem = memory_problem("column_log_loss", truth, predictions)
    reduced, whole = problem.objective(), problem.objective(reduce=False)
    assert isinstance(reduced, LogLoss)
    assert reduced.polynomial.cells > 0.5 * reduced.cells
    for w in np.vstack([on_simplex(4, 5), np.eye(4)]):
        assert abs(reduced.loss(w) - whole.loss(w)) <= reduced.error + 1e-15
    a, b = reduced.derivatives(np.full(4, 0.25)), whole.derivatives(np.full(4, 0.25))
    np.testing.assert_allclose(a[1] - a[1].mean(), b[1] - b[1].mean(), atol=1e-7)
    assert exact_minimum(reduced)[1] < 1e-6
    per_target = problem.objective(targets=(2, 3))
    assert isinstance(per_target, LogLoss)
    assert per_target.cells == 200


def test_one_sided_cells_are_linear_in_mae(problems):
    objective = problems["mae"].objective()
    assert isinstance(objective, AbsoluteLoss)
    assert 0 < objective.polynomial.cells < objective.cells


def test_large_problems_go_through_a_scratch_file():
    case = random_case("mae", 3, 60, (4,))
    small, large = memory_problem("mae", *case), memory_problem("mae", *case)
    small.memory = 1000
    w = np.array([0.2, 0.5, 0.3])
    assert small.objective().loss(w) == pytest.approx(large.objective().loss(w), rel=1e-15)
    kept = [values for part in small.objective().parts for values in part.values]
    assert any(isinstance(values, np.memmap) for values in kept)


@pytest.mark.parametrize(("metric", "kind"), KINDS)
def test_blends_of_blends_are_blends(problems, metric, kind):
    objective = problems[metric].objective(kind=kind)
    basis = on_simplex(4, 2, seed=5)
    composed = Composed(objective, basis)
    v = np.array([0.3, 0.7])
    assert composed.loss(v) == pytest.approx(objective.loss(v @ basis), rel=1e-14)
    best, gap = composed.minimum()
    line = [composed.loss(np.array([s, 1 - s])) for s in np.linspace(0, 1, 201)]
    assert composed.loss(best) <= min(line) + gap + 1e-9


@settings(max_examples=20, deadline=None)
@given(st.floats(0.01, 1e4))
def test_a_strong_prior_wins_and_a_weak_one_yields(problems, strength):
    objective = problems["column_log_loss"].objective(targets=(0, 1))
    center = np.array([0.1, 0.2, 0.3, 0.4])
    w, _ = WithPrior(objective, center, strength).minimum()
    assert w.sum() == pytest.approx(1.0)
    near, _ = WithPrior(objective, center, 1e7).minimum()
    np.testing.assert_allclose(near, center, atol=1e-3)
    assert objective.loss(w) <= objective.loss(center) + 1e-9


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_a_root_mean_square_that_can_be_zero():
    """Fewer rows than models: weights match the truth exactly, where a root has no second derivative."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(3, 1)).astype(np.float32)
    errors = rng.normal(size=(5, 3, 1)).astype(np.float32)
    errors[4] = -errors[:4].mean(axis=0)
    problem = memory_problem("rmse", truth, truth + errors, folds=np.zeros(3, dtype=int))
    w, _ = problem.objective().minimum()
    assert np.isfinite(w).all()
    assert problem.objective().loss(w) < 1e-3
