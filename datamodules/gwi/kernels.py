"""The wave equation compiled for CPUs with numba: the same scheme as :mod:`datamodules.gwi.propagation`, one pass per step.

A shot's two wavefields (0.8 MB) stay in a core's second-level cache, because nothing else of their size is read: outside the
model the velocity repeats its edge and the sponge depends on one coordinate only, so both come from small arrays. One
thread runs one shot through all its time steps; there is nothing to wait for.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit  # type: ignore[import-not-found,import-untyped,unused-ignore]

HALO = 2


@njit(nogil=True, cache=True)
def _step(older: Any, newer: Any, alpha: Any, side: Any, inner: Any, levels: Any, c: Any) -> None:
    """One time step of the whole grid and its periodic halo, written over ``older``.

    No row is sliced off: every slice counts references, which takes longer than the row itself. Indices are unsigned, or each
    would be tested for a negative value and nothing would become a vector operation.
    """
    near, far, double, five, unit = c[0], c[1], c[2], c[3], c[4]
    height, depth, width = newer.shape[0], alpha.shape[0], np.uint64(side.size)
    top = (height - depth) // 2
    one, two = np.uint64(1), np.uint64(2)
    for row in range(height):
        i, up, up2 = np.uint64(row), np.uint64((row - 1 + height) % height), np.uint64((row - 2 + height) % height)
        down, down2 = np.uint64((row + 1) % height), np.uint64((row + 2) % height)
        model = np.uint64(min(max(row - top, 0), depth - 1))
        level = levels[row]
        for m in range(side.size):
            q = np.uint64(m)
            l, j, r = q + one, q + two, q + two + one  # noqa: E741
            # sums of mirrored pairs: a mirrored map gives the mirrored field to the last bit
            sum1 = (newer[i, l] + newer[i, r]) + (newer[up, j] + newer[down, j])
            sum2 = (newer[i, q] + newer[i, r + one]) + (newer[up2, j] + newer[down2, j])
            a = alpha[model, q]
            k = side[q] + inner[q] * level  # the side columns win in the corners
            older[i, j] = (
                (double - five * a - k) * newer[i, j] - (unit - k) * older[i, j] + a * (near * sum1 - far * sum2)
            )
        older[i, 0], older[i, 1] = older[i, width], older[i, width + one]
        older[i, width + two], older[i, width + two + one] = older[i, 2], older[i, 3]


@njit(nogil=True, cache=True)
def record_shot(
    alpha: Any,
    side: Any,
    inner: Any,
    levels: Any,
    amplitude: float,
    wavelet: Any,
    row: int,
    column: int,
    c: Any,
    seismogram: Any,
) -> None:
    """Fill one shot's seismogram ``(samples, receivers)``.

    Args:
        alpha: squared Courant numbers of the model's rows, columns padded, ``(depth, width + 2 sponge)``.
        side: sponge of the side columns, zero inside, ``(width + 2 sponge,)``.
        inner: 1 for the model's columns, else 0.
        levels: sponge of the rows, ``(depth + 2 sponge,)``.
        amplitude: factor of the source.
        wavelet: ``(samples,)``.
        row: padded row of source and receivers.
        column: padded column of the source.
        c: stencil constants 4/3, 1/12, 2, 5, 1 in the dtype of the fields.
        seismogram: output.
    """
    samples, receivers = seismogram.shape
    height, width = levels.size, side.size
    first = HALO + (width - receivers) // 2
    older = np.zeros((height, width + 2 * HALO), alpha.dtype)
    newer = np.zeros((height, width + 2 * HALO), alpha.dtype)
    for n in range(samples):
        _step(older, newer, alpha, side, inner, levels, c)
        older[row, HALO + column] += amplitude * wavelet[n]
        for r in range(receivers):
            seismogram[n, r] = older[row, first + r]
        older, newer = newer, older


@njit(nogil=True, cache=True)
def _accumulate(gradient: Any, adjoint: Any, field: Any, before: Any, c: Any) -> None:
    """Add one step's share to the gradients (times alpha) of alpha, ``gradient[0]``, and of the sponge, ``gradient[1]``."""
    near, far, five = c[0], c[1], c[3]
    height, width = gradient.shape[1], gradient.shape[2]
    one, two = np.uint64(1), np.uint64(2)
    first, second = np.uint64(0), np.uint64(1)
    for row in range(height):
        i, up, up2 = np.uint64(row), np.uint64((row - 1 + height) % height), np.uint64((row - 2 + height) % height)
        down, down2 = np.uint64((row + 1) % height), np.uint64((row + 2) % height)
        for m in range(width):
            q = np.uint64(m)
            l, j, r = q + one, q + two, q + two + one  # noqa: E741
            sum1 = (field[i, l] + field[i, r]) + (field[up, j] + field[down, j])
            sum2 = (field[i, q] + field[i, r + one]) + (field[up2, j] + field[down2, j])
            mu = adjoint[i, j]
            gradient[first, i, q] += mu * ((near * sum1 - far * sum2) - five * field[i, j])
            gradient[second, i, q] += mu * (before[i, j] - field[i, j])


@njit(nogil=True, cache=True)
def gradient_shot(
    alpha: Any,
    side: Any,
    inner: Any,
    levels: Any,
    amplitude: float,
    wavelet: Any,
    row: int,
    column: int,
    c: Any,
    residual: Any,
    segment: int,
    gradient: Any,
) -> float:
    """Adjoint of :func:`record_shot`: adds to ``gradient`` (2, height, width) and returns the amplitude's gradient.

    The fields are kept every ``segment`` steps and computed again in between, so that memory grows with the root of the
    number of samples.

    ``residual`` is the gradient of the seismogram, ``(samples, receivers)``; ``gradient`` takes that of alpha and that of
    the sponge, both times alpha; the other arguments are :func:`record_shot`'s.
    """
    samples, receivers = residual.shape
    height, width = levels.size, side.size
    first, top = HALO + (width - receivers) // 2, (height - alpha.shape[0]) // 2
    segments = (samples + segment - 1) // segment
    kept = np.zeros((segments, 2, height, width + 2 * HALO), alpha.dtype)
    older = np.zeros((height, width + 2 * HALO), alpha.dtype)
    newer = np.zeros((height, width + 2 * HALO), alpha.dtype)
    for n in range((segments - 1) * segment):
        _step(older, newer, alpha, side, inner, levels, c)
        older[row, HALO + column] += amplitude * wavelet[n]
        older, newer = newer, older
        if (n + 1) % segment == 0:
            kept[(n + 1) // segment, 0], kept[(n + 1) // segment, 1] = older, newer
    fields = np.zeros((segment + 1, height, width + 2 * HALO), alpha.dtype)
    late = np.zeros((height, width + 2 * HALO), alpha.dtype)  # adjoint field of step n + 2, then n
    next_ = np.zeros((height, width + 2 * HALO), alpha.dtype)  # of step n + 1
    source_row = alpha[row - top]
    of_amplitude = 0.0
    for part in range(segments - 1, -1, -1):
        start, stop = part * segment, min(samples, (part + 1) * segment)
        fields[0], fields[1] = kept[part, 0], kept[part, 1]  # fields[k] is the field before step start + k - 1
        for n in range(start, stop - 1):
            k = n - start
            fields[k + 2] = fields[k]
            _step(fields[k + 2], fields[k + 1], alpha, side, inner, levels, c)
            fields[k + 2, row, HALO + column] += amplitude * wavelet[n]
        for n in range(stop - 1, start - 1, -1):
            _step(late, next_, alpha, side, inner, levels, c)
            for r in range(receivers):
                late[row, first + r] += source_row[first - HALO + r] * residual[n, r]
            late, next_ = next_, late
            of_amplitude += next_[row, HALO + column] / source_row[column] * wavelet[n]
            _accumulate(gradient, next_, fields[n - start + 1], fields[n - start], c)
    return of_amplitude
