"""Gathers that nobody delivered, simulated once and kept: of maps that were never shot, and central shots of mirrored ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from tqdm import tqdm

from datamodules.files import atomic_path
from datamodules.gwi.files import MapFile
from datamodules.gwi.gathers import compact, zero_last_sample
from datamodules.gwi.simulator import CENTRAL_SHOT, Simulator

_AT_ONCE = 8
_VERSION = 1


def simulated_gathers(file: MapFile, digest: str, cache: Path, full: bool = False) -> npt.NDArray[Any]:
    """Compact gathers ``(rows, 5, 288, 70)`` (or full ones) of maps, from the cache where maps of this checksum were shot before."""
    return _cached(file, digest, cache, full, "gathers", lambda simulator, maps: simulator(maps))


def mirrored_central_shots(file: MapFile, digest: str, cache: Path, full: bool = False) -> npt.NDArray[Any]:
    """Compact (or full) central shot ``(rows, 1, 288, 70)`` of the mirrored maps, the one that mirroring gathers does not give."""
    return _cached(
        file, digest, cache, full, "central", lambda simulator, maps: simulator(maps.flip(-1), shots=[CENTRAL_SHOT])
    )


def _cached(
    file: MapFile,
    digest: str,
    cache: Path,
    full: bool,
    what: str,
    shoot: Callable[[Simulator, torch.Tensor], torch.Tensor],
) -> npt.NDArray[Any]:
    path = Path(cache) / "gwi" / f"{what}-{'full' if full else 'compact'}-v{_VERSION}-{digest[:16]}.npy"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(str(path) + ".lock"):
        if not path.is_file():
            device = "cuda" if torch.cuda.is_available() else "cpu"
            simulator = Simulator().to(device)
            shot = []
            with (
                torch.no_grad(),
                tqdm(total=file.rows, unit=" maps", desc=f"shooting {file.family}/{file.name}") as bar,
            ):
                for start in range(0, file.rows, _AT_ONCE):
                    maps = torch.from_numpy(np.array(file.maps()[start : start + _AT_ONCE])).to(device)
                    recorded = shoot(simulator, maps)
                    shot.append(zero_last_sample(recorded).cpu().numpy() if full else compact(recorded))
                    bar.update(len(maps))
            with atomic_path(path) as temporary, temporary.open("wb") as out:
                np.save(out, np.concatenate(shot))
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r")
    return array
