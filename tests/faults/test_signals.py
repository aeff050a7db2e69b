"""Signals at moments that a seed chooses: the shell's status, one line, nothing lost, nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch

from experiments.engine.cli import parse
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train
from experiments.leap_bilstm import EXPERIMENT
from tests.experiments.tiny import flags

ROOT = Path(__file__).parents[2]
LONG = ("--epochs", "60", "--train.checkpoint_every", "2", "--model.layers", "1")
STATUS = {signal.SIGTERM: 143, signal.SIGINT: 130, signal.SIGKILL: -9}


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start a training in a process of its own."""
    command = [sys.executable, "-m", "experiments.leap_bilstm", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    """Wait until a process has written a file."""
    deadline = time.monotonic() + 240
    while not path.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run_of(arguments: list[str]) -> RunDirectory:
    """Where a training writes."""
    return parse(EXPERIMENT, arguments).directory()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_a_checkpoint_from_which_the_bits_are_the_same(signum: int, raw: Path, tmp_path: Path) -> None:
    arguments = flags(raw, tmp_path / "stopped", *LONG)
    run = run_of(arguments)
    process = start(*arguments)
    wait_for(run.last, process)
    process.send_signal(signum)
    error = process.communicate(timeout=120)[1]
    assert process.returncode == STATUS[signum]
    assert error.splitlines()[-1].startswith(f"stopped by {signal.Signals(signum).name}: ")
    assert "Traceback" not in error
    assert run.record()["status"] == "stopped"
    assert 0 < torch.load(run.last, weights_only=True)["global_step"] < 240
    resumed = train(parse(EXPERIMENT, arguments))
    whole = train(parse(EXPERIMENT, flags(raw, tmp_path / "whole", *LONG)))
    first, second = (torch.load(run.last, weights_only=True)["state_dict"] for run in (resumed, whole))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resumed.record()["best"] == whole.record()["best"]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_that_python_swallows_is_told_again(signum: int) -> None:
    """What is raised in a finaliser is printed and forgotten; import locks have callbacks of the kind."""
    code = f"""
import os, time
from datamodules.signals import ending_with_status

class Finalised:
    def __del__(self):
        os.kill(os.getpid(), {int(signum)})
        time.sleep(0.01)

with ending_with_status():
    thing = Finalised()
    del thing
    time.sleep(30)
    print("went on")
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == STATUS[signum]
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith(f"stopped by {signal.Signals(signum).name}: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_the_same_signal_again_does_not_disturb_the_end(signum: int) -> None:
    """A terminal tells all processes of a run, and the first of them told the others too."""
    code = f"""
import atexit, os, time
from datamodules.signals import ending_with_status

def end():
    os.kill(os.getpid(), {int(signum)})
    time.sleep(0.01)

atexit.register(end)
with ending_with_status():
    os.kill(os.getpid(), {int(signum)})
    time.sleep(30)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == STATUS[signum]
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_a_grid_ends_with_its_child(signum: int, raw: Path, tmp_path: Path) -> None:
    arguments = flags(raw, tmp_path, "--data.split", "blocks", "--data.n_folds", "2", *LONG, "--fold", "all")
    first = run_of([*arguments, "--fold", "0"])
    process = start(*arguments)
    wait_for(first.last, process)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(signum)
    process.communicate(timeout=120)
    assert process.returncode == STATUS[signum]
    _, alive = psutil.wait_procs(children, timeout=60)
    assert not alive, "the child of a dead grid goes on"
    assert not run_of([*arguments, "--fold", "1"]).path.exists()
    assert first.record()["status"] in ("stopped", "running")


@pytest.mark.parametrize("moments", [2, pytest.param(20, marks=pytest.mark.slow)])
def test_any_moment_is_a_good_one(moments: int, raw: Path, tmp_path: Path) -> None:
    """Conversion, features, training, prediction, report: wherever the signal falls, the same command ends well."""
    draw = random.Random(7)
    arguments = flags(raw, tmp_path / "runs", "--epochs", "2", "--data.cache_dir", str(tmp_path / "cache"))
    run = run_of(arguments)
    for _ in range(moments):
        signum = draw.choice([signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
        process = start(*arguments)
        time.sleep(draw.uniform(0.5, 12))
        process.send_signal(signum)
        error = process.communicate(timeout=120)[1]
        # before Python has installed any handler a signal ends it as the system does
        assert process.returncode in (0, STATUS[signum], -signum, 1), error
        assert "Traceback" not in error or process.returncode in (-signum, 1), error
    done = train(parse(EXPERIMENT, arguments))
    assert done.record()["status"] == "finished"
    whole = train(parse(EXPERIMENT, flags(raw, tmp_path / "whole", "--epochs", "2")))
    first, second = (torch.load(run.last, weights_only=True)["state_dict"] for run in (done, whole))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert run.path == done.path


def test_under_torchrun_a_finished_run_is_replaced_and_nobody_waits(raw: Path, tmp_path: Path) -> None:
    arguments = flags(raw, tmp_path, "--epochs", "1", "--devices", "2")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for more in ([], ["--resume", "never"], []):
        done = subprocess.run(
            [*command, "experiments.leap_bilstm", *arguments, *more],
            cwd=ROOT, env=environment, capture_output=True, text=True, timeout=400, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2000:]
    run = run_of(arguments)
    assert run.path.with_name("fold0.replaced-1").is_dir()
    assert run.record()["status"] == "finished"
    assert "is finished: nothing to do" in done.stdout
