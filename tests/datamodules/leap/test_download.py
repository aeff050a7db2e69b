from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import datamodules
from datamodules.errors import DataError
from datamodules.leap import hub as hub_module
from datamodules.leap.demo import DemoSpec, generate
from datamodules.leap.download import download, fetch_months
from datamodules.leap.hub import INCOMING, REPOSITORIES, Hub, Repository
from datamodules.leap.raw import find_pairs
from tests.datamodules.leap import hub_server

ROOT = Path(datamodules.__file__).parents[1]
PINNED = Repository("LEAP/ClimSim_low-res", "a" * 40)


def name(kind: str, month: str, second: int) -> str:
    return f"train/{month}/E3SM-MMF.{kind}.{month}-01-{second:05d}.nc"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[hub_server.Hub]:
    """Three months of four files of random bytes, one of them with something else beside them."""
    monkeypatch.setattr(hub_module, "FIRST_PAUSE", 0.001)
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    rng = np.random.default_rng(0)
    files = {
        name(kind, month, second): rng.bytes(10_000 + 10 * second)
        for month in ("0001-02", "0001-03", "0001-04")
        for kind in ("mli", "mlo")
        for second in (0, 1200)
    }
    files["train/0001-03/README.md"] = b"not a raw file"
    with hub_server.serve(hub_server.Hub(files)) as hub:
        yield hub


def fetch(server: hub_server.Hub, dest: Path, months: tuple[str, ...] = ("0001-03",), **options: object) -> None:
    fetch_months(Hub(PINNED, server.url), list(months), dest, **({"workers": 2} | options))  # type: ignore[arg-type]


def contents(dest: Path) -> dict[str, bytes]:
    return {str(path.relative_to(dest)): path.read_bytes() for path in dest.rglob("*") if path.is_file()}


def raw(server: hub_server.Hub, *months: str) -> dict[str, bytes]:
    return {
        path: content for path, content in server.files.items() if path.endswith(".nc") and path.split("/")[1] in months
    }


def test_months_arrive_whole_and_nothing_else_is_left(
    server: hub_server.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(server, tmp_path / "new" / "dest", ("0001-02", "0001-03"))
    assert contents(tmp_path / "new" / "dest") == raw(server, "0001-02", "0001-03")
    assert sorted(path.name for path in (tmp_path / "new" / "dest").iterdir()) == ["train"]
    out = capsys.readouterr().out
    assert "0001-02: 4 files, 64.0 kB, 4 to fetch, 64.0 kB" in out
    assert "8 files, 128.0 kB; 8 to fetch, 128.0 kB" in out


def test_complete_files_are_skipped_and_wrong_sizes_fetched_again(
    server: hub_server.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fetch(server, tmp_path)
    server.requests.clear()
    fetch(server, tmp_path)
    assert server.downloads() == []
    assert "4 files, 64.0 kB, complete" in capsys.readouterr().out

    short, gone = tmp_path / name("mli", "0001-03", 0), tmp_path / name("mlo", "0001-03", 1200)
    short.write_bytes(short.read_bytes()[:-1])
    gone.unlink()
    fetch(server, tmp_path)
    assert sorted(server.downloads()) == sorted([name("mli", "0001-03", 0), name("mlo", "0001-03", 1200)])
    assert contents(tmp_path) == raw(server, "0001-03")


def test_a_broken_connection_is_taken_up_where_it_broke(
    server: hub_server.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1024)  # 10 MB
    path = name("mli", "0001-03", 1200)
    server.break_after[path] = 9_000
    fetch(server, tmp_path)
    assert contents(tmp_path) == raw(server, "0001-03")
    spans = server.gets(path)
    assert spans[0] is None
    assert spans[1] is not None  # the second request does not begin at the beginning
    assert 0 < int(spans[1].removeprefix("bytes=").rstrip("-")) <= 9_000


def test_an_overloaded_server_is_asked_again(server: hub_server.Hub, tmp_path: Path) -> None:
    path = name("mlo", "0001-03", 0)
    server.fail[path] = 3
    fetch(server, tmp_path)
    assert contents(tmp_path) == raw(server, "0001-03")
    assert len(server.gets(path)) == 4


def test_a_file_that_never_comes_is_named_and_the_others_are_kept(server: hub_server.Hub, tmp_path: Path) -> None:
    path = name("mlo", "0001-03", 0)
    server.fail[path] = 1000
    with pytest.raises(
        DataError,
        match=rf"1 of 4 files could not be fetched, the first was {path} \(HTTP status 503.*run the same command again",
    ):
        fetch(server, tmp_path)
    server.fail[path] = 0
    server.requests.clear()
    fetch(server, tmp_path)
    assert server.downloads() == [path]
    assert contents(tmp_path) == raw(server, "0001-03")


def test_when_nothing_comes_the_rest_is_not_tried(server: hub_server.Hub, tmp_path: Path) -> None:
    for path in server.files:
        server.fail[path] = 1000
    with pytest.raises(DataError, match="2 of 12 files could not be fetched"):
        fetch(server, tmp_path, ("0001-02", "0001-03", "0001-04"), workers=1)


def test_another_size_than_the_listed_is_not_accepted(server: hub_server.Hub, tmp_path: Path) -> None:
    path = name("mli", "0001-03", 0)
    server.listed_size[path] = 12_345
    with pytest.raises(DataError, match="10,000 bytes arrived where the hub lists 12,345"):
        fetch(server, tmp_path)
    assert not (tmp_path / path).exists()
    assert len(contents(tmp_path)) == 3


def test_a_month_that_is_not_there_is_refused_before_anything_is_fetched(
    server: hub_server.Hub, tmp_path: Path
) -> None:
    with pytest.raises(
        DataError, match=r"LEAP/ClimSim_low-res has no month 0001-01 \(and 1 more of --months\); it has 0001-02:0001-04"
    ):
        fetch(server, tmp_path, ("0001-01", "0001-02", "0001-05"))
    assert server.downloads() == []


def test_a_disk_that_is_too_small_is_refused_before_anything_is_fetched(
    server: hub_server.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda folder: usage(0, 0, 2**30 + 50_000))
    with pytest.raises(
        DataError, match=r"has 1.1 GB free and the files to fetch are 64.0 kB; choose fewer --months or another --dest"
    ):
        fetch(server, tmp_path / "not" / "yet")
    assert server.downloads() == []
    assert list(tmp_path.iterdir()) == []
    fetch(server, tmp_path, dry_run=True)
    assert "note: " in capsys.readouterr().out


def test_a_disk_that_fills_up_ends_it_at_once(
    server: hub_server.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def full(self: Hub, file: object, destination: Path) -> None:
        tried.append(file)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Hub, "_fetch_once", full)
    with pytest.raises(DataError, match=r"the disk of .* is full; free some space and run again"):
        fetch(server, tmp_path, workers=1)
    assert len(tried) < 4


def test_dry_run_fetches_nothing(server: hub_server.Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(server, tmp_path / "dest", dry_run=True)
    assert server.downloads() == []
    assert not (tmp_path / "dest").exists()
    assert "4 to fetch, 64.0 kB" in capsys.readouterr().out


def test_an_interruption_leaves_only_complete_files(
    server: hub_server.Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Hub._fetch_once

    def interrupted(self: Hub, file: hub_module.RemoteFile, destination: Path) -> None:
        if file.path == name("mlo", "0001-03", 0):
            raise KeyboardInterrupt
        once(self, file, destination)

    monkeypatch.setattr(Hub, "_fetch_once", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch(server, tmp_path, workers=1)
    there = {path: content for path, content in contents(tmp_path).items() if not path.startswith(INCOMING)}
    assert there.items() <= raw(server, "0001-03").items()
    monkeypatch.undo()
    fetch(server, tmp_path)
    assert contents(tmp_path) == raw(server, "0001-03")


def test_a_branch_is_resolved_to_one_commit(server: hub_server.Hub) -> None:
    assert Hub(REPOSITORIES["high"], server.url).revision == server.commit
    assert Hub(REPOSITORIES["low"], server.url).revision == REPOSITORIES["low"].revision
    assert len(REPOSITORIES["low"].revision) == 40


def test_an_unreachable_hub_ends_with_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub_module, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # the library pauses by itself
    with pytest.raises(
        DataError, match=r"LEAP/ClimSim_low-res cannot be listed: .*check the network, and HF_ENDPOINT if it is set"
    ):
        Hub(PINNED, "http://127.0.0.1:9").months()


def test_nothing_to_do_and_wrong_arguments(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to fetch: give --months"):
        download(dest=tmp_path)
    with pytest.raises(DataError, match="--workers must be at least 1"):
        download("0001-02", tmp_path, workers=0)


def test_the_command_fetches_files_that_the_reader_takes(tmp_path: Path) -> None:
    spec = DemoSpec(first_month="0001-02", months=1, steps_per_month=2, columns=4)
    demo = generate(tmp_path / "demo", spec, progress=False)
    files = {f"train/0001-02/{path.name}": path.read_bytes() for path in demo.rglob("E3SM-MMF.*.nc")}
    with hub_server.serve(hub_server.Hub(files)) as hub:
        environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_TELEMETRY": "1"}
        command = [
            sys.executable,
            "-m",
            "datamodules.leap",
            "download",
            "--months",
            "0001-02",
            "--dest",
            str(tmp_path / "dest"),
        ]
        result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        absent = subprocess.run(
            [*command[:5], "0009-02", *command[6:]], cwd=ROOT, env=environment, capture_output=True, text=True
        )
    assert absent.returncode == 1
    assert absent.stderr.strip().endswith("error: LEAP/ClimSim_low-res has no month 0009-02; it has 0001-02")
    pairs = find_pairs(tmp_path / "dest")
    assert [pair.stamp for pair in pairs] == [pair.stamp for pair in find_pairs(demo)]


def test_help_is_fast_and_says_how_large_the_sets_are() -> None:
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-m", "datamodules.leap", "download", "--help"], cwd=ROOT, capture_output=True, text=True
    )
    assert time.perf_counter() - start < 5  # a fifth of that on an idle machine
    text = " ".join(result.stdout.split())
    assert "744 GB in all, about 7 GB a month" in text
    assert "41.2 TB in all, about 400 GB a month" in text
