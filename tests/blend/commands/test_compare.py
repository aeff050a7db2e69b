"""What compare tries, and what it recommends."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest

from blend.__main__ import main
from blend.commands.compare import recommend, run, solvers_for
from blend.judging.nested import Fitted, difference
from blend.metrics.registry import KNOWN
from blend.metrics.scores import Judged
from blend.settings import Method
from blend.weights import Weights
from tests.blend.banks import memory_problem, random_case, write_runs


@dataclass
class Rows(Judged):
    """A mean of losses of rows, each its own block."""

    losses: np.ndarray

    def __post_init__(self):
        self.metric, self.blocks = KNOWN["mae"], len(self.losses)

    def score(self):
        return float(self.losses.mean())

    def per_target(self):
        return np.array([self.score()])

    def resampled(self, weights):
        return weights @ self.losses / weights.sum(axis=1)


def fits_of(**losses):
    weights = {name: Weights(name.removesuffix("_logit"), ["a", "b"], np.array([0.5, 0.5])) for name in losses}
    return {name: Fitted(weights[name], {0: weights[name]}, 0.0, 0.0, Rows(x), Rows(x)) for name, x in losses.items()}


@pytest.fixture(scope="module")
def problem():
    return memory_problem("mae", *random_case("mae", 2, 20, (1,)))


def test_the_committee_is_left_for_what_is_clearly_better_alone(problem):
    rng = np.random.default_rng(0)
    base = rng.random(400)
    noise = rng.normal(0, 0.2, 400)
    noise -= noise.mean()  # a standard error of 0.01
    luckier = fits_of(single=base + 0.5, committee=base, stacker=base + noise - 0.005)
    assert recommend(luckier, problem)[0] == "committee"
    better = fits_of(single=base + 0.5, committee=base, stacker=base + noise - 0.02)
    assert recommend(better, problem)[0] == "stacker"


def test_nothing_nested_worse_than_the_best_single_model_is_recommended(problem):
    rng = np.random.default_rng(1)
    base, noise = rng.random(100), rng.normal(0, 1, 100)
    noise -= noise.mean()
    fits = fits_of(single=base, committee=base + noise + 0.01, greedy=base + 0.1 * noise - 0.001)
    assert recommend(fits, problem)[0] == "greedy"
    assert recommend(fits_of(single=base, committee=base + noise + 0.01), problem)[0] == "single"


@pytest.mark.parametrize("seed", range(3))
def test_one_outlying_row_does_not_blow_up_the_standard_error(seed):
    """The mean's error with one row a million times the others' is theirs, as long as quartiles are asked."""
    rng = np.random.default_rng(seed)
    ours, theirs = rng.random(500), rng.random(500)
    quiet = difference(Rows(ours), Rows(theirs)).error
    spoiled = theirs.copy()
    spoiled[17] += 20.0
    gaps = Rows(ours).resampled(np.random.default_rng(0).multinomial(500, np.full(500, 1 / 500), 1000).astype(float))
    assert gaps.std() > 0
    assert difference(Rows(ours), Rows(spoiled)).error < 3 * quiet
    assert (ours - spoiled).std() / np.sqrt(500) > 1.5 * quiet  # which the plain formula is not


def test_without_a_committee_the_best_nested_score_decides(problem):
    base = np.random.default_rng(2).random(50)
    assert recommend(fits_of(single=base + 0.1, greedy=base, equal=base + 0.2), problem)[0] == "greedy"


def test_without_nested_scores_the_advice_says_what_it_is_worth(tmp_path, capsys):
    runs = write_runs(tmp_path, models=3, rows=40)
    assert main(["compare", *runs.banks, "--nested", "false", "--figures", "false", "--out", str(tmp_path / "c")]) == 0
    assert "which flatter; nested scores are better advice" in capsys.readouterr().out


def tried(metric, width=1, **options):
    case = "column_log_loss" if metric in ("auc", "column_log_loss") else "r2"
    return set(solvers_for(memory_problem(metric, *random_case(case, 6, 60, (width,))), None, Method(**options)))


def test_compare_tries_what_can_win():
    assert {"convex", "convex_logit", "bagged_logit", "stacker", "committee"} <= tried("column_log_loss")
    assert {"greedy_logit", "coordinate", "stacker"} <= tried("auc")
    for metric in ("r2", "column_log_loss", "mae"):  # an exact solution exists: no search is better
        assert not {"optuna", "coordinate"} & tried(metric)
        assert not {"per_target", "per_group", "per_target_top4"} & tried(metric)  # there is one target
        assert {"per_target", "per_target_top4"} <= tried(metric, width=3)
    assert not [name for name in tried("r2") if name.endswith("_logit")]
    assert "optuna" not in tried("auc")  # where asked for only
    named = solvers_for(
        memory_problem("auc", *random_case("column_log_loss", 3, 60, (1,))), ["optuna"], Method(trials=5)
    )
    assert set(named) == {"optuna"}


def test_the_longest_searches_of_a_metric_of_whole_columns_are_left_out(monkeypatch, capsys):
    assert "shrunk" in tried("auc")
    assert "left out" not in capsys.readouterr().out
    monkeypatch.setattr("blend.commands.compare._MOST_VALUES", 6 * 180 * 30)
    assert not {"shrunk", "shrunk_logit", "greedy_logit"} & tried("auc")
    assert {"greedy", "bagged", "stacker", "committee", "grow"} <= tried("auc")
    assert "shrunk, " in capsys.readouterr().out
    assert "shrunk" in tried("r2")  # whose evaluations look at no row


def test_committee_and_stacker_share_their_inner_fits():
    problem = memory_problem("r2", *random_case("r2", 4, 100, (1,)))
    solvers = solvers_for(problem, None, Method())
    assert solvers["committee"].stacker is solvers["stacker"]
    fits = run(problem, solvers)
    assert fits["committee"].honest.score() > fits["single"].honest.score()


def tables_beside_tests(folder, tests, rows):
    """A model for each of ``tests`` (its known values to those of new rows); words of a command line, and the known values."""
    truth, predictions = random_case("r2", len(tests), rows, (1,), seed=3)
    known = [f"r{i}" for i in range(rows)]
    pd.DataFrame({"row_id": known, "y": truth[:, 0]}).to_csv(folder / "truth.csv", index=False)
    for k, (values, test) in enumerate(zip(predictions[..., 0], tests, strict=True)):
        for name, ids, y in (
            ("oof", known, values),
            ("test", [f"n{i}" for i in range(len(test(values)))], test(values)),
        ):
            pd.DataFrame({"row_id": ids, "y": y}).to_csv(folder / f"m{k}_{name}.csv", index=False)
    banks = [str(folder / f"m{k}_oof.csv") for k in range(len(tests))]
    flags = ["--truth", str(folder / "truth.csv"), "--metric", "r2", "--figures", "false", "--out", str(folder / "c")]
    return [*banks, *flags], predictions


def test_the_recommended_weights_are_ready_to_apply(tmp_path, capsys):
    words, predictions = tables_beside_tests(tmp_path, [lambda values: values[:2]] * 4, 120)
    assert main(["compare", *words]) == 0
    printed = capsys.readouterr().out
    assert f"ready for `python -m blend apply {tmp_path / 'c'}`" in printed
    stored = json.loads((tmp_path / "c/weights.json").read_text())
    chosen = json.loads((tmp_path / "c/compare.json").read_text())
    assert stored["scores"]["nested"] == pytest.approx(chosen["methods"][chosen["recommended"]]["nested"])
    assert main(["apply", str(tmp_path / "c"), "--submission", str(tmp_path / "s.csv")]) == 0
    weights = stored["weights"]
    expected = np.array(weights["values"]) @ predictions[:, :2, 0] + sum(weights["intercept"])
    np.testing.assert_allclose(pd.read_csv(tmp_path / "s.csv")["y"], expected, rtol=1e-5)


@pytest.mark.parametrize("command", ["compare", "search"])
def test_test_tables_beside_the_models_are_compared_with_the_known_rows(tmp_path, capsys, command):
    units = (1.0, 3.0, 1.0)  # the second model's test predictions are in another one
    words, _ = tables_beside_tests(tmp_path, [lambda values, unit=unit: values[::2] * unit for unit in units], 300)
    assert main([command, *words]) == 0
    printed = capsys.readouterr().out
    assert "warning: m1 predicts the test rows otherwise than the known ones" in printed
    assert "m0 predicts" not in printed
    (tmp_path / "m1_test.csv").unlink()
    assert main([command, *words]) == 0
    assert "test rows" not in capsys.readouterr().out
