"""Metrics of whole columns against scikit-learn and scipy, with ties."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from blend.judging.judge import judge
from blend.judging.nested import fit, judge_all
from blend.metrics.registry import KNOWN, named_metric
from blend.metrics.tables import best_thresholds
from blend.problem import Problem
from blend.solvers import make_solver
from blend.weights import Weights
from tests.blend.banks import memory_problem, random_case


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.sampled_from([-1.0, -0.0, 0.0, 0.2, 0.5, 1e300])), min_size=2, max_size=40))
def test_rank_metrics_are_scikit_learns(rows):
    y, p = np.array([[r[0]] for r in rows], float), np.array([[r[1]] for r in rows])
    if 0 < y.sum() < len(y):
        assert KNOWN["auc"].score(y, p) == pytest.approx(sk.roc_auc_score(y, p), abs=1e-12)
        assert KNOWN["average_precision"].score(y, p) == pytest.approx(sk.average_precision_score(y, p), abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([2, 60, 10**6]), st.floats(0.01, 0.9))
def test_bounds_hold_the_area_under_the_curve(seed, levels, share):
    """Few levels give many ties, rare labels and two targets other bins; a constant blend may go either way."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((300, 2)) < share).astype(np.float64)
    truth[:2] = [[0, 0], [1, 1]]
    blends = np.floor(rng.random((3, 300, 2)) ** 3 * levels) / levels - rng.random()
    blends[2] = 0.25
    metric = KNOWN["auc"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("blend.metrics.tables._FEWEST_BINNED", 1)
        low, high = metric.bounds(truth)(blends)
    scores = metric.many(truth)(blends)
    assert (low <= scores).all()
    assert (scores <= high).all()
    if levels == 10**6:
        assert (high - low)[:2].max() < 0.01


def test_greedy_with_bounds_takes_the_same_path(monkeypatch):
    case = random_case("column_log_loss", 8, 400, (2,), seed=6)
    plain = make_solver("greedy", {"steps": 40}).fit(memory_problem("auc", *case))
    monkeypatch.setattr("blend.metrics.tables._FEWEST_BINNED", 1)
    monkeypatch.setattr("blend.metrics.tables._BINS", 64)  # so wide that most candidates must be sorted after all
    bounded = make_solver("greedy", {"steps": 40}).fit(memory_problem("auc", *case))
    assert bounded.path == plain.path


def test_decisions_kappa_and_correlation_are_the_libraries():
    rng = np.random.default_rng(0)
    y, p = (rng.random((80, 1)) < 0.4).astype(float), rng.random((80, 1))
    labels, decided = y[:, 0].astype(int), (p[:, 0] >= 0.5).astype(int)
    assert KNOWN["accuracy"].score(y, p) == pytest.approx(sk.accuracy_score(labels, decided))
    assert KNOWN["balanced_accuracy"].score(y, p) == pytest.approx(sk.balanced_accuracy_score(labels, decided))
    assert KNOWN["f1"].score(y, p) == pytest.approx(sk.f1_score(labels, decided))
    every = [sk.f1_score(labels, p[:, 0] >= t) for t in p[:, 0]]
    assert KNOWN["f1"].evaluator(y)(p) == pytest.approx(max(every))
    threshold = best_thresholds(y, p)
    assert sk.f1_score(labels, p[:, 0] >= threshold[0]) == pytest.approx(max(every))
    hot, q = np.eye(4)[rng.integers(0, 4, 80)], rng.random((80, 4))
    assert KNOWN["f1"].score(hot, q) == pytest.approx(sk.f1_score(hot.argmax(1), q.argmax(1), average="macro"))
    ratings, values = rng.integers(1, 6, (80, 1)).astype(float), rng.random((80, 1)) * 7
    rounded = np.clip(np.round(values), 1, 5)
    expected = sk.cohen_kappa_score(ratings[:, 0], rounded[:, 0], weights="quadratic")
    assert KNOWN["quadratic_kappa"].score(ratings, values) == pytest.approx(expected)
    assert KNOWN["spearman"].score(ratings, values) == pytest.approx(spearmanr(ratings, values).statistic)
    assert KNOWN["rmsle"].score(ratings, values) == pytest.approx(sk.root_mean_squared_log_error(ratings, values))


def test_map_at_k_by_hand():
    truth = np.array([[0, 1, 0, 0], [1, 0, 0, 1.0]])
    p = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
    assert named_metric("map@2", "test").score(truth, p) == pytest.approx((0.5 + 0.5) / 2)


@pytest.mark.parametrize("name", ["mse", "rmse", "pinball@0.8"])
def test_convex_metrics_are_scikit_learns_and_solved_exactly(name):
    truth, predictions = random_case("r2", 3, 60, (2,))
    problem = Problem(memory_problem("r2", truth, predictions).stack, named_metric(name, "test"))
    w = np.array([0.5, 0.3, 0.2])
    blended = np.tensordot(w, predictions.astype(float), 1)
    expected = {
        "mse": lambda: sk.mean_squared_error(truth, blended),
        "rmse": lambda: sk.root_mean_squared_error(truth, blended),
        "pinball@0.8": lambda: sk.mean_pinball_loss(truth, blended, alpha=0.8),
    }[name]()
    assert judge(problem, [Weights("", problem.names, w)])[0].score() == pytest.approx(expected, rel=1e-6)
    assert problem.objective().loss(w) == pytest.approx(expected, rel=1e-6)
    found = make_solver("convex", {}).fit(problem)
    assert 0 <= found.gap < 1e-6
    rivals = np.random.default_rng(0).dirichlet(np.ones(3), 500)
    assert problem.objective().losses(rivals).min() >= problem.objective().loss(found.values) - 1e-9


def test_multiclass_log_loss_and_the_mean_of_its_logits():
    rng = np.random.default_rng(1)
    label = rng.integers(0, 3, 90)
    truth = np.eye(3, dtype=np.float32)[label]
    raw = np.exp(2 * truth[None] + rng.normal(0, 1, (3, 90, 3)))
    predictions = (raw / raw.sum(2, keepdims=True)).astype(np.float32)
    problem = Problem(memory_problem("r2", truth, predictions).stack, KNOWN["multiclass_log_loss"])
    for kind in ("arithmetic", "logit"):
        weights = make_solver("convex", {"kind": kind}).fit(problem)
        blended = problem_blend(problem, weights)
        order = [int(row[3:]) for row in problem.stack.rows["row_id"]]
        expected = sk.log_loss(label[order], blended)
        assert judge(problem, [weights])[0].score() == pytest.approx(expected, rel=1e-6)
        objective = problem.objective(kind=kind)
        assert objective.loss(weights.values) == pytest.approx(expected, rel=1e-5)
        assert objective.losses(rng.dirichlet(np.ones(3), 200)).min() >= objective.loss(weights.values) - 1e-9


def problem_blend(problem, weights):
    return np.concatenate([problem.blend_fold(weights, fold) for fold in problem.folds])


@pytest.mark.parametrize("name", ["auc", "f1", "average_precision", "accuracy"])
def test_methods_for_metrics_without_an_exact_solution(name):
    truth, predictions = random_case("column_log_loss", 4, 80, (1,))
    problem = Problem(memory_problem("column_log_loss", truth, predictions).stack, KNOWN[name])
    fits = [
        fit(make_solver(method, {"steps": 15}), problem)
        for method in ("single", "greedy", "coordinate", "bagged", "shrunk", "stacker")
    ]
    judge_all(problem, fits)
    greedy, coordinate = (problem.objective().loss(fitted.weights.values) for fitted in fits[1:3])
    assert coordinate <= greedy + 1e-12
    for fitted in fits:
        assert 0.3 < fitted.held_out.score() <= 1
        assert bool(fitted.weights.thresholds) == (name == "f1")


def test_the_stacker_may_correct_scale_and_offset_and_is_a_blend_at_a_large_penalty():
    truth, predictions = random_case("r2", 3, 200, (1,))
    problem = memory_problem("r2", truth, 3 - 0.5 * predictions)
    fits = [fit(make_solver(name, {}), problem) for name in ("convex", "stacker")]
    judge_all(problem, fits)
    assert fits[0].held_out.score() < 0 < 0.8 < fits[1].held_out.score()
    truth, predictions = random_case("column_log_loss", 3, 300, (1,))
    logits = np.log(predictions / (1 - predictions))
    problem = memory_problem("column_log_loss", truth, (1 / (1 + np.exp(-(3 * logits + 1)))).astype(np.float32))
    fits = [fit(make_solver(name, {}), problem) for name in ("convex", "stacker")]
    judge_all(problem, fits)
    assert fits[1].held_out.score() < fits[0].held_out.score()
