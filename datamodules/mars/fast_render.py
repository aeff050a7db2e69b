"""Rendering of large feature files with compiled kernels: the same pixels, several times sooner."""

from __future__ import annotations

import hashlib
import mmap
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from datamodules.mars.rendering import Rendering

HELIUM = 4
LARGE = 4_000_000  # bytes; starting numba takes longer than smaller files do
_HEADER = b"time,mass,intensity\n"
_SHORTEST_ROW = 6
_MARGIN = 32  # bytes at a file's end that are read from a longer copy


def is_worth_it(size: int) -> bool:
    """Whether a file of so many bytes should be tried with :func:`render_file`."""
    return size >= LARGE and sys.byteorder == "little" and find_spec("numba") is not None


def render_file(path: Path, rendering: Rendering, md5: str = "") -> npt.NDArray[np.float32] | None:
    """The image of a feature file, equal to the careful reader's in every bit.

    Args:
        path: Path of the file.
        rendering: Size and filter.
        md5: What the file's bytes must hash to; empty for no check.

    Returns:
        float32 ``(m_bins, t_bins)``, or None where there is anything to complain of or out of the ordinary: another md5 or
        header, signs, exponents, empty cells, unsorted times, one scan only, nothing above zero.
    """
    with path.open("rb") as file:
        content = _mapped(file.fileno())
    if content[: len(_HEADER)] != _HEADER or content[-1:] != b"\n" or len(content) < 2 * _MARGIN:
        return None
    if md5 and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
        return None
    table = _read(content)
    if table is None:
        return None
    sums = np.zeros(rendering.m_bins * rendering.t_bins)
    left_out = HELIUM if rendering.drop_helium else -1
    if not _kernels().add_up(*table, rendering.min_mass, rendering.m_bins, left_out, rendering.t_bins, sums):
        return None
    largest = sums.max()
    if largest <= 0:
        return None
    return (sums / largest).astype(np.float32).reshape(rendering.m_bins, rendering.t_bins)


def _kernels() -> Any:
    """The compiled functions, imported when they are needed."""
    return import_module("datamodules.mars.kernels")


def _mapped(descriptor: int) -> mmap.mmap:
    """A file's bytes, without a copy."""
    if hasattr(mmap, "MAP_POPULATE"):  # Linux: one call in place of thousands of page faults
        return mmap.mmap(descriptor, 0, flags=mmap.MAP_PRIVATE | mmap.MAP_POPULATE, prot=mmap.PROT_READ)
    return mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)


def _read(content: mmap.mmap) -> tuple[npt.NDArray[np.generic], ...] | None:
    """Times and last rows of the scans, masses and intensities of the rows."""
    kernels = _kernels()
    rows = len(content) // _SHORTEST_ROW  # at most; memory that is never touched is never taken
    arrays = np.empty(rows), np.empty(rows, np.int64), np.empty(rows, np.int32), np.empty(rows)
    state = np.array([len(_HEADER), 0, 0])
    cut = content.rfind(b"\n", 0, len(content) - _MARGIN) + 1
    text = np.frombuffer(content, np.uint8)
    words = np.frombuffer(content, np.uint64, count=len(content) // 8)
    if cut > len(_HEADER) and kernels.parse(text, words, cut, state, *arrays) == kernels.STRANGE:
        return None
    start = int(state[0])
    ending = content[start:]
    padded = ending + bytes(2 * _MARGIN - len(ending) % 8)
    state[0] = 0
    text, words = np.frombuffer(padded, np.uint8), np.frombuffer(padded, np.uint64)
    if kernels.parse(text, words, len(ending), state, *arrays) == kernels.STRANGE:
        return None
    found, scans = int(state[1]), int(state[2])
    return arrays[0][:scans], arrays[1][:scans], arrays[2][:found], arrays[3][:found]
