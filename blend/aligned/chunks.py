"""Reading aligned rows of many banks in small pieces, so that memory does not grow with the number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


class ArrayRows:
    """Rows of an array, in memory or in a ``.npy`` file.

    A file is opened anew for every read: its pages then leave this process's memory with the piece that was read,
    where one lasting memory map would let the resident size grow to the size of all files.

    Args:
        array: ``(rows, *shape)``; a memory map of rows one after another is read from its file.
    """

    def __init__(self, array: Floats) -> None:
        self._file = None
        if isinstance(array, np.memmap) and array.filename is not None and array.flags.c_contiguous:
            self._file = (str(array.filename), array.dtype, int(array.offset), array.shape)
        else:
            self._array = array

    def read(self, rows: slice | npt.NDArray[np.integer[Any]]) -> Floats:
        """Some rows as a fresh array."""
        if self._file is None:
            return self._array[rows]
        name, dtype, offset, shape = self._file
        if isinstance(rows, slice):
            width = int(np.prod(shape[1:], dtype=np.int64))
            start, stop = rows.start, rows.stop
            flat = np.fromfile(
                name, dtype=dtype, count=(stop - start) * width, offset=offset + start * width * dtype.itemsize
            )
            return flat.reshape(stop - start, *shape[1:])
        return np.array(np.memmap(name, dtype=dtype, mode="r", offset=offset, shape=shape)[rows])


@dataclass
class Part:
    """The share of a model's rows that one bank holds.

    Attributes:
        where: Path of the bank, for error messages.
        rows: Its predictions.
        first: Aligned position of the first row it may hold.
        positions: Its row for each aligned position from ``first`` on, -1 where it holds none.
        weight: Share in the model's prediction (one over the number of averaged seeds or folds).
        factor: ``(targets,)`` multiplier into the common units, None for 1.
    """

    where: str
    rows: ArrayRows
    first: int
    positions: npt.NDArray[np.int32]
    weight: float = 1.0
    factor: npt.NDArray[np.float64] | None = None

    def read(self, start: int, stop: int) -> tuple[npt.NDArray[np.intp] | slice, Floats] | None:
        """Rows of ``[start, stop)`` that this bank holds: their places in that range, and their values."""
        begin, end = max(start, self.first), min(stop, self.first + len(self.positions))
        if begin >= end:
            return None
        local = self.positions[begin - self.first : end - self.first]
        places: npt.NDArray[np.intp] | slice = slice(begin - start, end - start)
        if (local < 0).any():
            held = np.flatnonzero(local >= 0)
            if not len(held):
                return None
            places, local = held + (begin - start), local[held]
        if (np.diff(local) == 1).all():
            return places, self.rows.read(slice(int(local[0]), int(local[-1]) + 1))
        return places, self.rows.read(local)


@dataclass
class Member:
    """One model's predictions of every aligned row (or the truth), made of one or more banks.

    Attributes:
        name: Label in tables and weights files.
        parts: Banks; where several hold a row (seeds, or the folds of a test set) their weighted mean is taken.
    """

    name: str
    parts: Sequence[Part]

    def read(self, start: int, stop: int, width: int) -> npt.NDArray[np.float32]:
        """Aligned rows ``[start, stop)`` as ``(stop - start, width)`` float32."""
        total: Floats | None = None
        for part in self.parts:
            found = part.read(start, stop)
            if found is None:
                continue
            places, values = found
            values = values.reshape(len(values), width)
            if part.factor is not None:
                values = values * part.factor
            if part.weight == 1.0 and len(values) == stop - start:
                return np.asarray(values, dtype=np.float32)
            if total is None:
                total = np.zeros((stop - start, width))
            total[places] += part.weight * values.astype(np.float64)
        assert total is not None, f"no bank of {self.name} holds rows {start} to {stop}"
        return total.astype(np.float32)

    def where(self, position: int) -> str:
        """Path of the bank that holds an aligned row."""
        for part in self.parts:
            offset = position - part.first
            if 0 <= offset < len(part.positions) and part.positions[offset] >= 0:
                return part.where
        return self.name
