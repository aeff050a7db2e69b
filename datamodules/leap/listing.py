"""Which raw files a conversion reads: found and looked at once, and kept for all parts of it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from filelock import FileLock

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.leap.raw import Pair

_COLUMNS = ["step", "stamp", "mli", "mlo"]
_MARKS = ["mli_bytes", "mli_mtime_ns", "mlo_bytes", "mlo_mtime_ns"]


@dataclass(frozen=True)
class Listing:
    """File pairs in time order, each with size and time of change of its two files.

    Args:
        root: Folder below which they lie.
        pairs: The pairs.
        marks: For each pair size and time of change (nanoseconds) of ``mli`` and ``mlo``.
    """

    root: Path
    pairs: list[Pair]
    marks: list[tuple[int, ...]]

    @classmethod
    def of(cls, root: Path, pairs: Iterable[Pair]) -> Listing:
        """Look at every file."""
        pairs = list(pairs)
        return cls(root, pairs, [marks_of(pair) for pair in pairs])

    @cached_property
    def digest(self) -> str:
        """SHA-256 of all relative paths, sizes and times of change."""
        digest = hashlib.sha256()
        for pair, marks in zip(self.pairs, self.marks, strict=True):
            for path, (size, changed) in ((pair.mli, marks[:2]), (pair.mlo, marks[2:]))[: len(marks) // 2]:
                digest.update(f"{os.path.relpath(path, self.root)}\0{size}\0{changed}\n".encode())
        return digest.hexdigest()

    @property
    def bytes(self) -> int:
        """Size of all files."""
        return sum(sum(marks[::2]) for marks in self.marks)

    def check(self, index: int) -> None:
        """Refuse a pair that is not what it was when it was listed.

        Raises:
            DataError: A file changed or vanished since.
        """
        if marks_of(self.pairs[index]) != self.marks[index]:
            raise DataError(
                f"{self.pairs[index].mli} or its .mlo file changed since the files were listed; start the conversion anew"
            )


def marks_of(pair: Pair) -> tuple[int, ...]:
    """Size and time of change of both files.

    Raises:
        DataError: A file vanished.
    """
    marks: list[int] = []
    for path in filter(None, (pair.mli, pair.mlo)):
        try:
            status = os.stat(path)  # noqa: PTH116 - hundreds of thousands of files
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror}") from None
        marks += (status.st_size, status.st_mtime_ns)
    return tuple(marks)


def kept_listing(path: Path, make: Callable[[], Listing]) -> Listing:
    """The listing in a file, made and written by the first process that asks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.is_file():
            listing = make()
            table = pd.DataFrame([(*pair, *marks) for pair, marks in zip(listing.pairs, listing.marks, strict=True)])
            table.columns = pd.Index([*_COLUMNS, *_MARKS])
            table.attrs["root"] = str(listing.root)
            with atomic_path(path) as temporary:
                table.to_parquet(temporary)
            return listing
    try:
        table = pd.read_parquet(path)
        pairs = [Pair(*row) for row in table[_COLUMNS].itertuples(index=False, name=None)]
        return Listing(Path(table.attrs["root"]), pairs, list(table[_MARKS].itertuples(index=False, name=None)))
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read ({error}): delete it, the files are listed again") from None
