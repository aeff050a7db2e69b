"""The wave equation compiled for CPUs with numba: the same scheme as :mod:`datamodules.gwi.propagation`, one pass per step.

    p[n+1] = p[n] + (1 - k) (p[n] - p[n-1]) + a (4/3 near - 1/12 far - 5 p[n])

A shot's two wavefields (0.9 MB) stay in a core's second-level cache, because nothing else of their size is read: outside the
model the velocity repeats its edge and the sponge depends on one coordinate only, so both come from small arrays. One
thread runs one shot through all its time steps; there is nothing to wait for.

Rows are computed in whole vectors, which begin at a cache line, a few cells past both ends (as many on either side, so that a mirrored map
has mirrored vectors), and three at once, which share what they read: loads are what a step waits for. Cells that the wave cannot have reached,
or that can no longer reach a receiver, are left out (:mod:`datamodules.gwi.reach`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-not-found,import-untyped,unused-ignore]
from numba.core.compiler import Compiler  # type: ignore[import-not-found,import-untyped,unused-ignore]

LINE = 16
"""Rows are whole multiples of so many numbers: a cache line of float32."""
MARGIN = LINE
AROUND = 2
"""Rows above and below that a step reads."""
_AT_ONCE = 3


class _Apart(Compiler):  # type: ignore[misc,unused-ignore]
    """Compiles on the promise that arrays do not overlap, or every few rows would begin with dozens of tests for it."""

    def define_pipelines(self) -> Any:
        self.state.flags.noalias = True  # numba has no option of its own for this
        return super().define_pipelines()  # type: ignore[no-untyped-call,unused-ignore]


@njit(nogil=True, cache=True)
def _is_inside(window: Any, row: int, column: int, height: int) -> bool:
    """Whether a step computes a cell."""
    return bool((row - window[0]) % height < window[1] - window[0] and window[2] <= column < window[3])


@njit(nogil=True, cache=True)
def _clear_around(p: Any, steps: Any, n: int, rows: Any) -> None:
    """Set to rest what the two steps after step ``n`` read beyond its window."""
    height, last = p.shape[0], min(n + 2, steps.shape[0] - 1)
    window = steps[n]
    top, bottom = min(window[0], steps[last, 0]) - AROUND, max(window[1], steps[last, 1]) + AROUND
    # in the field's own columns, a cache line more on either side
    left, right = min(window[2], steps[last, 2]), max(window[3], steps[last, 3]) + 2 * MARGIN
    for row in range(top, bottom):
        i = rows[row + height + AROUND]
        if window[0] <= row < window[1]:
            p[i, left : window[2] + MARGIN] = 0
            p[i, window[3] + MARGIN : right] = 0
        else:
            p[i, left:right] = 0


@njit(nogil=True, cache=True, fastmath={"contract"})
def _next(older: Any, newer: Any, i: Any, j: Any, column: Any, a: Any, kept: Any, c: Any) -> Any:
    """The value that follows in a cell, given the five of its column."""
    above2, above, here, below, below2 = column
    one, two = np.uint64(1), np.uint64(2)
    # sums of mirrored pairs: a mirrored map gives the mirrored field to the last bit
    near = (newer[i, j - one] + newer[i, j + one]) + (above + below)
    far = (newer[i, j - two] + newer[i, j + two]) + (above2 + below2)
    return kept * (here - older[i, j]) + here + a * ((c[0] * near - c[1] * far) - c[2] * here)


@njit(nogil=True, cache=True, inline="always")
def _wrap(p: Any, i: Any, width: int) -> None:
    """Make the ends of a row periodic."""
    begin = (p.shape[1] - width) // 2
    one, two, first, end = np.uint64(1), np.uint64(2), np.uint64(begin), np.uint64(begin + width)
    p[i, first - two], p[i, first - one] = p[i, end - two], p[i, end - one]
    p[i, end], p[i, end + one] = p[i, first], p[i, first + one]


@njit(nogil=True, cache=True, fastmath={"contract"}, pipeline_class=_Apart)
def _step(older: Any, newer: Any, out: Any, grid: Any, width: int, window: Any) -> None:
    """One time step of some rows and their periodic halo, written to ``out``, or over ``older`` where that is None.

    No row is sliced off: every slice counts references, which takes longer than the row itself. Indices are unsigned, or each
    would be tested for a negative value and nothing would become a vector operation.
    """
    alpha, free, inner, levels, rows, models, c = grid
    start, stop, left, right = window
    target = older if out is None else out
    first, begin = np.uint64(MARGIN), start + levels.size
    end, whole = stop + levels.size, begin + (stop - start) // _AT_ONCE * _AT_ONCE
    for line in range(begin, whole, _AT_ONCE):
        i0, i1, i2, i3 = rows[line], rows[line + 1], rows[line + 2], rows[line + 3]
        i4, i5, i6 = rows[line + 4], rows[line + 5], rows[line + 6]
        a2, a3, a4 = models[i2], models[i3], models[i4]
        level2, level3, level4 = levels[i2], levels[i3], levels[i4]
        for m in range(left, right):
            q = np.uint64(m)
            j = q + first
            p0, p1, p2, p3 = newer[i0, j], newer[i1, j], newer[i2, j], newer[i3, j]
            p4, p5, p6 = newer[i4, j], newer[i5, j], newer[i6, j]
            f, g = free[q], inner[q]  # the side columns win in the corners
            next2 = _next(older, newer, i2, j, (p0, p1, p2, p3, p4), alpha[a2, q], f - g * level2, c)
            next3 = _next(older, newer, i3, j, (p1, p2, p3, p4, p5), alpha[a3, q], f - g * level3, c)
            next4 = _next(older, newer, i4, j, (p2, p3, p4, p5, p6), alpha[a4, q], f - g * level4, c)
            target[i2, j], target[i3, j], target[i4, j] = next2, next3, next4
        _wrap(target, i2, width)
        _wrap(target, i3, width)
        _wrap(target, i4, width)
    for line in range(whole, end):
        i0, i1, i2, i3, i4 = rows[line], rows[line + 1], rows[line + 2], rows[line + 3], rows[line + 4]
        a2, level = models[i2], levels[i2]
        for m in range(left, right):
            q = np.uint64(m)
            j = q + first
            column = newer[i0, j], newer[i1, j], newer[i2, j], newer[i3, j], newer[i4, j]
            target[i2, j] = _next(older, newer, i2, j, column, alpha[a2, q], free[q] - inner[q] * level, c)
        _wrap(target, i2, width)


@njit(nogil=True, cache=True, fastmath={"contract"}, pipeline_class=_Apart)
def _correlate(
    of_alpha: Any, of_sponge: Any, adjoint: Any, following: Any, now: Any, after: Any, grid: Any, window: Any
) -> None:
    """Add what a step contributes to the gradients, given its adjoint field, that of the step after it, and the field before and after.

    Summed by parts, as :func:`datamodules.gwi.propagation._gradient_torch` explains.
    """
    _, free, inner, levels, rows, models = grid[:6]
    start, stop, left, right = window
    first = np.uint64(MARGIN)
    for line in range(start + levels.size, stop + levels.size):
        i = rows[line + AROUND]
        model, level = models[i], levels[i]
        for m in range(left, right):
            q = np.uint64(m)
            j = q + first
            late = adjoint[i, j] - (free[q] - inner[q] * level) * following[i, j]
            of_alpha[model, q] += (after[i, j] - now[i, j]) * late
        if of_sponge is not None:
            for m in range(left, right):
                q = np.uint64(m)
                j = q + first
                of_sponge[i, q] -= (after[i, j] - now[i, j]) * following[i, j]


@njit(nogil=True, cache=True)
def record_shot(
    grid: Any,
    width: int,
    amplitude: float,
    wavelet: Any,
    row: int,
    column: int,
    places: Any,
    steps: Any,
    seismogram: Any,
    p: Any,
    kept: Any,
    segment: int,
) -> None:
    """Fill one shot's seismogram ``(samples, receivers)``.

    Args:
        grid: What the steps read of a map, see :func:`datamodules.gwi.propagation._grids`.
        width: Width of the padded grid.
        amplitude: Factor of the source.
        wavelet: ``(samples,)``.
        row: Padded row of the source.
        column: Column of the source, counted from the first vector.
        places: Padded rows of the receivers and columns counted so, ``(receivers, 2)``.
        steps: What each step computes, ``(samples, 4)``: rows from, which may be negative, and to, whole vectors of columns from and to.
        seismogram: Output.
        p: The two wavefields, ``(2, height, vectors + 2 MARGIN)``; they need not be zero.
        kept: Output, the wavefields before every ``segment``-th step, ``(segments, *p.shape)``; with no segments nothing is kept.
        segment: Steps from one to the next.
    """
    samples, receivers = seismogram.shape
    p[:] = 0
    old, new = 0, 1
    for n in range(samples):
        if kept.shape[0] > 0 and n % segment == 0:
            kept[n // segment, 0], kept[n // segment, 1] = p[old], p[new]
        _step(p[old], p[new], None, grid, width, steps[n])
        p[old, row, MARGIN + column] += amplitude * wavelet[n]
        for r in range(receivers):
            seismogram[n, r] = p[old, places[r, 0], MARGIN + places[r, 1]]
        old, new = new, old


@njit(nogil=True, cache=True)
def snapshot_shot(
    grid: Any,
    width: int,
    amplitude: float,
    wavelet: Any,
    row: int,
    column: int,
    steps: Any,
    p: Any,
    every: int,
    first: int,
    shown: Any,
) -> None:
    """Keep one shot's wavefield at every ``every``-th sample.

    Args:
        grid: As of :func:`record_shot`, like those that follow up to ``p``.
        width: Width of the padded grid.
        amplitude: Factor of the source.
        wavelet: ``(samples,)``.
        row: Padded row of the source.
        column: Column of the source, counted from the first vector.
        steps: What each step computes, as of :func:`record_shot`.
        p: The two wavefields; they need not be zero.
        every: Samples from one snapshot to the next.
        first: Padded row and column of the first cell that is kept.
        shown: Output ``(snapshots, rows, columns)``.
    """
    p[:] = 0
    old, new = 0, 1
    left = (p.shape[2] - width) // 2 + first
    for n in range(wavelet.size):
        _step(p[old], p[new], None, grid, width, steps[n])
        p[old, row, MARGIN + column] += amplitude * wavelet[n]
        if n % every == 0:
            for i in range(shown.shape[1]):
                for j in range(shown.shape[2]):
                    shown[n // every, i, j] = p[old, first + i, left + j]
        old, new = new, old


@njit(nogil=True, cache=True)
def gradient_shot(
    grid: Any,
    width: int,
    amplitude: float,
    wavelet: Any,
    row: int,
    column: int,
    places: Any,
    steps: Any,
    residual: Any,
    p: Any,
    kept: Any,
    segment: int,
    fields: Any,
    of_alpha: Any,
    of_sponge: Any,
) -> float:
    """Adjoint of :func:`record_shot`: adds to two gradients and returns the amplitude's gradient.

    A segment's fields are computed again from those that were kept at its beginning, so that memory grows with the root of
    the number of samples.

    Args:
        grid: What the steps read of a map, see :func:`datamodules.gwi.propagation._grids`.
        width: Width of the padded grid.
        amplitude: Factor of the source.
        wavelet: ``(samples,)``.
        row: Padded row of the source.
        column: Column of the source, counted from the first vector.
        places: Padded rows of the receivers and columns counted so, ``(receivers, 2)``.
        steps: What each step computes, ``(samples, 4)``: rows from, which may be negative, and to, whole vectors of columns from and to.
        residual: Gradient of the seismogram, ``(samples, receivers)``.
        p: The two adjoint wavefields.
        kept: Wavefields that :func:`record_shot` kept.
        segment: Steps from one to the next.
        fields: Room for a segment's wavefields and the two before, ``(segment + 2, *p.shape[1:])``.
        of_alpha: Output, the gradient of the model's alpha times its square, ``(depth, vectors)``; a row beyond the model's edge
            counts for that which it repeats.
        of_sponge: Output, the gradient of the sponge times alpha, ``(height, vectors)``; with None it is not computed.
    """
    alpha, rows, height = grid[0], grid[4], p.shape[1]
    samples, receivers = residual.shape
    top = (height - alpha.shape[0]) // 2
    p[:] = 0
    late, following = 0, 1  # adjoint fields of step n + 2, then n, and of step n + 1
    of_amplitude = 0.0
    for part in range(kept.shape[0] - 1, -1, -1):
        begin, end = part * segment, min(samples, (part + 1) * segment)
        fields[:2] = kept[part]
        for n in range(begin, end):
            before, now, after = fields[n - begin], fields[n - begin + 1], fields[n - begin + 2]
            _clear_around(after, steps, n, rows)
            _step(before, now, after, grid, width, steps[n])
            after[row, MARGIN + column] += amplitude * wavelet[n]
        for n in range(end - 1, begin - 1, -1):
            now, after, adjoint = fields[n - begin + 1], fields[n - begin + 2], p[late]
            _step(adjoint, p[following], None, grid, width, steps[n])
            for r in range(receivers):
                i, j = places[r, 0], places[r, 1]
                if _is_inside(steps[n], i, j, height):
                    adjoint[i, MARGIN + j] += alpha[i - top, j] * residual[n, r]
            at_source = adjoint[row, MARGIN + column] * wavelet[n]
            of_amplitude += at_source / alpha[row - top, column]
            _correlate(of_alpha, of_sponge, adjoint, p[following], now, after, grid, steps[n])
            of_alpha[row - top, column] -= at_source * amplitude  # what was shot is no work of alpha's
            late, following = following, late
    return of_amplitude
