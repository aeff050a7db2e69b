"""The stacker's linear models against scikit-learn's, and against what they are for."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, QuantileRegressor, Ridge

from blend.judging.nested import fit, judge_all
from blend.metrics.scores import Pinball
from blend.problem import Problem
from blend.solvers import make_solver
from blend.solvers.linear import Data, Linear
from tests.blend.banks import memory_problem, random_case


def regression(seed: int = 0, rows: int = 300, models: int = 4) -> Data:
    rng = np.random.default_rng(seed)
    y = rng.normal(2, 1, (rows, 1))
    X = y + rng.normal(0, 0.5, (models, rows, 1)) + rng.normal(0, 0.3, (rows, 1))
    return Data(X, y)


def test_ridge_towards_equal_weights_is_scikit_learns_of_the_rest():
    data = regression()
    X, y = data.inputs[:, :, 0].T, data.truth[:, 0]
    linear = Linear("squared")
    found = linear.fit(data, 0.5)
    unit = ((X - X.mean(axis=0)) ** 2).sum() / 4
    equal = X.mean(axis=1)
    other = Ridge(alpha=0.5 * unit).fit(X, y - equal)  # a pull to zero of what is left of the truth by equal weights
    np.testing.assert_allclose(found.weights, other.coef_ + 0.25, atol=1e-8)
    assert found.intercept[0] == pytest.approx(other.intercept_, abs=1e-8)


@pytest.mark.parametrize("level", [0.5, 0.8])
def test_absolute_errors_are_quantile_regression(level):
    data = regression(1)
    slopes = Pinball(level).slopes
    found = Linear("absolute", slopes).fit(data, 0.0)
    other = QuantileRegressor(quantile=level, alpha=0).fit(data.inputs[:, :, 0].T, data.truth[:, 0])
    linear = Linear("absolute", slopes)
    least = linear.loss(data, type(found)(other.coef_, np.array([other.intercept_])))
    assert least <= linear.loss(data, found) <= 1.003 * least


def labels(classes: int, seed: int = 2) -> Data:
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, (400, classes))
    z = logit + rng.normal(0, 0.7, (3, *logit.shape))
    if classes == 1:
        return Data(z, (rng.random((400, 1)) < 1 / (1 + np.exp(-logit))).astype(float))
    return Data(z, np.eye(classes)[(logit + rng.gumbel(size=logit.shape)).argmax(axis=1)])


def test_logits_are_logistic_regression():
    data = labels(1)
    found = Linear("logistic").fit(data, 0.0)
    other = LogisticRegression(C=np.inf, tol=1e-10).fit(data.inputs[:, :, 0].T, data.truth[:, 0])
    np.testing.assert_allclose(found.weights, other.coef_[0], atol=1e-4)
    assert found.intercept[0] == pytest.approx(other.intercept_[0], abs=1e-4)


def test_classes_have_one_weight_a_model_and_an_intercept_a_class():
    """The optimum has no slope, by finite differences of the loss."""
    data, linear = labels(4), Linear("softmax")
    found = linear.fit(data, 0.0)
    assert found.weights.shape == (3,)
    assert found.intercept.shape == (4,)
    for k in range(3):
        move = 1e-5 * np.eye(3)[k]
        sides = [linear.loss(data, found._replace(weights=found.weights + sign * move)) for sign in (1, -1)]
        assert abs(sides[0] - sides[1]) / 2e-5 < 1e-2
    assert linear.loss(data, found) < linear.loss(data, found._replace(weights=np.full(3, 1 / 3)))


@pytest.mark.parametrize("form", ["squared", "absolute", "logistic", "softmax"])
def test_a_strong_penalty_is_the_plain_mean_and_none_is_the_best_fit(form):
    data = {"logistic": labels(1), "softmax": labels(3)}.get(form, regression())
    linear = Linear(form)
    fits = [linear.fit(data, penalty) for penalty in (1e6, 1.0, 1e-6)]
    np.testing.assert_allclose(fits[0].weights, 1 / len(data.inputs), atol=1e-3)
    losses = [linear.loss(data, fitted) for fitted in fits]
    assert losses[0] > losses[1] > losses[2]


def test_confident_models_do_not_make_the_newton_steps_diverge():
    """Separable labels under a weak penalty: full steps from a warm start would overshoot."""
    rng = np.random.default_rng(0)
    y = (rng.random((60, 1)) < 0.5).astype(float)
    data = Data(9.0 * (2 * y - 1) + rng.normal(0, 2.0, (30, 60, 1)), y)
    linear = Linear("logistic")
    fitted = None
    before = np.inf
    for penalty in (10.0, 1.0, 1e-2, 1e-4):
        fitted = linear.fit(data, penalty, fitted)
        loss = linear.loss(data, fitted)
        assert np.isfinite(fitted.weights).all()
        assert loss <= before + 1e-6
        before = loss


def test_the_elastic_net_drops_models():
    data = regression(3)
    noise = np.random.default_rng(4).normal(2, 1, (6, 300, 1))
    wide = Data(np.concatenate([data.inputs, noise]), data.truth)
    sparse = Linear("squared", sparse=1.0).fit(wide, 0.3)
    dense = Linear("squared").fit(wide, 0.3)
    assert (sparse.weights[4:] == 0).sum() >= 4
    assert (sparse.weights[:4] > 0.05).all()
    assert (dense.weights != 0).all()


@pytest.mark.parametrize("metric", ["r2", "mae", "column_log_loss", "auc", "rmse", "multiclass_log_loss", "accuracy"])
def test_the_stacker_corrects_what_weights_of_sum_one_cannot(metric):
    """Predictions that are all too low by half: an intercept (and a slope) mends them."""
    if metric in ("multiclass_log_loss", "accuracy"):
        data = labels(3)
        flat = np.exp(0.3 * data.inputs)
        truth, predictions = data.truth, flat / flat.sum(axis=2, keepdims=True)
    else:
        truth, predictions = random_case(
            "column_log_loss" if metric in ("column_log_loss", "auc") else "r2", 3, 400, (1,)
        )
        predictions = 0.5 * predictions
    problem = memory_problem(metric, truth.astype(np.float32), predictions.astype(np.float32))
    fits = [fit(make_solver(name, {}), problem) for name in ("stacker", "committee", "equal")]
    judge_all(problem, fits)
    stacker, committee, equal = (problem.metric.sign * fitted.honest.score() for fitted in fits)
    assert stacker <= equal + 0.01
    assert committee <= equal + 0.01
    if metric not in ("auc", "accuracy"):  # which see the order alone
        assert stacker < equal - 0.01


def test_margins_are_not_taken_for_probabilities():
    truth, predictions = random_case("column_log_loss", 3, 300, (1,))
    margins = 5 * np.log(predictions / (1 - predictions))
    problem = memory_problem("auc", truth, margins.astype(np.float32))
    assert not problem.holds_probabilities
    weights = make_solver("stacker", {}).fit(problem)
    assert weights.kind == "arithmetic"
    assert memory_problem("auc", truth, predictions).holds_probabilities


def test_many_rows_choose_the_penalty_on_a_sample(monkeypatch):
    from blend.solvers import regular

    truth, predictions = random_case("r2", 3, 2000, (1,))
    whole = make_solver("stacker", {}).fit(memory_problem("r2", truth, predictions))
    monkeypatch.setattr(regular, "_CHOICE", 1.0)
    sampled = make_solver("stacker", {}).fit(memory_problem("r2", truth, predictions))
    np.testing.assert_allclose(sampled.values, whole.values, atol=0.05)


def test_the_committee_is_the_mean_of_its_members():
    for metric, width in (("r2", 1), ("column_log_loss", 2), ("mae", 1)):
        problem: Problem = memory_problem(metric, *random_case(metric, 4, 120, (width,)))
        stacker = make_solver("stacker", {}).fit(problem)
        bagged = make_solver("bagged", {"kind": stacker.kind, "clip": stacker.clip}).fit(problem)
        committee = make_solver("committee", {}).fit(problem)
        np.testing.assert_allclose(committee.values, (stacker.values + bagged.values) / 2)
        np.testing.assert_allclose(committee.intercept, np.array(stacker.intercept) / 2)
        assert committee.kind == stacker.kind
    far = memory_problem("r2", *random_case("r2", 3, 60, (2,)))
    far.stack.scale = np.full(2, 1e-6)  # not the judge's own units
    weights = make_solver("committee", {}).fit(far)
    assert not weights.intercept
    assert weights.values.sum() == pytest.approx(1.0)
