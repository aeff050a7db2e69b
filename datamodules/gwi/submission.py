"""Kaggle's submission: 70 rows for each test file, the velocities of the 35 odd columns, 4.6 million rows in all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.gwi.schema import PLAUSIBLE, SIDE

HEADER = "oid_ypos," + ",".join(f"x_{column}" for column in range(1, SIDE, 2))
_WIDTH = 7  # ,1234.5


@lru_cache(maxsize=1)
def _cells() -> npt.NDArray[np.bytes_]:
    """The text of every velocity in tenths of m/s, ``,0000.0`` to ``,6000.0``: looked up, not formatted."""
    return np.array([f",{tenths / 10:06.1f}" for tenths in range(int(PLAUSIBLE[1] * 10) + 1)], dtype=f"S{_WIDTH}")


class SubmissionWriter:
    """Rows ``<oid>_y_<depth>,x_1,x_3,...,x_69``, one decimal.

    Args:
        file: open for writing bytes; gets the header at once.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._rows = [f"_y_{row}".encode() for row in range(SIDE)]
        file.write(HEADER.encode() + b"\n")

    def append(self, oids: Sequence[str], maps: npt.NDArray[np.floating]) -> None:
        """Add maps.

        Args:
            oids: names of the test files.
            maps: m/s, ``(files, 70, 70)``.

        Raises:
            DataError: a map that holds NaN or what is no velocity; its oid is named.
        """
        low, high = PLAUSIBLE
        good = ((maps >= low) & (maps <= high)).all((1, 2))
        if not good.all():
            raise DataError(
                f"the map of {oids[int((~good).argmax())]} holds NaN or velocities outside of {low:,.0f} to {high:,.0f} m/s; clip it first"
            )
        tenths = np.rint(maps[:, :, 1::2] * np.float64(10)).astype(np.int32)
        body, length = _cells()[tenths].tobytes(), tenths.shape[2] * _WIDTH
        lines, start = [], 0
        for oid in oids:
            name = oid.encode()
            for row in self._rows:
                lines += [name, row, body[start : start + length], b"\n"]
                start += length
        self._file.write(b"".join(lines))


@contextlib.contextmanager
def open_submission(path: Path) -> Iterator[SubmissionWriter]:
    """A writer whose file takes its name when all is written."""
    with atomic_path(path) as work, work.open("wb", buffering=1 << 22) as file:
        yield SubmissionWriter(file)


def check_oids(oids: Sequence[str], folder: Path) -> None:
    """Refuse predictions that are not of a test folder's files.

    Raises:
        DataError: a file without prediction, or a prediction without file; the first is named.
    """
    wanted = {path.stem for path in Path(folder).glob("*.npy")}
    given = set(oids)
    if missing := sorted(wanted - given):
        raise DataError(
            f"{len(missing)} files of {folder} have no prediction, first {missing[0]}.npy; predict them too"
        )
    if surplus := sorted(given - wanted):
        raise DataError(
            f"{len(surplus)} predictions have no file in {folder}, first {surplus[0]!r}; they are of other data"
        )
