"""The files of a store: ``.npy`` arrays by plain reads and writes, small JSON files, and a full disk in one sentence."""

from __future__ import annotations

import errno
import io
import json
import math
import os
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.errors import DataError

FORMAT_VERSION = 1
MANIFEST, PLAN, JOURNAL = "manifest.json", "plan.json", "journal.jsonl"
_READ_BYTES = 8 << 20
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class ArraySpec:
    """One array of a store: the shape of a row and its numpy dtype name.

    Args:
        shape: Trailing shape; ``()`` for one number a row.
        dtype: Such as ``"float32"``; stored little-endian.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def numpy_dtype(self) -> np.dtype:
        """The dtype on disk."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.numpy_dtype.itemsize * math.prod(self.shape)


class ArrayFile:
    """Rows of one ``.npy`` file by plain reads and writes.

    Never through a memory map: writing to one on a full disk, or reading a file that became shorter, kills the process
    with SIGBUS instead of raising.
    """

    def __init__(self, path: Path, spec: ArraySpec, flags: int) -> None:
        self.path, self.spec = path, spec
        self.descriptor = os.open(path, flags)
        with open(path, "rb") as file:
            read_npy_header(file)
            self.data_start = file.tell()

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def write(self, data: memoryview | bytes, row: int) -> None:
        """Write whole rows from ``row`` on."""
        position, rest = self.data_start + row * self.spec.row_bytes, memoryview(data)
        while rest:
            written = os.pwrite(self.descriptor, rest, position)
            position, rest = position + written, rest[written:]

    def checksum(self, start: int, stop: int) -> int:
        """CRC-32 of the bytes of some rows."""
        position = self.data_start + start * self.spec.row_bytes
        end = self.data_start + stop * self.spec.row_bytes
        checksum = 0
        while position < end:
            data = os.pread(self.descriptor, min(_READ_BYTES, end - position), position)
            if not data:
                raise DataError(f"{self.path} is shorter than its manifest says: delete its folder and convert again")
            checksum = zlib.crc32(data, checksum)
            position += len(data)
        return checksum


@contextmanager
def open_arrays(directory: Path, specs: Mapping[str, ArraySpec], flags: int) -> Iterator[dict[str, ArrayFile]]:
    """All arrays of a store, open while the context lasts; ``flags`` as for ``os.open``."""
    with ExitStack() as stack:
        files = {}
        for name, spec in specs.items():
            files[name] = ArrayFile(array_path(directory, name), spec, flags)
            stack.callback(files[name].close)
        yield files


def array_path(directory: Path, name: str) -> Path:
    """Where an array lies."""
    return directory / f"{name}.npy"


def npy_header(spec: ArraySpec, rows: int) -> bytes:
    """The bytes before the values of a ``.npy`` file."""
    buffer = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(spec.numpy_dtype),
        "fortran_order": False,
        "shape": (rows, *spec.shape),
    }
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def read_npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran order, and dtype; leaves the file at the values. Raises ``ValueError`` if it is no array."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def check_array_file(path: Path, spec: ArraySpec, rows: int) -> None:
    """Raise unless the file is an array of just this shape, dtype and length."""
    remedy = "delete its folder and convert again"
    try:
        with open(path, "rb") as file:
            shape, fortran_order, dtype = read_npy_header(file)
            data_start, size = file.tell(), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise DataError(f"the store array {path} is missing: {remedy}") from error
    except ValueError as error:
        raise DataError(f"the store array {path} has no valid header ({error}): {remedy}") from error
    if shape != (rows, *spec.shape) or dtype != spec.numpy_dtype or fortran_order:
        raise DataError(
            f"the store array {path} holds {dtype} {shape}, its manifest says {spec.numpy_dtype} "
            f"{(rows, *spec.shape)}: {remedy}"
        )
    expected = data_start + rows * spec.row_bytes
    if size != expected:
        raise DataError(f"the store array {path} has {size} bytes, expected {expected} (truncated?): {remedy}")


def read_manifest(directory: Path) -> dict[str, Any]:
    """The manifest of a finished store; raises :class:`DataError` if there is none or of another version."""
    path = directory / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text())
        version = manifest["format"]
    except FileNotFoundError as error:
        raise DataError(f"{directory} is not a store: it has no {MANIFEST}") from error
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is not a store manifest: delete its folder and convert again") from error
    if version != FORMAT_VERSION:
        raise DataError(
            f"{path} has store format {version}, this version reads {FORMAT_VERSION}: delete the folder and convert again"
        )
    return manifest


def reserve(descriptor: int, size: int) -> None:
    """Give a file its full size and its disk blocks."""
    unsupported = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
    try:
        if size:
            os.posix_fallocate(descriptor, 0, size)
        return
    except AttributeError:  # not on every system
        pass
    except OSError as error:
        if error.errno not in unsupported:  # some file systems cannot reserve: then the writes find out
            raise
    os.ftruncate(descriptor, size)


def remove_store_folder(directory: Path) -> None:
    """Delete a store or what is left of one, and nothing that is not part of a store."""
    if not directory.exists():
        return
    paths = list(directory.iterdir())
    for path in paths:
        if path.suffix != ".npy" and path.name.removesuffix(".tmp") not in (MANIFEST, PLAN, JOURNAL):
            raise DataError(f"{directory} holds {path.name}, which belongs to no store: move it away")
    for path in paths:
        path.unlink()
    directory.rmdir()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that appears whole or not at all, flushed to the disk."""
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def fsync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def disk_full_as_sentence(directory: Path) -> Iterator[None]:
    """Turn the error of a full disk (or quota) into a :class:`DataError` about the store."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            raise DataError(disk_full_sentence(directory)) from error
        raise


def disk_full_sentence(directory: Path) -> str:
    """What to tell when the disk fills up while a store is written."""
    return (
        f"disk full while writing the store {directory}: make room and start again (what is finished is kept in "
        f"{directory}.partial) or choose another destination"
    )


def gigabytes(size: int) -> str:
    """A size in bytes for a person."""
    return f"{size / 1e9:.2f} GB"


def specs_to_json(specs: Mapping[str, ArraySpec]) -> dict[str, Any]:
    """Arrays as they stand in a manifest."""
    return {name: {"shape": list(spec.shape), "dtype": spec.dtype} for name, spec in specs.items()}


def specs_from_json(content: Mapping[str, Any]) -> dict[str, ArraySpec]:
    """The inverse of :func:`specs_to_json`."""
    return {name: ArraySpec(tuple(spec["shape"]), spec["dtype"]) for name, spec in content.items()}
