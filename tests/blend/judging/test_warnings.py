"""Each warning on predictions that have the fault, and on others that have not."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from blend.judging.nested import fit
from blend.judging.warnings import warnings_of
from blend.solvers import make_solver
from datamodules.banks.bank import BankError
from tests.blend.banks import memory_problem, random_case, write_runs

METRICS = ["r2", "column_log_loss", "mae"]


def case(metric: str, models: int = 5, rows: int = 200, width: int = 1, seed: int = 4):
    return random_case(metric, models, rows, (width,), seed=seed)


def told(metric: str, truth: np.ndarray, predictions: np.ndarray, **more) -> str:
    problem = memory_problem(metric, truth, predictions.astype(np.float32))
    weights = make_solver("convex", {}).fit(problem) if "weights" not in more and problem.metric.convex else None
    return "\n".join(warnings_of(problem, weights, more.get("tests")))


@pytest.mark.parametrize("metric", [*METRICS, "auc"])
@pytest.mark.parametrize("width", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_ordinary_models_cause_no_warning(metric, width, seed):
    truth, predictions = case("column_log_loss" if metric == "auc" else metric, width=width, seed=seed)
    assert told(metric, truth, predictions, tests={f"model{k}": p[::2] for k, p in enumerate(predictions)}) == ""


@pytest.mark.parametrize("metric", METRICS)
def test_labels_among_the_models_and_a_leak(metric):
    truth, predictions = case(metric)
    assert "model4: equal to the labels" in told(metric, truth, np.concatenate([predictions[:4], truth[None]]))
    leaked = predictions.copy()
    leaked[2] = truth + 0.02 * (predictions[2] - truth)
    assert "model2 has" in told(metric, truth, leaked)
    assert "a leak?" in told(metric, truth, leaked)
    leading = predictions.copy()
    leading[2] = truth + 0.4 * (predictions[2] - truth)  # a good model is no leak
    assert "leak" not in told(metric, truth, leading)


def test_a_small_unit_is_no_leak():
    truth, predictions = case("mae")
    assert told("mse", 1e-8 * truth, 1e-8 * predictions) == ""


@pytest.mark.parametrize("metric", METRICS)
def test_duplicates_and_their_share(metric):
    truth, predictions = case(metric)
    twins = np.concatenate([predictions, predictions[[0, 0]] * (1 + 2e-7)])
    text = told(metric, truth, twins)
    assert "model5, model6 repeat the predictions of model0; together they weigh 0." in text
    assert "put on the first" in text
    near = np.concatenate([predictions, predictions[:1] * (1 - 1e-3)])
    assert "repeat" not in told(metric, truth, near)


def test_per_cent():
    truth, predictions = case("r2")
    predictions[3] *= 100
    assert "model3 is 1" in told("r2", truth, predictions)
    assert "in per cent? Divide it by 100" in told("r2", truth, predictions)
    predictions[3] /= 50
    assert "per cent" not in told("r2", truth, predictions)


def test_constant_models_and_folds_that_were_never_predicted():
    truth, predictions = case("mae")
    problem = memory_problem("mae", truth, predictions)
    folds = problem.stack.rows.set_index("row_id")["nested"].sort_index().to_numpy()
    broken = predictions.copy()
    broken[1] = 3.0
    assert "model1 is constant: it adds" in told("mae", truth, broken)
    broken[1] = predictions[1]
    broken[1, folds == 2] = 0.0
    text = told("mae", truth, broken)
    assert "model1 is constant in fold 2: was it never predicted there?" in text
    assert "scores of model1 scatter" in text
    one_class = truth.copy()
    assert "constant" not in told("mae", one_class, predictions)


@pytest.mark.parametrize("metric", METRICS)
def test_scores_that_scatter(metric):
    truth, predictions = case(metric, rows=1500)
    problem = memory_problem(metric, truth, predictions)
    folds = problem.stack.rows.set_index("row_id")["nested"].sort_index().to_numpy()
    failed = predictions.copy()
    held = folds == 3
    failed[0, held] = np.random.default_rng(0).permutation(failed[0, held])  # a fold of rows in another order
    assert "the scores of model0 scatter" in told(metric, truth, failed)
    assert "most in fold 3" in told(metric, truth, failed)
    hard_fold = predictions.copy()
    hard_fold[:, held] = hard_fold[:, held].mean()  # hard for all: nobody's fault
    assert "scatter" not in told(metric, truth, hard_fold)


def test_shift_between_known_and_new_rows():
    truth, predictions = case("r2", rows=600)
    tests = {f"model{k}": p[::2].copy() for k, p in enumerate(predictions)}
    tests["model4"] = tests["model4"] * 0.5 + 4
    text = told("r2", truth, predictions, tests=tests)
    assert "model4 predicts the test rows otherwise" in text
    assert "model0" not in text
    moved = {name: values + 1.5 for name, values in tests.items() if name != "model4"}
    text = told("r2", truth, predictions, tests=moved)
    assert "the test rows differ from the known ones" in text
    assert "otherwise" not in text


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("method", ["convex", "stacker", "committee", "bagged", "equal"])
def test_the_weight_of_duplicates_stands_on_the_first(metric, method):
    truth, predictions = case(metric, models=4)
    twins = memory_problem(metric, truth, np.concatenate([predictions[:2], predictions[:2], predictions[2:]]))
    assert twins.twins() == [[0, 2], [1, 3]]
    fitted = fit(make_solver(method, {}), twins)
    for weights in (fitted.weights, *fitted.nested.values()):
        assert (weights.values[2:4] != 0).all() if method == "equal" else (weights.values[2:4] == 0).all()
    raw = make_solver(method, {}).fit(twins)
    fitted.weights.intercept = raw.intercept
    assert twins.score_of(fitted.weights) == pytest.approx(twins.score_of(raw), rel=1e-6)
    assert fitted.weights.values.sum() == pytest.approx(raw.values.sum())


def test_probabilities_in_per_cent_are_refused_by_that_name():
    truth, predictions = case("column_log_loss")
    predictions[2] *= 100
    with pytest.raises(BankError, match=r"in per cent\? Divide it by 100"):
        memory_problem("column_log_loss", truth, predictions).objective()
    predictions[2] = np.log(predictions[2])
    with pytest.raises(BankError, match="not probabilities"):
        memory_problem("column_log_loss", truth, predictions).objective()


def test_a_fold_that_a_model_lacks_is_named(tmp_path):
    runs = write_runs(tmp_path, rows=30)
    shutil.rmtree(tmp_path / "model1/default/seed0/fold2")
    shutil.rmtree(tmp_path / "model1/default/seed0/fold4")
    with pytest.raises(BankError, match="12 rows missing, among them all of folds 2, 4"):
        runs.problem()
