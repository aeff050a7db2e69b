"""``--train.strategy fsdp`` on two CPU processes: the same training, and checkpoints that any number of processes reads."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed
import torch.multiprocessing
from torch import nn

from datamodules.banks.bank import PredictionBank
from experiments.engine.run_directory import RunDirectory
from lit_modules.base import read_checkpoint
from lit_modules.sharding import GatherForEvaluation, load_whole, shard
from tests.experiments.tiny import flags

NET = ("--model.dim", "16", "--model.blocks", "2", "--train.grad_clip", "1")


def run(raw: Path, out: Path, *more: str) -> RunDirectory:
    """A run in processes of its own, as a user starts it."""
    command = [sys.executable, "-m", "experiments.leap_squeezeformer", *flags(raw, out, *more, net=NET)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr
    (record,) = (out / "leap_squeezeformer").glob("*/seed*/fold0/run.json")
    return RunDirectory(record.parent)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return read_checkpoint(path)["state_dict"]


def compare(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=2e-3, atol=2e-4)


@pytest.fixture(scope="module")
def sharded(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return run(raw_files, tmp_path_factory.mktemp("fsdp"), "--devices", "2", "--train.strategy", "fsdp")


def test_it_trains_as_ddp_does(raw_files: Path, tmp_path: Path, sharded: RunDirectory) -> None:
    ddp = run(raw_files, tmp_path, "--devices", "2")
    compare(weights(sharded.last), weights(ddp.last))
    banks = [np.asarray(PredictionBank(one.bank).predictions) for one in (ddp, sharded)]
    np.testing.assert_allclose(banks[1], banks[0], rtol=1e-2, atol=1e-3)


def test_checkpoints_are_whole(sharded: RunDirectory) -> None:
    checkpoint = read_checkpoint(sharded.last)
    assert all(type(value) is torch.Tensor for value in checkpoint["state_dict"].values())
    moments = [value for state in checkpoint["optimizer_states"][0]["state"].values() for value in state.values()]
    assert moments
    assert all(type(value) is torch.Tensor for value in moments if isinstance(value, torch.Tensor))


SHARDED, COPIED, ONE = ("--devices", "2", "--train.strategy", "fsdp"), ("--devices", "2"), ("--devices", "1")


@pytest.mark.parametrize(
    ("first", "then"),
    [
        pytest.param(SHARDED, COPIED, id="to ddp"),
        pytest.param(ONE, SHARDED, id="from one", marks=pytest.mark.slow),
        pytest.param(SHARDED, ONE, id="to one", marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_in_another_number_of_processes(
    raw_files: Path, tmp_path: Path, sharded: RunDirectory, first: tuple[str, ...], then: tuple[str, ...]
) -> None:
    """Weights and optimiser states; with as many processes it ends as a run that was never killed."""
    script = tmp_path / "stop.py"
    script.write_text(_STOP_AFTER_EPOCH.format(arguments=flags(raw_files, tmp_path, *first, net=NET)))
    subprocess.run([sys.executable, str(script)], check=False, capture_output=True, timeout=400)
    resumed = run(raw_files, tmp_path, *then)
    assert len(resumed.record()["starts"]) == 2
    ours, theirs = weights(resumed.last), weights(sharded.last)
    if ONE in (first, then):  # BatchNorm saw whole batches in one epoch and halves in the others
        assert ours.keys() == theirs.keys()
        assert all(torch.isfinite(value).all() for value in ours.values() if value.is_floating_point())
    else:
        compare(ours, theirs)


_STOP_AFTER_EPOCH = """
import os
from experiments.engine.callbacks import LastCheckpoint
end = LastCheckpoint.on_train_epoch_end
def stop(self, trainer, module):
    end(self, trainer, module)
    trainer.strategy.barrier()
    os._exit(0)
LastCheckpoint.on_train_epoch_end = stop
from experiments.engine.cli import parse
from experiments.engine.training import train
from experiments.leap_squeezeformer import EXPERIMENT
train(parse(EXPERIMENT, {arguments!r}))
"""


def test_predicting_needs_one_process(raw_files: Path, sharded: RunDirectory) -> None:
    from experiments.engine.inference import load_task

    task = load_task(sharded.path).task
    torch.testing.assert_close(dict(task.state_dict()), weights(sharded.inference_checkpoint()))


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x


def _evaluate_unevenly(rank: int, port: int) -> None:
    torch.distributed.init_process_group(
        "gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2, timeout=timedelta(seconds=20)
    )
    torch.manual_seed(0)
    whole, net = Net(), Net()
    mesh = torch.distributed.device_mesh.init_device_mesh("cpu", (2,))
    shard(net, mesh)
    shard(net, mesh)  # a trainer that predicts after it trained does it again
    load_whole(net, whole.state_dict())
    assert all(p.to_local().numel() < q.numel() for p, q in zip(net.parameters(), whole.parameters(), strict=True))
    module = nn.Module()
    module.net = net
    callback: Any = GatherForEvaluation()
    x = torch.randn(4, 8)
    for _ in range(2):
        callback.on_validation_start(None, module)
        with torch.no_grad():
            for _ in range(1 + 3 * rank):  # the second process has three batches more
                torch.testing.assert_close(net(x), whole(x))
        callback.on_validation_end(None, module)
        net(x).sum().backward()  # and training goes on
    torch.distributed.destroy_process_group()


def test_processes_may_have_unequal_numbers_of_batches() -> None:
    torch.multiprocessing.spawn(_evaluate_unevenly, (29_631,), nprocs=2)


def test_averaged_weights_are_refused(raw_files: Path, tmp_path: Path) -> None:
    words = flags(raw_files, tmp_path, "--train.strategy", "fsdp", "--train.ema_decay", "0.9", net=NET)
    result = subprocess.run(
        [sys.executable, "-m", "experiments.leap_squeezeformer", *words], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "train.ema_decay" in result.stderr
    assert "Traceback" not in result.stderr
