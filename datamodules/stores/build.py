"""How a store is made: a plan, parallel workers, journals of what is finished, and one rename at the end."""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock, Timeout

from datamodules.errors import DataError
from datamodules.files import DISK_FULL, disk_full_sentence, fsync, read_record, usable_cores, write_json, writing
from datamodules.stores.arrays import ArrayFile, ArraySpec, check_array_file, open_arrays
from datamodules.stores.store import (
    FORMAT_VERSION,
    MANIFEST,
    REMEDY,
    RowSource,
    Store,
    StoreManifest,
    Unit,
    WrittenUnit,
    key_hash,
)
from datamodules.workers import worker_pool

logger = logging.getLogger(__name__)

PLAN, JOURNALS, LOCKS = "plan.json", "journal*.jsonl", "*.lock"
Sums = dict[str, int]


@dataclass(frozen=True)
class _Plan:
    """What a partial store will hold (the schema of its ``plan.json``); written once all files have their full size."""

    format: int
    key: dict[str, Any]
    arrays: dict[str, ArraySpec]
    units: list[Unit]

    @property
    def rows(self) -> int:
        return self.units[-1].stop if self.units else 0

    @property
    def total_bytes(self) -> int:
        return self.rows * sum(spec.row_bytes for spec in self.arrays.values())


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
    store = build_part(source, directory, 1, 1, processes, progress)
    assert store is not None  # the only part there is
    return store


def build_part(
    source: RowSource, directory: str | Path, part: int, parts: int, processes: int | None = None, progress: bool = True
) -> Store | None:
    """Convert one part of a source; whoever finds that all parts are there makes them a store.

    Every part writes its rows where they belong in the arrays of one partial store, so that nothing is joined
    afterwards and the bytes do not depend on the number of parts. Any part can die and be given again, to any process
    that sees the same file system. The last one reads back what the others wrote, since it was perhaps on other
    machines, and compares checksums; what does not agree it writes again.

    Args:
        source: What to convert, the same for all parts.
        directory: Final folder of the store.
        part: Which part, from 1 on.
        parts: How many there are.
        processes: Worker processes, see :func:`build_store`.
        progress: Show a progress bar.

    Returns:
        The store, or None while other parts are missing.

    Raises:
        DataError: As :func:`build_store`.
    """
    directory = Path(directory)
    builder = _Builder(source, directory, processes, progress)
    with writing(directory):
        directory.parent.mkdir(parents=True, exist_ok=True)
        name = "journal" if parts == 1 else f"journal-{part}-of-{parts}"
        while True:
            with builder.alone():
                if (store := builder.finished()) is not None:
                    return store
                plan = builder.plan()
            try:
                lock = _lock(builder.partial / f"{name}.lock")
            except FileNotFoundError:  # another process finished the store meanwhile
                continue
            with lock:
                with builder.alone():
                    if (store := builder.finished()) is not None:
                        return store
                first, stop = ((k * len(plan.units)) // parts for k in (part - 1, part))
                sums = builder.convert(plan, range(first, stop), builder.partial / f"{name}.jsonl")
                with builder.alone():
                    return builder.finished() or builder.finish(plan, sums)


def _lock(path: Path) -> AbstractContextManager[Any]:
    """A lock that this process holds until the context ends; says so where another process has to be waited for."""
    if not path.parent.is_dir():  # the lock would make it
        raise FileNotFoundError(path.parent)
    lock = FileLock(path)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        logger.info("another process works on %s: waiting for it", path.with_suffix(""))
        return lock.acquire()


class _Builder:
    """Makes one store. What changes the partial store as a whole happens while :meth:`alone`."""

    def __init__(self, source: RowSource, directory: Path, processes: int | None, progress: bool) -> None:
        self.source, self.directory = source, directory
        self.partial = directory.with_name(directory.name + ".partial")
        self.processes, self.progress = processes, progress
        self.key: dict[str, Any] = json.loads(json.dumps(source.key()))

    def alone(self) -> AbstractContextManager[Any]:
        """A context in which no other process plans, seals or publishes this store."""
        return _lock(Path(f"{self.directory}.lock"))

    def finished(self) -> Store | None:
        """The store if it is there and was made from this source; None if nothing or an older store is there."""
        if (self.partial / MANIFEST).exists() and Store.open(self.partial).key == self.key:
            self._publish()  # the process that sealed it was killed just before
        if not self.directory.exists() or not any(self.directory.iterdir()):
            return None
        store = Store.open(self.directory)
        return store if store.key == self.key else None

    def plan(self) -> _Plan:
        """The plan of the partial store that is there, or a new one with all its files made."""
        try:
            plan = read_record(self.partial / PLAN, _Plan, REMEDY, ("format", FORMAT_VERSION))
            if plan.key == self.key:
                for name, spec in plan.arrays.items():
                    check_array_file(self.partial / f"{name}.npy", spec, plan.rows, REMEDY)
                return plan
        except DataError:
            pass
        return self._allocate()

    def _allocate(self) -> _Plan:
        """Create all array files at full size, so that a disk that is too small says so now and not after hours."""
        remove_store_folder(self.partial)
        plan = _Plan(FORMAT_VERSION, self.key, dict(self.source.arrays()), list(self.source.units()))
        _check_units(plan.units)
        self.partial.mkdir(parents=True)
        try:
            with open_arrays(self.partial, plan.arrays, plan.rows) as files:
                for file in files.values():
                    file.reserve()
        except OSError as error:
            free = shutil.disk_usage(self.partial).free
            remove_store_folder(self.partial)
            if error.errno not in DISK_FULL:
                raise
            raise DataError(
                f"the disk is full: the store {self.directory} needs {plan.total_bytes / 1e9:.2f} GB and its file system "
                f"has {free / 1e9:.2f} GB free; make room or choose another destination"
            ) from error
        write_json(self.partial / PLAN, asdict(plan))
        return plan

    def convert(self, plan: _Plan, units: Sequence[int], journal: Path) -> dict[int, Sums]:
        """Write the units that no journal has (and that are intact); returns the checksums of these units."""
        from tqdm import tqdm

        done = {index: sums for index, sums in self._journals().items() if index in units}
        if done:
            logger.info("going on with %s: %d of %d units are there", self.partial, len(done), len(units))
        checksums = {}
        total = sum(plan.units[index].stop - plan.units[index].start for index in units)
        bar = tqdm(total=total, unit=" rows", unit_scale=True, desc="converting", disable=not self.progress)
        with bar, open(journal, "a") as file:
            if file.tell():
                file.write("\n")  # after a kill the last line may be torn; the new ones must not be glued to it
            for index, result, intact in self._results(plan, units, done):
                checksums[index] = result
                if not intact:
                    file.write(json.dumps({"unit": index, "checksums": result}) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                bar.update(plan.units[index].stop - plan.units[index].start)
        for name in plan.arrays:
            fsync(self.partial / f"{name}.npy")
        return checksums

    def _journals(self) -> dict[int, Sums]:
        """Checksums of the finished units of all parts by index; a torn last line is left out."""
        done: dict[int, Sums] = {}
        for path in sorted(self.partial.glob(JOURNALS)):
            for line in path.read_text(errors="replace").splitlines():
                try:
                    entry = json.loads(line)
                    done[int(entry["unit"])] = dict(entry["checksums"])
                except (ValueError, KeyError, TypeError):
                    continue
        return done

    def _results(self, plan: _Plan, units: Sequence[int], done: Mapping[int, Sums]) -> Iterator[tuple[int, Sums, bool]]:
        processes = min(self.processes or usable_cores(), len(units))
        if processes <= 1:
            with open_arrays(self.partial, plan.arrays) as files:
                worker = _Worker(self.source, self.directory, files)
                for index in units:
                    yield index, *worker.convert(plan.units[index], done.get(index))
            return
        arguments = (self.source, self.directory, self.partial, plan.arrays)
        with worker_pool(processes, _start_worker, arguments) as pool:
            futures = {pool.submit(_convert_unit, plan.units[index], done.get(index)): index for index in units}
            for future in as_completed(futures):
                yield futures.pop(future), *future.result()

    def finish(self, plan: _Plan, sums: dict[int, Sums]) -> Store | None:
        """Make the partial store a store if all its units are there; ``sums`` are those that this process knows."""
        if len(sums) < len(plan.units):
            found = self._journals()
            if missing := len(plan.units) - len(found):
                logger.info(
                    "%s: other parts have %d of %d units to convert yet", self.partial, missing, len(plan.units)
                )
                return None
            logger.info("all parts of %s are there: comparing checksums", self.partial)
            sums = self.convert(plan, range(len(plan.units)), self.partial / "journal.jsonl")
        self._seal(plan, [sums[index] for index in range(len(plan.units))])
        self._publish()
        return Store.open(self.directory)

    def _seal(self, plan: _Plan, checksums: Sequence[Sums]) -> None:
        """Write the manifest: where it is, the store is whole."""
        layout = {name: asdict(spec) for name, spec in plan.arrays.items()}
        units = [WrittenUnit(**vars(unit), checksums=sums) for unit, sums in zip(plan.units, checksums, strict=True)]
        content = key_hash({"arrays": layout, "units": [[unit.stop, unit.checksums] for unit in units]})
        created = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "numpy": np.__version__}
        manifest = StoreManifest(FORMAT_VERSION, plan.rows, plan.arrays, plan.key, content, units, {}, created)
        manifest.info.update(self.source.manifest(Store(self.partial, manifest).arrays))
        write_json(self.partial / MANIFEST, asdict(manifest), sealed=True)

    def _publish(self) -> None:
        for path in _files_of_work(self.partial):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        fsync(self.partial)
        if self.directory.exists():  # empty, or a store of other data: both were looked at in finished()
            remove_store_folder(self.directory)
        self.partial.rename(self.directory)
        fsync(self.directory.parent)


def _check_units(units: Sequence[Unit]) -> None:
    position = 0
    for unit in units:
        if unit.start != position or unit.stop < unit.start:
            raise DataError(f"unit '{unit.name}' covers rows {unit.start}-{unit.stop}, expected to start at {position}")
        position = unit.stop


def _files_of_work(partial: Path) -> list[Path]:
    """What a partial store holds beside arrays and manifest: plan, journals, locks, and halves of killed writes."""
    patterns = (PLAN, JOURNALS, LOCKS, f".{PLAN}.*", f".{MANIFEST}.*")
    return [path for pattern in patterns for path in partial.glob(pattern)]


def remove_store_folder(directory: Path) -> None:
    """Delete a store or what is left of one, and nothing that is not part of a store.

    Raises:
        DataError: Something else lies in the folder.
    """
    if not directory.exists():
        return
    known = {*_files_of_work(directory), *directory.glob("*.npy"), directory / MANIFEST}
    for path in directory.iterdir():
        if path not in known:
            raise DataError(f"{directory} holds {path.name}, which belongs to no store: move it away")
    shutil.rmtree(directory)


# --- Workers ------------------------------------------------------------------------------------------------------


class _Worker:
    """Writes units into the array files of a partial store."""

    def __init__(self, source: RowSource, directory: Path, files: Mapping[str, ArrayFile]) -> None:
        self.source, self.directory, self.files = source, directory, files

    def convert(self, unit: Unit, expected: Sums | None) -> tuple[Sums, bool]:
        """Checksums of the unit, and whether it was there already (``expected``, from a journal, still holds)."""
        try:
            if expected is not None and all(
                file.checksum(unit.start, unit.stop) == expected.get(name) for name, file in self.files.items()
            ):
                return expected, True
            return self._write(unit), False
        except DataError as error:
            raise DataError(f"unit '{unit.name}': {error}") from error
        except Exception as error:
            if isinstance(error, OSError) and error.errno in DISK_FULL:
                raise DataError(disk_full_sentence(f"the store {self.directory}")) from error
            raise DataError(f"unit '{unit.name}': {type(error).__name__}: {error}") from error

    def _write(self, unit: Unit) -> Sums:
        sums = dict.fromkeys(self.files, 0)
        row = unit.start
        for block in self.source.read(unit):
            rows = self._check_block(block, row, unit)
            for name, file in self.files.items():
                data = np.ascontiguousarray(block[name], file.spec.numpy_dtype)
                file.write(data, row)
                sums[name] = zlib.crc32(
                    data.view(np.uint8).data if data.size else b"", sums[name]
                )  # while in the cache
            row += rows
        if row != unit.stop:
            raise DataError(f"gave {row - unit.start} rows, expected {unit.stop - unit.start}")
        return sums

    def _check_block(self, block: Mapping[str, npt.NDArray[Any]], row: int, unit: Unit) -> int:
        if set(block) != set(self.files):
            raise DataError(f"gave the arrays {sorted(block)}, expected {sorted(self.files)}")
        rows = len(next(iter(block.values())))
        for name, file in self.files.items():
            if block[name].shape != (rows, *file.spec.shape):
                raise DataError(f"array '{name}' has shape {block[name].shape}, expected {(rows, *file.spec.shape)}")
        if row + rows > unit.stop:
            raise DataError(f"gave more than its {unit.stop - unit.start} rows")
        return rows


_worker: _Worker | None = None


def _start_worker(source: RowSource, directory: Path, partial: Path, specs: dict[str, ArraySpec]) -> None:
    global _worker
    _worker = _Worker(
        source, directory, {name: ArrayFile(partial / f"{name}.npy", spec) for name, spec in specs.items()}
    )


def _convert_unit(unit: Unit, expected: Sums | None) -> tuple[Sums, bool]:
    assert _worker is not None
    return _worker.convert(unit, expected)
