"""Scores that hold on few rows: effective rows, three means with intervals, what the best epoch is chosen by."""

from __future__ import annotations

import shutil
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from datamodules.banks.bank import Manifest, PredictionBank, write_bank
from datamodules.leap.datamodule import LeapDataModule
from datamodules.leap.effective_rows import FEWEST_EFFECTIVE_ROWS, effective_rows
from datamodules.leap.schema import N_TARGETS, PTEND_TRICK_TARGETS, TARGET_GROUPS, TARGET_NAMES, zero_weight_mask
from datamodules.leap.settings import LeapData
from experiments.domains.leap.scores import block_sums, intervals, score_means, worst_targets
from experiments.engine.cli import Settings, parse
from experiments.engine.declare import load, load_experiment
from experiments.engine.training import train
from lit_modules.leap.task import LeapTask
from tests.experiments.tiny import COLUMNS, flags

COLUMN = TARGET_NAMES.index("ptend_t_30")


def prepared(raw: Path, cache: Path, **settings: object) -> LeapDataModule:
    data = LeapDataModule(LeapData(columns=COLUMNS, processes=1, **settings), raw, cache, batch_size=8)  # type: ignore[arg-type]
    data.prepare()
    return data


@pytest.fixture
def one_row_rules(raw_files: Path, tmp_path: Path) -> Path:
    """The tiny data set with one training row whose temperature tendency at level 30 is a thousand times too large."""
    raw = tmp_path / "one_row" / "raw"
    shutil.copytree(raw_files, raw)
    (raw / "demo.json").unlink(missing_ok=True)
    path = sorted(raw.rglob("*.mlo.*.nc"))[2]
    with netCDF4.Dataset(path, "r+") as file:
        file["state_t"][30, 3] = file["state_t"][30, 3] + 5_000.0
    return raw


def test_effective_rows_by_hand(raw_files: Path, tmp_path: Path) -> None:
    data = prepared(raw_files, tmp_path)
    rows = np.arange(len(data.store))[5:90]
    targets = np.asarray(data.store.arrays["targets"])[rows]
    own = effective_rows(data.store, rows, targets[0], np.abs(targets).max(axis=0), tmp_path)
    for name in ("ptend_t_30", "ptend_q0001_40", "ptend_q0003_50", "cam_out_PRECC"):
        column = targets[:, TARGET_NAMES.index(name)]
        d = (column - column.mean()) / column.std()
        assert own[TARGET_NAMES.index(name)] == pytest.approx((d**2).sum() ** 2 / (d**4).sum(), rel=1e-6), name
    assert (own[zero_weight_mask()] == len(rows)).all()
    assert (own[PTEND_TRICK_TARGETS] == len(rows)).all()
    assert (own <= len(rows) * (1 + 1e-9)).all()


def test_a_column_that_one_row_rules_is_found_and_does_not_choose_the_epoch(
    one_row_rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepared(one_row_rules, tmp_path / "cache").effective_rows[COLUMN] == pytest.approx(1.0, abs=0.1)
    experiment = load_experiment("leap_bilstm")
    arguments = flags(one_row_rules, tmp_path, "--epochs", "1")
    run = train(parse(experiment, arguments))
    record = run.record()
    printed = capsys.readouterr().out
    assert record["best"]["metric"] == "val_r2_clipped"
    assert "targets are not estimable here" in printed
    assert "(--model.select_by)" in printed
    assert "95 % of bootstraps over 8 blocks of time: all " in printed
    assert "worst targets: " in printed
    assert len(record["worst_targets"]) == 10
    assert record["effective_rows"][COLUMN] < FEWEST_EFFECTIVE_ROWS
    extra = PredictionBank(run.bank).manifest.extra
    assert extra["effective_rows"][COLUMN] < extra["fewest_effective_rows"] == FEWEST_EFFECTIVE_ROWS
    own = record["scores"]["leap_bilstm"]
    assert list(record["scores"])[:2] == ["ridge", "mean"]
    assert {"all", "clipped", "estimable", *TARGET_GROUPS, *(f"{name}_clipped" for name in TARGET_GROUPS)} == set(own)
    for name, (low, high) in record["intervals"].items():
        assert low <= own[name] <= high
    judged = train(parse(experiment, [*arguments, "--model.select_by", "judge"])).record()
    assert judged["best"]["metric"] == "val_r2"


def test_block_sums_give_scikit_learns_r2_of_any_draw(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    truth = random.standard_normal((90, N_TARGETS)) * 3 + 5
    predicted = truth + random.standard_normal(truth.shape)
    times = np.repeat(np.arange(30) * 7, 3)
    index = pd.DataFrame({"row_id": [f"r{i:03d}" for i in range(90)], "fold": np.zeros(90, dtype=np.int16)})
    common = {"domain": "leap", "metric": "r2", "targets": list(TARGET_NAMES)}
    write_bank(tmp_path / "truth", truth.astype(np.float32), index, Manifest(kind="truth", **common))
    own = Manifest(kind="out_of_fold", truth="../truth", folds=[0], **common)
    bank = write_bank(tmp_path / "bank", predicted.astype(np.float32), index, own)
    sums = block_sums(bank, times)
    assert len(sums.rows) == 20
    np.testing.assert_allclose(sums.r2()[0], r2_score(truth, predicted, multioutput="raw_values"), rtol=1e-4)
    blocks = (times // 7) * 20 // 30
    drawn = np.concatenate([np.flatnonzero(blocks == block) for block in (3, 3, 7)])
    counts = np.bincount([3, 3, 7], minlength=20).astype(float)
    expected = r2_score(truth[drawn], predicted[drawn], multioutput="raw_values")
    np.testing.assert_allclose(sums.r2(counts[None])[0], expected, rtol=1e-3)
    means = score_means(sums.r2()[0], np.full(N_TARGETS, 90.0))
    for name, (low, high) in intervals(sums, np.full(N_TARGETS, 90.0)).items():
        assert low < means[name] < high
        assert high - low < 0.05


def test_means_and_worst_targets_by_hand() -> None:
    values = np.full(N_TARGETS, 0.5)
    values[COLUMN] = -100.0
    effective = np.full(N_TARGETS, 1000.0)
    effective[COLUMN] = 1.2
    means = score_means(values, effective)
    assert means["all"] == pytest.approx((367 * 0.5 - 100) / 368)
    assert means["clipped"] == pytest.approx((367 * 0.5 - 1) / 368)
    assert means["estimable"] == 0.5
    assert means["t"] == pytest.approx((59 * 0.5 - 100) / 60)
    assert means["t_clipped"] == pytest.approx((59 * 0.5 - 1) / 60)
    assert next(iter(worst_targets(values).items())) == ("ptend_t_30", -100.0)


def test_holding_and_compressing_reach_training_prediction_and_checkpoint(raw_files: Path, tmp_path: Path) -> None:
    import torch

    from experiments.engine.inference import load_task

    arguments = flags(raw_files, tmp_path, "--epochs", "1", "--model.hold", "true", "--model.target_clip", "1.5")
    run = train(parse(load_experiment("leap_bilstm"), arguments))
    task = load_task(run.path).task
    assert task.range is not None
    assert task.range.target_max.max() <= 1.5 + np.log1p(50)
    data = prepared(raw_files, tmp_path / "cache")
    batch = data.read(np.arange(16))
    far = batch["profiles"] * 1.5
    held = task.range.hold("profile", far)
    with torch.no_grad():
        torch.testing.assert_close(task(far, batch["scalars"]), task(held, batch["scalars"]))
        scaled = torch.full((16, N_TARGETS), 1e6)
        physical = task.physical(scaled, batch)
        assert torch.equal(physical, task.physical(task.range.target_max.float().expand(16, -1), batch))
    squeezed = task.compress(torch.tensor([-4.0, -1.0, 1.5, 2.5]))
    np.testing.assert_allclose(squeezed, [-1.5 - np.log1p(2.5), -1.0, 1.5, 1.5 + np.log1p(1.0)], rtol=1e-6)


def test_a_run_says_its_steps_and_auto_leaves_enough(
    raw_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = load_experiment("leap_bilstm")
    train(parse(experiment, flags(raw_files, tmp_path / "few", "--epochs", "2")))
    printed = capsys.readouterr().out
    assert "8 optimiser steps: 2 epochs of 64 rows in batches of 16" in printed
    assert "warning: fewer than 1,000 optimiser steps" in printed
    auto = flags(raw_files, tmp_path / "auto", "--epochs", "2", "--batch_size", "auto")
    assert train(parse(experiment, auto)).record()["batch_size"] == 16
    with pytest.raises(SystemExit):
        parse(experiment, ["--batch_size", "automatic"])


@pytest.mark.parametrize(
    ("rows", "epochs", "size"), [(16_384, 16, 256), (10**7, 30, 4096), (9_216, 16, 128), (20, 1, 16)]
)
def test_automatic_batch_size(rows: int, epochs: int, size: int) -> None:
    from experiments.engine.steps import automatic_batch_size

    settings = parse(load_experiment("leap_bilstm"), ["--batch_size", "auto", "--epochs", str(epochs)])
    assert automatic_batch_size(settings, rows) == size


def test_a_run_on_all_rows_writes_no_validation_roles(
    raw_files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train(
        parse(load_experiment("leap_zeros"), flags(raw_files, tmp_path, "--fold", "full", "--epochs", "1", net=()))
    )
    table = pd.read_csv(run.path / "folds.csv")
    assert list(table.columns) == ["key", "full"]
    assert set(table["full"]) == {"train"}
    assert run.record()["rows"]["valid"] == 0
    printed = capsys.readouterr().out
    assert "not estimable here" in printed
    assert "best epoch" not in printed


PRESETS = sorted((Path(__file__).parents[3] / "experiments" / "presets").glob("leap_*/small.yaml"))


def test_every_net_has_a_small_preset() -> None:
    folder = Path(__file__).parents[3] / "experiments"
    nets = {path.stem for path in folder.glob("leap_*.py")} - {"leap_ridge", "leap_zeros"}
    assert {path.parent.name for path in PRESETS} == nets


@pytest.mark.parametrize("path", PRESETS, ids=lambda path: path.parent.name)
def test_a_small_preset_builds_a_small_net(path: Path) -> None:
    settings = parse(load_experiment(path.parent.name), ["--data_dir", "somewhere", "--config", str(path)])
    assert settings.variant == "small"
    assert (settings.model.target_clip, settings.model.hold, settings.model.representation) == (5.0, True, "multi")
    task = empty_task(settings)
    assert 40_000 < task.count_parameters() < 3_000_000


def empty_task(settings: Settings) -> LeapTask:
    task: LeapTask = load(settings.experiment.task)(settings.model, settings.optim, settings.daily.lr)
    return task


def test_a_small_preset_trains(raw_files: Path, tmp_path: Path) -> None:
    path = next(path for path in PRESETS if path.parent.name == "leap_bilstm_cnn")
    arguments = flags(raw_files, tmp_path, "--epochs", "1", "--config", str(path), "--epochs", "1", net=())
    record = train(parse(load_experiment("leap_bilstm_cnn"), arguments)).record()
    assert record["optimizer_steps"] == record["epochs_done"] == 1  # 64 rows in one batch of 64
