"""Memory-mapped array stores: what every domain converts its raw files into, once, before training.

A store is a folder with one ``<array>.npy`` per array (all with the same number of rows in front) and a
``manifest.json`` that says what the rows were made from, in which units of work, and the checksum of each. It appears
under its final name by one rename, so a folder of that name is always whole.

A domain describes its raw files as a :class:`RowSource`; :func:`datamodules.stores.build.build_store` does the rest.

A format of our own, because rows are read at random while training: 4,096 shuffled rows of LEAP come from ``.npy`` maps
at 1.6 million rows/s (``benchmarks/leap_loader.py``), and chunked formats such as zarr or HDF5 decode a whole chunk for
each row.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.files import read_record
from datamodules.stores.arrays import ArraySpec, check_array_file, open_array, open_arrays

__all__ = ["ArraySpec", "RowSource", "Store", "Unit", "key_hash"]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
REMEDY = "delete its folder and convert again"


@dataclass(frozen=True)
class Unit:
    """A piece of work: rows ``start`` to ``stop`` (exclusive), read and written by one process in one go.

    Args:
        name: What an error message calls it.
        start: First row.
        stop: Row after the last.
        meta: Anything JSON can hold that the source needs to read the unit (byte range, row group).
    """

    name: str
    start: int
    stop: int
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WrittenUnit(Unit):
    """A unit in a manifest.

    Args:
        checksums: CRC-32 of its rows in each array.
    """

    checksums: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class StoreManifest:
    """The schema of a store's ``manifest.json``.

    Args:
        format: Version of the format.
        rows: Number of rows, the same in every array.
        arrays: Row shape and dtype of each array.
        key: What the rows were made from.
        hash: Hash of the content (layout and checksums), equal for equal rows wherever they were converted.
        units: The pieces of work, in row order.
        info: The free metadata of the source.
        created: When, and with which numpy.
    """

    format: int
    rows: int
    arrays: dict[str, ArraySpec]
    key: dict[str, Any]
    hash: str
    units: list[WrittenUnit]
    info: dict[str, Any]
    created: dict[str, Any] = field(default_factory=dict)


class RowSource(Protocol):
    """Raw files seen as rows. It is pickled to the worker processes."""

    def key(self) -> dict[str, Any]:
        """What the rows depend on, as JSON: reader version, options, file listing. Cheap: asked at every start."""
        ...

    def arrays(self) -> dict[str, ArraySpec]:
        """The arrays of the store."""
        ...

    def units(self) -> list[Unit]:
        """The work, in row order and without gaps; the last ``stop`` is the number of rows."""
        ...

    def read(self, unit: Unit) -> Iterable[Mapping[str, npt.NDArray[Any]]]:
        """Yield the unit's rows as consecutive blocks ``{array: (n, *shape)}``.

        Each block is written before the next is asked for, so its memory may be used again.
        """
        ...

    def manifest(self, arrays: Mapping[str, npt.NDArray[Any]]) -> dict[str, Any]:
        """Free metadata, called once with all rows in place; may raise :class:`DataError` to refuse them."""
        ...


def key_hash(key: Mapping[str, Any]) -> str:
    """SHA-256 (hexadecimal) of a JSON-able mapping, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()


class Store:
    """A finished store, opened read-only.

    Picklable: another process opens the files again. ``arrays`` are plain read-only ``numpy`` views of memory maps.

    Args:
        directory: Where the store lies.
        manifest: Its ``manifest.json``. Use :meth:`open`, which checks it against the files.
    """

    def __init__(self, directory: Path, manifest: StoreManifest) -> None:
        self.directory = directory
        self.manifest = manifest
        self.rows, self.key, self.hash = manifest.rows, manifest.key, manifest.hash
        self.info, self.specs = manifest.info, manifest.arrays
        self._arrays: dict[str, npt.NDArray[Any]] | None = None

    @classmethod
    def open(cls, directory: str | Path) -> Store:
        """Open the store at ``directory``.

        Raises:
            DataError: No manifest, another format version, or an array that is missing or has the wrong size.
        """
        directory = Path(directory)
        if not (directory / MANIFEST).is_file():
            raise DataError(f"{directory} is not a store: it has no {MANIFEST}")
        manifest = read_record(directory / MANIFEST, StoreManifest, REMEDY, ("format", FORMAT_VERSION))
        for name, spec in manifest.arrays.items():
            check_array_file(directory / f"{name}.npy", spec, manifest.rows, REMEDY)
        return cls(directory, manifest)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_arrays": None}

    def __repr__(self) -> str:
        return f"Store({str(self.directory)!r}, rows={self.rows}, arrays={list(self.specs)})"

    def __len__(self) -> int:
        return self.rows

    @property
    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays ``(rows, *shape)``, memory-mapped on first use."""
        if self._arrays is None:
            # A plain ndarray view indexes faster than np.memmap, whose every slice runs Python code.
            self._arrays = {
                name: open_array(self.directory / f"{name}.npy", remedy=REMEDY).view(np.ndarray)
                if self.rows
                else np.empty((0, *spec.shape), spec.numpy_dtype)
                for name, spec in self.specs.items()
            }
        return self._arrays

    def verify(self) -> None:
        """Read everything and compare the checksums.

        Raises:
            DataError: Names each damaged array and unit.
        """
        damaged = []
        with open_arrays(self.directory, self.specs, flags=os.O_RDONLY) as files:
            for unit in self.manifest.units:
                for name, file in files.items():
                    if file.checksum(unit.start, unit.stop) != unit.checksums.get(name):
                        damaged.append(f"array '{name}' in unit '{unit.name}' (rows {unit.start}-{unit.stop})")
        if damaged:
            raise DataError(f"the store {self.directory} is damaged: {'; '.join(damaged)}: {REMEDY}")
