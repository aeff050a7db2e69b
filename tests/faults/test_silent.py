"""What used to go wrong without a word."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.files import read_json, write_json
from datamodules.leap.demo import write_kaggle_files
from experiments.engine.cli import parse
from experiments.engine.grid import run_grid
from experiments.engine.loggers import MetricsCsv
from experiments.engine.run_directory import RunDirectory
from experiments.engine.runner import main
from experiments.engine.training import train
from experiments.leap_bilstm import EXPERIMENT
from experiments.predict import main as predict
from tests.experiments.tiny import COLUMNS, flags
from tests.experiments.wandb_file import records

ROOT = Path(__file__).parents[2]


def test_two_predictions_of_one_run_at_once_do_not_mix(finished: RunDirectory, raw: Path, tmp_path: Path) -> None:
    copy = RunDirectory(shutil.copytree(finished.path, tmp_path / "seed0" / "fold0"))
    folder = write_kaggle_files(raw, tmp_path / "kaggle", train_steps=2, test_rows=24, columns=COLUMNS)
    names = ("one", "two", "three")
    table = (folder / "test.csv").read_text().splitlines()
    for i, name in enumerate(names):  # as many rows, other rows
        (tmp_path / f"{name}.csv").write_text("\n".join([table[0], *table[1 + 8 * i : 9 + 8 * i]]) + "\n")
    command = [sys.executable, "experiments/predict.py", "--run", str(copy.path), "--accelerator", "cpu", "--input"]
    processes = [subprocess.Popen([*command, str(tmp_path / f"{name}.csv")], cwd=ROOT) for name in names]
    assert [process.wait(timeout=240) for process in processes] == [0, 0, 0]
    together = [PredictionBank(copy.path / "predictions" / name) for name in names]
    expected = [np.array(bank.predictions) for bank in together]
    ids = [list(bank.index["row_id"]) for bank in together]
    assert ids == [[line.split(",")[0] for line in table[1 + 8 * i : 9 + 8 * i]] for i in range(3)]
    for name, values in zip(names, expected, strict=True):
        predict([*command[2:], str(tmp_path / f"{name}.csv")])
        assert np.array_equal(PredictionBank(copy.path / "predictions" / name).predictions, values)
    assert sorted(
        path.name for path in (copy.path / "predictions").iterdir() if not path.name.endswith(".lock")
    ) == sorted(names)


def test_a_grid_does_not_mix_data_sets(raw: Path, tmp_path: Path) -> None:
    data = shutil.copytree(raw, tmp_path / "raw" / raw.name)
    arguments = flags(data, tmp_path / "runs", "--data.split", "blocks", "--data.n_folds", "2", "--epochs", "1")
    train(parse(EXPERIMENT, [*arguments, "--fold", "0"]))
    file = sorted(data.glob("train/*/*.mli.*.nc"))[0]
    content = bytearray(file.read_bytes())
    content[-9] ^= 1  # the low bits of one value
    file.write_bytes(bytes(content))
    settings = parse(EXPERIMENT, [*arguments, "--fold", "all"])
    with pytest.raises(DataError, match="holds a run with other data"):
        run_grid(settings, [*arguments, "--fold", "all"])


@pytest.mark.parametrize(
    ("words", "status", "sentence"),
    [
        (["--seed", "-1"], 2, "--seed must be at least 0"),
        (["--model.dropout", "1.5"], 2, "--model.dropout must be below 1"),
        (["--model.hidden", "0"], 2, "--model.hidden must be at least 1"),
        (["--train.accumulate", "0"], 2, "--train.accumulate must be at least 1"),
        (["--train.grad_clip", "-1"], 2, "--train.grad_clip must be at least 0"),
        (["--data.threads", "-1"], 2, "--data.threads must be at least 0"),
        (["--lr", ".nan"], 2, "--lr must be a finite number"),
        (["--variant", "../../x"], 2, "--variant is a folder name"),
        (["--data.train_months", "0001-13"], 1, "--data.train_months"),
        (["--num_nodes", "2"], 1, "--num_nodes 2 needs a launcher"),
        (["--resume", "nowhere.ckpt"], 1, "is no checkpoint file"),
    ],
)
def test_a_wrong_command_line_ends_at_once_and_leaves_nothing(
    words: list[str], status: int, sentence: str, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(EXPERIMENT, flags(raw, tmp_path / "runs", "--data.cache_dir", str(tmp_path / "cache"), *words))
    error = capsys.readouterr().err
    assert stop.value.code == status, error
    assert sentence in error
    assert "Traceback" not in error
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "cache").exists()


def test_a_layer_that_refuses_is_a_sentence(tmp_path: Path, raw: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from experiments.leap_bilstm_attention import EXPERIMENT as ATTENTION

    words = flags(raw, tmp_path / "runs", "--data.cache_dir", str(tmp_path / "cache"), "--model.heads", "7")
    with pytest.raises(SystemExit) as stop:
        main(ATTENTION, words)
    assert stop.value.code in (1, 2)
    assert "heads" in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()


def test_hardware_and_moved_folders_name_no_run(raw: Path, tmp_path: Path) -> None:
    plain = parse(EXPERIMENT, flags(raw, tmp_path))
    for more in (
        ["--precision", "32-true"],
        ["--devices", "2"],
        ["--data.threads", "0"],
        ["--out", str(tmp_path / "b")],
    ):
        assert parse(EXPERIMENT, flags(raw, tmp_path, *more)).variant == plain.variant
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "best.ckpt").write_bytes(b"the same weights")
    (tmp_path / "b" / "other.ckpt").write_bytes(b"other weights")
    variants = [
        parse(EXPERIMENT, flags(raw, tmp_path, "--init_from", str(tmp_path / path))).variant
        for path in ("a/best.ckpt", "b/best.ckpt", "b/other.ckpt")
    ]
    assert variants[0] == variants[1] != variants[2]


def test_metrics_are_appended_and_a_half_written_line_is_none(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    log = MetricsCsv(path)
    sizes = []
    for step in range(200):
        log.log_metrics({"loss": 1.0 / (step + 1)}, step)
        if step % 50 == 49:
            log.log_metrics({"val_r2": step / 100}, step)
        sizes.append(path.stat().st_size)
    assert max(np.diff(sizes[60:])) < 80  # a line at a time
    assert [row["step"] for row in log.rows()] == [str(step) for step in range(200)]
    assert log.rows()[99] == {"step": "99", "loss": "0.01", "val_r2": "0.99"}
    with path.open("a") as file:
        file.write("200,0.00")  # killed in the middle of a line
    again = MetricsCsv(path)
    again.resume_at(150)
    again.log_metrics({"loss": 5.0}, 151)
    rows = again.rows()
    assert [row["step"] for row in rows] == [str(step) for step in range(152)]
    assert rows[-1]["loss"] == "5.0"


def test_a_damaged_run_json_or_w_and_b_id_is_named(finished: RunDirectory, raw: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished.path.parents[3], tmp_path / "runs")
    run = RunDirectory(out / finished.path.relative_to(finished.path.parents[3]))
    arguments = flags(raw, out, "--epochs", "1", "--train.figures", "false")
    record = read_json(run.path / "run.json")
    for broken in ("", "{", "[]", '{"status": "finished"}'):
        (run.path / "run.json").write_text(broken)
        with pytest.raises(DataError, match=r"run\.json"):
            train(parse(EXPERIMENT, arguments))
    write_json(run.path / "run.json", {**record, "status": "stopped"})
    for broken in ("", '{"id": 3}', "[1]"):
        (run.path / "wandb.json").write_text(broken)
        with pytest.raises(DataError, match=r"wandb\.json"):
            train(parse(EXPERIMENT, [*arguments, "--wandb", "offline"]))
    run.last.write_bytes(b"")
    with pytest.raises(DataError, match=r"last\.ckpt cannot be read .* --resume never"):
        train(parse(EXPERIMENT, arguments))


def test_a_run_of_other_settings_says_which(finished: RunDirectory, raw: Path) -> None:
    settings = yaml.safe_load(finished.config.read_text())
    out, variant = str(finished.path.parents[3]), finished.path.parents[1].name
    assert settings["batch_size"] == 16
    arguments = flags(raw, Path(out), "--epochs", "1", "--variant", variant, "--lr", "0.01")
    with pytest.raises(DataError, match=r"other settings: --lr 0\.001 \(now 0\.01\)"):
        train(parse(EXPERIMENT, arguments))


def test_offline_w_and_b_is_one_run_with_one_history(raw: Path, tmp_path: Path) -> None:
    """In processes of their own: W&B keeps what a process once was told about its mode."""
    arguments = flags(
        raw, tmp_path / "runs", "--wandb", "offline", "--train.log_every", "1", "--variant", "v", "--epochs", "2"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    run = parse(EXPERIMENT, arguments).directory()
    for _ in range(2):
        command = [sys.executable, "-m", "experiments.leap_bilstm", *arguments]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
        write_json(run.path / "run.json", {**run.record(), "status": "stopped"})  # as if it broke off before its report
    steps = [int(one.step.num) for kind, one in records(run.path) if kind == "history"]
    logged = [int(row["step"]) for row in MetricsCsv(run.path / "metrics.csv").rows()]
    assert steps == sorted(set(steps))
    assert set(logged) <= set(steps)
