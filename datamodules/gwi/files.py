"""Where velocity maps and gathers lie: OpenFWI's and Kaggle's folders, generated shards, Kaggle's test folder.

<Family>/data/data1.npy + <Family>/model/model1.npy          Vel and Style families
<Family>/seismic/seismic1.npy + <Family>/vmodel/vmodel1.npy  the same, as some copies name them
<Family>/seis2_1_0.npy + <Family>/vel2_1_0.npy               Fault families
<Family>/shard-s0-00000000/{velocity,gathers}.npy            generated (datamodules/gwi/shards.py)
<Family>/.../*model1.npy                                     real maps that nobody shot: without gathers
test/<oid>.npy                                               gathers without a map
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.files import refuse_lfs_pointer
from datamodules.gwi.gathers import COMPACT_SAMPLES
from datamodules.gwi.schema import N_RECEIVERS, N_SAMPLES, N_SHOTS, PLAUSIBLE, SIDE, family_name
from datamodules.gwi.shards import GATHERS, VELOCITY, read_manifest

_FULL = (N_SHOTS, N_SAMPLES, N_RECEIVERS)
_COMPACT = (N_SHOTS, COMPACT_SAMPLES, N_RECEIVERS)
_CHECKED_AT_ONCE = 100
# folder and stem of gathers, then of their maps; None = the same folder
_LAYOUTS = (("data", "data", "model", "model"), ("seismic", "seismic", "vmodel", "vmodel"), (None, "seis", None, "vel"))
_MAP = re.compile(r"(?:.*model|vel)(.*)")


@dataclass(frozen=True)
class MapFile:
    """Some hundred maps of one family, and their gathers where they were shot.

    Args:
        family: Family of all maps.
        name: Name of the file or shard below its family's folder; maps are ``family/name/index``.
        velocity: .npy file of the maps.
        gathers: .npy file of the gathers, or None.
        rows: Number of maps that are used, from the first one on.
    """

    family: str
    name: str
    velocity: Path
    gathers: Path | None
    rows: int

    def maps(self) -> npt.NDArray[np.float32]:
        """Memory-mapped maps ``(rows, 70, 70)``."""
        return open_velocity(self.velocity)[: self.rows]

    def recorded(self) -> npt.NDArray[Any]:
        """Memory-mapped gathers ``(rows, 5, samples, 70)``, float32 or float16.

        Raises:
            DataError: these maps were not shot.
        """
        if self.gathers is None:
            raise DataError(f"{self.velocity} has no gathers beside it; shoot it first")
        return open_gathers(self.gathers, len(open_velocity(self.velocity)))[: self.rows]


def find_files(folder: Path) -> list[MapFile]:
    """All files of maps below a folder, by family and name.

    Raises:
        DataError: nothing there, a map file whose family cannot be told, gathers without maps, a shard without manifest.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; give the folder that holds the families' folders")
    found = [_shard(path) for path in sorted(folder.rglob("shard-*")) if path.is_dir() and not _hidden(path, folder)]
    for path in sorted(folder.rglob("*.npy")):
        if not path.parent.name.startswith("shard-") and not _hidden(path, folder):
            found += _pair(path, folder)
    if not found:
        archive = next(iter(sorted(folder.rglob("*.npz"))), None)
        raise DataError(
            f"{folder} holds no maps; looked for <Family>/model/model*.npy, <Family>/vel*.npy and <Family>/shard-*"
            + (f"; {archive} is an archive: save its arrays with np.save" if archive else "")
        )
    named: dict[tuple[str, str], Path] = {}
    for file in found:
        other = named.setdefault((file.family, file.name), file.velocity)
        if other != file.velocity:
            raise DataError(
                f"{other} and {file.velocity} are both {file.name} of {file.family}; rename or remove one of them, for rows are named so"
            )
    return sorted(found, key=lambda file: (file.family, file.name))


def _hidden(path: Path, root: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(root).parts)


def _shard(path: Path) -> MapFile:
    shard = read_manifest(path)
    gathers = path / GATHERS if GATHERS in shard.names else None
    return MapFile(family_name(shard.family), path.name, path / VELOCITY, gathers, shard.rows)


def _pair(path: Path, root: Path) -> list[MapFile]:
    """The file of maps with its partner, or nothing for a file of gathers."""
    for folder, stem, of_maps, map_stem in _LAYOUTS:
        if path.stem.startswith(stem) and folder in (None, path.parent.name):
            velocity = _beside(path, of_maps) / f"{map_stem}{path.stem.removeprefix(stem)}.npy"
            if not velocity.is_file():
                raise DataError(f"{path} has no partner {velocity}; add the velocity maps or remove the gathers")
            return []
    if not (named := _MAP.fullmatch(path.stem)):
        return []
    partners = [_beside(path, folder) / f"{stem}{named[1]}.npy" for folder, stem, *_ in _LAYOUTS]
    shot = next((gathers for gathers in partners if gathers.is_file()), None)
    rows = len(open_velocity(path))
    if shot is not None:
        open_gathers(shot, rows)
    return [MapFile(family_of(path, root), path.stem, path, shot, rows)]


def _beside(path: Path, folder: str | None) -> Path:
    """The folder of a file's partner."""
    return path.parent if folder is None else path.parent.parent / folder


def family_of(path: Path, root: Path) -> str:
    """The family that a folder on the way from ``root`` (itself included) to ``path`` is named after.

    Raises:
        DataError: none is.
    """
    folders = [*reversed(path.relative_to(root).parts[:-1]), root.resolve().name]
    for name in folders:
        try:
            return family_name(name)
        except DataError:
            continue
    named = [name for name in folders if name not in ("model", "data")]
    try:
        family_name(named[0])
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    raise AssertionError


def open_velocity(path: Path) -> npt.NDArray[np.float32]:
    """Memory-map maps as ``(rows, 70, 70)``.

    Raises:
        DataError: not an array of float32 maps; the file is named.
    """
    array = open_array(path)
    if array.shape[1:] not in ((1, SIDE, SIDE), (SIDE, SIDE)) or len(array) == 0:
        raise DataError(f"{path} has the shape {array.shape}; velocity files are (maps, 1, {SIDE}, {SIDE})")
    if array.dtype != np.float32:
        raise DataError(
            f"{path} holds {array.dtype}{_big_endian(array)}; velocities are float32 (half precision alone costs 0.5 m/s): convert them from the source"
        )
    return array.reshape(-1, SIDE, SIDE)


def open_gathers(path: Path, rows: int) -> npt.NDArray[Any]:
    """Memory-map gathers as ``(rows, 5, 1000, 70)`` float32, or compact ones ``(rows, 5, 288, 70)`` float16.

    Raises:
        DataError: another shape, dtype or number of rows than the maps'.
    """
    array = open_array(path)
    wanted = {np.dtype(np.float32): _FULL, np.dtype(np.float16): _COMPACT}
    if array.dtype not in wanted:
        raise DataError(
            f"{path} holds {array.dtype}{_big_endian(array)}; gathers are float32, or float16 of {COMPACT_SAMPLES} samples"
        )
    if array.ndim != 4 or array.shape[1:] != wanted[array.dtype]:
        raise DataError(f"{path} has the shape {array.shape}; {array.dtype} gathers are (maps, *{wanted[array.dtype]})")
    if len(array) != rows:
        raise DataError(f"{path} holds {len(array)} gathers but its partner {rows} maps; one of them is not whole")
    return array


def open_test_gathers(path: Path) -> npt.NDArray[np.float32]:
    """Gathers ``(5, 1000, 70)`` of one file of Kaggle's test folder; its oid is the file's stem.

    Raises:
        DataError: another shape or dtype, or values that are not finite.
    """
    array = open_array(path)
    if array.shape != _FULL or array.dtype != np.float32:
        raise DataError(
            f"{path} holds {array.dtype}{_big_endian(array)} of shape {array.shape}; test files are float32 {_FULL}"
        )
    if not np.isfinite(array).all():
        raise DataError(f"{path} holds NaN or infinite values; restore it from the source")
    return array


def check_values(file: MapFile) -> None:
    """Read all values of a file once.

    Raises:
        DataError: NaN, infinite values, or velocities outside of 1,000 to 6,000 m/s; the first such map is named.
    """
    low, high = PLAUSIBLE
    maps = file.maps()
    for start in range(0, file.rows, _CHECKED_AT_ONCE):
        block = np.asarray(maps[start : start + _CHECKED_AT_ONCE])
        # written so that NaN is caught as well
        bad = ~((block >= low) & (block <= high)).all((1, 2))
        if bad.any():
            row = int(bad.argmax())
            value = block[row][~((block[row] >= low) & (block[row] <= high))][0]
            advice = in_kilometres(block[row]) or "mend or remove the file"
            raise DataError(
                f"{file.velocity}, map {start + row}: velocity {value} is outside of {low:,.0f} to {high:,.0f} m/s; {advice}"
            )
        if file.gathers is not None:
            sums = np.asarray(file.recorded()[start : start + _CHECKED_AT_ONCE]).sum((1, 2, 3), dtype=np.float64)
            if not np.isfinite(sums).all():
                raise DataError(
                    f"{file.gathers}, map {start + int((~np.isfinite(sums)).argmax())}: NaN or infinite values; mend or remove the file"
                )


def _big_endian(array: npt.NDArray[Any]) -> str:
    return " (big-endian)" if array.dtype.byteorder == ">" else ""


def open_array(path: Path) -> npt.NDArray[Any]:
    """Memory-map one .npy array of any shape.

    Raises:
        DataError: no such file, or another kind of file under that name; what it is, is said.
    """
    try:
        refuse_lfs_pointer(path)
        with path.open("rb") as file:
            archive = file.read(2) == b"PK"
        if archive:
            raise DataError(
                f"{path} is an .npz archive (or another zip) under the name of an .npy; save one array with np.save"
            )
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except DataError:
        raise
    except (ValueError, OSError, EOFError) as error:
        if "object" in str(error).lower():
            raise DataError(
                f"{path} holds Python objects, such as maps of different shapes, which are never loaded; save it as one float32 array"
            ) from None
        raise DataError(f"{path} is not a whole .npy array ({error}); restore it from the source") from None
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path} holds {array.dtype}, not real numbers; save it as one float32 array")
    return array


def in_kilometres(velocity: npt.NDArray[Any]) -> str:
    """What to do about velocities that seem to be written in km/s, or nothing."""
    low, high = PLAUSIBLE
    return (
        "it seems to hold kilometres per second: multiply it by 1000"
        if low <= 1000 * np.median(velocity) <= high
        else ""
    )
