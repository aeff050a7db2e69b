"""What one stage hands to the one before it, and what it takes back."""

from __future__ import annotations

from pathlib import Path

import pytest

from datamodules.errors import DataError
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.stages import train_previous

WEIGHTS, PREDICTIONS = load_experiment("moa_two_heads_resnet"), load_experiment("moa_meta_nn")


@pytest.fixture
def grids(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """Experiment and arguments of every grid that would be trained."""
    called: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(
        "experiments.engine.stages.run_grid",
        lambda settings, arguments: called.append((settings.experiment.name, arguments)),
    )
    return called


def flag(arguments: list[str], name: str) -> str | None:
    return arguments[arguments.index(name) + 1] if name in arguments else None


def test_predictions_come_from_all_folds_and_seeds_and_the_same_folds(grids: list[tuple[str, list[str]]]) -> None:
    arguments = [
        "--seeds",
        "4,7",
        "--fold",
        "1",
        "--data.cv",
        "row",
        "--data.n_folds",
        "3",
        "--out",
        "o",
        "--lr",
        "0.5",
    ]
    settings, more = train_previous(parse(PREDICTIONS, arguments), arguments)
    ((name, handed),) = grids
    assert name == "moa_nonscored_nn"
    assert (flag(handed, "--fold"), flag(handed, "--seeds")) == ("all", "4,7")
    assert (flag(handed, "--data.cv"), flag(handed, "--data.n_folds"), flag(handed, "--out")) == ("row", "3", "o")
    assert "--lr" not in handed
    assert "--data.features" not in handed
    assert settings.data.meta == Path(more[-1])
    assert settings.data.meta.parent == Path("o/moa_nonscored_nn")


def test_weights_come_from_the_same_fold_and_seed_and_the_same_net(grids: list[tuple[str, list[str]]]) -> None:
    arguments = ["--fold", "2", "--seed", "9", "--model.width", "16"]
    settings, _ = train_previous(parse(WEIGHTS, arguments), arguments)
    ((name, handed),) = grids
    assert name == "moa_two_heads_resnet_nonscored"
    assert (flag(handed, "--fold"), flag(handed, "--seed"), flag(handed, "--model.width")) == ("2", "9", "16")
    assert isinstance(settings.daily.init_from, Path)
    assert settings.daily.init_from.parts[-2:] == ("seed9", "fold2")
    assert settings.variant == parse(WEIGHTS, arguments).variant  # or the folds would lie in folders of their own


@pytest.mark.parametrize(
    "named", [["--init_from", "none"], ["--init_from", "runs/x"], ["--fold", "all"], ["--seeds", "1,2"]]
)
def test_what_the_user_names_is_not_trained(grids: list[tuple[str, list[str]]], named: list[str]) -> None:
    settings = parse(WEIGHTS, named)
    assert train_previous(settings, named) == (settings, named)
    assert grids == []


def test_doing_without_the_first_phase_is_a_variant_of_its_own() -> None:
    assert parse(WEIGHTS, ["--init_from", "none"]).variant != parse(WEIGHTS, []).variant
    assert parse(PREDICTIONS, ["--init_from", "a"]).variant != parse(PREDICTIONS, []).variant


def test_named_predictions_are_taken(grids: list[tuple[str, list[str]]]) -> None:
    arguments = ["--data.meta", "runs/mine"]
    settings, _ = train_previous(parse(PREDICTIONS, arguments), arguments)
    assert settings.data.meta == Path("runs/mine")
    assert grids == []


def test_a_launcher_does_not_start_the_stage_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    arguments = ["--out", str(tmp_path)]
    with pytest.raises(DataError, match=r"train it first: python experiments/moa_nonscored_nn.py .*--fold all"):
        train_previous(parse(PREDICTIONS, arguments), arguments)
