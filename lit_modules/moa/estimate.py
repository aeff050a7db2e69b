"""How long an image net will train on this machine, and how much memory it takes, told before it starts."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import psutil
import torch

if TYPE_CHECKING:
    from lit_modules.base import BaseTask, Batch

STEPS = 3
_ROWS = 4  # rows that are measured; a step's time and memory grow with them
_WORTH_SAYING = 600.0  # seconds


def announce_cost(task: BaseTask, batch: Batch) -> None:
    """Measure three steps on a few rows, and print what the whole run will cost where that is more than ten minutes.

    Weights, running statistics and random numbers are as before.

    Args:
        task: With its trainer.
        batch: Training rows; the first few are used.
    """
    rows = min(_ROWS, len(batch["row_id"]))
    few = {name: value[:rows].to(task.device) for name, value in batch.items()}
    before = {name: value.clone() for name, value in task.net.named_buffers()}
    process = psutil.Process()
    on_gpu = task.device.type == "cuda"
    memory, peak = process.memory_info().rss, 0
    seconds = []
    with torch.random.fork_rng(devices=[task.device] if on_gpu else []):
        for _ in range(STEPS):
            start = time.perf_counter()
            task.compute_loss(few).backward()
            if on_gpu:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - start)
            peak = max(peak, process.memory_info().rss - memory)
            task.zero_grad(set_to_none=True)
    for name, buffer in task.net.named_buffers():
        buffer.copy_(before[name])
    step = min(seconds) / rows * len(batch["row_id"])
    epochs = max(1, task.trainer.max_epochs or 1)
    total = step * task.trainer.num_training_batches * epochs
    if total < _WORTH_SAYING:
        return
    weights = sum(p.numel() * p.element_size() for p in task.parameters())
    if on_gpu:
        need = torch.cuda.max_memory_allocated(task.device)
    else:  # weights, gradients and two moments stay; activations grow with the rows
        need = 4 * weights + max(0, peak - weights) // rows * len(batch["row_id"]) + memory
    available = torch.cuda.mem_get_info(task.device)[1] if on_gpu else psutil.virtual_memory().total
    print(
        f"a step of {len(batch['row_id'])} rows takes {step:.1f} s on this {'GPU' if on_gpu else 'CPU'}, so {epochs} epochs "
        f"take {duration(total)} (early stopping ends sooner), in about {need / 1e9:.1f} of {available / 1e9:.1f} GB of memory; "
        "the small presets of experiments/presets take a fraction",
        flush=True,
    )


def duration(seconds: float) -> str:
    """A time for a person."""
    for size, unit in ((86_400, "days"), (3600, "hours")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds / 60:.0f} minutes"
