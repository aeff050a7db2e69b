from __future__ import annotations

import sys
from pathlib import Path

import pytest

from datamodules.errors import DataError
from datamodules.leap.kaggle_download import TABLES, fetch_tables

CLIENT = """#!{python}
import sys, zipfile
from pathlib import Path
arguments = sys.argv[1:]
assert arguments[:2] == ["competitions", "download"], arguments
options = dict(zip(arguments[2::2], arguments[3::2]))
assert options["--competition"] == "leap-atmospheric-physics-ai-climsim"
name, folder = options["--file"], Path(options["--path"])
with open({log!r}, "a") as log:
    print(name, file=log)
if Path({log!r}).with_name("forbidden").exists():
    sys.exit("403 - Forbidden")
if name == "train.csv":  # large files come packed
    with zipfile.ZipFile(folder / "train.csv.zip", "w") as archive:
        archive.writestr(name, "sample_id\\ntrain_0\\n")
else:
    (folder / name).write_text("sample_id\\n")
"""


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command named kaggle that writes small tables; gives the file in which it notes what it was asked for."""
    log = tmp_path / "log"
    program = tmp_path / "bin" / "kaggle"
    program.parent.mkdir()
    program.write_text(CLIENT.format(python=sys.executable, log=str(log)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in ("KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_API_TOKEN", "KAGGLE_CONFIG_DIR"):
        monkeypatch.delenv(variable, raising=False)
    return log


def sign_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_USERNAME", "someone")
    monkeypatch.setenv("KAGGLE_KEY", "secret")


def test_missing_tables_are_fetched_and_unpacked(client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(monkeypatch)
    dest = tmp_path / "dest"
    fetch_tables(dest)
    assert sorted(path.name for path in dest.iterdir()) == sorted(TABLES)
    assert (dest / "train.csv").read_text() == "sample_id\ntrain_0\n"
    (dest / "test.csv").unlink()
    fetch_tables(dest)
    assert client.read_text().split() == [*TABLES, "test.csv"]


def test_a_client_that_is_missing_or_not_signed_in_is_explained(
    client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(DataError, match=r"no credentials: create an API token .*kaggle.json"):
        fetch_tables(tmp_path / "dest")
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path / "config"))
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "kaggle.json").write_text("{}")
    fetch_tables(tmp_path / "dest")
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(DataError, match=r"not installed; install the package kaggle"):
        fetch_tables(tmp_path / "other")


def test_the_clients_own_words_are_passed_on(client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(monkeypatch)
    client.with_name("forbidden").touch()
    with pytest.raises(DataError, match=r"could not fetch train.csv \(403 - Forbidden\); accept the rules"):
        fetch_tables(tmp_path / "dest")


def test_a_damaged_archive_is_named(client: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sign_in(monkeypatch)
    program = tmp_path / "bin" / "kaggle"
    program.write_text(
        program.read_text().replace(
            "with zipfile", "(folder / 'train.csv.zip').write_text('no'); sys.exit()\n    with zipfile"
        )
    )
    with pytest.raises(DataError, match=r"train.csv.zip is damaged or holds no train.csv; delete it and run again"):
        fetch_tables(tmp_path / "dest")
    assert not (tmp_path / "dest" / "train.csv").exists()


def test_dry_run_needs_no_client(client: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fetch_tables(tmp_path / "dest", dry_run=True)
    assert "3 to fetch" in capsys.readouterr().out
    assert not (tmp_path / "dest").exists()
