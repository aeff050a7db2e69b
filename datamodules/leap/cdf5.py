"""A reader of NetCDF "classic" files (CDF-1, CDF-2 and CDF-5), for speed.

ClimSim's raw files are CDF-5: a header that lists every variable with its type, shape and byte offset, then the values,
big-endian. Reading such a file in one go and viewing the variables in it takes a quarter of the time that the netCDF
library needs for the same 40 small reads (``benchmarks/leap_convert.py``). The header of every file is parsed; nothing
is assumed about offsets. Files that use a record dimension are left to the netCDF library. Packed variables are
unpacked by :func:`unpack`, which serves both.

Source: the NetCDF classic format specification (Unidata, "File Format Specifications") with the CDF-5 extension of
PnetCDF (64-bit sizes).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

_DTYPES = {
    1: "i1",
    2: "S1",
    3: ">i2",
    4: ">i4",
    5: ">f4",
    6: ">f8",
    7: "u1",
    8: ">u2",
    9: ">u4",
    10: ">i8",
    11: ">u8",
}
_ABSENT, _DIMENSIONS, _VARIABLES, _ATTRIBUTES = 0, 10, 11, 12


class UnsupportedError(ValueError):
    """Not a classic file, or one with features that this reader leaves to the netCDF library."""


class TruncatedError(ValueError):
    """A classic file that is shorter than its header says."""


PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value", "_Unsigned")
"""Attributes that say how stored numbers become values (CF conventions 2.5.1 and 8.1)."""


@dataclass(frozen=True)
class Variable:
    """Where a variable lies in the file, and the attributes of :data:`PACKING` that it has."""

    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int
    packing: dict[str, np.ndarray] = field(default_factory=dict)


def read(path: str | Path) -> tuple[bytes, dict[str, Variable]]:
    """Read a whole file.

    Returns:
        Its bytes, and its variables by name; :func:`values` views one in the other.

    Raises:
        UnsupportedError: Not a classic file, or one with a record dimension.
        TruncatedError: The file is too short.
    """
    with open(path, "rb") as file:
        content = file.read()
    return content, parse_header(content)


def values(content: bytes, variable: Variable) -> np.ndarray:
    """The values, ``variable.shape``: a read-only big-endian view without a copy, unless they are packed."""
    count = math.prod(variable.shape)
    stored = np.frombuffer(content, variable.dtype, count, variable.offset).reshape(variable.shape)
    return unpack(stored, variable.packing) if variable.packing else stored


def unpack(stored: np.ndarray, packing: Mapping[str, Any]) -> np.ndarray:
    """Values from stored numbers: ``stored * scale_factor + add_offset`` in float64, NaN where none was recorded.

    Args:
        stored: As they stand in the file.
        packing: The attributes of :data:`PACKING` that the variable has.
    """
    if stored.dtype.kind == "i" and _text(packing.get("_Unsigned", "")) == "true":
        stored = stored.view(stored.dtype.str.replace("i", "u"))
    values = stored.astype(np.float64)
    values *= np.asarray(packing.get("scale_factor", 1), np.float64).reshape(-1)[0]
    values += np.asarray(packing.get("add_offset", 0), np.float64).reshape(-1)[0]
    for name in ("_FillValue", "missing_value"):
        for missing in np.asarray(packing.get(name, [])).reshape(-1):
            values[stored == missing.astype(stored.dtype)] = np.nan
    return values


def _text(attribute: Any) -> str:
    return attribute if isinstance(attribute, str) else np.asarray(attribute).tobytes().decode(errors="replace")


def parse_header(content: bytes) -> dict[str, Variable]:
    """Variables by name, from the bytes of a whole file. Raises as :func:`read`."""
    if content[:3] != b"CDF" or content[3:4] not in (b"\x01", b"\x02", b"\x05"):
        raise UnsupportedError("not a NetCDF classic file")
    try:
        variables = _Header(content).variables()
    except (struct.error, IndexError) as error:
        raise TruncatedError("the file ends within its header") from error
    for name, variable in variables.items():
        end = variable.offset + variable.dtype.itemsize * math.prod(variable.shape)
        if end > len(content):
            raise TruncatedError(f"'{name}' ends at byte {end}, the file has {len(content)}")
    return variables


class _Header:
    """A cursor over the header; the three versions differ in the width of counts and offsets only."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 4
        version = content[3]
        self.count_format = struct.Struct(">q" if version == 5 else ">i")
        self.offset_format = struct.Struct(">i" if version == 1 else ">q")
        self.int_format = struct.Struct(">i")

    def variables(self) -> dict[str, Variable]:
        self._take(self.count_format)  # number of records
        lengths = [self._dimension() for _ in range(self._list(_DIMENSIONS))]
        self._attributes()
        found = {}
        for _ in range(self._list(_VARIABLES)):
            name, variable = self._variable(lengths)
            found[name] = variable
        return found

    def _take(self, layout: struct.Struct) -> int:
        value: int = layout.unpack_from(self.content, self.position)[0]
        self.position += layout.size
        if value < 0:
            raise UnsupportedError("negative number in the header")
        return value

    def _list(self, tag: int) -> int:
        """Number of entries of a list, which begins with its tag."""
        found, count = self._take(self.int_format), self._take(self.count_format)
        if found not in (tag, _ABSENT) or (found == _ABSENT and count):
            raise UnsupportedError(f"list tag {found} where {tag} belongs")
        return count

    def _name(self) -> str:
        length = self._take(self.count_format)
        start = self.position
        self._skip(length)
        return self.content[start : start + length].decode(errors="replace")

    def _skip(self, size: int) -> None:
        self.position += (size + 3) // 4 * 4  # everything is padded to four bytes
        if self.position > len(self.content):
            raise IndexError(self.position)

    def _type(self) -> np.dtype:
        code = self._take(self.int_format)
        if code not in _DTYPES:
            raise UnsupportedError(f"unknown type {code}")
        return np.dtype(_DTYPES[code])

    def _dimension(self) -> int:
        self._name()
        return self._take(self.count_format)

    def _attributes(self) -> dict[str, np.ndarray]:
        """Those of :data:`PACKING`; all others are passed over."""
        found = {}
        for _ in range(self._list(_ATTRIBUTES)):
            name = self._name()
            dtype = self._type()
            count, start = self._take(self.count_format), self.position
            self._skip(count * dtype.itemsize)
            if name in PACKING:
                found[name] = np.frombuffer(self.content, dtype, count, start)
        return found

    def _variable(self, lengths: list[int]) -> tuple[str, Variable]:
        name = self._name()
        rank = self._take(self.count_format)
        shape = tuple(lengths[self._take(self.count_format)] for _ in range(rank))
        if 0 in shape:  # length 0 in the header marks the record dimension
            raise UnsupportedError(f"'{name}' uses a record dimension")
        packing = self._attributes()
        dtype = self._type()
        self._take(self.count_format)  # padded size, redundant (and wrong for large variables)
        return name, Variable(dtype, shape, self._take(self.offset_format), packing)
