"""How a store is made: a plan, parallel workers, a journal of what is finished, and one rename at the end."""

from __future__ import annotations

import json
import logging
import os
import shutil
import threading
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from datamodules.errors import DataError
from datamodules.stores.files import (
    DISK_FULL,
    FORMAT_VERSION,
    JOURNAL,
    MANIFEST,
    PLAN,
    ArraySpec,
    array_path,
    check_array_file,
    disk_full_as_sentence,
    disk_full_sentence,
    fsync,
    gigabytes,
    npy_header,
    open_arrays,
    remove_store_folder,
    reserve,
    specs_from_json,
    specs_to_json,
    write_json,
)
from datamodules.stores.store import RowSource, Store, Unit, key_hash

logger = logging.getLogger(__name__)


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
            "arrays": specs_to_json(self.specs),
            "units": [[unit.name, unit.start, unit.stop, unit.meta] for unit in self.units],
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> _Plan:
        return cls(content["key"], specs_from_json(content["arrays"]), [Unit(*unit) for unit in content["units"]])


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
        with disk_full_as_sentence(directory):
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


def _build(source: RowSource, key: dict[str, Any], directory: Path, processes: int | None, progress: bool) -> None:
    """Make the store, or go on where a killed process stood. The caller holds the lock; see ``build_store``."""
    partial = directory.with_name(directory.name + ".partial")
    if (partial / MANIFEST).exists() and Store.open(partial).key == key:  # killed just before the rename
        _publish(partial, directory)
        return
    plan = _resumable_plan(partial, key)
    if plan is None:
        remove_store_folder(partial)
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
            check_array_file(array_path(partial, name), spec, plan.rows)
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
            with open(array_path(partial, name), "wb") as file:
                header = npy_header(spec, plan.rows)
                file.write(header)
                file.flush()
                reserve(file.fileno(), len(header) + plan.rows * spec.row_bytes)
    except OSError as error:
        free = shutil.disk_usage(partial).free
        remove_store_folder(partial)
        if error.errno in DISK_FULL:
            raise DataError(
                f"disk full: the store {partial.with_suffix('')} needs {gigabytes(plan.total_bytes)} and its file "
                f"system has {gigabytes(free)} free: make room or choose another destination"
            ) from error
        raise
    write_json(partial / PLAN, plan.to_json())
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
            f"a worker process died while converting to {partial}: start again with fewer processes (what is finished is "
            "kept) if memory ran out; a script of your own needs an 'if __name__ == \"__main__\":' guard"
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _usable_cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _seal(source: RowSource, plan: _Plan, checksums: Sequence[Mapping[str, int]], partial: Path) -> None:
    """Push the arrays to the disk, then write the manifest: where it is, the store is whole."""
    units = [
        {"name": unit.name, "start": unit.start, "stop": unit.stop, "checksums": dict(sums), "meta": unit.meta}
        for unit, sums in zip(plan.units, checksums, strict=True)
    ]
    manifest: dict[str, Any] = {
        "format": FORMAT_VERSION,
        "rows": plan.rows,
        "arrays": specs_to_json(plan.specs),
        "key": plan.key,
        "hash": _content_hash(plan, checksums),
        "created": {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "numpy": np.__version__},
        "info": {},
        "units": units,
    }
    manifest["info"] = source.manifest(Store(partial, manifest).arrays)
    for name in plan.specs:
        fsync(array_path(partial, name))
    write_json(partial / MANIFEST, manifest)


def _publish(partial: Path, directory: Path) -> None:
    for name in (PLAN, JOURNAL):
        (partial / name).unlink(missing_ok=True)
    fsync(partial)
    if directory.exists():  # empty, or a store of other data: both were looked at in _finished
        remove_store_folder(directory)
    partial.rename(directory)
    fsync(directory.parent)


def _content_hash(plan: _Plan, checksums: Sequence[Mapping[str, int]]) -> str:
    content = {
        "arrays": specs_to_json(plan.specs),
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
        self.files = self._stack.enter_context(open_arrays(partial, specs, os.O_RDWR))

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
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise DataError(disk_full_sentence(self.partial.with_suffix(""))) from error
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
