"""Memory-mapped array stores: what every domain converts its raw files into, once, before training.

A store is a folder with one ``<array>.npy`` per array (all with the same number of rows in front) and a
``manifest.json`` that says what the rows were made from, in which units of work, and the checksum of each. It appears
under its final name by one rename, so a folder of that name is always whole.

A domain describes its raw files as a :class:`RowSource`; :func:`build_store` does the rest: parallel processes, a
journal that lets a killed conversion go on where it stood, one builder when several processes ask at once, and one
clear sentence when the disk is full.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datamodules.errors import DataError
from datamodules.stores.files import (
    ArraySpec,
    array_path,
    check_array_file,
    open_arrays,
    read_manifest,
    specs_from_json,
)

logger = logging.getLogger(__name__)

__all__ = ["ArraySpec", "RowSource", "Store", "Unit", "key_hash"]


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

    def read(self, unit: Unit) -> Iterable[Mapping[str, np.ndarray]]:
        """Yield the unit's rows as consecutive blocks ``{array: (n, *shape)}``.

        Each block is written before the next is asked for, so its memory may be used again.
        """
        ...

    def manifest(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
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
        manifest: Its parsed ``manifest.json``. Use :meth:`open`, which checks it against the files.
    """

    def __init__(self, directory: Path, manifest: dict[str, Any]) -> None:
        self.directory = directory
        self.manifest = manifest
        self._arrays: dict[str, np.ndarray] | None = None

    @classmethod
    def open(cls, directory: str | Path) -> Store:
        """Open the store at ``directory``.

        Raises:
            DataError: No manifest, another format version, or an array that is missing or has the wrong size.
        """
        directory = Path(directory)
        store = cls(directory, read_manifest(directory))
        for name, spec in store.specs.items():
            check_array_file(array_path(directory, name), spec, store.rows)
        return store

    def __getstate__(self) -> dict[str, Any]:
        return {"directory": self.directory, "manifest": self.manifest, "_arrays": None}

    def __repr__(self) -> str:
        return f"Store({str(self.directory)!r}, rows={self.rows}, arrays={list(self.specs)})"

    def __len__(self) -> int:
        return self.rows

    @property
    def rows(self) -> int:
        """Number of rows, the same in every array."""
        return int(self.manifest["rows"])

    @property
    def key(self) -> dict[str, Any]:
        """What the rows were made from."""
        result: dict[str, Any] = self.manifest["key"]
        return result

    @property
    def hash(self) -> str:
        """Hash of the content (layout and checksums), equal for equal rows wherever they were converted."""
        return str(self.manifest["hash"])

    @property
    def info(self) -> dict[str, Any]:
        """The free metadata of the source."""
        result: dict[str, Any] = self.manifest["info"]
        return result

    @property
    def specs(self) -> dict[str, ArraySpec]:
        """Row shape and dtype of each array."""
        return specs_from_json(self.manifest["arrays"])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays ``(rows, *shape)``, memory-mapped on first use."""
        if self._arrays is None:
            # A plain ndarray view indexes faster than np.memmap, whose every slice runs Python code.
            self._arrays = {
                name: np.load(array_path(self.directory, name), mmap_mode="r", allow_pickle=False).view(np.ndarray)
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
        with open_arrays(self.directory, self.specs, os.O_RDONLY) as files:
            for unit in self.manifest["units"]:
                for name, file in files.items():
                    if file.checksum(unit["start"], unit["stop"]) != unit["checksums"][name]:
                        damaged.append(f"array '{name}' in unit '{unit['name']}' (rows {unit['start']}-{unit['stop']})")
        if damaged:
            raise DataError(
                f"the store {self.directory} is damaged: {'; '.join(damaged)}: delete the folder and convert again"
            )
