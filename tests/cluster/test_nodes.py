"""Two machines of one process each, on loopback: torchrun as docs/distributed.md shows it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from experiments.engine.run_directory import RunDirectory
from tests.cluster.engines import free_port
from tests.experiments.tiny import flags, write_raw


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw") / "raw")


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_nodes_train_one_run(raw: Path, tmp_path: Path, strategy: str) -> None:
    net = ("--model.dim", "16", "--model.blocks", "1")
    words = flags(
        raw, tmp_path, "--devices", "1", "--num_nodes", "2", "--epochs", "1", "--train.strategy", strategy, "--variant", "nodes", net=net,
    )  # fmt: skip
    endpoint = f"127.0.0.1:{free_port()}"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1", "--rdzv_backend", "c10d",
        "--rdzv_endpoint", endpoint, "--local_addr", "127.0.0.1", "-m", "experiments.leap_squeezeformer", *words,
    ]  # fmt: skip
    nodes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path)
        for _ in range(2)
    ]
    try:
        outputs = [node.communicate(timeout=240)[0] for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(outputs)
    (record,) = tmp_path.glob("leap_squeezeformer/nodes/seed*/fold0/run.json")
    assert RunDirectory(record.parent).is_finished
    assert sum(output.count("run directory:") for output in outputs) == 1
