"""Maps with their gathers, in parallel, shard by shard: what is there already is not made again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import as_completed
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from datamodules.errors import DataError
from datamodules.gwi.acquisition import OPENFWI
from datamodules.gwi.gathers import compact
from datamodules.gwi.generate.augment import generate_augmented
from datamodules.gwi.shards import GatherFormat, ShardKey, is_finished, write_shard
from datamodules.gwi.simulator import Simulator
from datamodules.workers import worker_pool

_GPU_BATCH = 32


def shard_keys(
    family: str, seed: int, samples: int, shard_rows: int, augment: float = 0.0, gathers: GatherFormat = "full"
) -> list[ShardKey]:
    """The shards that hold maps 0 to ``samples`` (exclusive)."""
    return [
        ShardKey(family, seed, first, min(shard_rows, samples - first), augment, gathers)
        for first in range(0, samples, shard_rows)
    ]


def part_of(keys: list[ShardKey], part: int, parts: int) -> list[ShardKey]:
    """Every ``parts``-th shard, beginning with the ``part``-th (counted from 1).

    Raises:
        DataError: there is no such part.
    """
    if not 1 <= part <= parts:
        raise DataError(f"part {part} of {parts} does not exist; give a part from 1 to {parts}")
    return keys[part - 1 :: parts]


def produce(root: Path, keys: list[ShardKey], processes: int = 1, device: str = "cpu", progress: bool = True) -> int:
    """Generate, shoot and write the shards that are missing.

    Args:
        root: Folder of the data set.
        keys: Shards that shall be there.
        processes: Worker processes on the CPU, one thread each; a GPU is driven by one.
        device: ``cpu`` or ``cuda``.
        progress: Show a bar with maps per second and the time left.

    Returns:
        Number of maps that were made.
    """
    missing = [key for key in keys if not is_finished(root, key)]
    total = sum(key.rows for key in keys)
    made = sum(key.rows for key in missing)
    if not missing:
        return 0
    what = "generating" if all(key.gathers == "none" for key in missing) else "shooting"
    with tqdm(total=total, initial=total - made, unit=" maps", desc=what, disable=not progress) as bar:
        for rows in _work(root, missing, processes, device):
            bar.update(rows)
    return made


def _work(root: Path, keys: list[ShardKey], processes: int, device: str) -> Iterator[int]:
    if processes == 1 or device != "cpu" or len(keys) < 2:
        for key in keys:
            yield make_shard(root, key, device)
        return
    with worker_pool(processes, torch.set_num_threads, (1,)) as pool:
        for future in as_completed([pool.submit(make_shard, root, key) for key in keys]):
            yield future.result()


def make_shard(root: Path, key: ShardKey, device: str = "cpu") -> int:
    """Generate, shoot and write one shard; returns its rows."""
    indices = range(key.first, key.first + key.rows)
    velocity = np.stack([generate_augmented(key.family, key.seed, index, key.augment) for index in indices])
    write_shard(root, key, velocity, None if key.gathers == "none" else shoot(velocity, key.gathers, device))
    return key.rows


def shoot(velocity: np.ndarray, gathers: GatherFormat, device: str = "cpu") -> np.ndarray:
    """Gathers of maps ``(maps, 70, 70)``: float32 ``(maps, 5, 1000, 70)``, or compact float16 ``(maps, 5, 288, 70)``."""
    simulator, size = _simulator(device), _GPU_BATCH if device != "cpu" else 4
    out = []
    with torch.no_grad():
        for start in range(0, len(velocity), size):
            recorded = simulator(torch.from_numpy(velocity[start : start + size]).to(device))
            out.append(compact(recorded) if gathers == "compact" else recorded.cpu().numpy())
    return np.concatenate(out)


@lru_cache(maxsize=2)
def _simulator(device: str) -> Simulator:
    return Simulator(OPENFWI).to(device)
