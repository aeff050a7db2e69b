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
import pytest

from datamodules.banks.bank import PredictionBank
from datamodules.leap.demo import write_kaggle_files
from datamodules.stores.store import Store
from experiments.engine.run_directory import RunDirectory
from tests.experiments.tiny import COLUMNS

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


def _weights(path: Path) -> np.ndarray:
    from blend.weights import read_weights

    weights, _ = read_weights(path.parent)
    return np.asarray(weights.values)


COMMANDS = {"conversion": conversion, "prediction": prediction, "blend": blending}


def start(words: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("moments", [2, pytest.param(40, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", COMMANDS)
def test_any_moment_is_a_good_one(name: str, moments: int, finished: RunDirectory, raw: Path, tmp_path: Path) -> None:
    words, expected = COMMANDS[name](finished, raw, tmp_path / "whole")
    began = time.monotonic()
    process = start(words)
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 0, error
    seconds = time.monotonic() - began
    words, found = COMMANDS[name](finished, raw, tmp_path / "broken")
    draw = random.Random(name)
    for _ in range(moments):
        signum = draw.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
        process = start(words)
        time.sleep(draw.uniform(0.3, seconds))
        process.send_signal(signum)
        error = process.communicate(timeout=300)[1]
        # before Python has installed any handler a signal ends it as the system does
        assert process.returncode in (0, STATUS[signum], -signum, 1), error
        assert "Traceback" not in error or process.returncode in (-signum, 1), error
    process = start(words)
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 0, error
    assert found() == expected()
    left = [path for path in (tmp_path / "broken").rglob(".*") if path.is_dir() and "fold" not in path.name]
    assert len(left) <= moments, left  # only kill -9 leaves scratch, one folder a time
