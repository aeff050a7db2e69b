from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.leap.kaggle_download import COMPETITION, TABLES, fetch_tables
from tests.datamodules.kaggle_server import Kaggle, serve, sign_out


def small_tables() -> dict[str, bytes]:
    """Tables of one line as Kaggle sends them: large files come packed."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("train.csv", "sample_id\ntrain_0\n")
    return {"train.csv.zip": packed.getvalue()} | dict.fromkeys(("test.csv", "sample_submission.csv"), b"sample_id\n")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Kaggle]:
    with serve(Kaggle(competitions=(COMPETITION,), tables=small_tables()), monkeypatch) as kaggle:
        yield kaggle


def test_missing_tables_are_fetched_and_unpacked(server: Kaggle, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    fetch_tables(dest)
    assert sorted(path.name for path in dest.iterdir()) == sorted(TABLES)
    assert (dest / "train.csv").read_text() == "sample_id\ntrain_0\n"
    (dest / "test.csv").unlink()
    fetch_tables(dest)
    assert server.fetched == [*TABLES, "test.csv"]


def test_a_client_that_is_missing_or_not_signed_in_is_explained_as_for_submissions(
    server: Kaggle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sign_out(monkeypatch, tmp_path)
    with pytest.raises(DataError, match=r"no credentials: make an API token .* KAGGLE_API_TOKEN"):
        fetch_tables(tmp_path / "dest")
    monkeypatch.setitem(sys.modules, "kaggle.api.kaggle_api_extended", None)
    with pytest.raises(DataError, match=r'not installed .*pip install "podium\[kaggle\]"'):
        fetch_tables(tmp_path / "dest")
    assert not server.fetched


def test_the_clients_own_words_are_passed_on(server: Kaggle, tmp_path: Path) -> None:
    server.status = 403
    with pytest.raises(DataError, match=r"could not fetch train.csv \(no\); accept the rules"):
        fetch_tables(tmp_path / "dest")


def test_a_damaged_archive_is_named(server: Kaggle, tmp_path: Path) -> None:
    server.tables["train.csv.zip"] = b"no"
    with pytest.raises(DataError, match=r"train.csv.zip is damaged or holds no train.csv; delete it and run again"):
        fetch_tables(tmp_path / "dest")
    assert not (tmp_path / "dest" / "train.csv").exists()


def test_dry_run_needs_no_client(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch_tables(tmp_path / "dest", dry_run=True)
    assert "3 to fetch" in capsys.readouterr().out
    assert not (tmp_path / "dest").exists()
