"""Unpacking OpenFWI's archives of maps into a folder for each family."""

from __future__ import annotations

import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from zipfile import BadZipFile, ZipFile

from datamodules.errors import DataError
from datamodules.files import atomic_path, refuse_lfs_pointer
from datamodules.gwi.schema import FAMILIES


def unpack_archives(source: Path, folder: Path, pattern: str = "*.zip") -> list[Path]:
    """Unpack the ``.npy`` files of archives whose names hold a family's, such as ``openfwi_CurveVelA_model1-10.zip``.

    Files that are there with their full size are left as they are.

    Args:
        source: Folder of the archives.
        folder: Files are written to ``<folder>/<Family>/``.
        pattern: Which archives.

    Raises:
        DataError: no archive, one that is damaged, or one whose name tells no family; two members that would be the same file; or
            less room on the disk than all of them need. Nothing is written before that is known.
    """
    archives = sorted(source.glob(pattern))
    if not archives:
        raise DataError(f"{source} has no archive {pattern}")
    members = [member for archive in archives for member in _members(archive, folder / _family_in(archive))]
    first: dict[Path, _Member] = {}
    for member in members:
        if (other := first.setdefault(member.path, member)) is not member:
            raise DataError(
                f"{other.archive}:{other.name} and {member.archive}:{member.name} would both be {member.path}; rename one of them or unpack by hand"
            )
    folder.mkdir(parents=True, exist_ok=True)
    left = [member for member in members if not member.path.is_file() or member.path.stat().st_size != member.size]
    need, free = sum(member.size for member in left), shutil.disk_usage(folder).free
    if need > free:
        raise DataError(
            f"{source}: its archives unpack to {need / 1e9:.1f} GB, {folder} has room for {free / 1e9:.1f} GB; free some or choose fewer with --pattern"
        )
    for member in left:
        try:
            with (
                ZipFile(member.archive) as opened,
                opened.open(member.name) as packed,
                atomic_path(member.path) as temporary,
                temporary.open("wb") as file,
            ):
                shutil.copyfileobj(packed, file)
        except (BadZipFile, zlib.error, EOFError) as error:
            raise DataError(f"{member.archive} cannot be unpacked ({error}); fetch it again") from None
    return [member.path for member in members]


@dataclass(frozen=True)
class _Member:
    archive: Path
    name: str
    size: int
    path: Path


def _members(archive: Path, target: Path) -> list[_Member]:
    refuse_lfs_pointer(archive)
    try:
        with ZipFile(archive) as opened:
            return [
                # only the last part of a name: never outside of the family's folder
                _Member(archive, info.filename, info.file_size, target / PurePosixPath(info.filename).name)
                for info in opened.infolist()
                if info.filename.endswith(".npy")
            ]
    except BadZipFile as error:
        raise DataError(f"{archive} cannot be unpacked ({error}); fetch it again") from None


def _family_in(archive: Path) -> str:
    bare = archive.stem.replace("_", "").replace("-", "").lower()
    found = [family for family in FAMILIES if family.replace("_", "").lower() in bare]
    if len(found) != 1:
        raise DataError(
            f"{archive}: its name tells no family; rename it to one with {FAMILIES[0]} or another family in it"
        )
    return found[0]
