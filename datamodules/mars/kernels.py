r"""Reading and summing a GC-MS table eight bytes at a time, compiled with numba.

Only what every competition file looks like is understood: unsigned decimal numbers of up to seven digits on each side of
the point (intensities: whole numbers of up to fifteen), ``\n`` after every row, times that never fall. Anything else ends
with :data:`STRANGE`, and the careful reader has to say what it is. Numbers are the quotient of two whole numbers that
float64 holds exactly, so they are the same as any correct parser's.

A time is read once for each scan: a row that begins with the same bytes as the one before belongs to the same scan.
"""

from __future__ import annotations

from typing import Any

import numpy as np

try:
    from numba import njit  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError:  # the kernels stay plain Python, which tests can run and nobody else should

    def njit(**_: Any) -> Any:  # type: ignore[no-redef,unused-ignore]
        """Leave a function as it is."""
        return lambda function: function


U = np.uint64
STRANGE = -1
_ZEROS, _SIX = U(0x3030303030303030), U(0x7676767676767676)
_HIGH, _PAIRS = U(0x8080808080808080), U(0x000000FF000000FF)
_FIRST, _SECOND = U(0x000F424000000064), U(0x0000271000000001)
_TENS = 10.0 ** np.arange(16)
_WHOLE_TENS = (10 ** np.arange(16)).astype(np.uint64)
_DE_BRUIJN = U(0x03F79D71B4CB0A89)
# byte of the lowest set bit, by the top six bits of its product with a de Bruijn number
_BYTE = np.zeros(64, np.uint64)
for _bit in range(64):
    _BYTE[((0x03F79D71B4CB0A89 << _bit) & (2**64 - 1)) >> 58] = _bit // 8


@njit(nogil=True, cache=True, inline="always")
def _load(words: Any, i: Any) -> Any:
    """The eight bytes from position ``i``, little endian."""
    word, shift = i >> U(3), (i & U(7)) << U(3)
    return (words[word] >> shift) | ((words[word + U(1)] << U(1)) << (U(63) - shift))


@njit(nogil=True, cache=True, inline="always")
def _digits(words: Any, i: Any) -> Any:
    """How many of the eight bytes from ``i`` are digits before the first that is none, and their number."""
    t = _load(words, i) ^ _ZEROS
    other = ((t + _SIX) | t) & _HIGH
    n = U(8) if other == U(0) else _BYTE[((other & (~other + U(1))) * _DE_BRUIJN) >> U(58)]
    if n == U(0):
        return U(0), U(0)
    t = t << (U(64) - (n << U(3)))
    t = t * U(10) + (t >> U(8))  # pairs of digits, then fours and eights
    return n, ((t & _PAIRS) * _FIRST + ((t >> U(16)) & _PAIRS) * _SECOND) >> U(32)


@njit(nogil=True, cache=True, inline="always")
def _decimal(text: Any, words: Any, i: Any) -> Any:
    """The decimal number at ``i`` and the position after it; 0 for none."""
    n, whole = _digits(words, i)
    if n == U(0) or n > U(7):
        return 0.0, U(0)
    i = i + n
    if text[i] != 46:
        return np.float64(whole), i
    n, part = _digits(words, i + U(1))
    if n == U(0) or n > U(7):
        return 0.0, U(0)
    return np.float64(whole * _WHOLE_TENS[n] + part) / _TENS[n], i + U(1) + n


@njit(nogil=True, cache=True)
def parse(
    text: Any, words: Any, stop: int, state: Any, scan_time: Any, scan_stop: Any, mass: Any, intensity: Any
) -> int:
    """Read rows up to byte ``stop``, which follows a line's end.

    Args:
        text: Bytes.
        words: The same as uint64; at least 16 bytes beyond ``stop`` must be there.
        stop: Where to end.
        state: Byte to begin at, rows read, scans begun; all three move on.
        scan_time: Filled with each scan's time.
        scan_stop: Filled with the row after each scan's last.
        mass: Filled with rounded masses, half to even.
        intensity: Filled.

    Returns:
        The rows read so far, or :data:`STRANGE`.
    """
    i, end, row, scan = U(state[0]), U(stop), state[1], state[2] - 1
    head, length, tail = U(0), U(0), U(0)
    while i < end:
        first = _load(words, i)
        if first != head or _load(words, i + length - U(8)) != tail:
            time, after = _decimal(text, words, i)
            if after == U(0) or text[after] != 44:
                return STRANGE
            length = after + U(1) - i
            head, tail = (first, _load(words, i + length - U(8))) if length >= U(8) else (U(0), U(0))
            if scan < 0 or time != scan_time[scan]:
                if scan >= 0 and time < scan_time[scan]:
                    return STRANGE
                scan += 1
                scan_time[scan] = time
        value, after = _decimal(text, words, i + length)
        if after == U(0) or text[after] != 44:
            return STRANGE
        mass[row] = np.int32(np.rint(value))
        i = after + U(1)
        n, count = _digits(words, i)
        i = i + n
        if n == U(8):
            more, low = _digits(words, i)
            if more > U(7):
                return STRANGE
            count, i = count * _WHOLE_TENS[more] + low, i + more
        if n == U(0) or text[i] != 10:
            return STRANGE
        intensity[row] = np.float64(count)
        i = i + U(1)
        row += 1
        scan_stop[scan] = row
    state[0], state[1], state[2] = np.int64(i), row, scan + 1
    return row


@njit(nogil=True, cache=True)
def add_up(
    scan_time: Any,
    scan_stop: Any,
    mass: Any,
    intensity: Any,
    low: int,
    high: int,
    left_out: int,
    columns: int,
    sums: Any,
) -> bool:
    """Sum intensities by mass and time column, time stretched over the scans that hold a kept mass.

    Args:
        scan_time: Scan time of the scans.
        scan_stop: The row after each scan's last.
        mass: Mass of the rows.
        intensity: Intensity of the rows.
        low: Smallest mass kept.
        high: First mass that is not kept.
        left_out: One more mass that is not kept; negative for none.
        columns: Columns of the image.
        sums: ``(high * columns)`` to add to.

    Returns:
        Whether two scans at least hold a kept mass.
    """
    first, last, start = -1, -1, 0
    for scan in range(len(scan_stop)):
        for row in range(start, scan_stop[scan]):
            if low <= mass[row] < high and mass[row] != left_out:
                first, last = (scan if first < 0 else first), scan
                break
        start = scan_stop[scan]
    if first == last:
        return False
    origin = scan_time[first]
    span = scan_time[last] - origin
    for scan in range(first, last + 1):
        column = int(np.rint((scan_time[scan] - origin) / span * (columns - 1)))
        for row in range(scan_stop[scan - 1] if scan else 0, scan_stop[scan]):
            if low <= mass[row] < high and mass[row] != left_out:
                sums[mass[row] * columns + column] += intensity[row]
    return True
