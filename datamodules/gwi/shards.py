"""Shards: folders of some hundred maps with their gathers, whole or not there, with checksums."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.files import atomic_path, read_json, sha256_of, write_json

GatherFormat = Literal["full", "compact", "none"]
MANIFEST, VELOCITY, GATHERS = "manifest.json", "velocity.npy", "gathers.npy"
_FORMAT_VERSION = 1


@dataclass(frozen=True)
class ShardKey:
    """What a shard's maps are a function of.

    Args:
        family: Family of all of them.
        seed: Seed of the data set.
        first: Index of the first map.
        rows: Number of maps.
        augment: Share of cut-mixed, zoomed and shifted maps.
        gathers: ``full`` float32 (5, 1000, 70), ``compact`` float16 (5, 288, 70) with the last sample zeroed, or ``none``.
    """

    family: str
    seed: int
    first: int
    rows: int
    augment: float = 0.0
    gathers: GatherFormat = "full"

    @property
    def folder(self) -> str:
        """Name of the shard below its family's folder."""
        return f"shard-s{self.seed}-{self.first:08d}"


def write_shard(root: Path, key: ShardKey, velocity: npt.NDArray[Any], gathers: npt.NDArray[Any] | None) -> Path:
    """Write one shard (without ``gathers`` only its maps) under its final name by one rename; returns that name."""
    path = root / key.family / key.folder
    with atomic_path(path) as work:
        work.mkdir()
        np.save(work / VELOCITY, np.asarray(velocity, dtype=np.float32))
        if gathers is not None:
            np.save(work / GATHERS, gathers)
        sums = {name: sha256_of(work / name) for name in (VELOCITY, GATHERS) if (work / name).is_file()}
        write_json(work / MANIFEST, {"version": _FORMAT_VERSION, **asdict(key), "sha256": sums})
    return path


def read_manifest(path: Path) -> tuple[ShardKey, dict[str, str]]:
    """What a shard says of itself: its key and the checksums.

    Raises:
        DataError: no manifest, of another version, or without an entry.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise DataError(f"{path} has no {MANIFEST}; it is not a finished shard: generate it again or delete the folder")
    content = read_json(file)
    try:
        if content["version"] != _FORMAT_VERSION:
            raise DataError(
                f"{file} has version {content['version']}, this program reads {_FORMAT_VERSION}; generate it again"
            )
        fields = {name: content[name] for name in ShardKey.__dataclass_fields__}
        return ShardKey(**fields), dict(content["sha256"])
    except (KeyError, TypeError) as error:
        raise DataError(f"{file} lacks the entry {error}; generate the shard again") from None


def verify_shard(path: Path) -> None:
    """Read a whole shard and compare its checksums.

    Raises:
        DataError: a file is missing or not what was written.
    """
    _, sums = read_manifest(path)
    for name, expected in sums.items():
        if not (path / name).is_file():
            raise DataError(f"{path / name} is missing; generate the shard again")
        if sha256_of(path / name) != expected:
            raise DataError(
                f"{path / name} has another checksum than its {MANIFEST}; delete the shard and generate it again"
            )


def is_finished(root: Path, key: ShardKey) -> bool:
    """Whether this very shard is there already.

    Raises:
        DataError: another one stands under its name.
    """
    path = root / key.family / key.folder
    if not path.is_dir():
        return False
    found, _ = read_manifest(path)
    if found != key:
        raise DataError(f"{path} holds a shard made with other settings ({found}); give another --out or --seed")
    return True
