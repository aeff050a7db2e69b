"""Unpacking OpenFWI's archives of maps into a folder for each family."""

from __future__ import annotations

import shutil
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.gwi.schema import FAMILIES


def unpack_archives(source: Path, folder: Path, pattern: str = "*.zip") -> list[Path]:
    """Unpack the ``.npy`` files of archives whose names hold a family's, such as ``openfwi_CurveVelA_model1-10.zip``.

    Files that are there with their full size are left as they are.

    Args:
        source: Folder of the archives.
        folder: Files are written to ``<folder>/<Family>/``.
        pattern: Which archives.

    Raises:
        DataError: no archive, one that is damaged, or one whose name tells no family.
    """
    archives = sorted(source.glob(pattern))
    if not archives:
        raise DataError(f"{source} has no archive {pattern}")
    written = []
    for archive in archives:
        target = folder / _family_in(archive)
        target.mkdir(parents=True, exist_ok=True)
        try:
            with ZipFile(archive) as opened:
                written += [_unpack(opened, name, target) for name in opened.namelist() if name.endswith(".npy")]
        except BadZipFile as error:
            raise DataError(f"{archive} cannot be unpacked ({error}); fetch it again") from None
    return written


def _family_in(archive: Path) -> str:
    bare = archive.stem.replace("_", "").replace("-", "").lower()
    found = [family for family in FAMILIES if family.replace("_", "").lower() in bare]
    if len(found) != 1:
        raise DataError(
            f"{archive}: its name tells no family; rename it to one with {FAMILIES[0]} or another family in it"
        )
    return found[0]


def _unpack(archive: ZipFile, name: str, target: Path) -> Path:
    path = target / PurePosixPath(name).name  # never outside of the family's folder
    if not path.is_file() or path.stat().st_size != archive.getinfo(name).file_size:
        with archive.open(name) as packed, atomic_path(path) as temporary, temporary.open("wb") as file:
            shutil.copyfileobj(packed, file)
    return path
