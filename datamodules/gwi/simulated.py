"""What is simulated of a data set: gathers of maps that were never shot, central shots of mirrored ones, samples of delivered ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from filelock import FileLock
from tqdm import tqdm

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.gwi.files import MapFile
from datamodules.gwi.gathers import compact, resize_time, zero_last_sample
from datamodules.gwi.simulator import CENTRAL_SHOT, Simulator
from datamodules.stores.arrays import open_array

_AT_ONCE = 8
_ASYMMETRIC_SHOT = 1  # tells a mirrored line
_SAME = 0.02  # of the recorded root mean square: float32 leaves 2e-5, half precision 5e-4
_VERSION = 1


def simulated_gathers(file: MapFile, digest: str, cache: Path, full: bool = False) -> npt.NDArray[Any]:
    """Compact gathers ``(rows, 5, 288, 70)`` (or full ones) of maps, from the cache where maps of this checksum were shot before."""
    return _cached(file, digest, cache, full, "gathers", lambda simulator, maps: simulator(maps))


def check_gathers(file: MapFile) -> None:
    """Shoot one shot of the first and of the last map: are these the gathers of these maps?

    Raises:
        DataError: they are not; where the transposed or the mirrored map explains them, that is said.
    """
    if file.gathers is None:
        return
    simulator, maps, gathers = Simulator(), file.maps(), file.recorded()
    for row in sorted({0, file.rows - 1}):
        recorded = torch.from_numpy(np.array(gathers[row, _ASYMMETRIC_SHOT], dtype=np.float32))
        velocity = torch.from_numpy(np.array(maps[row]))
        if (share := _misfit(simulator, velocity, recorded)) <= _SAME:
            continue
        turned = {"transposed": velocity.T, "mirrored": velocity.flip(1), "upside down": velocity.flip(0)}
        fits = [name for name, other in turned.items() if _misfit(simulator, other.contiguous(), recorded) <= _SAME]
        cause = f"the maps are {fits[0]}" if fits else "they are of other maps, or of another simulator"
        raise DataError(
            f"{file.gathers}, map {row}: its gathers are not those that {file.velocity} gives (shot {_ASYMMETRIC_SHOT} is off by {share:.0%} of "
            f"its root mean square); {cause}: pair the files again, or pass --data.check_gathers false"
        )


def _misfit(simulator: Simulator, velocity: torch.Tensor, recorded: torch.Tensor) -> float:
    """Root mean square of what a map leaves of one recorded shot, over that of the shot."""
    with torch.no_grad():
        shot = zero_last_sample(simulator(velocity[None], shots=[_ASYMMETRIC_SHOT]))
    if len(recorded) == shot.shape[2]:
        recorded = zero_last_sample(recorded)
    left = resize_time(shot, len(recorded))[0, 0] - recorded
    return float(left.square().mean().sqrt() / recorded.square().mean().sqrt().clamp(min=1e-12))


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
    return open_array(path, remedy="delete it, it is simulated again")
