"""Arrays as ``.npy`` files: opened whatever their order, written by plain writes, with checksums of their bytes."""

from __future__ import annotations

import errno
import io
import math
import os
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.files import refuse_lfs_pointer

BLOCK_BYTES = 8 << 20
"""Bytes of one checksum. CRC-32 takes half a second a gigabyte and core, less than reading it from a disk."""


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
    def numpy_dtype(self) -> np.dtype[Any]:
        """The dtype on disk."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return self.numpy_dtype.itemsize * math.prod(self.shape)

    def header(self, rows: int) -> bytes:
        """The bytes before the values of a ``.npy`` file of so many rows."""
        buffer = io.BytesIO()
        descr = np.lib.format.dtype_to_descr(self.numpy_dtype)
        content = {"descr": descr, "fortran_order": False, "shape": (rows, *self.shape)}
        np.lib.format.write_array_header_1_0(buffer, content)
        return buffer.getvalue()


# --- Reading ------------------------------------------------------------------------------------------------------


def open_array(
    path: Path, dtype: npt.DTypeLike | None = None, remedy: str = "restore it from its source"
) -> npt.NDArray[Any]:
    """Open a ``.npy`` file as an array in C order and native byte order.

    A file that is stored so is memory-mapped. Any other (in Fortran order, which ``DataFrame.to_numpy()`` gives,
    big-endian, or of another dtype than asked for) is read and converted, so that nobody ever interprets raw bytes.

    Args:
        path: The file.
        dtype: Dtype of the result; that of the file by default.
        remedy: What to do about a damaged file, the end of the sentence.

    Raises:
        DataError: The file is missing, empty, cut, no array, pickled, or holds no numbers; names the file.
    """
    try:
        with open(path, "rb") as file:
            rows = _read_header(file)[0]
        # a map of no bytes cannot be made
        array = np.load(path, mmap_mode="r" if math.prod(rows) else None, allow_pickle=False)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: {remedy}") from None
    except (ValueError, EOFError, OSError, BadZipFile) as error:
        refuse_lfs_pointer(path)
        raise DataError(
            f"{path} cannot be read as a .npy array ({error or 'it is empty'}; pickled arrays are refused): {remedy}"
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} is an archive of several arrays, not one .npy array: {remedy}")
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path} holds {array.dtype}, not numbers: {remedy}")
    wanted = np.dtype(dtype or array.dtype).newbyteorder("=")
    if array.flags.c_contiguous and array.dtype == wanted and array.dtype.isnative:
        return array
    return np.array(array, dtype=wanted, order="C")


def read_arrays(path: Path, kinds: Mapping[str, str], remedy: str) -> dict[str, npt.NDArray[Any]]:
    """Read an ``.npz`` file against a schema.

    Args:
        path: The file.
        kinds: Names of the arrays that must be there, each with the kinds of its dtype, such as ``"f"`` or ``"iu"``.
        remedy: What to do about a damaged file, the end of the sentence.

    Raises:
        DataError: The file is missing, empty, cut or damaged, or an array is missing or of another kind; names both.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("one array, not an archive")
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, EOFError, ValueError, BadZipFile, zlib.error, NotImplementedError) as error:
        refuse_lfs_pointer(path)
        raise DataError(f"{path} is not a whole .npz file ({error or 'it is empty'}): {remedy}") from None
    for name, kind in kinds.items():
        if name not in arrays:
            raise DataError(f"{path} has no array {name!r} (it has {', '.join(sorted(arrays)) or 'none'}): {remedy}")
        if arrays[name].dtype.kind not in kind:
            raise DataError(f"{path}: the array {name!r} holds {arrays[name].dtype}: {remedy}")
    return arrays


def check_array_file(path: Path, spec: ArraySpec, rows: int, remedy: str) -> None:
    """Refuse a file that is not an array of just this shape, dtype and length, without reading its values.

    Raises:
        DataError: Names the file and how it differs.
    """
    try:
        with open(path, "rb") as file:
            shape, fortran_order, dtype = _read_header(file)
            data_start, size = file.tell(), os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: {remedy}") from error
    except ValueError as error:
        raise DataError(f"{path} has no valid header ({error}): {remedy}") from error
    if shape != (rows, *spec.shape) or dtype != spec.numpy_dtype or fortran_order:
        raise DataError(
            f"{path} holds {dtype} {shape}, its manifest says {spec.numpy_dtype} {(rows, *spec.shape)}: {remedy}"
        )
    expected = data_start + rows * spec.row_bytes
    if size != expected:
        raise DataError(f"{path} has {size} bytes, expected {expected} (truncated?): {remedy}")


def _read_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether in Fortran order, and dtype; leaves the file at the values. Raises ``ValueError`` if it is no array."""
    try:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran_order, dtype = read(file)
    except OSError:
        raise
    except Exception as error:  # numpy lets errors of Python's own parser through, whatever a flipped bit makes of it
        raise ValueError(f"its header is damaged: {type(error).__name__}: {error}") from None
    return shape, fortran_order, dtype


# --- Writing ------------------------------------------------------------------------------------------------------


class ArrayFile:
    """Rows of one ``.npy`` file by plain reads and writes.

    Never through a memory map: writing to one on a full disk, or reading a file that became shorter, kills the process
    with SIGBUS instead of raising.

    Args:
        path: The file.
        spec: Shape and dtype of its rows.
        rows: Make the file, with room for so many rows, unless it is there; several processes may do so at once. None
            opens a file that is there.
        flags: As for ``os.open``.
    """

    def __init__(self, path: Path, spec: ArraySpec, rows: int | None = None, flags: int = os.O_RDWR) -> None:
        self.path, self.spec = path, spec
        self.descriptor = os.open(path, flags | (os.O_CREAT if rows is not None else 0), 0o666)
        if rows is not None:
            header = spec.header(rows)
            self.data_start = len(header)
            self._write(header, 0)
            os.ftruncate(self.descriptor, len(header) + rows * spec.row_bytes)
            return
        with open(path, "rb") as file:
            _read_header(file)
            self.data_start = file.tell()

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def sync(self) -> None:
        """Wait until all is on the disk."""
        os.fsync(self.descriptor)

    def reserve(self) -> None:
        """Give the file all its disk blocks, so that a disk that is too small says so now; no other may write yet."""
        try:
            if size := os.fstat(self.descriptor).st_size:
                os.posix_fallocate(self.descriptor, 0, size)
        except AttributeError:  # not on every system
            pass
        except OSError as error:
            # some file systems cannot reserve: then the writes find out
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS):
                raise

    def write(self, values: npt.NDArray[Any], row: int) -> int:
        """Write whole rows from ``row`` on; returns how many bytes."""
        data = np.ascontiguousarray(values, self.spec.numpy_dtype).data.cast("B") if values.size else memoryview(b"")
        self._write(data, self.data_start + row * self.spec.row_bytes)
        return len(data)

    def _write(self, data: memoryview | bytes, position: int) -> None:
        rest = memoryview(data)
        while rest:
            written = os.pwrite(self.descriptor, rest, position)
            position, rest = position + written, rest[written:]

    def checksum(self, start: int, stop: int) -> int:
        """CRC-32 of the bytes of some rows."""
        begin, end = (self.data_start + row * self.spec.row_bytes for row in (start, stop))
        return _crc32(self.descriptor, self.path, begin, end)


@contextmanager
def open_arrays(
    directory: Path, specs: Mapping[str, ArraySpec], rows: int | None = None, flags: int = os.O_RDWR
) -> Iterator[dict[str, ArrayFile]]:
    """The arrays of a folder, open (or made, see :class:`ArrayFile`) while the context lasts."""
    with ExitStack() as stack:
        files = {}
        for name, spec in specs.items():
            files[name] = ArrayFile(directory / f"{name}.npy", spec, rows, flags)
            stack.callback(files[name].close)
        yield files


# --- Checksums ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class FileSums:
    """Size and checksums of a whole file, as they stand in a manifest.

    Args:
        bytes: Size of the file.
        crc32: CRC-32 of each block.
        block: Bytes of a block; the last one is shorter.
    """

    bytes: int
    crc32: list[int] = field(default_factory=list)
    block: int = BLOCK_BYTES

    @classmethod
    def of(cls, path: Path, block: int = BLOCK_BYTES) -> FileSums:
        """Read a whole file, in threads."""
        with open(path, "rb") as file, ThreadPoolExecutor() as pool:
            descriptor, size = file.fileno(), os.fstat(file.fileno()).st_size
            ends = [(begin, min(begin + block, size)) for begin in range(0, size, block)]
            return cls(size, list(pool.map(lambda end: _crc32(descriptor, path, *end), ends)), block)

    def damage(self, path: Path) -> str:
        """How the file differs from what was written, in a few words; empty if it does not."""
        if not path.is_file():
            return "is missing"
        found = FileSums.of(path, self.block)
        if found.bytes != self.bytes:
            return f"has {found.bytes} bytes, {self.bytes} were written"
        bad = [i for i, (now, then) in enumerate(zip(found.crc32, self.crc32, strict=False)) if now != then]
        if not bad and len(found.crc32) == len(self.crc32):
            return ""
        place = f" in the bytes from {bad[0] * self.block} on" if bad else ""
        return f"is not what was written (checksums of {len(bad)} of {len(found.crc32)} blocks differ{place})"


def sums_of(folder: Path, names: Sequence[str]) -> dict[str, FileSums]:
    """Checksums of the files of a folder."""
    return {name: FileSums.of(folder / name) for name in names}


def _crc32(descriptor: int, path: Path, position: int, end: int) -> int:
    checksum = 0
    while position < end:
        data = os.pread(descriptor, min(BLOCK_BYTES, end - position), position)
        if not data:
            raise DataError(f"{path} ends at byte {position}, before the {end} that its manifest says: it was cut")
        checksum = zlib.crc32(data, checksum)
        position += len(data)
    return checksum
