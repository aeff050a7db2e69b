"""Microseconds per column of an emulator on one core: eager, TorchScript and AOTInductor, in batches of 1, 16 and 384 columns.

python benchmarks/leap_coupling.py --run RUN
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from experiments.domains.leap.export import example_columns, export, flatten
from experiments.engine.export import write
from experiments.engine.inference import load_task

BATCHES = (1, 16, 384)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, help="run directory or checkpoint of a LEAP net")
    parser.add_argument("--seconds", type=float, default=2.0, help="time spent on each number")
    request = parser.parse_args()
    torch.set_num_threads(1)
    trained = load_task(request.run)
    deployable = export(trained.task, "flat")
    state = flatten(**example_columns(trained.task, max(BATCHES)))
    print(
        f"{trained.experiment.name}, {trained.task.count_parameters():,} parameters, microseconds per column, one core"
    )
    with tempfile.TemporaryDirectory() as folder:
        rivals: dict[str, Callable[[Tensor], Tensor]] = {"eager": deployable.module}
        for name, suffix in (("torchscript", ".pt"), ("aotinductor", ".pt2")):
            file = Path(folder) / f"emulator{suffix}"
            write(deployable, file, name, {})
            rivals[name] = torch.jit.load(file) if suffix == ".pt" else torch._inductor.aoti_load_package(str(file))
        print(f"{'batch':>8}" + "".join(f"{name:>14}" for name in rivals) + f"{'eager / best':>14}")
        for batch in BATCHES:
            times = {name: per_column(net, state[:batch].contiguous(), request.seconds) for name, net in rivals.items()}
            ratio = times["eager"] / min(times.values())
            print(f"{batch:>8}" + "".join(f"{1e6 * value:>14.1f}" for value in times.values()) + f"{ratio:>14.2f}")


def per_column(net: Callable[[Tensor], Tensor], state: Tensor, seconds: float) -> float:
    """Seconds per column: the fastest of the repetitions that fit in, so that a busy machine tells as little as it can."""
    best, end = float("inf"), time.perf_counter() + seconds
    with torch.no_grad():
        for _ in range(3):
            net(state)
        while time.perf_counter() < end:
            start = time.perf_counter()
            net(state)
            best = min(best, time.perf_counter() - start)
    return best / len(state)


if __name__ == "__main__":
    main()
