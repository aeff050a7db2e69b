"""The recipes that come with the repository, on banks of the names they ask for."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from blend.commands.session import open_problem
from blend.recipe import read_recipe
from blend.settings import Inputs
from blend.solvers import make_solver
from experiments.engine.declare import load_experiment
from tests.blend.banks import write_runs

RECIPES = sorted((Path(__file__).parents[2] / "blend" / "recipes").glob("moa_*.yaml"))
VARIANTS = ["v1", "default"]


@pytest.fixture
def moa_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Banks named as the families' runs, in ``runs`` of the working folder; two variants where a recipe tells them apart."""
    names = {
        bank.split("/")[1]
        for path in RECIPES
        for member in yaml.safe_load(path.read_text())["members"]
        for bank in member["members"]
    }
    made = write_runs(tmp_path / "made", "column_log_loss", models=2 * len(names), rows=40)
    for k, name in enumerate(sorted(names)):
        for i, variant in enumerate(
            VARIANTS if name in ("moa_two_heads_resnet", "moa_deepinsight_resnest") else ["default"]
        ):
            shutil.move(made.root / f"model{2 * k + i}" / "default", tmp_path / "runs" / name / variant)
    shutil.move(made.root / "truth", tmp_path / "truth")
    for manifest in (tmp_path / "runs").rglob("manifest.json"):
        manifest.write_text(manifest.read_text().replace("../../../../../truth", "../../../../../../truth"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_both_of_the_winners() -> None:
    assert [path.stem for path in RECIPES] == ["moa_best_cv", "moa_best_lb"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_names_experiments_that_exist_and_its_weights_sum_to_one(path: Path) -> None:
    members = yaml.safe_load(path.read_text())["members"]
    assert sum(member["weight"] for member in members) == pytest.approx(1.0, abs=1e-9)
    for member in members:
        for bank in member["members"]:
            root, name, _ = bank.split("/")
            assert root == "runs"
            assert load_experiment(name).name == name


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_scores_banks(path: Path, moa_runs: Path) -> None:
    recipe = read_recipe(path)
    problem = open_problem(recipe.sources, Inputs(), row_groups=False)
    weights = make_solver("stack", {"recipe": recipe}).fit(problem)
    members = yaml.safe_load(path.read_text())["members"]
    np.testing.assert_allclose(weights.values, [member["weight"] for member in members], rtol=1e-6)
    assert 0 < problem.objective().loss(weights.values) < np.log(2)
    # version 1 and version 2 are not taken for each other
    for member, source in zip(members, recipe.sources, strict=True):
        assert ("v1" in member["name"]) == (source.path.name == "v1")
