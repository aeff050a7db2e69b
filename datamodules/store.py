"""Memory-mapped array stores: what every domain converts its raw files into, once, before training.

A store is a folder with one ``<array>.npy`` per array (all with the same number of rows in front) and a
``manifest.json`` that says what the rows were made from, in which units of work, and the checksum of each. It appears
under its final name by one rename, so a folder of that name is always whole.

A domain describes its raw files as a :class:`RowSource`; :func:`build_store` does the rest: parallel processes, a
journal that lets a killed conversion go on where it stood, one builder when several processes ask at once, and one
clear sentence when the disk is full.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import shutil
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from datamodules.errors import DataError

FORMAT_VERSION = 1
MANIFEST, PLAN, JOURNAL = "manifest.json", "plan.json", "journal.jsonl"
_READ_BYTES = 8 << 20

logger = logging.getLogger(__name__)


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
        store = cls(directory, _read_manifest(directory))
        for name, spec in store.specs.items():
            _check_array_file(_array_path(directory, name), spec, store.rows)
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
        return self.manifest["rows"]

    @property
    def key(self) -> dict[str, Any]:
        """What the rows were made from."""
        return self.manifest["key"]

    @property
    def hash(self) -> str:
        """Hash of the content (layout and checksums), equal for equal rows wherever they were converted."""
        return self.manifest["hash"]

    @property
    def info(self) -> dict[str, Any]:
        """The free metadata of the source."""
        return self.manifest["info"]

    @property
    def specs(self) -> dict[str, ArraySpec]:
        """Row shape and dtype of each array."""
        return _specs_from_json(self.manifest["arrays"])

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays ``(rows, *shape)``, memory-mapped on first use."""
        if self._arrays is None:
            # A plain ndarray view indexes faster than np.memmap, whose every slice runs Python code.
            self._arrays = {
                name: np.load(_array_path(self.directory, name), mmap_mode="r", allow_pickle=False).view(np.ndarray)
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
        with _open_arrays(self.directory, self.specs, os.O_RDONLY) as files:
            for unit in self.manifest["units"]:
                for name, file in files.items():
                    if file.checksum(unit["start"], unit["stop"]) != unit["checksums"][name]:
                        damaged.append(f"array '{name}' in unit '{unit['name']}' (rows {unit['start']}-{unit['stop']})")
        if damaged:
            raise DataError(
                f"the store {self.directory} is damaged: {'; '.join(damaged)}: delete the folder and convert again"
            )


def build_store(source: RowSource, directory: str | Path, processes: int | None = None, progress: bool = True) -> Store:
    """Convert a source into a store, or open the store if it is already there.

    Work is done in ``<directory>.partial``. Killed and started again, it goes on with the units that are not yet in the
    journal (those that are get their checksum compared, so a power cut is survived too). Several processes may call
    this at once with the same arguments: one works, the others wait and open the result.

    Args:
        source: What to convert.
        directory: Final folder of the store.
        processes: Worker processes; by default one per core this process may use, 1 works in this process.
        progress: Show a progress bar with rows per second.

    Returns:
        The finished store.

    Raises:
        DataError: Bad raw data (the sentence names the unit), a full disk, or a folder in the way.
    """
    from filelock import FileLock, Timeout

    directory = Path(directory)
    key = json.loads(json.dumps(source.key()))
    if (store := _finished(directory, key)) is not None:
        return store
    directory.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{directory}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process is building %s: waiting for it", directory)
        lock.acquire()
    try:
        if (store := _finished(directory, key)) is not None:
            return store
        with _disk_full_as_sentence(directory):
            _build(source, key, directory, processes, progress)
        return Store.open(directory)
    finally:
        lock.release()


def _finished(directory: Path, key: Mapping[str, Any]) -> Store | None:
    """The store at ``directory`` if it was made from ``key``; None if nothing or an older store is there."""
    if not directory.exists() or not any(directory.iterdir()):
        return None
    store = Store.open(directory)
    return store if store.key == key else None


# --- Building -----------------------------------------------------------------------------------------------------


@dataclass
class _Plan:
    """What a partial store will hold; written once all files have their full size."""

    key: dict[str, Any]
    specs: dict[str, ArraySpec]
    units: list[Unit]

    @property
    def rows(self) -> int:
        return self.units[-1].stop if self.units else 0

    @property
    def total_bytes(self) -> int:
        return self.rows * sum(spec.row_bytes for spec in self.specs.values())

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT_VERSION,
            "key": self.key,
            "arrays": _specs_to_json(self.specs),
            "units": [[unit.name, unit.start, unit.stop, unit.meta] for unit in self.units],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> _Plan:
        return cls(content["key"], _specs_from_json(content["arrays"]), [Unit(*unit) for unit in content["units"]])


def _build(source: RowSource, key: dict[str, Any], directory: Path, processes: int | None, progress: bool) -> None:
    partial = directory.with_name(directory.name + ".partial")
    if (partial / MANIFEST).exists() and Store.open(partial).key == key:  # killed just before the rename
        _publish(partial, directory)
        return
    plan = _resumable_plan(partial, key)
    if plan is None:
        _remove_store_folder(partial)
        plan = _allocate(source, key, partial)
    done = _read_journal(partial / JOURNAL)
    if done:
        logger.info("going on with %s: %d of %d units are there", partial, len(done), len(plan.units))
    checksums = _convert_units(source, plan, partial, done, processes, progress)
    _seal(source, plan, checksums, partial)
    _publish(partial, directory)


def _resumable_plan(partial: Path, key: Mapping[str, Any]) -> _Plan | None:
    try:
        content = json.loads((partial / PLAN).read_text())
        if content["format"] != FORMAT_VERSION or content["key"] != key:
            return None
        plan = _Plan.from_json(content)
        for name, spec in plan.specs.items():
            _check_array_file(_array_path(partial, name), spec, plan.rows)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return plan


def _allocate(source: RowSource, key: dict[str, Any], partial: Path) -> _Plan:
    """Create all array files at full size, so that a disk that is too small says so now and not after hours."""
    plan = _Plan(key, dict(source.arrays()), list(source.units()))
    _check_units(plan.units)
    partial.mkdir(parents=True, exist_ok=True)
    try:
        for name, spec in plan.specs.items():
            with open(_array_path(partial, name), "wb") as file:
                header = _npy_header(spec, plan.rows)
                file.write(header)
                file.flush()
                _reserve(file.fileno(), len(header) + plan.rows * spec.row_bytes)
    except OSError as error:
        free = shutil.disk_usage(partial).free
        _remove_store_folder(partial)
        if error.errno in _DISK_FULL:
            raise DataError(
                f"disk full: the store {partial.with_suffix('')} needs {_gigabytes(plan.total_bytes)} and its file "
                f"system has {_gigabytes(free)} free: make room or choose another destination"
            ) from error
        raise
    _write_json(partial / PLAN, plan.to_json())
    return plan


def _check_units(units: Sequence[Unit]) -> None:
    position = 0
    for unit in units:
        if unit.start != position or unit.stop < unit.start:
            raise DataError(f"unit '{unit.name}' covers rows {unit.start}-{unit.stop}, expected to start at {position}")
        position = unit.stop


def _convert_units(
    source: RowSource,
    plan: _Plan,
    partial: Path,
    done: Mapping[int, dict[str, int]],
    processes: int | None,
    progress: bool,
) -> list[dict[str, int]]:
    """Write every unit that is not done (and intact); return the checksums of all, in order."""
    from tqdm import tqdm

    checksums: list[dict[str, int]] = [{} for _ in plan.units]
    bar = tqdm(total=plan.rows, unit=" rows", unit_scale=True, desc="converting", disable=not progress)
    with bar, open(partial / JOURNAL, "a") as journal:
        if journal.tell():
            journal.write("\n")  # after a kill the last line may be torn; the new ones must not be glued to it
        for index, result, intact in _results(source, plan, partial, done, processes):
            checksums[index] = result
            if not intact:
                journal.write(json.dumps({"unit": index, "checksums": result}) + "\n")
                journal.flush()
                os.fsync(journal.fileno())
            bar.update(plan.units[index].stop - plan.units[index].start)
    return checksums


def _results(
    source: RowSource, plan: _Plan, partial: Path, done: Mapping[int, dict[str, int]], processes: int | None
) -> Iterator[tuple[int, dict[str, int], bool]]:
    processes = min(processes or _usable_cores(), len(plan.units))
    if processes <= 1:
        with _Worker(source, plan.specs, partial) as worker:
            for index, unit in enumerate(plan.units):
                yield index, *worker.convert(unit, done.get(index))
        return
    from multiprocessing import get_context

    pool = ProcessPoolExecutor(
        processes, get_context("spawn"), initializer=_start_worker, initargs=(source, plan.specs, partial)
    )
    try:
        futures = {pool.submit(_convert_unit, unit, done.get(i)): i for i, unit in enumerate(plan.units)}
        for future in as_completed(futures):
            yield futures.pop(future), *future.result()
    except BrokenProcessPool as error:
        raise DataError(
            f"a worker process died while converting to {partial} (out of memory?): start again with fewer processes; "
            "what is finished is kept"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _seal(source: RowSource, plan: _Plan, checksums: Sequence[Mapping[str, int]], partial: Path) -> None:
    """Push the arrays to the disk, then write the manifest: where it is, the store is whole."""
    units = [
        {"name": unit.name, "start": unit.start, "stop": unit.stop, "checksums": dict(sums), "meta": unit.meta}
        for unit, sums in zip(plan.units, checksums, strict=True)
    ]
    manifest: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "rows": plan.rows,
        "arrays": _specs_to_json(plan.specs),
        "key": plan.key,
        "hash": _content_hash(plan, checksums),
        "created": {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "numpy": np.__version__},
        "info": {},
        "units": units,
    }
    manifest["info"] = source.manifest(Store(partial, manifest).arrays)
    for name in plan.specs:
        _fsync(_array_path(partial, name))
    _write_json(partial / MANIFEST, manifest)


def _publish(partial: Path, directory: Path) -> None:
    for name in (PLAN, JOURNAL):
        (partial / name).unlink(missing_ok=True)
    _fsync(partial)
    if directory.exists():  # empty, or a store of other data: both were looked at in _finished
        _remove_store_folder(directory)
    partial.rename(directory)
    _fsync(directory.parent)


def _content_hash(plan: _Plan, checksums: Sequence[Mapping[str, int]]) -> str:
    content = {
        "arrays": _specs_to_json(plan.specs),
        "units": [[unit.stop, dict(sums)] for unit, sums in zip(plan.units, checksums, strict=True)],
    }
    return key_hash(content)


def _read_journal(path: Path) -> dict[int, dict[str, int]]:
    """Checksums of the finished units by index; a torn last line is left out."""
    done: dict[int, dict[str, int]] = {}
    if path.exists():
        for line in path.read_text(errors="replace").splitlines():
            try:
                entry = json.loads(line)
                done[entry["unit"]] = entry["checksums"]
            except (ValueError, KeyError, TypeError):
                continue
    return done


# --- Workers ------------------------------------------------------------------------------------------------------


class _Worker:
    """Writes units into the array files of a partial store."""

    def __init__(self, source: RowSource, specs: dict[str, ArraySpec], partial: Path) -> None:
        self.source, self.specs, self.partial = source, specs, partial
        self._stack = ExitStack()
        self.files = self._stack.enter_context(_open_arrays(partial, specs, os.O_RDWR))

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def convert(self, unit: Unit, expected: Mapping[str, int] | None) -> tuple[dict[str, int], bool]:
        """Checksums of the unit, and whether it was there already (``expected``, from the journal, still holds)."""
        try:
            if expected is not None and all(
                file.checksum(unit.start, unit.stop) == expected.get(name) for name, file in self.files.items()
            ):
                return dict(expected), True
            return self._write(unit), False
        except DataError as error:
            raise DataError(f"unit '{unit.name}': {error}") from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _DISK_FULL:
                raise DataError(_disk_full_sentence(self.partial.with_suffix(""))) from error
            raise DataError(f"unit '{unit.name}': {type(error).__name__}: {error}") from error

    def _write(self, unit: Unit) -> dict[str, int]:
        sums = dict.fromkeys(self.specs, 0)
        row = unit.start
        for block in self.source.read(unit):
            rows = self._check_block(block, row, unit)
            for name, spec in self.specs.items():
                data = np.ascontiguousarray(block[name], spec.numpy_dtype).data.cast("B") if rows else b""
                sums[name] = zlib.crc32(data, sums[name])  # while the block is in the cache
                self.files[name].write(data, row)
            row += rows
        if row != unit.stop:
            raise DataError(f"gave {row - unit.start} rows, expected {unit.stop - unit.start}")
        return sums

    def _check_block(self, block: Mapping[str, np.ndarray], row: int, unit: Unit) -> int:
        if set(block) != set(self.specs):
            raise DataError(f"gave the arrays {sorted(block)}, expected {sorted(self.specs)}")
        rows = len(next(iter(block.values())))
        for name, spec in self.specs.items():
            if block[name].shape != (rows, *spec.shape):
                raise DataError(f"array '{name}' has shape {block[name].shape}, expected {(rows, *spec.shape)}")
        if row + rows > unit.stop:
            raise DataError(f"gave more than its {unit.stop - unit.start} rows")
        return rows


_worker: _Worker | None = None


def _start_worker(source: RowSource, specs: dict[str, ArraySpec], partial: Path) -> None:
    import signal

    global _worker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _worker = _Worker(source, specs, partial)


def _exit_with_parent() -> None:
    """End this worker when its parent is gone: a killed parent never says so, and nobody else would read the result."""
    from multiprocessing import parent_process
    from multiprocessing.connection import wait

    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _convert_unit(unit: Unit, expected: Mapping[str, int] | None) -> tuple[dict[str, int], bool]:
    assert _worker is not None
    return _worker.convert(unit, expected)


# --- Files --------------------------------------------------------------------------------------------------------

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class _ArrayFile:
    """Rows of one ``.npy`` file by plain reads and writes.

    Never through a memory map: writing to one on a full disk, or reading a file that became shorter, kills the process
    with SIGBUS instead of raising.
    """

    def __init__(self, path: Path, spec: ArraySpec, flags: int) -> None:
        self.path, self.spec = path, spec
        self.descriptor = os.open(path, flags)
        with open(path, "rb") as file:
            _read_npy_header(file)
            self.data_start = file.tell()

    def close(self) -> None:
        os.close(self.descriptor)

    def write(self, data: memoryview | bytes, row: int) -> None:
        position, rest = self.data_start + row * self.spec.row_bytes, memoryview(data)
        while rest:
            written = os.pwrite(self.descriptor, rest, position)
            position, rest = position + written, rest[written:]

    def checksum(self, start: int, stop: int) -> int:
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
def _open_arrays(directory: Path, specs: Mapping[str, ArraySpec], flags: int) -> Iterator[dict[str, _ArrayFile]]:
    with ExitStack() as stack:
        files = {}
        for name, spec in specs.items():
            files[name] = _ArrayFile(_array_path(directory, name), spec, flags)
            stack.callback(files[name].close)
        yield files


def _array_path(directory: Path, name: str) -> Path:
    return directory / f"{name}.npy"


def _npy_header(spec: ArraySpec, rows: int) -> bytes:
    import io

    buffer = io.BytesIO()
    header = {
        "descr": np.lib.format.dtype_to_descr(spec.numpy_dtype),
        "fortran_order": False,
        "shape": (rows, *spec.shape),
    }
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


def _read_npy_header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _check_array_file(path: Path, spec: ArraySpec, rows: int) -> None:
    """Raise unless the file is an array of just this shape, dtype and length."""
    remedy = "delete its folder and convert again"
    try:
        with open(path, "rb") as file:
            shape, fortran_order, dtype = _read_npy_header(file)
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


def _read_manifest(directory: Path) -> dict[str, Any]:
    path = directory / MANIFEST
    try:
        manifest = json.loads(path.read_text())
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


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _reserve(descriptor: int, size: int) -> None:
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


def _remove_store_folder(directory: Path) -> None:
    """Delete a store or what is left of one, and nothing that is not part of a store."""
    if not directory.exists():
        return
    for path in directory.iterdir():
        if path.suffix == ".npy" or path.name.removesuffix(".tmp") in (MANIFEST, PLAN, JOURNAL):
            path.unlink()
    try:
        directory.rmdir()
    except OSError as error:
        raise DataError(f"{directory} holds files that belong to no store: move them away") from error


def _write_json(path: Path, content: Any) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "w") as file:
        json.dump(content, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _disk_full_as_sentence(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _DISK_FULL:
            raise DataError(_disk_full_sentence(directory)) from error
        raise


def _disk_full_sentence(directory: Path) -> str:
    return (
        f"disk full while writing the store {directory}: make room and start again (what is finished is kept in "
        f"{directory}.partial) or choose another destination"
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.2f} GB"


def _specs_to_json(specs: Mapping[str, ArraySpec]) -> dict[str, Any]:
    return {name: {"shape": list(spec.shape), "dtype": spec.dtype} for name, spec in specs.items()}


def _specs_from_json(content: Mapping[str, Any]) -> dict[str, ArraySpec]:
    return {name: ArraySpec(tuple(spec["shape"]), spec["dtype"]) for name, spec in content.items()}
