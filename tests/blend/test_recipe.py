from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from blend.commands.session import open_problem
from blend.recipe import read_recipe
from blend.settings import Inputs
from blend.solvers import make_solver
from datamodules.banks.bank import BankError
from tests.blend.banks import write_runs


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return write_runs(tmp_path_factory.mktemp("runs"), models=5, rows=30, groups=["a", "b"] * 15)


def fit(tmp_path, content, row_groups=False):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(content))
    recipe = read_recipe(path)
    problem = open_problem(recipe.sources, Inputs(), row_groups=row_groups)
    return make_solver("stack", {"recipe": recipe}).fit(problem), problem


def test_low_and_high_resolution_as_the_first_place_of_leap(runs, tmp_path):
    """0.35 x the mean of the low-resolution models + 0.65 x the mean of the high-resolution ones."""
    low = {"name": "low", "weight": 0.35, "members": [f"{runs.root}/model[01]"]}
    high = {"name": "high", "weight": 0.65, "members": [f"{runs.root}/model{k}" for k in (2, 3, 4)]}
    weights, _ = fit(tmp_path, {"members": [low, high]})
    np.testing.assert_allclose(weights.values, [0.175, 0.175, 0.65 / 3, 0.65 / 3, 0.65 / 3])


def test_fitted_nodes_and_fixed_nodes_multiply(runs, tmp_path):
    fitted = {"weight": 0.6, "method": "convex", "members": [f"{runs.root}/model0", f"{runs.root}/model1"]}
    weights, problem = fit(tmp_path, {"members": [fitted, {"weight": 0.4, "bank": f"{runs.root}/model2"}]})
    alone = make_solver("convex", {}).fit(problem)  # the same problem, all three models
    assert weights.values.sum() == pytest.approx(1.0)
    assert weights.values[2] == pytest.approx(0.4)
    share = weights.values[0] / 0.6
    line = [problem.objective().loss(np.array([s, 1 - s, 0])) for s in np.linspace(0, 1, 1001)]
    assert share == pytest.approx(np.argmin(line) / 1000, abs=2e-3)
    assert alone.values.shape == weights.values.shape


def test_a_fitted_root_on_fitted_members(runs, tmp_path):
    inner = [
        {"method": "greedy", "members": [f"{runs.root}/model{a}", f"{runs.root}/model{b}"]} for a, b in ((0, 1), (2, 3))
    ]
    weights, problem = fit(tmp_path, {"method": "convex", "members": [*inner, f"{runs.root}/model4"]})
    losses = problem.objective().losses(np.vstack([weights.values, np.eye(5)]))
    assert losses[0] <= losses[1:].min()
    assert "the recipe: " in weights.notes[-1]


def test_last_and_best_with_family_weights_as_the_fourth_place_of_openfwi(runs, tmp_path):
    last = {
        "name": "last",
        "weight": 0.6,
        "method": "per_group",
        "members": [f"{runs.root}/model0", f"{runs.root}/model1"],
    }
    best = {"name": "best", "weight": 0.4, "members": [f"{runs.root}/model2"]}
    weights, _ = fit(tmp_path, {"members": [last, best]}, row_groups=True)
    assert (weights.level, weights.segments) == ("rows", ["a", "b"])
    np.testing.assert_allclose(weights.values[:, 2], 0.4)
    np.testing.assert_allclose(weights.values.sum(axis=1), 1.0)
    with pytest.raises(BankError, match="cannot weigh members that have weights per group"):
        fit(
            tmp_path,
            {"method": "convex", "members": [{k: v for k, v in last.items() if k != "weight"}, f"{runs.root}/model2"]},
            True,
        )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"members": [{"weight": 0.5, "bank": "{0}"}, {"weight": 0.6, "bank": "{1}"}]}, "sum to 1, they sum to 1.1"),
        ({"members": [{"weight": 0.5, "bank": "{0}"}, "{1}"]}, "give a weight to every member"),
        ({"members": []}, "has no members"),
        ({"members": ["{0}"], "weigths": 1}, "unknown key 'weigths'"),
        ({"members": ["nowhere"]}, "there is no such run"),
        ({"members": {"a": 1}}, "members is a list"),
        ({"members": ["{0}"], "steps": {"clip": [0, 1]}}, "steps is a list of mappings"),
        ({"members": ["{0}"], "clip": "much"}, "clip lies in"),
        ({"members": [{"weight": "most", "bank": "{0}"}]}, "wrong type"),
        ({"members": [3]}, "a member is a bank or a mapping, not 3"),
    ],
)
def test_mistakes_are_named(runs, tmp_path, content, message):
    text = yaml.safe_dump(content).replace("'{0}'", f"{runs.root}/model0").replace("'{1}'", f"{runs.root}/model1")
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(BankError, match=message):
        read_recipe(tmp_path / "recipe.yaml")


def test_no_recipe():
    with pytest.raises(BankError, match="there is no recipe"):
        read_recipe(Path("nowhere.yaml"))
