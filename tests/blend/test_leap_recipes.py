"""LEAP's recipes on banks of the names they ask for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from blend.commands.session import open_problem
from blend.recipe import read_recipe
from blend.settings import Inputs
from blend.solvers import make_solver
from blend.weights import Weights
from experiments.engine.declare import load_experiment
from tests.blend.banks import write_runs

ROOT = Path(__file__).parents[2]
RECIPES = ROOT / "blend" / "recipes"
PRESETS = {path.stem for path in (ROOT / "experiments" / "presets" / "leap_squeezeformer").glob("*.yaml")}


def leaves(content: dict | str) -> list[str]:
    return [content] if isinstance(content, str) else [leaf for member in content["members"] for leaf in leaves(member)]


def fit(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Weights:
    path = RECIPES / f"{name}.yaml"
    banks = leaves(yaml.safe_load(path.read_text()))
    made = write_runs(folder / "made", "r2", models=len(banks), rows=60, shape=(7,))
    for k, bank in enumerate(banks):
        shutil.move(made.root / f"model{k}" / "default", folder / bank.replace("*", "default"))
    shutil.move(made.root / "truth", folder / "truth")
    for manifest in folder.glob("runs/**/manifest.json"):
        content = json.loads(manifest.read_text())
        content.pop("checksum", None)
        content["manifest"]["truth"] = "../" + content["manifest"]["truth"]
        manifest.write_text(json.dumps(content))
    monkeypatch.chdir(folder)
    recipe = read_recipe(path)
    problem = open_problem(recipe.sources, Inputs(), row_groups=False)
    return make_solver("stack", {"recipe": recipe}).fit(problem)


def test_the_first_place_weighs_thirteen_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    banks = leaves(yaml.safe_load((RECIPES / "leap_1st.yaml").read_text()))
    assert {bank.split("/")[2] for bank in banks} == PRESETS - {"small", "paper"}
    weights = fit("leap_1st", tmp_path, monkeypatch)
    np.testing.assert_allclose(weights.values, [0.35 / 5] * 5 + [0.65 / 8] * 8)


def test_the_eighth_place_over_models_has_one_weight_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = fit("leap_8th_models", tmp_path, monkeypatch)
    assert weights.values.shape == (6,)
    assert weights.values.sum() == pytest.approx(1.0)
    assert weights.values.min() >= 0


def test_the_eighth_place_over_targets_takes_the_best_four(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = fit("leap_8th_targets", tmp_path, monkeypatch)
    assert weights.level == "targets"
    assert np.isin(weights.values, [0.0, 0.25]).all()
    np.testing.assert_allclose(weights.values.sum(axis=1), 1.0)


@pytest.mark.parametrize("name", ["leap_8th_models", "leap_8th_targets"])
def test_the_eighth_place_blends_its_six_nets(name: str) -> None:
    for bank in leaves(yaml.safe_load((RECIPES / f"{name}.yaml").read_text())):
        experiment = bank.split("/")[1]
        assert load_experiment(experiment).published
