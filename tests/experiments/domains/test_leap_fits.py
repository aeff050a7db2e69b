"""Fits take every row whatever the batch size, and targets that the judge weighs 0 count as the judge counts them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from blend.__main__ import main as blend
from datamodules.banks.bank import PredictionBank
from datamodules.base import _whole_pass
from datamodules.leap.schema import ZERO_WEIGHT_TARGETS, zero_weight_mask
from experiments.domains.leap.scores import block_sums
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train
from lit_modules.base import read_checkpoint
from tests.datamodules.leap.raw_files import write_pair
from tests.experiments.tiny import flags

STAMPS = [f"0008-{month:02d}-{day:02d}-00000" for month in (5, 6, 7, 8) for day in (3, 17)]


@pytest.fixture(scope="module")
def untidy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files whose targets of weight 0 are not 0: 24 rows to train on, 24 to validate on."""
    folder = tmp_path_factory.mktemp("untidy") / "raw"
    for stamp in STAMPS:
        write_pair(folder, stamp, columns=6)
    return folder


def fit(name: str, raw: Path, out: Path, *more: str) -> RunDirectory:
    return train(parse(load_experiment(name), flags(raw, out, "--epochs", "1", *more, net=())))


def weights(run: RunDirectory) -> torch.Tensor:
    return read_checkpoint(run.inference_checkpoint())["state_dict"]["net.linear.weight"]


def test_ridge_does_not_depend_on_the_batch_size(raw_files: Path, tmp_path: Path) -> None:
    """64 training rows: batches that leave 0, 14 and 28 of them over, and one larger than all of them."""
    fitted = {
        size: weights(fit("leap_ridge", raw_files, tmp_path, "--batch_size", str(size))) for size in (16, 50, 36, 100)
    }
    assert fitted[16].abs().max() > 0
    for other in (50, 36, 100):
        torch.testing.assert_close(fitted[16], fitted[other], rtol=1e-6, atol=1e-9)


def test_ridge_killed_in_its_pass_goes_on_to_the_same_fit(raw_files: Path, tmp_path: Path) -> None:
    whole = fit("leap_ridge", raw_files, tmp_path / "whole", "--batch_size", "4", "--train.checkpoint_every", "1")
    code = (
        "import os, sys\n"
        "from lit_modules.leap.ridge import RidgeTask\n"
        "from experiments.leap_ridge import EXPERIMENT\n"
        "from experiments.engine.runner import main\n"
        "collect, seen = RidgeTask.collect, []\n"
        "def counted(task, batch):\n"
        "    seen.append(1)\n"
        f"    os.kill(os.getpid(), {signal.SIGKILL}) if len(seen) == 10 else collect(task, batch)\n"
        "RidgeTask.collect = counted\n"
        "main(EXPERIMENT, sys.argv[1:])\n"
    )
    arguments = flags(
        raw_files, tmp_path / "killed", "--epochs", "1", "--batch_size", "4", "--train.checkpoint_every", "1", net=()
    )
    killed = subprocess.run([sys.executable, "-c", code, *arguments], env=dict(os.environ), capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    again = train(parse(load_experiment("leap_ridge"), arguments))
    assert len(again.record()["starts"]) == 2
    torch.testing.assert_close(weights(again), weights(whole), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("rows", [4, 17, 18, 31, 32, 33])
@pytest.mark.parametrize("batch", [1, 4, 8, 64])
def test_processes_share_a_pass_in_equally_many_batches(rows: int, batch: int, world: int) -> None:
    orders = [_whole_pass(np.arange(rows), batch, rank, world) for rank in range(world)]
    assert len({len(order) for order in orders}) == 1
    batches = [order.batch(i) for order in orders for i in range(len(order))]
    assert min(len(part) for part in batches) > 0
    np.testing.assert_array_equal(np.sort(np.concatenate(batches)), np.arange(rows))


def test_targets_of_weight_zero_count_one_in_run_bank_and_blend(untidy: Path, tmp_path: Path) -> None:
    run = fit("leap_zeros", untidy, tmp_path, "--data.columns", "6", "--data.cache_dir", str(tmp_path / "cache"))
    bank = PredictionBank(run.bank)
    zero = zero_weight_mask()
    assert len(ZERO_WEIGHT_TARGETS) == 5
    assert int(zero.sum()) == 60
    rows = slice(None)
    assert not bank.in_judge_units(rows)[:, zero].any()
    assert not bank.truth().in_judge_units(rows)[:, zero].any()
    record = run.record()
    per_target = np.array(record["per_target"])
    assert (per_target[zero] == 1.0).all()
    np.testing.assert_allclose(block_sums(bank, np.arange(len(bank.index))).r2()[0], per_target, rtol=1e-6)
    assert record["best"]["score"] == pytest.approx(per_target.clip(-1, 1).mean(), rel=1e-5)  # 24 rows tell little
    out = tmp_path / "blend"
    blend(["search", str(run.path.parents[1]), "--method", "equal", "--nested", "false", "--out", str(out)])
    scores = json.loads((out / "weights.json").read_text())["scores"]
    assert scores["in_sample"] == pytest.approx(per_target.clip(-1, 1).mean(), rel=1e-6)  # as the bank says
