"""Runs under a real SLURM as docs/distributed.md shows them: tasks, signals, requeues, time limits."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.engine.run_directory import RunDirectory
from tests.experiments.tiny import COLUMNS, write_raw

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slurm
_SECONDS = 240.0


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "raw")


class Submitted:
    """A batch job of the documents' form.

    Args:
        folder: Of its log and runs.
        data: Raw files.
        sbatch: Further ``#SBATCH`` lines.
        flags: Further flags of the experiment.
    """

    def __init__(self, folder: Path, data: Path, sbatch: tuple[str, ...], flags: tuple[str, ...]) -> None:
        self.out, self.log = folder / "runs", folder / "log"
        words = [
            "--data_dir", str(data), "--out", str(self.out), "--data.cache_dir", str(folder / "cache"), "--data.columns", str(COLUMNS),
            "--data.processes", "1", "--model.hidden", "4", "--model.layers", "1", "--batch_size", "16", "--wandb", "disabled",
            "--train.progress", "false", "--train.figures", "false", "--accelerator", "cpu", "--variant", "job", *flags,
        ]  # fmt: skip
        lines = [f"--output={self.log}", "--open-mode=append", "--requeue", *sbatch]
        self._script = folder / "job.sh"
        self._script.write_text(
            "#!/bin/bash\n" + "".join(f"#SBATCH {line}\n" for line in lines)
            + f"srun {sys.executable} {ROOT}/experiments/leap_bilstm.py {' '.join(words)}\n"
        )  # fmt: skip
        self.id = ""
        self.submit()

    def submit(self) -> None:
        self.id = subprocess.run(
            ["sbatch", "--parsable", str(self._script)], check=True, capture_output=True, text=True
        ).stdout.strip()

    @property
    def run(self) -> RunDirectory:
        return RunDirectory.of(self.out, "leap_bilstm", "job", 1325, 0)

    @property
    def text(self) -> str:
        return self.log.read_text() if self.log.is_file() else ""

    def until(self, reached: Callable[[], object]) -> None:
        deadline = time.monotonic() + _SECONDS
        while not reached():
            assert time.monotonic() < deadline, f"{self.text}\n{self._state()}"
            time.sleep(0.1)

    def _state(self) -> str:
        """What SLURM says of its node and jobs, for the message of a job that does not go on."""
        asked = (["squeue", "-l"], ["sinfo", "-l"], ["scontrol", "show", "job", self.id])
        return "\n".join(subprocess.run(words, check=False, capture_output=True, text=True).stdout for words in asked)

    def ended(self) -> bool:
        asked = ["squeue", "-h", "-j", self.id]
        return not subprocess.run(asked, check=False, capture_output=True, text=True).stdout.strip()

    def tell(self, *words: str) -> None:
        subprocess.run(["scancel", *words, self.id], check=True)


@pytest.fixture
def submit(slurm: dict[str, str], raw: Path, tmp_path: Path) -> Callable[..., Submitted]:
    def make(*flags: str, sbatch: tuple[str, ...] = ("--ntasks-per-node=1",), data: Path = raw) -> Submitted:
        return Submitted(tmp_path, data, sbatch, flags)

    return make


def test_srun_trains_on_two_tasks(submit: Callable[..., Submitted]) -> None:
    job = submit("--epochs", "1", "--devices", "2", sbatch=("--ntasks-per-node=2",))
    job.until(job.ended)
    assert job.run.is_finished, job.text
    assert job.text.count("run directory:") == 1


def test_tasks_that_nobody_counted_are_one_sentence(submit: Callable[..., Submitted], tmp_path: Path) -> None:
    job = submit("--epochs", "1", "--devices", "2", sbatch=("--ntasks=2",))
    job.until(job.ended)
    assert "give --ntasks-per-node=2" in job.text
    assert "Traceback" not in job.text
    assert not (tmp_path / "cache").exists()
    assert not job.run.path.exists()


def test_usr1_in_training_requeues_and_goes_on_from_the_signals_checkpoint(submit: Callable[..., Submitted]) -> None:
    job = submit("--epochs", "300", "--train.checkpoint_every", "0", "--train.log_every", "1")
    job.until(job.run.last.is_file)  # a signal inside the first validation would find nothing to keep
    job.tell("--signal=USR1")
    told = time.monotonic()
    job.until(lambda: "stopped by SIGUSR1" in job.text)
    assert time.monotonic() - told < 60
    job.until(lambda: "going on from" in job.text)
    step = re.search(r"going on from \S+/checkpoints/last.ckpt at optimiser step (\d+)", job.text)
    assert step is not None
    assert int(step[1]) > 0
    # walked, not globbed: the run goes on, and its half-written files come and go
    assert not [
        name for _, folders, files in os.walk(job.out) for name in (*folders, *files) if name.startswith("hpc_ckpt")
    ]
    assert "Traceback" not in job.text
    job.tell()
    job.until(job.ended)


def test_usr1_before_training_requeues_too(submit: Callable[..., Submitted], tmp_path: Path) -> None:
    """While raw files are converted there is nothing to save, and the conversion goes on where it stood."""
    job = submit("--epochs", "1")
    job.until(lambda: (tmp_path / "cache").exists() or job.ended())
    job.tell("--signal=USR1")
    job.until(job.ended)
    assert "stopped by SIGUSR1" in job.text
    assert job.run.is_finished, job.text
    assert "Traceback" not in job.text


def test_a_time_limit_without_a_warning_keeps_the_work(submit: Callable[..., Submitted]) -> None:
    """SIGTERM, as SLURM sends it at the limit: a checkpoint, status 143, and the same script goes on."""
    job = submit("--epochs", "300", "--train.checkpoint_every", "0", "--train.log_every", "1")
    job.until(job.run.last.is_file)  # a signal inside the first validation would find nothing to keep
    job.tell()
    job.until(job.ended)
    assert "stopped by SIGTERM" in job.text
    assert job.run.last.is_file()
    assert job.run.record()["status"] == "stopped"
    job.submit()
    job.until(lambda: "going on from" in job.text)
    job.tell()
    job.until(job.ended)
