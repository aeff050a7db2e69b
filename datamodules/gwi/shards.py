"""Shards: folders of some hundred maps with their gathers, whole or not there, with checksums."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.files import atomic_path, read_record, sha256_of, write_json
from datamodules.stores.arrays import FileSums, sums_of

GatherFormat = Literal["full", "compact", "none"]
MANIFEST, VELOCITY, GATHERS = "manifest.json", "velocity.npy", "gathers.npy"
_FORMAT_VERSION = 1
GENERATOR_VERSION = 8
"""Of the maps that a seed gives; another number is other data under the same name."""
_REMEDY = "delete the shard and generate it again"


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
        generator: Version of the generators.
    """

    family: str
    seed: int
    first: int
    rows: int
    augment: float = 0.0
    gathers: GatherFormat = "full"
    generator: int = GENERATOR_VERSION

    @property
    def folder(self) -> str:
        """Name of the shard below its family's folder."""
        return f"shard-s{self.seed}-{self.first:08d}"


@dataclass(frozen=True)
class ShardManifest(ShardKey):
    """The schema of a shard's ``manifest.json``.

    Args:
        generator: Version of the generators; shards that do not say it were made by the first.
        version: Version of the format.
        files: Checksums of the arrays.
        sha256: The same in shards of version 0.1.
    """

    generator: int = 1
    version: int = _FORMAT_VERSION
    files: dict[str, FileSums] = field(default_factory=dict)
    sha256: dict[str, str] = field(default_factory=dict)

    @property
    def key(self) -> ShardKey:
        """What the maps are a function of."""
        return ShardKey(**{name: getattr(self, name) for name in ShardKey.__dataclass_fields__})

    @property
    def names(self) -> list[str]:
        """Its array files."""
        return [*(self.files or self.sha256)]


def write_shard(root: Path, key: ShardKey, velocity: npt.NDArray[Any], gathers: npt.NDArray[Any] | None) -> Path:
    """Write one shard (without ``gathers`` only its maps) under its final name by one rename; returns that name."""
    path = root / key.family / key.folder
    with atomic_path(path) as work:
        work.mkdir()
        np.save(work / VELOCITY, np.asarray(velocity, dtype=np.float32))
        if gathers is not None:
            np.save(work / GATHERS, gathers)
        files = sums_of(work, sorted(file.name for file in work.glob("*.npy")))
        write_json(work / MANIFEST, asdict(ShardManifest(**asdict(key), files=files)), sealed=True)
    return path


def read_manifest(path: Path) -> ShardManifest:
    """What a shard says of itself.

    Raises:
        DataError: No manifest, of another version, an entry that is missing or wrong, or an array that is missing.
    """
    file = path / MANIFEST
    if not file.is_file():
        raise DataError(f"{path} has no {MANIFEST}; it is not a finished shard: generate it again or delete the folder")
    manifest = read_record(file, ShardManifest, _REMEDY, ("version", _FORMAT_VERSION))
    for name in manifest.names:
        if not (path / name).is_file():
            raise DataError(f"{path / name} is missing though {MANIFEST} names it; {_REMEDY}")
    return manifest


def verify_shard(path: Path) -> None:
    """Read a whole shard and compare its checksums.

    Raises:
        DataError: A file is missing or not what was written.
    """
    manifest = read_manifest(path)
    for name, sums in manifest.files.items():
        if damage := sums.damage(path / name):
            raise DataError(f"{path / name} {damage}; {_REMEDY}")
    for name, expected in manifest.sha256.items():
        if sha256_of(path / name) != expected:
            raise DataError(f"{path / name} has another checksum than its {MANIFEST}; {_REMEDY}")


def is_finished(root: Path, key: ShardKey) -> bool:
    """Whether this very shard is there already.

    Raises:
        DataError: another one stands under its name.
    """
    path = root / key.family / key.folder
    if not path.is_dir():
        return False
    found = read_manifest(path).key
    if found != key:
        raise DataError(f"{path} holds a shard made with other settings ({found}); give another --out or --seed")
    return True
