from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss, mean_absolute_error, r2_score

from blend.judging.judge import judge
from blend.metrics.registry import given_metric, named_metric
from blend.metrics.scores import sum_log
from blend.weights import Weights
from datamodules.errors import DataError
from tests.blend.banks import memory_problem, random_case, write_runs


def judged(metric, truth, predictions, weights, **kind):
    problem = memory_problem(metric, truth, predictions)
    return judge(problem, [Weights("", problem.names, weights, **kind)])[0]


WEIGHTS = np.array([0.5, 0.3, 0.2])


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 4)])
@pytest.mark.parametrize("metric", ["r2", "column_log_loss", "mae"])
def test_scores_are_scikit_learns(metric, shape):
    truth, predictions = random_case(metric, 3, 50, shape)
    blended = np.tensordot(WEIGHTS, predictions.astype(np.float64), 1).reshape(50, -1)
    flat = truth.reshape(50, -1)
    expected = {
        "r2": lambda: [r2_score(y, p) for y, p in zip(flat.T, blended.T, strict=True)],
        "mae": lambda: [mean_absolute_error(y, p) for y, p in zip(flat.T, blended.T, strict=True)],
        "column_log_loss": lambda: [log_loss(y, p, labels=[0, 1]) for y, p in zip(flat.T, blended.T, strict=True)],
    }[metric]()
    result = judged(metric, truth, predictions, WEIGHTS)
    np.testing.assert_allclose(result.per_target(), expected, rtol=1e-9)
    assert result.score() == pytest.approx(np.mean(expected), rel=1e-12)


def test_a_constant_target_scores_1_if_matched_exactly_and_0_otherwise():
    truth, predictions = random_case("r2", 2, 40, (4,))
    truth[:, 1] = truth[:, 2] = 300.25
    predictions[:, :, 1] = 300.25
    result = judged("r2", truth, predictions, np.array([0.4, 0.6]))
    assert list(result.per_target()[1:3]) == [1.0, 0.0]


def test_r2_of_a_large_mean_and_a_tiny_spread_keeps_its_digits():
    rng = np.random.default_rng(0)
    truth = (300 + rng.normal(0, 1, (60, 2))).astype(np.float32)
    truth[:, 1] = rng.normal(0, 1e-30, 60)
    predictions = np.array([truth + rng.normal(0, [0.3, 1e-31], (60, 2)) for _ in range(2)], np.float32)
    for sum_of_weights in (1.0, 0.9):
        w = np.array([0.7, 0.3]) * sum_of_weights
        blended = np.tensordot(w, predictions.astype(np.float64), 1)
        expected = [r2_score(truth[:, t].astype(np.float64) * 1e30, blended[:, t] * 1e30) for t in range(2)]
        result = judged("r2", truth, predictions, w)
        np.testing.assert_allclose(result.per_target(), expected, rtol=1e-8)


def test_r2_does_not_change_with_the_scale_and_mae_is_in_judge_units(tmp_path):
    for metric in ("r2", "mae"):
        runs = write_runs(tmp_path / metric, metric)
        plain = judge(runs.problem(), [Weights("", ["a", "b", "c"], WEIGHTS)])[0].score()
        for manifest in (tmp_path / metric).rglob("manifest.json"):
            np.save(manifest.parent / "scale.npy", np.array([2.0, 2.0, 2.0, 2.0]))
        scaled = judge(runs.problem(), [Weights("", ["a", "b", "c"], WEIGHTS)])[0].score()
        assert scaled == pytest.approx(plain if metric == "r2" else 2 * plain, rel=1e-12)


def test_a_certain_mistake_costs_what_the_judge_says():
    truth = np.array([[1.0], [0.0]] * 5, np.float32)
    predictions = np.array([1 - truth], np.float32)
    result = judged("column_log_loss", truth, predictions, np.ones(1))
    assert result.score() == pytest.approx(-np.log(1e-15), rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(1e-15, 1.0), min_size=1, max_size=70))
def test_sum_log_is_the_sum_of_logs(values):
    q = np.array(values)
    assert sum_log(q) == pytest.approx(np.log(q).sum(), rel=1e-11, abs=1e-11)
    table = np.stack([q, np.sqrt(q)], axis=1)
    np.testing.assert_allclose(sum_log(table, axis=0), np.log(table).sum(axis=0), rtol=1e-10, atol=1e-10)


def test_metrics_are_found_by_name_or_function():
    assert given_metric("r2", None).higher_is_better
    assert given_metric("sklearn.metrics:r2_score", None).higher_is_better
    assert not given_metric("sklearn.metrics:log_loss", None).higher_is_better
    assert given_metric("math:dist", "maximize").higher_is_better
    with pytest.raises(DataError, match=r"metric 'rmsee' of --metric is unknown; did you mean rmse\?"):
        given_metric("rmsee", None)
    with pytest.raises(DataError, match="cannot be imported"):
        given_metric("sklearn.metrics:no_such", None)
    with pytest.raises(DataError, match="needs its direction: give --direction maximize or --direction minimize"):
        given_metric("math:dist", None)


def test_a_file_never_names_code():
    with pytest.raises(DataError, match="functions are taken from the command line only"):
        named_metric("no.such:function", "the manifest of b")
