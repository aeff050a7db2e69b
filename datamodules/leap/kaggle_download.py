"""The competition's tables, by Kaggle's own client, which a person installs and signs in to."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.kaggle import signed_in

COMPETITION = "leap-atmospheric-physics-ai-climsim"
TABLES = ("train.csv", "test.csv", "sample_submission.csv")


def fetch_tables(destination: Path, dry_run: bool = False) -> None:
    """Fetch the competition's tables that are not there yet.

    Args:
        destination: Folder that receives them, unpacked.
        dry_run: Only say what would be fetched.

    Raises:
        DataError: the client or its credentials are missing, or it fails; its own words are passed on.
    """
    missing = [name for name in TABLES if not (destination / name).is_file()]
    print(f"{COMPETITION}: {len(TABLES) - len(missing)} tables are in {destination}, {len(missing)} to fetch")
    if dry_run or not missing:
        return
    client = signed_in()
    incoming = destination / ".incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    for name in missing:
        _fetch(client, name, incoming)
        _unpack(incoming, name, destination)
        print(f"{destination / name}: {(destination / name).stat().st_size:,} bytes")
    shutil.rmtree(incoming)


def _fetch(client: Any, name: str, folder: Path) -> None:
    try:
        client.competition_download_file(COMPETITION, name, path=str(folder))
    except OSError as error:  # those of requests are
        raise DataError(
            f"Kaggle's client could not fetch {name} ({error}); accept the rules of {COMPETITION} on its page, and run again"
        ) from None


def _unpack(incoming: Path, name: str, destination: Path) -> None:
    """Move a table to its place; Kaggle sends some packed."""
    packed = incoming / f"{name}.zip"
    if (incoming / name).is_file() and not zipfile.is_zipfile(incoming / name):
        (incoming / name).replace(destination / name)
        return
    if not packed.is_file():
        packed = incoming / name
    if not packed.is_file():
        raise DataError(
            f"Kaggle's client ended without {name}; run it by hand to see why: kaggle competitions download"
        )
    try:
        with (
            atomic_path(destination / name) as target,
            zipfile.ZipFile(packed) as archive,
            archive.open(name) as source,
            target.open("wb") as out,
        ):
            shutil.copyfileobj(source, out, 1 << 20)
    except (zipfile.BadZipFile, KeyError):
        raise DataError(f"{packed} is damaged or holds no {name}; delete it and run again") from None
    except OSError as error:
        raise DataError(f"{destination / name} cannot be unpacked: {error.strerror or error}") from None
    packed.unlink()
