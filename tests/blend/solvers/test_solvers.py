"""What every solver must keep, and each one's own rule."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import r2_score

from blend.judging.judge import judge
from blend.judging.nested import fit, judge_all
from blend.metrics.registry import KNOWN
from blend.metrics.tables import FunctionMetric
from blend.problem import Problem
from blend.solvers import list_solvers, make_solver
from datamodules.banks.bank import BankError
from datamodules.errors import DataError
from tests.blend.banks import memory_problem, random_case

SIMPLEX = ["single", "equal", "greedy", "grow", "remove", "convex", "optuna", "coordinate"]
OPTIONS = {"trials": 8, "steps": 20}
METRICS = ["r2", "column_log_loss", "mae"]


@pytest.fixture(scope="module")
def cases():
    """Problems by (metric, seed), made once; every one has another number of models."""
    made = {}

    def case(metric: str, seed: int) -> Problem:
        if (metric, seed) not in made:
            made[metric, seed] = memory_problem(metric, *random_case(metric, 3 + seed, 40, (3,), seed))
        return made[metric, seed]

    return case


def solve(problem, name, **options):
    return make_solver(name, OPTIONS | options).fit(problem)


def test_all_solvers_are_listed():
    assert set(list_solvers()) == {
        "single", "equal", "grow", "remove", "greedy", "convex", "nnls", "optuna", "shrunk", "bagged", "coordinate", "stacker", "committee", "stack", "per_group", "per_target",
    }  # fmt: skip
    assert all(solver.summary for solver in list_solvers().values())
    with pytest.raises(DataError, match="no method 'ridge'; the methods are"):
        make_solver("ridge", {})


@settings(max_examples=24, deadline=None)
@given(st.sampled_from(SIMPLEX), st.sampled_from(METRICS), st.integers(0, 2))
def test_weights_lie_on_the_simplex_and_beat_the_best_single_model(cases, name, metric, seed):
    problem = cases(metric, seed)
    weights = solve(problem, name)
    assert weights.models == problem.names
    assert (weights.values >= 0).all()
    assert weights.values.sum() == pytest.approx(1.0, abs=1e-12)
    if name != "equal":
        objective = problem.objective()
        assert objective.loss(weights.values) <= objective.singles().min() + 1e-12


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(["convex", "greedy", "grow", "remove"]), st.sampled_from(METRICS), st.permutations(range(4)))
def test_the_order_of_models_does_not_matter(name, metric, order):
    truth, predictions = random_case(metric, 4, 40, (3,), seed=3)
    one = solve(memory_problem(metric, truth, predictions), name)
    two = solve(memory_problem(metric, truth, predictions[list(order)]), name)
    np.testing.assert_allclose(two.values, one.values[list(order)], atol=1e-5)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("name", ["single", "greedy", "convex", "optuna"])
def test_a_duplicate_changes_nothing(metric, name):
    truth, predictions = random_case(metric, 3, 40, (3,), seed=1)
    plain = memory_problem(metric, truth, predictions)
    twice = memory_problem(metric, truth, predictions[[0, 1, 2, 0]])
    before, after = solve(plain, name).values, solve(twice, name).values
    loss = plain.objective().loss
    merged = np.array([after[0] + after[3], after[1], after[2]])
    assert loss(merged) == pytest.approx(loss(before), abs=1e-9)


def test_optuna_is_never_worse_than_the_exact_solution(cases):
    for metric, sampler in itertools.product(METRICS, ("tpe", "cmaes")):
        problem = cases(metric, 1)
        exact = problem.objective().loss(solve(problem, "convex").values)
        assert problem.objective().loss(solve(problem, "optuna", sampler=sampler).values) <= exact + 1e-12


def test_certificates_are_small(cases):
    for metric in METRICS:
        gap = solve(cases(metric, 2), "convex").gap
        assert gap is not None
        assert 0 <= gap < 1e-6


def test_min_weight_drops_models_and_says_what_it_costs(cases):
    problem = cases("r2", 2)
    full, few = solve(problem, "convex"), solve(problem, "convex", min_weight=0.25)
    assert few.values[few.values > 0].min() >= 0.2
    assert few.gap == pytest.approx(
        problem.objective().loss(few.values) - problem.objective().loss(full.values), abs=1e-9
    )


def test_greedy_by_hand():
    """Truth 0; models at +1, -1.5 and +4: +1 alone, then the mean with -1.5 is -0.25, then +1 again is 1/6."""
    truth = np.zeros((10, 1), np.float32)
    predictions = np.array([truth + 1.0, truth - 1.5, truth + 4.0], np.float32)
    problem = memory_problem("mae", truth, predictions)
    weights = solve(problem, "greedy", steps=3)
    assert [step["added"] for step in weights.path] == ["model0", "model1", "model0"]
    np.testing.assert_allclose([step["loss"] for step in weights.path], [1.0, 0.25, 1 / 6], rtol=1e-6)
    np.testing.assert_allclose(weights.values, [2 / 3, 1 / 3, 0])


def test_a_remembered_path_goes_on_where_it_ended():
    """A short selection first, as coordinate search makes it, then a long one, then a short one: as each alone."""
    case = random_case("column_log_loss", 6, 60, (2,), seed=2)
    problem = memory_problem("auc", *case)
    for steps in (7, 30, 3):
        alone = make_solver("greedy", {"steps": steps}).fit(memory_problem("auc", *case))
        again = make_solver("greedy", {"steps": steps}).fit(problem)
        assert again.path == alone.path
        np.testing.assert_array_equal(again.values, alone.values)


def test_greedy_prefers_a_model_it_has_on_a_tie():
    truth, predictions = random_case("r2", 1, 30, (2,))
    problem = memory_problem("r2", truth, predictions[[0, 0, 0]])
    weights = solve(problem, "greedy", steps=5)
    assert {step["added"] for step in weights.path} == {"model0"}
    np.testing.assert_array_equal(weights.values, [1, 0, 0])


@pytest.mark.parametrize("metric", METRICS)
def test_grow_finds_the_best_set_of_its_path_past_a_worse_step(cases, metric):
    problem = cases(metric, 2)
    weights = solve(problem, "grow")
    losses = [step["loss"] for step in weights.path]
    assert len(losses) == len(problem.names)
    chosen = [problem.names.index(step["added"]) for step in weights.path][: int(np.argmin(losses)) + 1]
    assert sorted(np.flatnonzero(weights.values)) == sorted(chosen)
    removed = solve(problem, "remove")
    assert len(removed.path) == len(problem.names)
    equal = problem.objective().loss(np.full(len(problem.names), 1 / len(problem.names)))
    assert removed.path[0]["loss"] == pytest.approx(equal)


def test_shrink_never_raises_the_loss_and_is_for_probabilities(cases):
    problem = cases("column_log_loss", 1)
    for name in ("grow", "remove"):
        plain, shrunk = solve(problem, name), solve(problem, name, shrink=True)
        assert min(s["loss"] for s in shrunk.path) <= min(s["loss"] for s in plain.path) + 1e-12
    with pytest.raises(BankError, match="--shrink shrinks probabilities"):
        solve(cases("r2", 0), "grow", shrink=True)


def test_the_best_shrink_of_a_sure_mistake():
    """One model that is always sure and wrong once in ten: the best c of p (1 - 2 c) + c is 0.1 exactly."""
    truth = np.array([[1.0]] * 9 + [[0.0]], np.float32)
    problem = memory_problem("column_log_loss", truth, np.ones((1, 10, 1), np.float32))
    loss = solve(problem, "grow", shrink=True).path[0]["loss"]
    assert loss == pytest.approx(-(0.9 * np.log(0.9) + 0.1 * np.log(0.1)), rel=1e-9)


def test_nnls_may_shrink_and_agrees_with_scipy():
    from scipy.optimize import nnls

    truth, predictions = random_case("r2", 3, 50, (1,))
    predictions = predictions * np.float32(1.5)
    problem = memory_problem("r2", truth, predictions)
    expected, _ = nnls(predictions[:, :, 0].T.astype(np.float64), truth[:, 0].astype(np.float64))
    weights = solve(problem, "nnls")
    np.testing.assert_allclose(weights.values, expected, atol=1e-8)
    score = judge(problem, [weights])[0].score()
    assert score == pytest.approx(r2_score(truth[:, 0], np.tensordot(expected, predictions[:, :, 0], 1)), abs=1e-9)
    with pytest.raises(BankError, match="method nnls is for squared errors, not for mae"):
        make_solver("nnls", {}).check(memory_problem("mae", truth, predictions))


def test_per_target_top_k_is_scikit_learns():
    truth, predictions = random_case("r2", 6, 60, (5,))
    problem = memory_problem("r2", truth, predictions)
    weights = solve(problem, "per_target", top=4)
    scores = np.array([[r2_score(truth[:, t], p[:, t]) for t in range(5)] for p in predictions])
    for t in range(5):
        assert set(np.flatnonzero(weights.values[t])) == set(np.argsort(-scores[:, t])[:4])
    np.testing.assert_array_equal(np.unique(weights.values), [0, 0.25])
    with pytest.raises(BankError, match="--top 7: choose between 1 and the number of models, 6"):
        solve(problem, "per_target", top=7)


@pytest.mark.parametrize("metric", METRICS)
def test_per_target_weights_lie_between_global_and_free(metric):
    problem = memory_problem(metric, *random_case(metric, 3, 60, (2,)))
    weights = solve(problem, "per_target", free_sum=False)
    assert weights.values.shape == (2, 3)
    np.testing.assert_allclose(weights.values.sum(axis=1), 1.0)
    assert "pull to the global weights" in weights.notes[0]
    each = [problem.objective(targets=(t, t + 1)) for t in range(2)]
    loss = np.mean([o.loss(w) for o, w in zip(each, weights.values, strict=True)])
    together = problem.objective().loss(solve(problem, "convex").values)
    apart = np.mean([o.loss(o.minimum()[0]) for o in each])
    assert apart - 1e-6 <= loss <= together + 1e-6


def test_per_group_by_rows_is_each_groups_optimum():
    """Model 0 is exact on one family, model 1 on the other: each family takes its own."""
    truth, _ = random_case("mae", 1, 40, (2, 3))
    families = np.array(["flat", "style"] * 20)
    noise = np.random.default_rng(5).normal(0, 1, truth.shape)
    predictions = np.array([truth + noise * (families == f)[:, None, None] for f in ("style", "flat")], np.float32)
    problem = memory_problem("mae", truth, predictions, groups=list(families))
    weights = solve(problem, "per_group")
    assert weights.segments == ["flat", "style"]
    np.testing.assert_allclose(weights.values, np.eye(2), atol=1e-6)
    assert judge(problem, [weights])[0].score() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("metric", ["r2", "column_log_loss"])
def test_per_group_by_targets(metric):
    groups = {"first": [0, 2], "second": [2, 3]}
    problem = memory_problem(metric, *random_case(metric, 3, 60, (3,)), target_groups=groups)
    weights = solve(problem, "per_group")
    assert weights.segments == [[0, 2], [2, 3]]
    for values, span in zip(weights.values, weights.segments, strict=True):
        np.testing.assert_allclose(values, problem.objective(targets=tuple(span)).minimum()[0], atol=1e-5)
    problem.target_groups = {"first": [0, 2]}
    with pytest.raises(BankError, match="do not cover the 3 targets"):
        solve(problem, "per_group")
    problem.target_groups = {}
    with pytest.raises(BankError, match="needs row groups"):
        solve(problem, "per_group")


def test_a_group_without_training_rows_takes_the_global_weights():
    problem = memory_problem("r2", *random_case("r2", 3, 40, (4,)), groups=["a"] * 39 + ["b"])
    only = int(problem.stack.rows.set_index("group").loc["b", "nested"])
    weights = make_solver("per_group", {}).fit(problem, [f for f in problem.folds if f != only])
    assert "'b' has no rows" in weights.notes[0]


def median_error(truth, predictions):
    return float(np.median(np.abs(truth - predictions)))


@pytest.mark.parametrize("name", ["single", "equal", "greedy", "grow", "remove", "optuna"])
def test_any_metric_given_as_a_function(cases, name):
    given = cases("mae", 1)
    problem = Problem(given.stack, FunctionMetric("median", median_error, higher_is_better=False, shape=(3,)))
    fitted = fit(make_solver(name, OPTIONS), problem)
    judge_all(problem, [fitted])
    P, y = problem.everything()
    expected = median_error(y, np.tensordot(fitted.weights.values, P, 1))
    assert fitted.in_sample.score() == pytest.approx(expected, rel=1e-6)
    assert make_solver("convex", {}).refusal(problem) is not None


@pytest.mark.parametrize("metric", METRICS)
def test_rank_means(cases, metric):
    problem = cases(metric, 0)
    weights = solve(problem, "optuna", kinds=["arithmetic", "rank"], trials=12)
    loss = problem.objective(kind=weights.kind).loss(weights.values)
    assert loss <= problem.objective().loss(solve(problem, "convex").values) + 1e-12
    equal = solve(problem, "equal", kind="rank")
    judged = judge(problem, [equal])[0].score()
    assert problem.metric.score_of_loss(problem.objective(kind="rank").loss(equal.values)) == pytest.approx(
        judged, rel=1e-9
    )
    with pytest.raises(BankError, match="not convex"):
        solve(problem, "convex", kind="rank")


def test_logits_need_probabilities(cases):
    with pytest.raises(BankError, match="metric mae has none"):
        solve(cases("mae", 0), "convex", kind="logit")
    with pytest.raises(BankError, match="--clip clips probabilities"):
        solve(cases("r2", 0), "convex", clip=0.01)
    assert KNOWN["mae"].sign == 1.0
