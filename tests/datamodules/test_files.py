from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from datamodules.banks.roles import TableFlags
from datamodules.banks.tables import open_table
from datamodules.errors import DataError
from datamodules.files import atomic_path, read_json, read_record, scratch_folder, write_json
from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.survey import read_survey
from datamodules.stores.arrays import open_array, read_arrays
from lit_modules.base import read_checkpoint
from lit_modules.nets import spectrogram
from tests.files.odd_tables import ODD

REPOSITORY = Path(__file__).parents[2]


@dataclass
class Inner:
    size: int


@dataclass
class Record:
    version: int
    name: str
    share: float = 0.0
    inner: list[Inner] = field(default_factory=list)


def test_a_record_is_read_against_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "r.json"
    write_json(path, {"version": 1, "name": "a", "share": 1, "inner": [{"size": 2}], "later": "ignored"})
    assert read_record(path, Record, "restore it", ("version", 1)) == Record(1, "a", 1.0, [Inner(2)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", r"r\.json is not valid JSON"),
        ('{"version": 1, "na', r"r\.json is not valid JSON \(line 1\)"),
        ("[]", r"r\.json: its content is not as expected"),
        ('{"version": 2}', r"r\.json is of format 2, this program reads format 1"),
        ('{"version": 1}', r"r\.json: the entry 'name' is missing"),
        ('{"version": 1, "name": 3}', r"r\.json: the entry 'name' is not as expected: .*string"),
        ('{"version": 1, "name": "a", "share": "1"}', r"the entry 'share' is not as expected: .*number"),
        ('{"version": 1, "name": "a", "inner": [{"size": 1}, {}]}', r"the entry 'inner\.1\.size' is missing"),
    ],
)
def test_a_damaged_record_is_a_sentence(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(DataError, match=message + ".*; restore it"):
        read_record(tmp_path / "r.json", Record, "restore it", ("version", 1))


def test_a_missing_file_and_one_that_is_no_text_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a\.json cannot be read: No such file"):
        read_json(tmp_path / "a.json")
    (tmp_path / "b.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"b\.json cannot be read: it is not text"):
        read_json(tmp_path / "b.json")


def test_scratch_belongs_to_one_process_and_what_a_killed_one_left_is_removed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from datamodules.files import scratch_folder\n"
        f"with scratch_folder(Path({str(tmp_path / 'bank')!r})) as folder:\n"
        "    (folder / 'x').write_text('theirs'); print(folder, flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    theirs = Path(other.stdout.readline().strip())
    with scratch_folder(tmp_path / "bank") as ours:
        assert ours != theirs
        assert (theirs / "x").read_text() == "theirs"
        with scratch_folder(tmp_path / "bank") as again:
            assert len({ours, theirs, again}) == 3
    other.kill()
    other.wait()
    assert list(tmp_path.iterdir()) == [theirs]
    with scratch_folder(tmp_path / "bank"):
        assert not theirs.exists()
    assert list(tmp_path.iterdir()) == []


def test_folders_that_replace_each_other_at_once_are_each_whole(tmp_path: Path) -> None:
    target = tmp_path / "bank"
    errors = []

    def replace(name: str) -> None:
        try:
            for _ in range(40):
                with atomic_path(target) as work:
                    work.mkdir()
                    for file in ("a", "b"):
                        (work / file).write_text(name)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=replace, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert (target / "a").read_text() == (target / "b").read_text()
    assert list(tmp_path.iterdir()) == [target]


def test_what_the_file_system_refuses_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"file/x\.json cannot be written: (Not a directory|File exists)"):
        write_json(tmp_path / "file" / "x.json", {})

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_json(tmp_path / "y.json", {"old": 1})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError, match=r"the disk is full: .*y\.json was not written"):
        write_json(tmp_path / "y.json", {"new": 1})
    monkeypatch.undo()
    assert json.loads((tmp_path / "y.json").read_text()) == {"old": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "y.json"]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("store.npy", open_array),
        ("statistics.npz", lambda path: read_arrays(path, {}, "")),
        ("last.ckpt", read_checkpoint),
        ("net.safetensors", spectrogram._read_weights),
        ("lgb.npy", lambda path: open_table(path, TableFlags(), False)),
        ("lgb.npz", lambda path: open_table(path, TableFlags(), False)),
        ("lgb.parquet", lambda path: open_table(path, TableFlags(), False)),
        ("lgb.csv", lambda path: open_table(path, TableFlags(), False)),
        ("line.sgy", lambda path: read_survey(path, Acquisition())),
    ],
)
def test_pointers_of_git_lfs_are_named_whatever_they_stand_for(
    name: str, read: Callable[[Path], object], tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(ODD["git_lfs_pointer"].make(""))
    with pytest.raises(DataError, match=rf"{name} {ODD['git_lfs_pointer'].refused}"):
        read(path)
