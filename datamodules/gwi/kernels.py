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
def _sponge_row(kappa: Any, side: Any, inner: Any, level: Any) -> None:
    """Sponge of one grid row: the side columns win in the corners, the row's own level fills the rest."""
    for j in range(kappa.size):
        kappa[j] = side[j] + inner[j] * level


@njit(nogil=True, cache=True)
def _laplacian_row(out: Any, row: Any, up: Any, down: Any, up2: Any, down2: Any, c: Any) -> None:
    """Fourth-order sum over the eight neighbours minus five times the cell, of one row."""
    one, two = np.uint64(1), np.uint64(2)
    near, far, five = c[0], c[1], c[3]
    for m in range(out.size):
        q = np.uint64(m)  # unsigned, or every index is tested for a negative value and nothing becomes a vector operation
        j = q + two
        sum1 = (row[j - one] + row[j + one]) + (up[j] + down[j])
        sum2 = (row[q] + row[j + two]) + (up2[j] + down2[j])
        out[q] = (near * sum1 - far * sum2) - five * row[j]


@njit(nogil=True, cache=True)
def _step_row(
    older: Any, row: Any, up: Any, down: Any, up2: Any, down2: Any, alpha: Any, kappa: Any, c: Any
) -> None:
    """One row of the update, written over ``older``; then its periodic halo."""
    one, two = np.uint64(1), np.uint64(2)
    near, far, double, five, unit = c[0], c[1], c[2], c[3], c[4]
    n = alpha.size
    for m in range(n):
        q = np.uint64(m)
        j = q + two
        # sums of mirrored pairs: a mirrored map gives the mirrored field to the last bit
        sum1 = (row[j - one] + row[j + one]) + (up[j] + down[j])
        sum2 = (row[q] + row[j + two]) + (up2[j] + down2[j])
        a, k = alpha[q], kappa[q]
        older[j] = (double - five * a - k) * row[j] - (unit - k) * older[j] + a * (near * sum1 - far * sum2)
    older[0], older[1] = older[n], older[n + 1]
    older[n + 2], older[n + 3] = older[2], older[3]


@njit(nogil=True, cache=True)
def _step(older: Any, newer: Any, alpha: Any, side: Any, inner: Any, levels: Any, kappa: Any, c: Any) -> None:
    """One time step of the whole grid, written over ``older``."""
    height, depth = newer.shape[0], alpha.shape[0]
    top = (height - depth) // 2
    for i in range(height):
        _sponge_row(kappa, side, inner, levels[i])
        _step_row(
            older[i],
            newer[i],
            newer[(i - 1 + height) % height],
            newer[(i + 1) % height],
            newer[(i - 2 + height) % height],
            newer[(i + 2) % height],
            alpha[min(max(i - top, 0), depth - 1)],
            kappa,
            c,
        )


@njit(nogil=True, cache=True)
def record_shot(
    alpha: Any, side: Any, inner: Any, levels: Any, amplitude: float, wavelet: Any, row: int, column: int, c: Any, seismogram: Any
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
    kappa = np.empty(width, alpha.dtype)
    for n in range(samples):
        _step(older, newer, alpha, side, inner, levels, kappa, c)
        older[row, HALO + column] += amplitude * wavelet[n]
        for r in range(receivers):
            seismogram[n, r] = older[row, first + r]
        older, newer = newer, older


@njit(nogil=True, cache=True)
def _accumulate(gradient: Any, adjoint: Any, field: Any, before: Any, buffer: Any, c: Any) -> None:
    """Add one step's share to the gradients (times alpha) of alpha, ``gradient[0]``, and of the sponge, ``gradient[1]``."""
    two = np.uint64(2)
    height = field.shape[0]
    for i in range(height):
        row, previous, mu = field[i], before[i], adjoint[i]
        _laplacian_row(
            buffer,
            row,
            field[(i - 1 + height) % height],
            field[(i + 1) % height],
            field[(i - 2 + height) % height],
            field[(i + 2) % height],
            c,
        )
        for_alpha, for_sponge = gradient[0, i], gradient[1, i]
        for m in range(buffer.size):
            q = np.uint64(m)
            for_alpha[q] += mu[q + two] * buffer[q]
            for_sponge[q] += mu[q + two] * (previous[q + two] - row[q + two])


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

    Args:
        alpha, side, inner, levels, amplitude, wavelet, row, column, c: as in :func:`record_shot`.
        residual: gradient of the seismogram, ``(samples, receivers)``.
        segment: steps between kept fields.
        gradient: output, of alpha and of the sponge, both times alpha.
    """
    samples, receivers = residual.shape
    height, width = levels.size, side.size
    first, top = HALO + (width - receivers) // 2, (height - alpha.shape[0]) // 2
    segments = (samples + segment - 1) // segment
    kept = np.zeros((segments, 2, height, width + 2 * HALO), alpha.dtype)
    older = np.zeros((height, width + 2 * HALO), alpha.dtype)
    newer = np.zeros((height, width + 2 * HALO), alpha.dtype)
    kappa = np.empty(width, alpha.dtype)
    for n in range((segments - 1) * segment):
        _step(older, newer, alpha, side, inner, levels, kappa, c)
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
            _step(fields[k + 2], fields[k + 1], alpha, side, inner, levels, kappa, c)
            fields[k + 2, row, HALO + column] += amplitude * wavelet[n]
        for n in range(stop - 1, start - 1, -1):
            _step(late, next_, alpha, side, inner, levels, kappa, c)
            for r in range(receivers):
                late[row, first + r] += source_row[first - HALO + r] * residual[n, r]
            late, next_ = next_, late
            of_amplitude += next_[row, HALO + column] / source_row[column] * wavelet[n]
            _accumulate(gradient, next_, fields[n - start + 1], fields[n - start], kappa, c)
    return of_amplitude
