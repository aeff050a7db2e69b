"""Commands beside training, broken off at moments that a seed chooses: the shell's status, and the same result afterwards."""

from __future__ import annotations

import hashlib
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from datamodules.banks.bank import Manifest, PredictionBank, write_bank
from datamodules.leap.demo import write_kaggle_files
from datamodules.stores.store import Store
from experiments.engine.run_directory import RunDirectory
from tests.experiments.tiny import COLUMNS, flags

ROOT = Path(__file__).parents[2]
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}
Digest = Callable[[], str]


def conversion(finished: RunDirectory, raw: Path, place: Path) -> tuple[list[str], Digest]:
    """Raw files to a store."""
    words = ["-m", "datamodules.leap", "convert", str(raw), "--dest", str(place / "stores"), "--columns", str(COLUMNS)]
    return [*words, "--processes", "2"], lambda: Store.open(next((place / "stores").glob("climsim-raw-*[0-9a-f]"))).hash


def prediction(finished: RunDirectory, raw: Path, place: Path) -> tuple[list[str], Digest]:
    """A table to a bank and a submission."""
    run = Path(shutil.copytree(finished.path, place / "runs" / "e" / "v" / "seed0" / "fold0"))
    folder = write_kaggle_files(raw, place / "kaggle", train_steps=2, test_rows=60, columns=COLUMNS)
    words = ["experiments/predict.py", "--run", str(run), "--input", str(folder / "test.csv"), "--accelerator", "cpu"]
    submission = place / "submission.csv"
    words += ["--batch_size", "8", "--submission", str(submission), "--template", str(folder / "sample_submission.csv")]

    def digest() -> str:
        bank = PredictionBank(run / "predictions" / "test")
        bank.verify()
        return hashlib.sha256(np.ascontiguousarray(bank.predictions).tobytes() + submission.read_bytes()).hexdigest()

    return words, digest


def blending(finished: RunDirectory, raw: Path, place: Path) -> tuple[list[str], Digest]:
    """Three tables to exact weights."""
    draw = np.random.default_rng(0)
    truth = draw.normal(size=(400, 3))
    place.mkdir(parents=True, exist_ok=True)
    ids = np.array([f"row{i:03d}" for i in range(400)])
    for name, noise in (("one", 0.4), ("two", 0.5), ("three", 0.9)):
        values = truth + noise * draw.normal(size=truth.shape)
        np.savez(place / f"{name}.npz", predictions=values, row_id=ids, fold=np.arange(400) % 4)
    np.savez(place / "truth.npz", predictions=truth, row_id=ids)
    words = ["-m", "blend", "search", *(str(place / f"{name}.npz") for name in ("one", "two", "three"))]
    words += [
        "--truth",
        str(place / "truth.npz"),
        "--metric",
        "r2",
        "--method",
        "convex",
        "--out",
        str(place / "blend"),
    ]
    return words, lambda: str(np.round(_weights(place / "blend" / "weights.json"), 9))


def generation(finished: RunDirectory, raw: Path, place: Path) -> tuple[list[str], Digest]:
    """Maps and gathers of one family, three shards, two workers."""
    words = ["experiments/gwi_generate.py", "--family", "flatvel_a", "--samples", "3", "--gathers", "compact"]
    words += ["--shard_rows", "1", "--processes", "2", "--device", "cpu", "--out", str(place / "maps")]
    return words, lambda: _digest(place / "maps", "*.npy")


def refinement(finished: RunDirectory, raw: Path, place: Path) -> tuple[list[str], Digest]:
    """A bank of two maps to a refined bank."""
    velocity = np.repeat(np.linspace(1600, 4200, 5), 14)[:, None] * np.ones((2, 1, 1, 70))
    (place / "data" / "FlatVel_A" / "model").mkdir(parents=True, exist_ok=True)
    np.save(place / "data" / "FlatVel_A" / "model" / "model1.npy", velocity.astype(np.float32))
    ids = [f"FlatVel_A/model1/{i}" for i in range(2)]
    table = pd.DataFrame({"row_id": ids, "fold": 0, "group": "FlatVel_A"})
    write_bank(place / "truth", velocity[:, 0], table, Manifest(kind="truth", domain="gwi", metric="mae"))
    manifest = Manifest(
        kind="out_of_fold", domain="gwi", metric="mae", experiment="net", variant="default", seed=0, truth="../truth"
    )
    write_bank(place / "bank", (velocity[:, 0] + 50) / 3000, table, manifest, scale=np.array(3000.0))
    words = ["experiments/gwi_refine.py", "--bank", str(place / "bank"), "--data_dir", str(place / "data")]
    words += ["--max_iterations", "2", "--at_once", "1", "--device", "cpu"]
    return words, lambda: _digest(place / "bank_refined", "predictions.npy")


def grid(finished: RunDirectory, raw: Path, place: Path) -> tuple[list[str], Digest]:
    """Two folds, one after the other."""
    return _training(raw, place, "--data.split", "blocks", "--data.n_folds", "2", "--fold", "all")


def two_processes(finished: RunDirectory, raw: Path, place: Path) -> tuple[list[str], Digest]:
    """One training on two processes."""
    return _training(raw, place, "--devices", "2")


def stages(finished: RunDirectory, raw: Path, place: Path) -> tuple[list[str], Digest]:
    """Two folds of two stages, then one run of the third, which reads their predictions."""
    words = ["-m", "experiments.moa_three_stage_nn", "--epochs", "1", "--data.n_folds", "2", "--wandb", "disabled"]
    words += [
        "--train.progress",
        "false",
        "--train.figures",
        "false",
        "--accelerator",
        "cpu",
        "--out",
        str(place / "runs"),
    ]
    return [*words, "--data.cache_dir", str(place / "cache")], lambda: _weights_of(place / "runs")


def _training(raw: Path, place: Path, *more: str) -> tuple[list[str], Digest]:
    words = flags(raw, place / "runs", *more, "--data.cache_dir", str(place / "cache"))
    return ["-m", "experiments.leap_bilstm", *words], lambda: _weights_of(place / "runs")


def _digest(folder: Path, pattern: str) -> str:
    files = sorted(folder.rglob(pattern))
    assert files
    return str([(str(file.relative_to(folder)), hashlib.sha256(file.read_bytes()).hexdigest()) for file in files])


def _weights_of(runs: Path) -> str:
    files = sorted(runs.rglob("last.ckpt"))
    assert files
    nets = [torch.load(file, weights_only=True)["state_dict"] for file in files]
    return str(
        [{name: hashlib.sha256(value.numpy().tobytes()).hexdigest() for name, value in net.items()} for net in nets]
    )


def _weights(path: Path) -> np.ndarray:
    from blend.weights import read_weights

    weights, _ = read_weights(path.parent)
    return np.asarray(weights.values)


COMMANDS = {
    "conversion": conversion,
    "prediction": prediction,
    "blend": blending,
    "generation": generation,
    "refinement": refinement,
    "grid": grid,
    "two_processes": two_processes,
    "stages": stages,
}
LONG, SEVERAL_MINUTES = ("grid", "refinement"), ("stages",)


def start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


def whole(words: list[str]) -> None:
    """Run a command to its end."""
    process = start(words)
    error = process.communicate(timeout=600)[1]
    assert process.returncode == 0, error


def moments(few: int, many: dict[str, int]) -> list[object]:
    """A few moments for each command that is quick, and many behind the slow marker."""
    quick = [
        pytest.param(name, 1 if name in LONG else few, id=name) for name in COMMANDS if name not in SEVERAL_MINUTES
    ]
    return quick + [pytest.param(name, n, id=f"{name}-{n}", marks=pytest.mark.slow) for name, n in many.items()]


MANY = {name: 40 if name in ("conversion", "prediction", "blend") else 15 for name in COMMANDS}


@pytest.mark.parametrize(("name", "many"), moments(2, MANY))
def test_any_moment_is_a_good_one(name: str, many: int, finished: RunDirectory, raw: Path, tmp_path: Path) -> None:
    words, expected = COMMANDS[name](finished, raw, tmp_path / "whole")
    began = time.monotonic()
    whole(words)
    seconds = time.monotonic() - began
    draw = random.Random(name)
    place, stops = tmp_path / "broken", 0
    words, found = COMMANDS[name](finished, raw, place)
    for moment in range(many + 8):  # those beyond are for a machine that was busy while the whole command was timed
        if moment >= many and stops:
            break
        signum = draw.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
        process, began = start(words), time.monotonic()
        time.sleep(draw.uniform(0.3, 0.9 * seconds))
        process.send_signal(signum)
        error = process.communicate(timeout=300)[1]
        # before Python has installed any handler a signal ends it as the system does
        assert process.returncode in (0, STATUS[signum], -signum, 1), error
        assert "Traceback" not in error or process.returncode in (-signum, 1), error
        stops += process.returncode != 0
        if process.returncode == 0:  # finished in pieces: the result is right, and the next one begins
            assert found() == expected()
            seconds = max(min(seconds, time.monotonic() - began) * 0.9, 0.4)
            shutil.rmtree(place)
            words, found = COMMANDS[name](finished, raw, place)
    assert stops > 0
    whole(words)
    assert found() == expected()
    left = [path for path in place.rglob(".*") if path.is_dir() and "fold" not in path.name]
    assert len(left) <= moment + 1, left  # only kill -9 leaves scratch, one folder a time
