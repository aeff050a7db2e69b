import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from datamodules.errors import DataError
from datamodules.stores.build import build_part, build_store
from datamodules.stores.store import ArraySpec, Store, Unit

REPOSITORY = Path(__file__).parents[3]
ROWS_PER_UNIT = 5


class Numbers:
    """Rows whose numbers follow from their position; writes the name of every unit it reads into a log."""

    def __init__(self, units=4, version=1, log=None, delay=0.0, fail=None, error=None):
        self.count, self.version, self.log, self.delay, self.fail, self.error = units, version, log, delay, fail, error

    def key(self):
        return {"reader": "numbers", "version": self.version, "options": (1, 2)}

    def arrays(self):
        return {"x": ArraySpec((2, 3), "float64"), "row_id": ArraySpec((), "int64"), "odd": ArraySpec((), "bool")}

    def units(self):
        return [Unit(f"unit-{i}", i * ROWS_PER_UNIT, (i + 1) * ROWS_PER_UNIT, {"piece": i}) for i in range(self.count)]

    def read(self, unit):
        if self.log:
            with open(self.log, "a") as file:
                file.write(unit.name + "\n")
        time.sleep(self.delay)
        for rows in np.array_split(np.arange(unit.start, unit.stop), 2):
            yield {"x": expected_x(rows, self.version), "row_id": rows * 10, "odd": rows % 2 == 1}
            if unit.name == self.fail:
                raise self.error

    def manifest(self, arrays):
        return {"odd_rows": int(arrays["odd"].sum())}


def expected_x(rows, version=1):
    return rows[:, None, None] * version + np.arange(6).reshape(2, 3) / 7


def read_log(path):
    return path.read_text().split() if path.exists() else []


def files_of(directory):
    return {path.name: path.read_bytes() for path in directory.glob("*.npy")}


@pytest.mark.parametrize("processes", [1, 2])
def test_a_store_holds_the_rows_of_its_source(tmp_path, processes):
    store = build_store(Numbers(), tmp_path / "deep" / "store", processes, progress=False)
    rows = np.arange(4 * ROWS_PER_UNIT)
    assert store.rows == len(store) == len(rows)
    np.testing.assert_array_equal(store.arrays["x"], expected_x(rows))
    np.testing.assert_array_equal(store.arrays["row_id"], rows * 10)
    np.testing.assert_array_equal(store.arrays["odd"], rows % 2 == 1)
    assert store.info == {"odd_rows": 10}
    assert [unit.meta for unit in store.manifest.units] == [{"piece": i} for i in range(4)]
    assert sorted(path.name for path in store.directory.iterdir()) == [
        "manifest.json",
        "odd.npy",
        "row_id.npy",
        "x.npy",
    ]
    assert not (tmp_path / "deep" / "store.partial").exists()
    store.verify()


def test_the_hash_tells_the_content_whoever_made_it(tmp_path):
    first = build_store(Numbers(), tmp_path / "a", 1, progress=False)
    second = build_store(Numbers(), tmp_path / "b", 2, progress=False)
    other = build_store(Numbers(version=2), tmp_path / "c", 1, progress=False)
    assert first.hash == second.hash != other.hash


def test_arrays_are_read_only_and_travel_to_other_processes(tmp_path):
    store = build_store(Numbers(), tmp_path / "store", 1, progress=False)
    with pytest.raises(ValueError, match="read-only"):
        store.arrays["x"][0] = 0
    copy = pickle.loads(pickle.dumps(store))
    assert len(pickle.dumps(store)) < 4000
    np.testing.assert_array_equal(copy.arrays["x"], store.arrays["x"])


def test_a_finished_store_is_opened_and_not_made_again(tmp_path):
    log = tmp_path / "log"
    build_store(Numbers(log=log), tmp_path / "store", 1, progress=False)
    before = (tmp_path / "store" / "manifest.json").stat().st_mtime_ns
    build_store(Numbers(log=log), tmp_path / "store", 1, progress=False)
    assert len(read_log(log)) == 4
    assert (tmp_path / "store" / "manifest.json").stat().st_mtime_ns == before


def test_another_key_replaces_the_store(tmp_path):
    build_store(Numbers(), tmp_path / "store", 1, progress=False)
    store = build_store(Numbers(version=3, units=2), tmp_path / "store", 1, progress=False)
    np.testing.assert_array_equal(store.arrays["x"], expected_x(np.arange(10), version=3))


def test_an_empty_source_gives_an_empty_store(tmp_path):
    store = build_store(Numbers(units=0), tmp_path / "store", progress=False)
    assert store.rows == 0
    assert store.arrays["x"].shape == (0, 2, 3)
    store.verify()


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="is not a store"):
        build_store(Numbers(), tmp_path / "store", 1, progress=False)
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match=r"holds thesis\.txt, which belongs to no store"):
        build_store(Numbers(), tmp_path / "other", 1, progress=False)
    assert (tmp_path / "other.partial" / "thesis.txt").read_text() == "years of work"


# --- Interrupted ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("processes", [1, 2])
def test_the_error_of_a_unit_names_it_and_the_next_start_goes_on(tmp_path, processes):
    log = tmp_path / "log"
    broken = Numbers(log=log, fail="unit-2", error=ValueError("no such number"))
    with pytest.raises(DataError, match=r"unit 'unit-2': ValueError: no such number"):
        build_store(broken, tmp_path / "store", processes, progress=False)
    assert not (tmp_path / "store").exists()
    store = build_store(Numbers(log=log), tmp_path / "store", 1, progress=False)
    names = read_log(log)
    assert names.count("unit-2") == 2
    assert names.count("unit-0") == 1
    np.testing.assert_array_equal(store.arrays["x"], expected_x(np.arange(20)))
    store.verify()


def start_builder(directory, log, units, delay, processes, part="1, 1"):
    code = (
        "from tests.datamodules.stores.test_store import *\n"
        f"source = Numbers(units={units}, log={str(log)!r}, delay={delay})\n"
        f"build_part(source, {str(directory)!r}, {part}, {processes}, False)"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY)


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_half_way_it_goes_on_and_ends_byte_for_byte_the_same(tmp_path, processes):
    store, log = tmp_path / "store", tmp_path / "log"
    builder = start_builder(store, log, units=12, delay=0.1, processes=processes)
    journal = tmp_path / "store.partial" / "journal.jsonl"
    wait_until(lambda: journal.exists() and journal.read_text().count("\n") >= 3)
    family = psutil.Process(builder.pid).children(recursive=True)
    builder.send_signal(signal.SIGKILL)
    builder.wait()
    assert not store.exists()
    with pytest.raises(DataError, match="not a store"):
        Store.open(tmp_path / "store.partial")
    assert not psutil.wait_procs(family, timeout=20)[1], "workers outlive their killed parent"
    finished = {f"unit-{json.loads(line)['unit']}" for line in journal.read_text().split("\n") if line.endswith("}")}
    assert 3 <= len(finished) < 12
    log.unlink()
    resumed = build_store(Numbers(units=12, log=log), store, 1, progress=False)
    assert set(read_log(log)) == {f"unit-{i}" for i in range(12)} - finished
    whole = build_store(Numbers(units=12), tmp_path / "whole", 1, progress=False)
    assert files_of(store) == files_of(tmp_path / "whole")
    assert resumed.hash == whole.hash
    resumed.verify()


def interrupted(tmp_path, log=None):
    with pytest.raises(DataError):
        build_store(Numbers(fail="unit-3", error=OSError("gone")), tmp_path / "store", 1, progress=False)
    return tmp_path / "store.partial"


def test_a_unit_whose_rows_never_reached_the_disk_is_made_again(tmp_path):
    partial = interrupted(tmp_path)
    with open(partial / "x.npy", "r+b") as file:
        file.seek(128 + 1 * ROWS_PER_UNIT * 48)
        file.write(bytes(8))
    log = tmp_path / "log"
    store = build_store(Numbers(log=log), tmp_path / "store", 1, progress=False)
    assert read_log(log) == ["unit-1", "unit-3"]
    np.testing.assert_array_equal(store.arrays["x"], expected_x(np.arange(20)))


def test_a_torn_journal_line_costs_one_unit(tmp_path):
    partial = interrupted(tmp_path)
    journal = partial / "journal.jsonl"
    journal.write_text(journal.read_text()[:-20])
    log = tmp_path / "log"
    with pytest.raises(DataError):
        build_store(Numbers(log=log, fail="unit-3", error=OSError()), tmp_path / "store", 1, progress=False)
    assert read_log(log) == ["unit-2", "unit-3"]
    build_store(Numbers(log=log), tmp_path / "store", 1, progress=False).verify()
    assert read_log(log) == ["unit-2", "unit-3", "unit-3"]


def test_a_partial_store_of_other_files_is_started_anew(tmp_path):
    interrupted(tmp_path)
    log = tmp_path / "log"
    store = build_store(Numbers(version=2, log=log), tmp_path / "store", 1, progress=False)
    assert len(read_log(log)) == 4
    np.testing.assert_array_equal(store.arrays["x"], expected_x(np.arange(20), version=2))


def test_killed_just_before_the_rename_nothing_is_done_twice(tmp_path):
    build_store(Numbers(), tmp_path / "store", 1, progress=False)
    (tmp_path / "store").rename(tmp_path / "store.partial")
    log = tmp_path / "log"
    build_store(Numbers(log=log), tmp_path / "store", 1, progress=False).verify()
    assert read_log(log) == []


def test_two_processes_at_once_do_the_work_once(tmp_path):
    store, log = tmp_path / "store", tmp_path / "log"
    builders = [start_builder(store, log, units=6, delay=0.1, processes=1) for _ in range(2)]
    assert [builder.wait(60) for builder in builders] == [0, 0]
    assert sorted(read_log(log)) == [f"unit-{i}" for i in range(6)]
    Store.open(store).verify()


# --- In parts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 1, 2)])
def test_parts_give_the_bytes_of_one(tmp_path, order):
    whole = build_store(Numbers(units=8), tmp_path / "whole", 1, progress=False)
    log = tmp_path / "log"
    stores = [build_part(Numbers(units=8, log=log), tmp_path / "store", k, 3, 1, progress=False) for k in order]
    assert stores[:2] == [None, None]
    assert stores[2].hash == whole.hash
    assert files_of(tmp_path / "store") == files_of(tmp_path / "whole")
    assert sorted(read_log(log)) == [f"unit-{i}" for i in range(8)]
    assert sorted(path.name for path in tmp_path.iterdir() if path.suffix != ".lock") == ["log", "store", "whole"]
    assert {path.suffix for path in (tmp_path / "store").iterdir()} == {".npy", ".json"}
    stores[2].verify()


def test_a_part_that_died_is_given_again(tmp_path):
    log = tmp_path / "log"
    build_part(Numbers(units=8, log=log), tmp_path / "store", 1, 2, 1, progress=False)
    broken = Numbers(units=8, log=log, fail="unit-6", error=OSError("gone"))
    with pytest.raises(DataError, match="unit-6"):
        build_part(broken, tmp_path / "store", 2, 2, 1, progress=False)
    assert build_part(Numbers(units=8, log=log), tmp_path / "store", 1, 2, 1, progress=False) is None
    with pytest.raises(DataError, match="not a store"):
        Store.open(tmp_path / "store.partial")
    store = build_part(Numbers(units=8, log=log), tmp_path / "store", 2, 2, 1, progress=False)
    store.verify()
    assert sorted(read_log(log)) == sorted([f"unit-{i}" for i in range(8)] + ["unit-6"])


def test_what_another_part_wrote_is_read_back_before_it_counts(tmp_path):
    build_part(Numbers(units=8), tmp_path / "store", 1, 2, 1, progress=False)
    with open(tmp_path / "store.partial" / "row_id.npy", "r+b") as file:
        file.seek(128 + 12 * 8)
        file.write(b"\xff")
    build_part(Numbers(units=8), tmp_path / "store", 2, 2, 1, progress=False).verify()
    whole = build_store(Numbers(units=8), tmp_path / "whole", 1, progress=False)
    assert files_of(tmp_path / "store") == files_of(whole.directory)


def test_parts_at_once_one_of_them_killed(tmp_path):
    store, log = tmp_path / "store", tmp_path / "log"
    parts = [start_builder(store, log, units=12, delay=0.1, processes=1, part=f"{k}, 4") for k in (1, 2, 3, 4)]
    journal = tmp_path / "store.partial" / "journal-3-of-4.jsonl"
    wait_until(lambda: journal.exists() and journal.read_text())
    parts[2].send_signal(signal.SIGKILL)
    assert [part.wait(60) for part in parts] == [0, 0, -signal.SIGKILL, 0]
    assert not store.exists()
    assert start_builder(store, log, units=12, delay=0, processes=1, part="3, 4").wait(60) == 0
    whole = build_store(Numbers(units=12), tmp_path / "whole", 1, progress=False)
    assert files_of(store) == files_of(whole.directory)
    Store.open(store).verify()


# --- Disk full ----------------------------------------------------------------------------------------------------


def full_disk(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_too_small_is_noticed_before_any_work(tmp_path, monkeypatch):
    log = tmp_path / "log"
    monkeypatch.setattr(os, "posix_fallocate", full_disk)
    with pytest.raises(DataError, match=r"the disk is full: the store .*store needs 0\.00 GB .* free; make room"):
        build_store(Numbers(log=log), tmp_path / "store", 1, progress=False)
    assert read_log(log) == []
    assert not (tmp_path / "store").exists()
    assert not (tmp_path / "store.partial").exists()


def test_a_disk_that_fills_up_leaves_nothing_that_is_taken_for_whole(tmp_path, monkeypatch):
    write, calls = os.pwrite, []

    def fills_up(*args):
        calls.append(args)
        return full_disk() if len(calls) > 10 else write(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", fills_up)
        with pytest.raises(
            DataError, match=r"the disk is full: the store .*store was not written; free some space and run again"
        ):
            build_store(Numbers(), tmp_path / "store", 1, progress=False)
    assert not (tmp_path / "store").exists()
    log = tmp_path / "log"
    build_store(Numbers(log=log), tmp_path / "store", 1, progress=False).verify()
    assert read_log(log) == ["unit-1", "unit-2", "unit-3"]


def test_a_full_disk_in_a_worker_process_is_one_sentence(tmp_path):
    broken = Numbers(fail="unit-1", error=OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(DataError, match="the disk is full: the store"):
        build_store(broken, tmp_path / "store", 2, progress=False)
    assert not (tmp_path / "store").exists()


def test_a_disk_full_at_the_manifest_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(DataError, match="the disk is full"):
        build_store(Numbers(), tmp_path / "store", 1, progress=False)
    assert not (tmp_path / "store").exists()


def test_a_file_system_that_cannot_reserve_still_works(tmp_path, monkeypatch):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    build_store(Numbers(), tmp_path / "store", 1, progress=False).verify()


def test_short_writes_are_gone_on_with(tmp_path, monkeypatch):
    write = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda descriptor, data, position: write(descriptor, data[:7], position))
    store = build_store(Numbers(), tmp_path / "store", 1, progress=False)
    monkeypatch.undo()
    np.testing.assert_array_equal(store.arrays["x"], expected_x(np.arange(20)))


# --- Damaged ------------------------------------------------------------------------------------------------------


@pytest.fixture
def directory(tmp_path):
    return build_store(Numbers(), tmp_path / "store", 1, progress=False).directory


def edit_manifest(directory, name, value):
    content = json.loads((directory / "manifest.json").read_text())
    del content["checksum"]  # as whoever edits it on purpose must
    (directory / "manifest.json").write_text(json.dumps(content | {name: value}))


def test_verify_names_the_damaged_array_and_unit(directory):
    with open(directory / "row_id.npy", "r+b") as file:
        file.seek(128 + 12 * 8)
        file.write(b"\xff")
    with pytest.raises(DataError, match=r"array 'row_id' in unit 'unit-2' \(rows 10-15\): delete"):
        Store.open(directory).verify()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda d: (d / "manifest.json").unlink(), "is not a store: it has no manifest.json"),
        (lambda d: (d / "manifest.json").write_text("{"), r"manifest\.json is not valid JSON"),
        (lambda d: (d / "manifest.json").write_text('{"format": 99}'), "is of format 99, this program reads format 1"),
        (lambda d: edit_manifest(d, "rows", "20"), "the entry 'rows' is not as expected"),
        (lambda d: edit_manifest(d, "units", [{"name": "a"}]), r"the entry 'units\.0\.start' is missing"),
        (lambda d: edit_manifest(d, "arrays", {"x": {"dtype": "float64"}}), r"the entry 'arrays\.x\.shape' is missing"),
        (lambda d: (d / "x.npy").unlink(), r"x\.npy is missing"),
        (lambda d: os.truncate(d / "x.npy", 700), r"x\.npy has 700 bytes, expected 1088 \(truncated\?\)"),
        (lambda d: os.truncate(d / "x.npy", 3), r"x\.npy has no valid header"),
        (lambda d: (d / "odd.npy").write_bytes((d / "row_id.npy").read_bytes()), r"odd\.npy holds int64 \(20,\)"),
    ],
)
def test_a_damaged_store_does_not_open(directory, damage, message):
    damage(directory)
    with pytest.raises(DataError, match=message):
        Store.open(directory)


# --- Sources that break their promise -----------------------------------------------------------------------------


def short(source, unit):
    yield from list(Numbers.read(source, unit))[:1]


def long(source, unit):
    yield from [*Numbers.read(source, unit), *Numbers.read(source, unit)]


def misshaped(source, unit):
    for block in Numbers.read(source, unit):
        yield {**block, "x": block["x"][:, :1]}


def incomplete(source, unit):
    for block in Numbers.read(source, unit):
        yield {"x": block["x"]}


@pytest.mark.parametrize(
    ("read", "message"),
    [
        (short, "unit 'unit-0': gave 3 rows, expected 5"),
        (long, "unit 'unit-0': gave more than its 5 rows"),
        (misshaped, r"unit 'unit-0': array 'x' has shape \(3, 1, 3\), expected \(3, 2, 3\)"),
        (incomplete, r"unit 'unit-0': gave the arrays \['x'\]"),
    ],
)
def test_blocks_are_checked(tmp_path, monkeypatch, read, message):
    source = Numbers()
    monkeypatch.setattr(source, "read", lambda unit: read(source, unit), raising=False)
    with pytest.raises(DataError, match=message):
        build_store(source, tmp_path / "store", 1, progress=False)


def test_units_must_follow_each_other(tmp_path, monkeypatch):
    source = Numbers()
    monkeypatch.setattr(source, "units", lambda: [Unit("a", 0, 5), Unit("b", 6, 9)], raising=False)
    with pytest.raises(DataError, match="unit 'b' covers rows 6-9, expected to start at 5"):
        build_store(source, tmp_path / "store", 1, progress=False)


def test_a_source_that_refuses_its_rows_leaves_no_store(tmp_path, monkeypatch):
    def refuse(arrays):
        raise DataError("the rows contradict each other")

    source = Numbers()
    monkeypatch.setattr(source, "manifest", refuse, raising=False)
    with pytest.raises(DataError, match="contradict"):
        build_store(source, tmp_path / "store", 1, progress=False)
    assert not (tmp_path / "store").exists()
