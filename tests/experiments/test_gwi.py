from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from blend.aligned.align import align
from datamodules.banks.bank import PredictionBank
from datamodules.banks.sources import resolve
from datamodules.gwi import demo as gwi_demo
from datamodules.gwi.generate.families import generate_maps
from datamodules.gwi.shards import ShardKey, write_shard
from datamodules.gwi.simulator import Simulator
from experiments import checkpoint_bank, predict
from experiments.engine.cli import parse
from experiments.engine.cli import resolve as resolve_settings
from experiments.engine.declare import load_experiment
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train
from lit_modules.gwi.task import build_net

ROWS = 8
PRESETS = Path(__file__).parents[2] / "experiments" / "presets" / "gwi_inversion"


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards of two families whose gathers are the surface's velocities: quickly made, quickly learnt."""
    folder = tmp_path_factory.mktemp("gwi") / "data"
    for family in ("FlatVel_A", "FlatVel_B"):
        for first in (0, ROWS):
            velocity = generate_maps(family, 0, range(first, first + ROWS))
            gathers = np.broadcast_to(velocity[:, None, :1] / 1000, (ROWS, 5, 288, 70)).astype(np.float16)
            write_shard(folder, ShardKey(family, 0, first, ROWS, gathers="compact"), velocity, gathers)
    return folder


def run(name: str, data_dir: Path, out: Path, *more: str) -> RunDirectory:
    flags = [
        "--data_dir", str(data_dir), "--out", str(out), "--epochs", "3", "--batch_size", "8", "--wandb", "disabled",
        "--train.progress", "false", "--accelerator", "cpu", "--data.cache_dir", str(data_dir.parent / "cache"), "--data.check_gathers", "false", *more,
    ]  # fmt: skip
    return train(parse(load_experiment(name), flags))


SMALL = ("--model.dim", "16", "--model.blocks", "1", "--model.head_dim", "8")


@pytest.fixture(scope="module")
def finished(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run("gwi_inversion", data_dir, tmp_path_factory.mktemp("runs"), *SMALL)


def test_a_run_scores_its_bank_beside_the_median_map(finished: RunDirectory) -> None:
    record = finished.record()
    assert record["status"] == "finished"
    bank = PredictionBank(finished.bank)
    assert bank.index["row_id"].iloc[0] == "FlatVel_A/shard-s0-00000000/0"
    scores = record["scores"]["gwi_inversion"]
    error = np.abs(bank.in_judge_units(slice(None)) - bank.truth().in_judge_units(slice(None)))
    assert scores["mae"] == pytest.approx(error.mean(), rel=1e-6)
    assert scores["mae_odd"] == pytest.approx(error[:, :, 1::2].mean(), rel=1e-6)
    assert scores["mae"] == pytest.approx(record["best"]["score"], rel=1e-4)
    assert "mae_odd_FlatVel_B" in record["scores"]["median"]
    for name in ("maps.png", "out_of_fold_maps.png", "risk_coverage.png"):
        assert (finished.figures / name).stat().st_size > 10_000


def test_expected_errors_lie_beside_the_maps(finished: RunDirectory) -> None:
    bank = PredictionBank(finished.bank)
    confidence = bank.extra("confidence")
    assert confidence.shape == bank.predictions.shape
    assert confidence.min() >= 0
    curve = finished.record()["risk_coverage"]
    errors = np.abs(bank.in_judge_units(slice(None)) - bank.truth().in_judge_units(slice(None))).mean((1, 2))
    order = np.argsort(confidence.mean((1, 2)))
    half = curve["kept"].index(0.5)
    assert curve["mae"][0] == pytest.approx(errors.mean())
    assert curve["mae"][half] == pytest.approx(errors[order[: len(order) // 2]].mean())
    assert all(best <= ours + 1e-9 for best, ours in zip(curve["best"], curve["mae"], strict=True))
    assert curve["expected"] == sorted(curve["expected"], reverse=True)


def test_three_models_branch_from_one_another(
    finished: RunDirectory, data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Naive mirroring at first; from there exactly mirrored samples and the mirrored model; from the former the style model."""
    shot = []

    def shoot(self: Simulator, velocity: torch.Tensor, shots: list[int]) -> torch.Tensor:
        shot.append(shots)
        return (velocity[:, None, :1] / 1000).expand(-1, len(shots), 1000, -1).contiguous()

    monkeypatch.setattr(Simulator, "forward", shoot)
    one = (*SMALL, "--epochs", "1", "--train.figures", "false", "--init_from")
    exact = run("gwi_inversion_exact", data_dir, tmp_path, *one, str(finished.path))
    mirrored = run("gwi_inversion_mirrored", data_dir, tmp_path, *one, str(finished.last))
    style = run("gwi_inversion_style", data_dir, tmp_path, *one, str(exact.path), "--data.weights", "FlatVel_B=2.5")
    assert shot == [[2]] * 4  # of four files the central shot, once
    for child, parent in ((exact, finished), (mirrored, finished), (style, exact)):
        record = child.record()
        assert str(parent.path) in record["parent"]
        assert record["rows"]["train"] == 2 * finished.record()["rows"]["train"]
        assert record["hashes"]["folds"] == finished.record()["hashes"]["folds"]
    assert "last.ckpt" in mirrored.record()["parent"]
    assert "best.ckpt" in exact.record()["parent"]


def test_the_net_trains_in_bfloat16_and_its_bank_is_not_rounded_to_it(data_dir: Path, tmp_path: Path) -> None:
    flags = ("--precision", "bf16-mixed", "--epochs", "1", "--train.figures", "false")
    half = run("gwi_inversion", data_dir, tmp_path, *SMALL, *flags)
    predictions = PredictionBank(half.bank).predictions
    rounded = torch.from_numpy(np.array(predictions)).bfloat16().float().numpy()
    assert np.abs(rounded - predictions).mean() > 0.1


def test_last_and_best_checkpoints_have_banks_of_their_own(finished: RunDirectory, tmp_path: Path) -> None:
    checkpoint_bank.main(["--run", str(finished.path), "--accelerator", "cpu"])
    twin = RunDirectory(finished.path.parents[1].with_name(f"{finished.record()['variant']}-last") / "seed0" / "fold0")
    assert twin.record()["status"] == "finished"
    assert twin.record()["parent"] == str(finished.last)
    best, last = PredictionBank(finished.bank), PredictionBank(twin.bank)
    assert last.manifest.variant == f"{best.manifest.variant}-last"
    assert last.truth().path == best.truth().path
    assert list(last.index["row_id"]) == list(best.index["row_id"])
    np.save(tmp_path / "0a.npy", np.ones((5, 1000, 70), np.float32))
    for checkpoint in ("best", "last"):
        predict.main(
            ["--run", str(finished.path), "--input", str(tmp_path), "--checkpoint", checkpoint, "--accelerator", "cpu"]
        )
    folders = [directory / "predictions" / tmp_path.name for directory in (finished.path, twin.path)]
    tests = [PredictionBank(folder) for folder in folders]
    assert [bank.manifest.variant for bank in tests] == [best.manifest.variant, last.manifest.variant]
    assert tests[0].extra("confidence").shape == (1, 70, 70)
    sources = resolve([str(finished.path), str(twin.path)])
    stack = align(sources, row_groups=True)
    assert {source.name for source in sources} == {best.name, last.name}
    assert len(stack.members) == 2


def test_what_has_no_last_bank_is_said(
    finished: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        checkpoint_bank.main(["--run", str(tmp_path)])
    assert "is no finished run with an out-of-fold bank" in capsys.readouterr().err


@pytest.mark.parametrize(
    "name", ["gwi_inversion", "gwi_inversion_exact", "gwi_inversion_mirrored", "gwi_inversion_style"]
)
def test_presets_fit_all_models(name: str) -> None:
    declared = resolve_settings(load_experiment(name), [], demo=False)
    widths = {"small": (64, 4), "base": (192, 12), "full": (384, 28)}
    for preset, (dim, blocks) in widths.items():
        settings = resolve_settings(load_experiment(name), ["--config", str(PRESETS / f"{preset}.yaml")], demo=False)
        assert (settings.model.dim, settings.model.blocks) == (dim, blocks)
        assert settings.model.mirror == declared.model.mirror
        assert replace(settings.data, repeat=1) == declared.data
        if preset == "small":
            demo = resolve_settings(load_experiment(name), [], demo=True)
            assert (demo.model, demo.optim, demo.data.repeat) == (settings.model, settings.optim, settings.data.repeat)
            assert (demo.daily.batch_size, demo.daily.lr) == (settings.daily.batch_size, settings.daily.lr)
    assert sorted(path.stem for path in PRESETS.glob("*.yaml")) == sorted(widths)


def test_the_full_preset_has_about_a_hundred_million_parameters() -> None:
    parameters = {}
    for preset in ("small", "base", "full"):
        flags = ["--config", str(PRESETS / f"{preset}.yaml")]
        with torch.device("meta"):
            net = build_net(resolve_settings(load_experiment("gwi_inversion"), flags, demo=False).model)
        parameters[preset] = sum(p.numel() for p in net.parameters())
    assert parameters["full"] == 92_157_680
    assert 9e6 < parameters["base"] < 12e6
    assert parameters["small"] < 500_000


def test_the_benchmark_net_runs(data_dir: Path, tmp_path: Path) -> None:
    flags = ("--model.width", "2", "--model.samples", "288", "--data.samples", "288", "--epochs", "1")
    assert run("gwi_inversionnet", data_dir, tmp_path, *flags).record()["status"] == "finished"


def test_the_test_folder_becomes_a_submission_and_a_bank(finished: RunDirectory, tmp_path: Path) -> None:
    folder = tmp_path / "test"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for oid in ("00b", "00a", "00c"):
        np.save(folder / f"{oid}.npy", rng.normal(size=(5, 1000, 70)).astype(np.float32))
    predict.main(
        ["--run", str(finished.path), "--input", str(folder), "--submission", str(tmp_path / "s.csv"), "--batch_size", "2",
         "--accelerator", "cpu"]
    )  # fmt: skip
    frame = pd.read_csv(tmp_path / "s.csv")
    assert len(frame) == 210
    assert frame["oid_ypos"][70] == "00b_y_0"
    bank = PredictionBank(finished.path / "predictions" / "test")
    expected = np.clip(bank.in_judge_units(slice(None))[1, :, 1::2], 1500, 4500)
    np.testing.assert_allclose(frame.iloc[70:140, 1:], expected, atol=0.051)


def test_a_folder_without_the_sample_submissions_files_is_refused(
    finished: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "test"
    folder.mkdir()
    np.save(folder / "00a.npy", np.ones((5, 1000, 70), np.float32))
    named = pd.DataFrame({"oid_ypos": [f"{oid}_y_{row}" for oid in ("00a", "00b") for row in range(70)]})
    named.to_csv(tmp_path / "sample_submission.csv", index=False)
    flags = ["--run", str(finished.path), "--input", str(folder), "--accelerator", "cpu"]
    with pytest.raises(SystemExit):
        predict.main([*flags, "--weights", str(tmp_path / "sample_submission.csv")])
    assert f"1 predictions have no file in {folder}, first '00b'" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        predict.main(["--run", str(finished.path), "--input", str(tmp_path), "--accelerator", "cpu"])
    assert "holds no .npy files; give the folder of the test gathers" in capsys.readouterr().err


def test_the_demo_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(gwi_demo, "produce", lambda folder, keys, *rest: made.append((folder, keys)))
    folder = gwi_demo.make_demo(tmp_path, rows=4)
    assert folder.parent == tmp_path
    assert {key.family for key in made[0][1]} == {"FlatVel_A", "CurveVel_A", "FlatFault_A"}
    assert sum(key.rows for key in made[0][1]) == 60
