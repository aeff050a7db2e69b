"""The wave equation compiled for CPUs with numba: the same scheme as :mod:`datamodules.gwi.propagation`, one pass per step.

A shot's two wavefields (0.9 MB) stay in a core's second-level cache, because nothing else of their size is read: outside the
model the velocity repeats its edge and the sponge depends on one coordinate only, so both come from small arrays. One
thread runs one shot through all its time steps; there is nothing to wait for.

Rows begin at a cache line and are computed in whole vectors, a few cells past their end. Rows that the wave cannot have reached, or
that can no longer reach a receiver, are left out: two rows a step, which is exact.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-not-found,import-untyped,unused-ignore]

HALO = 2
LINE = 16
"""Rows are whole multiples of so many numbers: a cache line of float32."""
MARGIN = LINE


@njit(nogil=True, cache=True)
def _window(n: int, samples: int, row: int, places: Any, height: int) -> tuple[int, int]:
    """Rows of step ``n`` that matter, from and to; from may be negative, for the grid is periodic.

    The wave has come from the source so far, and can still get to a receiver.
    """
    reach = 2 * min(n, samples - 1 - n)
    low, high = min(row, places[:, 0].min()) - reach, max(row, places[:, 0].max()) + reach
    if high - low + 1 >= height:
        return 0, height
    return low, high + 1


@njit(nogil=True, cache=True, fastmath={"contract"})
def _step(
    p: Any,
    old: int,
    new: int,
    alpha: Any,
    side: Any,
    inner: Any,
    levels: Any,
    width: int,
    c: Any,
    start: int,
    stop: int,
    laplacian: Any,
) -> None:
    """One time step of some rows and their periodic halo, written over ``p[old]``.

    What multiplies alpha, 4/3 near - 1/12 far - 5 p, is left in ``laplacian``; with None the compiler drops the branch.

    No row is sliced off: every slice counts references, which takes longer than the row itself. Indices are unsigned, or each
    would be tested for a negative value and nothing would become a vector operation.
    """
    near, far, double, five, unit = c[0], c[1], c[2], c[3], c[4]
    height, depth = p.shape[1], alpha.shape[0]
    top = (height - depth) // 2
    o, w, first, end = np.uint64(old), np.uint64(new), np.uint64(MARGIN), np.uint64(MARGIN + width)
    one, two = np.uint64(1), np.uint64(2)
    for line in range(start + height, stop + height):
        row = line % height
        i, up, up2 = np.uint64(row), np.uint64((line - 1) % height), np.uint64((line - 2) % height)
        down, down2 = np.uint64((line + 1) % height), np.uint64((line + 2) % height)
        model = np.uint64(min(max(row - top, 0), depth - 1))
        level = levels[row]
        for m in range(side.size):
            q = np.uint64(m)
            j = q + first
            # sums of mirrored pairs: a mirrored map gives the mirrored field to the last bit
            sum1 = (p[w, i, j - one] + p[w, i, j + one]) + (p[w, up, j] + p[w, down, j])
            sum2 = (p[w, i, j - two] + p[w, i, j + two]) + (p[w, up2, j] + p[w, down2, j])
            curved = (near * sum1 - far * sum2) - five * p[w, i, j]
            k = side[q] + inner[q] * level  # the side columns win in the corners
            p[o, i, j] = (double - k) * p[w, i, j] - (unit - k) * p[o, i, j] + alpha[model, q] * curved
            if laplacian is not None:
                laplacian[i, q] = curved
        p[o, i, first - two], p[o, i, first - one] = p[o, i, end - two], p[o, i, end - one]
        p[o, i, end], p[o, i, end + one] = p[o, i, first], p[o, i, first + one]


@njit(nogil=True, cache=True)
def _keep_change(change: Any, p: Any, old: int, new: int, start: int, stop: int) -> None:
    """What multiplies the sponge in a step: the field before less the field now."""
    height = p.shape[1]
    o, w, first = np.uint64(old), np.uint64(new), np.uint64(MARGIN)
    for line in range(start + height, stop + height):
        i = np.uint64(line % height)
        for m in range(change.shape[1]):
            q = np.uint64(m)
            change[i, q] = p[o, i, q + first] - p[w, i, q + first]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _accumulate(gradient: Any, kept: Any, n: int, p: Any, old: int, start: int, stop: int) -> None:
    """Add the adjoint field times what was kept of step ``n``."""
    height = p.shape[1]
    o, k, first = np.uint64(old), np.uint64(n), np.uint64(MARGIN)
    for line in range(start + height, stop + height):
        i = np.uint64(line % height)
        for m in range(gradient.shape[1]):
            q = np.uint64(m)
            gradient[i, q] += p[o, i, q + first] * kept[k, i, q]


@njit(nogil=True, cache=True)
def record_shot(
    alpha: Any,
    side: Any,
    inner: Any,
    levels: Any,
    width: int,
    amplitude: float,
    wavelet: Any,
    row: int,
    column: int,
    places: Any,
    c: Any,
    seismogram: Any,
    p: Any,
    kept: Any,
    segment: int,
) -> None:
    """Fill one shot's seismogram ``(samples, receivers)``.

    Args:
        alpha: Squared Courant numbers of the model's rows, columns padded, ``(depth, vectors)``; 0 past the grid's width.
        side: Sponge of the side columns, zero inside, ``(vectors,)``; 1 past the grid's width.
        inner: 1 for the model's columns, else 0, ``(vectors,)``.
        levels: Sponge of the rows, ``(height,)``.
        width: Width of the padded grid.
        amplitude: Factor of the source.
        wavelet: ``(samples,)``.
        row: Padded row of the source.
        column: Padded column of the source.
        places: Padded rows and columns of the receivers, ``(receivers, 2)``.
        c: Stencil constants 4/3, 1/12, 2, 5, 1 in the dtype of the fields.
        seismogram: Output.
        p: The two wavefields, ``(2, height, vectors + 2 MARGIN)``; they need not be zero.
        kept: Output, the wavefields before every ``segment``-th step, ``(segments, *p.shape)``; with no segments nothing is kept.
        segment: Steps from one to the next.
    """
    samples, receivers = seismogram.shape
    height = levels.size
    p[:] = 0
    old, new = 0, 1
    for n in range(samples):
        if kept.shape[0] > 0 and n % segment == 0:
            kept[n // segment, 0], kept[n // segment, 1] = p[old], p[new]
        start, stop = _window(n, samples, row, places, height)
        _step(p, old, new, alpha, side, inner, levels, width, c, start, stop, None)
        p[old, row, MARGIN + column] += amplitude * wavelet[n]
        for r in range(receivers):
            seismogram[n, r] = p[old, places[r, 0], MARGIN + places[r, 1]]
        old, new = new, old


@njit(nogil=True, cache=True)
def snapshot_shot(
    alpha: Any,
    side: Any,
    inner: Any,
    levels: Any,
    width: int,
    amplitude: float,
    wavelet: Any,
    row: int,
    column: int,
    c: Any,
    p: Any,
    every: int,
    first: int,
    shown: Any,
) -> None:
    """Keep one shot's wavefield at every ``every``-th sample.

    Args:
        alpha: As of :func:`record_shot`, like those that follow up to ``p``.
        side: Sponge of the side columns.
        inner: 1 for the model's columns.
        levels: Sponge of the rows.
        width: Width of the padded grid.
        amplitude: Factor of the source.
        wavelet: ``(samples,)``.
        row: Padded row of the source.
        column: Padded column of the source.
        c: Stencil constants.
        p: The two wavefields; they need not be zero.
        every: Samples from one snapshot to the next.
        first: Padded row and column of the first cell that is kept.
        shown: Output ``(snapshots, rows, columns)``.
    """
    height = levels.size
    p[:] = 0
    old, new = 0, 1
    for n in range(wavelet.size):
        start, stop = row - 2 * n - 2, row + 2 * n + 3  # so far has the wave come
        if stop - start >= height:
            start, stop = 0, height
        _step(p, old, new, alpha, side, inner, levels, width, c, start, stop, None)
        p[old, row, MARGIN + column] += amplitude * wavelet[n]
        if n % every == 0:
            for i in range(shown.shape[1]):
                for j in range(shown.shape[2]):
                    shown[n // every, i, j] = p[old, first + i, MARGIN + first + j]
        old, new = new, old


@njit(nogil=True, cache=True)
def gradient_shot(
    alpha: Any,
    side: Any,
    inner: Any,
    levels: Any,
    width: int,
    amplitude: float,
    wavelet: Any,
    row: int,
    column: int,
    places: Any,
    c: Any,
    residual: Any,
    p: Any,
    kept: Any,
    segment: int,
    laplacians: Any,
    changes: Any,
    gradient: Any,
) -> float:
    """Adjoint of :func:`record_shot`: adds to ``gradient`` and returns the amplitude's gradient.

    A segment's fields are computed again from those that were kept at its beginning, so that memory grows with the root of
    the number of samples.

    Args:
        alpha: Squared Courant numbers of the model's rows, columns padded, ``(depth, vectors)``; 0 past the grid's width.
        side: Sponge of the side columns, zero inside, ``(vectors,)``; 1 past the grid's width.
        inner: 1 for the model's columns, else 0, ``(vectors,)``.
        levels: Sponge of the rows, ``(height,)``.
        width: Width of the padded grid.
        amplitude: Factor of the source.
        wavelet: ``(samples,)``.
        row: Padded row of the source.
        column: Padded column of the source.
        places: Padded rows and columns of the receivers, ``(receivers, 2)``.
        c: Stencil constants 4/3, 1/12, 2, 5, 1 in the dtype of the fields.
        residual: Gradient of the seismogram, ``(samples, receivers)``.
        p: Two pairs of wavefields, ``(2, *p.shape)``.
        kept: Wavefields that :func:`record_shot` kept.
        segment: Steps from one to the next.
        laplacians: Room for a segment, ``(segment, height, vectors)``.
        changes: The same; without room for any the sponge gets no gradient.
        gradient: Gradient of alpha and of the sponge, both times alpha, ``(2, height, vectors)``.
    """
    samples, receivers = residual.shape
    height = levels.size
    top = (height - alpha.shape[0]) // 2
    field, adjoint = p[0], p[1]
    adjoint[:] = 0
    late, following = 0, 1  # adjoint fields of step n + 2, then n, and of step n + 1
    of_amplitude = 0.0
    for part in range(kept.shape[0] - 1, -1, -1):
        begin, end = part * segment, min(samples, (part + 1) * segment)
        field[:] = kept[part]
        old, new = 0, 1
        for n in range(begin, end):
            start, stop = _window(n, samples, row, places, height)
            if changes.shape[0] > 0:
                _keep_change(changes[n - begin], field, old, new, start, stop)
            _step(field, old, new, alpha, side, inner, levels, width, c, start, stop, laplacians[n - begin])
            field[old, row, MARGIN + column] += amplitude * wavelet[n]
            old, new = new, old
        for n in range(end - 1, begin - 1, -1):
            start, stop = _window(n, samples, row, places, height)
            _step(adjoint, late, following, alpha, side, inner, levels, width, c, start, stop, None)
            for r in range(receivers):
                i, j = places[r, 0], places[r, 1]
                adjoint[late, i, MARGIN + j] += alpha[i - top, j] * residual[n, r]
            of_amplitude += adjoint[late, row, MARGIN + column] / alpha[row - top, column] * wavelet[n]
            _accumulate(gradient[0], laplacians, n - begin, adjoint, late, start, stop)
            if changes.shape[0] > 0:
                _accumulate(gradient[1], changes, n - begin, adjoint, late, start, stop)
            late, following = following, late
    return of_amplitude
