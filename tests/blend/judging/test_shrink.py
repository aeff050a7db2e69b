from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import log_loss

from blend.__main__ import main
from blend.judging.shrink import best_shrink
from blend.judging.steps import make_steps, shrink
from blend.metrics.scores import SHRINKS
from blend.weights import Weights
from datamodules.banks.bank import BankError
from tests.blend.banks import memory_problem, random_case, write_runs, write_test_predictions


def overconfident(rows: int = 90, targets: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Two models whose logits are three times as large as they should be."""
    truth, predictions = random_case("column_log_loss", 2, rows, (targets,), seed=3)
    logits = np.log(predictions / (1 - predictions))
    return truth, (1 / (1 + np.exp(-3 * logits))).astype(np.float32)


def mean_log_loss(truth: np.ndarray, p: np.ndarray) -> float:
    return float(np.mean([log_loss(truth[:, t], p[:, t].astype(float), labels=[0, 1]) for t in range(truth.shape[1])]))


def test_the_best_shrink_is_that_of_a_plain_search() -> None:
    truth, predictions = overconfident()
    problem = memory_problem("column_log_loss", truth, predictions)
    weights = Weights("equal", list(problem.names), np.array([0.5, 0.5]), kind="logit", clip=1e-4)
    clipped = np.clip(predictions.astype(float), 1e-4, 1 - 1e-4)
    blend = 1 / (1 + np.exp(-np.log(clipped / (1 - clipped)).mean(axis=0)))
    scores = [mean_log_loss(truth, shrink(blend, c)) for c in SHRINKS]
    found = best_shrink(problem, weights, dict.fromkeys(problem.folds, weights))
    assert found.c == SHRINKS[int(np.argmin(scores))] > 1e-3
    assert found.in_sample == pytest.approx((scores[0], min(scores)), rel=1e-7)
    assert found.nested is not None
    assert found.nested[0] == pytest.approx(scores[0], rel=1e-7)
    assert min(scores) <= found.nested[1] < scores[0]
    assert set(found.fold_c) == set(problem.folds)


def test_a_folds_own_rows_do_not_choose_its_shrink() -> None:
    """One fold is all wrong and certain of it: the others, which are right, leave it as it is."""
    truth = np.tile(np.array([[0.0], [1.0]], np.float32), (30, 1))
    folds = np.arange(60) // 12
    p = np.where(truth == 1, 0.999, 0.001).astype(np.float32)
    p[folds == 2] = 1 - p[folds == 2]
    problem = memory_problem("column_log_loss", truth, p[None], folds=folds)
    weights = Weights("single", list(problem.names), np.ones(1))
    found = best_shrink(problem, weights, dict.fromkeys(problem.folds, weights))
    assert found.fold_c[2] == 0.0
    assert all(found.fold_c[fold] == pytest.approx(0.1) for fold in (0, 1, 3, 4))
    assert found.c == pytest.approx(0.1)


def test_without_nested_weights_and_after_other_steps() -> None:
    truth, predictions = overconfident()
    problem = memory_problem("column_log_loss", truth, predictions)
    weights = Weights("single", list(problem.names), np.array([1.0, 0.0]))
    found = best_shrink(problem, weights, {}, make_steps([{"clip": [0.3, 0.7]}]))
    assert found.nested is None
    expected = mean_log_loss(truth, np.clip(predictions[0], 0.3, 0.7))
    assert found.in_sample[0] == pytest.approx(expected, rel=1e-6)


def test_other_metrics_have_no_shrink() -> None:
    truth, predictions = random_case("r2", 2, 30, (2,))
    problem = memory_problem("r2", truth, predictions)
    with pytest.raises(BankError, match="--post_shrink shrinks probabilities; metric r2 has none"):
        best_shrink(problem, Weights("equal", list(problem.names), np.full(2, 0.5)), {})


def test_the_switch_reports_and_only_apply_changes_the_submission(tmp_path, capsys) -> None:
    truth, predictions = overconfident(60)
    runs = write_runs(tmp_path / "runs", "column_log_loss", truth=truth, predictions=predictions)
    tests = write_test_predictions(runs)
    written = {}
    for switch in ("report", "apply"):
        out = tmp_path / switch
        search = ["search", *runs.banks, "--method", "remove", "--kind", "logit", "--figures", "false"]
        assert main([*search, "--post_shrink", switch, "--out", str(out)]) == 0
        printed = capsys.readouterr().out
        assert "Shrink p (1 - 2 c) + c of the finished blend" in printed
        stored = json.loads((out / "weights.json").read_text())
        assert stored["scores"]["shrink"]["in_sample"][0] == pytest.approx(stored["scores"]["in_sample"])
        assert main(["apply", str(out), "--submission", str(tmp_path / f"{switch}.csv")]) == 0
        written[switch] = pd.read_csv(tmp_path / f"{switch}.csv").set_index("row_id").sort_index().to_numpy()
        assert [list(step) for step in stored["post_processing"]] == ([["shrink"]] if switch == "apply" else [])
    c = stored["scores"]["shrink"]["c"]
    assert c > 0
    np.testing.assert_allclose(written["apply"], shrink(written["report"], c), rtol=1e-5)
    # probabilities averaged over folds, then clipped logits over models
    weights = np.array(stored["weights"]["values"])
    model = np.clip(tests.mean(axis=1, dtype=np.float64), 1e-4, 1 - 1e-4)
    blend = 1 / (1 + np.exp(-np.tensordot(weights, np.log(model / (1 - model)), axes=1)))
    np.testing.assert_allclose(written["report"], blend, rtol=1e-5)


def test_compare_has_no_finished_blend(tmp_path, capsys) -> None:
    runs = write_runs(tmp_path / "runs", "column_log_loss", rows=30)
    assert main(["compare", *runs.banks, "--post_shrink", "report"]) == 2
    assert "--post_shrink belongs to a finished blend" in capsys.readouterr().err
