"""Real predictions of 84 and 36 models of a sibling competition; needs ``PODIUM_REAL_DATA``."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.model_selection import KFold

from blend.judging.nested import fit, judge_all
from blend.solvers import make_solver
from tests.blend.banks import memory_problem

DATA = os.environ.get("PODIUM_REAL_DATA")
pytestmark = [pytest.mark.real_data, pytest.mark.skipif(not DATA, reason="PODIUM_REAL_DATA is not set")]


def load(name: str):
    return np.load(Path(DATA) / "oof" / name, allow_pickle=False)


@pytest.fixture(scope="module")
def mars1():
    bank = load("mars1_pred_bank.npz")
    rows = int(bank["n_val"])
    problem = memory_problem("column_log_loss", bank["val_labels"].astype(np.float32), bank["preds"][:, :rows])
    return problem, [str(name) for name in bank["names"]]


@pytest.fixture(scope="module")
def golden():
    return json.loads((Path(DATA) / "oof/mars1_pred_bank_golden.json").read_text())


@pytest.mark.parametrize("shrink", [False, True])
@pytest.mark.parametrize(("kind", "key"), [("arithmetic", "mean"), ("logit", "logit")])
@pytest.mark.parametrize(("method", "prefix"), [("grow", "grow"), ("remove", "drop")])
def test_stepwise_paths_are_the_golden_ones(mars1, golden, method, prefix, kind, key, shrink):
    problem, names = mars1
    expected = golden[f"{key}_{'shrink' if shrink else 'raw'}"]
    weights = make_solver(method, {"kind": kind, "shrink": shrink}).fit(problem)
    losses = [step["loss"] for step in weights.path]
    np.testing.assert_allclose(losses, expected[f"{prefix}_hist"], atol=1e-9)
    assert min(losses) == pytest.approx(expected[prefix], abs=1e-9)
    assert {names[k] for k in np.flatnonzero(weights.values)} == set(expected[f"{prefix}_sel"])


def test_convex_and_optuna_on_36_held_out_models():
    bank = load("mars_ega_val_blend.npz")
    truth, predictions = bank["labels"].astype(np.float32), np.clip(bank["preds"], 0, 1).astype(np.float32)
    folds = np.zeros(len(truth), dtype=np.int64)
    for fold, (_, held) in enumerate(KFold(5, shuffle=True, random_state=0).split(truth)):
        folds[held] = fold
    problem = memory_problem("column_log_loss", truth, predictions, folds=folds)
    exact = make_solver("convex", {})
    convex, optuna = fit(exact, problem), fit(make_solver("optuna", {"trials": 10}), problem, nested=False)
    equal = fit(make_solver("equal", {}), problem)
    judge_all(problem, [convex, optuna, equal])
    assert equal.in_sample.score() == pytest.approx(0.1152, abs=2e-4)
    assert convex.in_sample.score() == pytest.approx(0.09958, abs=2e-5)
    assert convex.weights.gap < 1e-6
    assert optuna.in_sample.score() <= convex.in_sample.score() + 1e-12
    assert convex.held_out.score() == pytest.approx(0.1045, abs=1e-3)
    assert make_solver("greedy", {}).fit(problem).path[-1]["loss"] == pytest.approx(0.0996, abs=1e-4)
