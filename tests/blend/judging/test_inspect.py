from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss, recall_score

from blend.judging import inspect
from blend.judging.nested import fit, judge_all
from blend.solvers import make_solver
from tests.blend.banks import memory_problem, random_case


def test_calibration_is_scikit_learns():
    truth, predictions = random_case("column_log_loss", 1, 500, (1,))
    for probabilities, strategy in ((True, "uniform"), (False, "quantile")):
        predicted, observed = inspect.calibration(predictions[0].astype(float), truth.astype(float), probabilities)
        theirs = calibration_curve(truth[:, 0], predictions[0, :, 0], n_bins=10, strategy=strategy)
        np.testing.assert_allclose(observed, theirs[0], atol=1e-6)
        np.testing.assert_allclose(predicted, theirs[1], atol=1e-6)


def test_rank_correlations_are_scipys():
    truth, predictions = random_case("r2", 4, 80, (1,))
    predictions[1, :40] = predictions[1, 0]  # ties
    problem = memory_problem("r2", truth, predictions)
    found = inspect.rank_correlations(problem)
    np.testing.assert_allclose(found, spearmanr(predictions[:, :, 0].T).statistic, atol=1e-9)
    predictions[2] = 1.0
    with_constant = inspect.rank_correlations(memory_problem("r2", truth, predictions))
    assert np.isfinite(with_constant).all()
    assert with_constant[2, 0] == 0


@pytest.mark.parametrize("metric", ["mae", "column_log_loss", "auc", "r2"])
def test_scores_of_folds_are_those_of_their_rows_alone(metric):
    truth, predictions = random_case("column_log_loss" if metric in ("auc", "column_log_loss") else "r2", 3, 150, (1,))
    problem = memory_problem(metric, truth, predictions)
    fitted = fit(make_solver("greedy", {"steps": 5}), problem)
    judge_all(problem, [fitted])
    scores = inspect.fold_scores(problem, fitted)
    for fold in problem.folds:
        alone = problem.objective([fold]).loss(fitted.nested[fold].values)
        assert scores[fold] == pytest.approx(problem.metric.score_of_loss(alone), rel=1e-6)


def test_scores_of_classes():
    truth, predictions = random_case("column_log_loss", 2, 200, (1,))
    problem = memory_problem("column_log_loss", truth, predictions)
    fitted = fit(make_solver("equal", {}), problem)
    blended, labels = predictions.mean(axis=0)[:, 0], truth[:, 0]
    for c, found in enumerate(inspect.class_scores(problem, fitted)):
        own = labels == c
        assert found.rows == own.sum()
        assert found.loss == pytest.approx(log_loss(labels[own], blended[own], labels=[0, 1]), rel=1e-5)
        assert found.recall == pytest.approx(recall_score(labels, blended > 0.5, pos_label=c))
    assert inspect.class_scores(memory_problem("mae", *random_case("mae", 2, 20, (1,))), fitted) == []


def test_models_that_are_alike_stand_side_by_side():
    near, far = 0.95, 0.1
    values = np.full((4, 4), far)
    values[np.ix_([0, 2], [0, 2])] = values[np.ix_([1, 3], [1, 3])] = near
    np.fill_diagonal(values, 1.0)
    order = inspect.side_by_side(values)
    assert sorted(order) == [0, 1, 2, 3]
    assert abs(order.index(0) - order.index(2)) == 1
    assert abs(order.index(1) - order.index(3)) == 1


def test_the_range_of_weights_over_the_folds():
    problem = memory_problem("r2", *random_case("r2", 3, 100, (1,)))
    fitted = fit(make_solver("convex", {}), problem)
    low, high = inspect.weight_spread(fitted)
    every = np.array([weights.values for weights in fitted.nested.values()])
    np.testing.assert_array_equal(low, every.min(axis=0))
    assert (low < high).any()
    assert (high == every.max(axis=0)).all()
