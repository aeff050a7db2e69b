"""Kaggle's submission: 70 rows for each test file, the velocities of the 35 odd columns, 4.6 million rows in all."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.gwi.schema import PLAUSIBLE, SIDE, VMAX, VMIN
from datamodules.text_tables import read_table

HEADER = "oid_ypos," + ",".join(f"x_{column}" for column in range(1, SIDE, 2))
_ID = "oid_ypos"
_WIDTH = 7  # ,1234.5
_MAPS_AT_ONCE = 512


@lru_cache(maxsize=1)
def _cells() -> npt.NDArray[np.bytes_]:
    """The text of every velocity in tenths of m/s, ``,0000.0`` to ``,6000.0``: looked up, not formatted."""
    return np.array([f",{tenths / 10:06.1f}" for tenths in range(int(PLAUSIBLE[1] * 10) + 1)], dtype=f"S{_WIDTH}")


class SubmissionWriter:
    """Rows ``<oid>_y_<depth>,x_1,x_3,...,x_69``, one decimal.

    Args:
        file: Open for writing bytes; gets the header at once.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        file.write(HEADER.encode() + b"\n")

    def append(self, oids: Sequence[str], maps: npt.NDArray[np.floating]) -> None:
        """Add maps.

        Args:
            oids: Names of the test files.
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
        cells = np.frombuffer(_cells()[tenths].tobytes(), np.uint8).reshape(len(oids), SIDE, -1)
        names = [oid.encode() for oid in oids]
        step = len(names) if len({len(name) for name in names}) == 1 else 1
        for start in range(0, len(names), max(step, 1)):
            self._file.write(_lines(names[start : start + step], cells[start : start + step]).data)


def _lines(names: list[bytes], cells: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The rows of maps whose names are equally long as one block of text, filled column by column."""
    width, rows = len(names[0]), [f"_y_{row}".encode() for row in range(SIDE)]
    many, length = cells.shape[1:]
    block = np.empty((len(names), many * (width + length + 1) + sum(map(len, rows))), np.uint8)
    oids = np.frombuffer(b"".join(names), np.uint8).reshape(len(names), width)
    at = 0
    for row, text in enumerate(rows):
        for part in (oids, np.frombuffer(text, np.uint8), cells[:, row], np.frombuffer(b"\n", np.uint8)):
            block[:, at : at + part.shape[-1]] = part
            at += part.shape[-1]
    return block


@contextlib.contextmanager
def open_submission(path: Path) -> Iterator[SubmissionWriter]:
    """A writer whose file takes its name when all is written."""
    with atomic_path(path) as work, work.open("wb", buffering=1 << 22) as file:
        yield SubmissionWriter(file)


class Predictions(Protocol):
    """What is submitted: a prediction bank, or something like it."""

    @property
    def index(self) -> pd.DataFrame:
        """Table with the column ``row_id``, the oids."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one prediction."""
        ...

    def in_judge_units(self, rows: slice) -> npt.NDArray[np.float64]:
        """``(rows, 70, 70)`` in m/s."""
        ...


def submit_bank(bank: Predictions, path: Path, template: Path | None = None) -> None:
    """Write a (blended) test bank as a submission, some maps at a time; velocities are clipped to OpenFWI's.

    Args:
        bank: Predictions of the test files.
        path: CSV file to write.
        template: The judge's sample submission, whose oids and their order are written; without it the bank's.

    Raises:
        DataError: the predictions are no maps, or their oids are not the template's.
    """
    if tuple(bank.shape) != (SIDE, SIDE):
        raise DataError(
            f"predictions have the shape {tuple(bank.shape)}; a submission needs velocity maps {(SIDE, SIDE)}"
        )
    oids = bank.index["row_id"].to_numpy(dtype=str)
    if any("/" in oid for oid in oids[:1]):
        raise DataError(
            f"row {oids[0]!r} is a map of a training file, not of the test folder; predict the test folder and submit that bank"
        )
    order = np.arange(len(oids)) if template is None else _order(oids, template)
    with open_submission(path) as writer:
        for start in range(0, len(order), _MAPS_AT_ONCE):
            rows = order[start : start + _MAPS_AT_ONCE]
            straight = bool((np.diff(rows) == 1).all())
            values = bank.in_judge_units(slice(int(rows[0]), int(rows[-1]) + 1) if straight else rows)  # type: ignore[arg-type]
            writer.append(oids[rows].tolist(), values.clip(VMIN, VMAX))


def template_oids(template: Path) -> npt.NDArray[np.str_]:
    """The oids of a sample submission, in its order.

    Raises:
        DataError: it cannot be read, or does not hold the 70 rows of each map together.
    """
    table = read_table(template, (_ID,), only=(_ID,))
    first, last = (np.strings.rpartition(table.text(_ID, slice(i, None, SIDE)), "_y_") for i in (0, SIDE - 1))
    oids: npt.NDArray[np.str_] = first[0]
    ends = (first[2] == "0").all() and (last[2] == str(SIDE - 1)).all()
    if len(table) % SIDE or not ends or not np.array_equal(oids, last[0]) or len(np.unique(oids)) != len(oids):
        raise DataError(
            f"{template} does not list maps one after the other, {SIDE} rows {_ID} = <oid>_y_<depth> each; "
            "give the competition's sample_submission.csv"
        )
    return oids


def _order(oids: npt.NDArray[np.str_], template: Path) -> npt.NDArray[np.int64]:
    """Positions of a sample submission's oids."""
    wanted = template_oids(template)
    rows = pd.Index(oids).get_indexer(pd.Index(wanted))
    if (rows < 0).any():
        raise DataError(
            f"{template} wants {str(wanted[int(np.argmax(rows < 0))])!r} and {int((rows < 0).sum()) - 1} others that the bank does not have; the bank is of another test folder"
        )
    if surplus := len(set(oids) - set(wanted)):
        raise DataError(f"{surplus} predictions are not in {template}; the bank is of another test folder")
    return rows.astype(np.int64)


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
