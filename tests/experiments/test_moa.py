"""MoA runs from the command line's settings to banks, submissions and refusals, on a narrow data set."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from datamodules.banks.bank import PredictionBank
from datamodules.moa.tables import read_labels
from experiments.domains.moa.report import column_log_loss
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.run_directory import RunDirectory
from experiments.engine.runner import main as experiment_main
from experiments.engine.training import train
from experiments.moa_simple_nn import EXPERIMENT
from experiments.predict import main as predict_main
from tests.datamodules.moa.tiny import write_files

SMALL = ["rank_gauss", "pca:genes=4,cells=2", "row_statistics", "one_hot"]
FAMILIES = (
    "moa_logistic", "moa_simple_nn", "moa_two_heads_resnet", "moa_soft_ordering_cnn", "moa_tabnet",
    "moa_deepinsight_efficientnet", "moa_deepinsight_resnest",
)  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


def flags(files: Path, out: Path, *more: str) -> list[str]:
    return [
        "--data_dir", str(files), "--out", str(out), "--data.cache_dir", str(files.parent / "cache"),
        "--data.features", str(SMALL), "--model.hidden", "[16, 16]", "--epochs", "3", "--batch_size", "32", "--wandb", "disabled",
        "--train.progress", "false", "--train.figures", "false", "--accelerator", "cpu", *more,
    ]  # fmt: skip


def run(arguments: list[str]) -> RunDirectory:
    return train(parse(EXPERIMENT, arguments))


@pytest.fixture(scope="module")
def finished(files: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run(flags(files, tmp_path_factory.mktemp("runs")))


def predict(run: Path, file: Path, out: Path, *more: str) -> pd.DataFrame:
    predict_main(["--run", str(run), "--input", str(file), "--submission", str(out), "--accelerator", "cpu", *more])
    return pd.read_csv(out, float_precision="round_trip")


def test_the_bank_scores_what_was_logged_in_both_conventions(finished: RunDirectory) -> None:
    bank = PredictionBank(finished.bank)
    truth = bank.truth().in_judge_units(slice(None))
    p = bank.in_judge_units(slice(None)).clip(1e-15, 1 - 1e-15)
    by_hand = -(truth * np.log(p) + (1 - truth) * np.log(1 - p)).mean()
    record = finished.record()
    assert by_hand == pytest.approx(record["best"]["score"], rel=1e-6)
    assert record["best"]["metric"] == "val_log_loss_nc"
    assert record["scores"]["moa_simple_nn"]["NC"] == pytest.approx(by_hand, rel=1e-9)
    assert record["scores"]["moa_simple_nn"]["ALL"] < by_hand
    assert len(record["per_target"]) == 12
    assert bank.manifest.convention == "NC"
    assert {"val_log_loss_nc", "val_log_loss_all"} <= set(pd.read_csv(finished.path / "metrics.csv"))


def test_a_submission_needs_the_checkpoint_and_the_file_alone(
    finished: RunDirectory, files: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "elsewhere" / "net.ckpt"
    alone.parent.mkdir()
    alone.write_bytes(finished.best.read_bytes())
    form = files / "sample_submission.csv"
    out = predict(alone, files / "test_features.csv", tmp_path / "out.csv", "--weights", str(form))
    assert list(out) == list(pd.read_csv(form, nrows=0))
    assert (out["sig_id"] == pd.read_csv(form)["sig_id"]).all()
    values = out.iloc[:, 1:].to_numpy()
    control = (pd.read_csv(files / "test_features.csv")["cp_type"] == "ctl_vehicle").to_numpy()
    assert control.any()
    assert (values[control] == 0).all()
    assert (values[~control] > 0).all()
    bank = PredictionBank(alone.parent / "predictions" / "test_features")
    np.testing.assert_array_equal(bank.predictions, values.astype(np.float32))
    _, labels = read_labels(files / "hidden" / "test_targets_scored.csv")
    assert column_log_loss(values, labels.values.astype(np.float64)).mean() < 0.69


def test_rows_keep_their_predictions_in_another_order_number_and_batch(
    finished: RunDirectory, files: Path, tmp_path: Path
) -> None:
    whole = predict(finished.path, files / "test_features.csv", tmp_path / "a.csv").set_index("sig_id")
    frame = pd.read_csv(files / "test_features.csv", dtype=str)
    columns = [*list(frame)[:4], *list(frame)[:3:-1]]
    frame.sample(frac=0.6, random_state=1)[columns].to_csv(tmp_path / "part.csv", index=False)
    part = predict(finished.path, tmp_path / "part.csv", tmp_path / "b.csv", "--batch_size", "7").set_index("sig_id")
    assert len(part) < len(whole)
    np.testing.assert_allclose(part, whole.loc[part.index], rtol=1e-5, atol=1e-8)


def test_other_files_are_refused(
    finished: RunDirectory, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.read_csv(files / "test_features.csv", dtype=str)

    def refused(changed: pd.DataFrame) -> str:
        changed.to_csv(tmp_path / "bad.csv", index=False)
        with pytest.raises(SystemExit):
            predict(finished.path, tmp_path / "bad.csv", tmp_path / "out.csv")
        assert not (tmp_path / "out.csv").exists()
        return capsys.readouterr().err

    assert "has 29 gene and 10 cell columns, the checkpoint was trained on 30 and 10" in refused(
        frame.drop(columns="g-0")
    )
    assert "training knew 24, 48, 72" in refused(frame.assign(cp_time="96"))
    assert "is missing or not finite" in refused(frame.assign(**{"g-1": ""}))
    assert "stands 2 times" in refused(pd.concat([frame, frame.head(1)]))


PLATEAU = ("--optim.schedule", "plateau", "--optim.patience", "0", "--optim.threshold", "1", "--epochs", "5")


@pytest.mark.parametrize("schedule", [(), PLATEAU], ids=["one_cycle", "plateau"])
def test_going_on_from_a_checkpoint_ends_with_the_same_bits(
    finished: RunDirectory, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, schedule: tuple[str, ...]
) -> None:
    from experiments.engine.callbacks import LastCheckpoint

    unbroken = run(flags(files, tmp_path / "whole", *schedule)) if schedule else finished
    save = LastCheckpoint.save

    def killed(self: LastCheckpoint, trainer: object) -> None:
        save(self, trainer)  # type: ignore[arg-type]
        if trainer.current_epoch == 1:  # type: ignore[attr-defined]
            raise KeyboardInterrupt

    monkeypatch.setattr(LastCheckpoint, "save", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(flags(files, tmp_path, *schedule))
    monkeypatch.undo()
    resumed = torch.load(run(flags(files, tmp_path, *schedule)).last, weights_only=True)
    whole = torch.load(unbroken.last, weights_only=True)
    assert [
        name for name in whole["state_dict"] if not torch.equal(whole["state_dict"][name], resumed["state_dict"][name])
    ] == []
    rates = [checkpoint["optimizer_states"][0]["param_groups"][0]["lr"] for checkpoint in (whole, resumed)]
    assert rates[0] == rates[1]
    if schedule:  # every validation but the first halves the rate
        assert rates[0] == 1e-2 * 0.5**4


def test_full_fits_on_every_row(files: Path, tmp_path: Path) -> None:
    full = run(flags(files, tmp_path, "--fold", "full", "--epochs", "1"))
    assert full.record()["rows"]["valid"] == 0
    assert not full.bank.exists()


def test_shuffled_labels_teach_nothing_and_true_ones_do(files: Path, tmp_path: Path) -> None:
    frame = pd.read_csv(files / "train_targets_scored.csv")
    drugs = pd.read_csv(files / "train_drug.csv")["drug_id"]
    first = frame.drop(columns="sig_id").groupby(drugs).first()
    control = pd.read_csv(files / "train_features.csv", usecols=["cp_type"])["cp_type"] == "ctl_vehicle"
    shuffled = (
        first.loc[np.random.default_rng(0).permutation(first.index)]
        .set_axis(first.index)
        .loc[drugs]
        .reset_index(drop=True)
    )
    shuffled[control.to_numpy()] = 0
    folder = tmp_path / "shuffled"
    folder.mkdir()
    for name in ("train_features.csv", "train_drug.csv"):
        (folder / name).write_bytes((files / name).read_bytes())
    pd.concat([frame["sig_id"], shuffled], axis=1).to_csv(folder / "train_targets_scored.csv", index=False)
    more = ("--epochs", "25", "--lr", "0.02")
    gains = []
    for data in (files, folder):
        cv = "row" if data == files else "drug"
        scores = run(flags(data, tmp_path / data.name / "runs", *more, "--data.cv", cv)).record()["scores"]
        gains.append(1 - scores["moa_simple_nn"]["NC"] / scores["prior"]["NC"])
    assert gains[0] > 0.05
    assert gains[1] < 0.5 * gains[0], gains


def without_drugs(folder: Path) -> None:
    (folder / "train_drug.csv").unlink()


def with_a_label_of_two(folder: Path) -> None:
    frame = pd.read_csv(folder / "train_targets_scored.csv", dtype=str)
    frame.iloc[4, 2] = "2"
    frame.to_csv(folder / "train_targets_scored.csv", index=False)


def with_an_id_twice(folder: Path) -> None:
    frame = pd.read_csv(folder / "train_features.csv", dtype=str)
    pd.concat([frame, frame.head(1)]).to_csv(folder / "train_features.csv", index=False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (without_drugs, "--data.cv drug needs train_drug.csv in the data folder"),
        (with_a_label_of_two, "labels must be 0 or 1"),
        (with_an_id_twice, "stands 2 times; ids must be unique"),
    ],
)
def test_bad_files_end_a_run_with_one_sentence(
    change: Callable[[Path], None], sentence: str, files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bad"
    shutil.copytree(files, folder)
    change(folder)
    with pytest.raises(SystemExit) as ended:
        experiment_main(EXPERIMENT, flags(folder, tmp_path / "runs"))
    error = capsys.readouterr().err
    assert ended.value.code == 1
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert sentence in error
    assert not list((tmp_path / "runs").rglob("run.json"))


@pytest.mark.parametrize("name", FAMILIES)
def test_declarations_parse_at_full_and_demo_size(name: str) -> None:
    experiment = load_experiment(name)
    assert experiment.name == name
    for arguments in ([], ["--data_dir", "somewhere"]):
        settings = parse(experiment, arguments)
        assert settings.demo == (not arguments)
        assert settings.variant in ("demo", "default")


@pytest.mark.parametrize("preset", ["moa_simple_nn/row_folds", "moa_two_heads_resnet/v1", "moa_deepinsight_resnest/v1"])
def test_presets_parse(preset: str) -> None:
    name = preset.split("/")[0]
    path = Path(__file__).parents[2] / "experiments" / "presets" / f"{preset}.yaml"
    settings = parse(load_experiment(name), ["--config", str(path), "--data_dir", "somewhere"])
    declared = load_experiment(name)
    assert (settings.data, settings.model) != (declared.data, declared.model)
    assert settings.variant != "default"
