"""Systems of several stages: what flows between them, going on in between, and predicting new files, on narrow data."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from datamodules.banks.bank import PredictionBank
from datamodules.folds import TRAIN, VALID
from datamodules.moa.tables import read_signatures
from experiments.engine.cli import parse
from experiments.engine.data import prepare_data
from experiments.engine.declare import Experiment, load_experiment
from experiments.engine.inference import load_task
from experiments.engine.run_directory import RunDirectory
from experiments.engine.runner import execute
from experiments.predict import main as predict_main
from tests.datamodules.moa.tiny import write_files

FOLDS = 2
SMALL: dict[str, tuple[str, ...]] = {
    "moa_nonscored_nn": ("factor_analysis:genes=3,cells=2", "rank_gauss", "one_hot"),
    "moa_meta_nn": ("factor_analysis:genes=3,cells=2", "rank_gauss", "one_hot", "meta_rank_gauss"),
    "moa_three_stage_nn": ("meta_rank_gauss:only=1",),
    "moa_nonscored_nn_pca": ("rank_gauss", "pca:genes=3,cells=2", "variance_threshold:above=0.5", "one_hot"),
    "moa_two_stage_nn_tabnet": ("rank_gauss", "kmeans:genes=3,cells=2", "row_statistics", "codes", "meta_rank_gauss"),
}
STAGES = tuple(SMALL)[:3]


def declare_small(name: str, monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """The declaration with a narrow net and few features in place of the declared one."""
    declared = load_experiment(name)
    hidden = {"hidden": (16,) * len(declared.model.hidden)} if hasattr(declared.model, "hidden") else {"decision": 4}
    small = replace(
        declared, model=replace(declared.model, **hidden), data=replace(declared.data, features=SMALL[name]),
        epochs=2, batch_size=32,
    )  # fmt: skip
    monkeypatch.setattr(f"experiments.{name}.EXPERIMENT", small)
    return small


@pytest.fixture(scope="module")
def trained() -> list[tuple[str, str]]:
    """Experiment and fold of every process that was started, in order."""
    return []


@pytest.fixture(scope="module", autouse=True)
def _small_and_in_one_process(trained: list[tuple[str, str]]) -> Iterator[None]:
    def run(command: list[str]) -> int:
        name, arguments = Path(command[1]).stem, command[2:]
        trained.append((name, arguments[len(arguments) - 1 - arguments[::-1].index("--fold") + 1]))
        execute(parse(load_experiment(name), arguments), arguments)
        return 0

    with pytest.MonkeyPatch.context() as monkeypatch:
        for name in SMALL:
            declare_small(name, monkeypatch)
        monkeypatch.setattr("experiments.engine.grid.run_child", run)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


def start(name: str, files: Path, out: Path, *more: str) -> Path:
    """What ``python experiments/<name>.py`` does; the run directory of fold 0."""
    arguments = [
        "--data_dir", str(files), "--out", str(out), "--data.n_folds", str(FOLDS), "--wandb", "disabled",
        "--train.progress", "false", "--train.figures", "false", "--accelerator", "cpu", *more,
    ]  # fmt: skip
    settings = parse(load_experiment(name), arguments)
    execute(settings, arguments)
    return settings.directory().path


@pytest.fixture(scope="module")
def finished(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return start("moa_three_stage_nn", files, tmp_path_factory.mktemp("runs"))


def runs_of(run: Path, name: str) -> list[Path]:
    """The fold directories of an earlier stage."""
    variants = [path for path in (run.parents[3] / name).iterdir() if path.is_dir()]
    assert len(variants) == 1
    return [variants[0] / "seed0" / f"fold{fold}" for fold in range(FOLDS)]


def test_one_command_trains_all_folds_of_all_stages_before(finished: Path, trained: list[tuple[str, str]]) -> None:
    assert trained[: 2 * FOLDS] == [
        *(("moa_nonscored_nn", str(fold)) for fold in range(FOLDS)),
        *(("moa_meta_nn", str(fold)) for fold in range(FOLDS)),
    ]
    records = [RunDirectory(path).record() for name in STAGES[:2] for path in runs_of(finished, name)]
    records.append(RunDirectory(finished).record())
    assert {record["status"] for record in records} == {"finished"}
    assert len({record["hashes"]["folds"] for record in records}) == 1, "one fold table for all stages"
    assert len(records[-1]["previous"]) == FOLDS
    assert (
        PredictionBank(runs_of(finished, STAGES[0])[0] / "bank")
        .manifest.targets[0]
        .startswith(("fungal", "indole", "tool"))
    )


def test_inputs_are_the_predictions_of_the_folds_that_held_a_row_out(finished: Path, files: Path) -> None:
    for name, before in ((STAGES[2], STAGES[1]), (STAGES[1], STAGES[0])):
        meta = runs_of(finished, before)[0].parents[1]
        flags = ["--data_dir", str(files), "--data.n_folds", str(FOLDS), "--data.meta", str(meta)]
        data = prepare_data(parse(load_experiment(name), [*flags, "--out", str(finished.parents[3])]))
        by_hand: dict[str, np.ndarray] = {}
        for run in runs_of(finished, before):
            bank = PredictionBank(run / "bank")
            by_hand |= dict(zip(bank.index["row_id"], np.asarray(bank.predictions), strict=True))
        for role in (TRAIN, VALID):
            rows = data.rows(role)
            expected = np.stack([by_hand[row_id] for row_id in data.index(rows)["row_id"]])
            np.testing.assert_array_equal(data.read(rows)["meta"].numpy(), expected)


def test_a_second_start_trains_nothing_and_a_broken_one_what_is_missing(
    finished: Path, files: Path, tmp_path: Path, trained: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished.parents[3], tmp_path / "runs")
    run = out / finished.relative_to(finished.parents[3])
    before = len(trained)
    start("moa_three_stage_nn", files, out)
    assert len(trained) == before
    assert "is finished: nothing to do" in capsys.readouterr().out
    shutil.rmtree(run)
    shutil.rmtree(runs_of(run, "moa_meta_nn")[1])
    start("moa_three_stage_nn", files, out)
    assert trained[before:] == [("moa_meta_nn", "1")]
    again, first = (torch.load(RunDirectory(path).last, weights_only=True)["state_dict"] for path in (run, finished))
    assert [name for name in first if not torch.equal(first[name], again[name])] == []


def predict(run: Path, file: Path, out: Path) -> np.ndarray:
    predict_main(["--run", str(run), "--input", str(file), "--submission", str(out), "--accelerator", "cpu"])
    return pd.read_csv(out, float_precision="round_trip").iloc[:, 1:].to_numpy()


def by_hand(run: Path, file: Path, meta: np.ndarray | None) -> np.ndarray:
    """Predictions of one net from the file and the stage before's mean."""
    task = load_task(run).task
    batch = task.features.encode(read_signatures(file))  # type: ignore[union-attr,operator]
    if meta is not None:
        batch["meta"] = torch.from_numpy(meta.astype(np.float32))
    batch["row_id"] = torch.arange(len(batch["values"]))
    with torch.no_grad():
        return np.asarray(task.predict_step(batch)["predictions"].double())


@pytest.fixture(scope="module")
def predicted(finished: Path, files: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    return predict(finished, files / "test_features.csv", tmp_path_factory.mktemp("submission") / "out.csv")


def test_a_new_file_goes_through_all_stages(finished: Path, files: Path, predicted: np.ndarray) -> None:
    file = files / "test_features.csv"
    meta = None
    for name in STAGES[:2]:
        meta = np.mean([by_hand(run, file, meta) for run in runs_of(finished, name)], axis=0)
    control = read_signatures(file).control
    assert meta is not None
    assert (meta[control] == 0).all()
    np.testing.assert_allclose(predicted, by_hand(finished, file, meta), rtol=1e-5)
    assert (predicted[control] == 0).all()
    other = by_hand(finished, file, np.roll(meta, 1, axis=0))
    assert np.abs(other - predicted)[~control].max() > 1e-4, "stage 3 does read the predictions"


def test_moved_runs_predict_the_same_and_changed_ones_are_refused(
    finished: Path, files: Path, predicted: np.ndarray, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, root = files / "test_features.csv", finished.parents[3]
    moved = shutil.copytree(root, tmp_path / "moved") / finished.relative_to(root)
    np.testing.assert_array_equal(predict(moved, file, tmp_path / "out.csv"), predicted)
    first, second = runs_of(moved, "moa_nonscored_nn")
    shutil.copy2(RunDirectory(second).best, RunDirectory(first).best)
    with pytest.raises(SystemExit):
        predict(moved, file, tmp_path / "out.csv")
    assert "was trained again after" in capsys.readouterr().err
    shutil.rmtree(runs_of(moved, "moa_meta_nn")[0])
    with pytest.raises(SystemExit):
        predict(moved, file, tmp_path / "out.csv")
    assert "which is gone; keep the runs of all stages together" in capsys.readouterr().err


def test_the_tabnet_system_trains_predicts_and_does_not_call_stage_1_the_judges_score(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = start("moa_two_stage_nn_tabnet", files, tmp_path / "runs")
    shown = " ".join(capsys.readouterr().out.split())
    assert shown.count("log loss of 8 non-scored targets (not the competition's score) on") == FOLDS
    file = files / "test_features.csv"
    meta = np.mean([by_hand(path, file, None) for path in runs_of(run, "moa_nonscored_nn_pca")], axis=0)
    np.testing.assert_allclose(predict(run, file, tmp_path / "out.csv"), by_hand(run, file, meta), rtol=1e-5)


def test_predictions_of_another_fold_table_are_refused(finished: Path, files: Path, tmp_path: Path) -> None:
    from datamodules.errors import DataError

    meta = str(runs_of(finished, "moa_meta_nn")[0].parents[1])
    with pytest.raises(DataError, match="was trained on another fold table"):
        start("moa_three_stage_nn", files, tmp_path, "--data.meta", meta, "--data.fold_seed", "1")


@pytest.mark.parametrize("name", SMALL)
def test_a_declared_stage_names_the_stage_before(name: str) -> None:
    experiment = load_experiment(name)
    takes_predictions = any(text.startswith("meta_rank_gauss") for text in experiment.data.features)
    assert bool(experiment.previous) == takes_predictions
    if experiment.previous:
        assert load_experiment(experiment.previous).name == experiment.previous
    else:
        assert experiment.data.targets == "nonscored"
