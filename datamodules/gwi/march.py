"""All time steps of a batch in one launch: the scheme of :mod:`datamodules.gwi.propagation` as a Triton kernel for GPUs.

One program runs one shot through all its samples, so that nothing is launched between steps and no program waits for another.
It takes two steps in one pass down the grid: the second follows two blocks of rows behind the first, where all that it reads has
been written and is still in the first-level cache. So a pass reads and writes both wavefields once for two steps. Velocities and
sponge are read from the model's cells, and from one row and one column, which stay in that cache too.

Fields keep their edges once more beyond the opposite ones, so that all neighbours lie at distances known when it is compiled (once for
a precision and a width, whatever the batch). The second step begins ``REACH`` rows further down and takes the first rows last, so that
the first step still finds them unchanged where it comes round.
"""

from __future__ import annotations

import triton  # type: ignore[import-not-found,import-untyped,unused-ignore]
import triton.language as tl  # type: ignore[import-not-found,import-untyped,unused-ignore]
from torch import Tensor

REACH = 2
"""Rows and columns that a step reads beyond a cell."""
MARGIN, LINE = 8, 32
"""Numbers before a row, which hold its other end, and those of a line of the cache, of which rows are multiples."""
PER_PASS = 2
"""Steps in one pass; the two wavefields hold both results when it ends, to be recorded."""
ROWS, COLUMNS, WARPS = 8, 64, 8
"""Cells of a block, of which rows are at least twice the reach, and warps that share it."""
RECORD = 128
"""Receivers that are read at once."""


@triton.jit  # type: ignore[misc,untyped-decorator,unused-ignore]
def march_kernel(  # type: ignore[no-untyped-def,unused-ignore]
    fields,
    seismograms,
    alpha,
    level,
    side,
    amplitude,
    wavelet,
    sources,
    receivers,
    shots,
    samples,
    listening,
    height,
    depth,
    columns,
    width: tl.constexpr,
    pitch: tl.constexpr,
    margin: tl.constexpr,
    steps: tl.constexpr,
    reach: tl.constexpr,
    block_rows: tl.constexpr,
    block_columns: tl.constexpr,
    record: tl.constexpr,
    backwards: tl.constexpr,
):
    """Run the shot of this program; arguments as :func:`march` lays them out."""
    shot = tl.program_id(0)
    cell_map = shot // shots
    top, left = (height - depth) // 2, (width - columns) // 2
    plane = (height + 2 * reach) * pitch
    first = fields + shot.to(tl.int64) * 2 * plane
    trace = seismograms + shot.to(tl.int64) * samples * listening
    own_alpha, own_level, own_side = (
        alpha + cell_map * depth * columns,
        level + cell_map * height,
        side + cell_map * width,
    )
    source_row, source_column = tl.load(sources + shot % shots * 2), tl.load(sources + shot % shots * 2 + 1)
    factor = tl.load(amplitude + shot)
    blocks, tiles = tl.cdiv(height, block_rows), tl.cdiv(width, block_columns)
    for begin in range(0, samples, steps):
        for turn in range(blocks + 2 * (steps - 1)):
            for step in tl.static_range(steps):
                stage = steps - 1 - step if backwards else step
                block, n = turn - 2 * stage, begin + stage
                if (block >= 0) & (block < blocks) & (n < samples):
                    older, newer = first + n % 2 * plane, first + (n + 1) % 2 * plane
                    shooting = factor * tl.load(wavelet + n)
                    line = block * block_rows + tl.arange(0, block_rows)
                    i = line + reach * stage
                    i = tl.where(i >= height, i - height, i)
                    rows = (line < height)[:, None]
                    model_row = tl.minimum(tl.maximum(i - top, 0), depth - 1) * columns
                    k_row = tl.load(own_level + i, mask=line < height)[:, None]
                    for tile in range(tiles):
                        j = tile * block_columns + tl.arange(0, block_columns)
                        mask = rows & (j < width)[None, :]
                        cells = ((i + reach) * pitch + margin)[:, None] + j[None, :]
                        at = newer + cells
                        here = tl.load(at, mask=mask)
                        # sums of mirrored pairs: a mirrored map gives the mirrored field to the last bit
                        near = tl.load(at - 1, mask=mask) + tl.load(at + 1, mask=mask)
                        near += tl.load(at - pitch, mask=mask) + tl.load(at + pitch, mask=mask)
                        far = tl.load(at - 2, mask=mask) + tl.load(at + 2, mask=mask)
                        far += tl.load(at - 2 * pitch, mask=mask) + tl.load(at + 2 * pitch, mask=mask)
                        model_column = tl.minimum(tl.maximum(j - left, 0), columns - 1)
                        a = tl.load(own_alpha + model_row[:, None] + model_column[None, :], mask=mask)
                        k_column = tl.load(own_side + j, mask=j < width)[None, :]
                        inside = ((j >= left) & (j < left + columns))[None, :]
                        kept = 1 - tl.where(inside, k_row, k_column)  # in the corners the columns' sponge holds
                        curved = (near * (4.0 / 3.0) - far * (1.0 / 12.0)) - 5.0 * here
                        old = older + cells
                        following = kept * (here - tl.load(old, mask=mask)) + here + a * curved
                        at_source = (i == source_row)[:, None] & (j == source_column)[None, :]
                        following += tl.where(at_source, shooting, 0.0)
                        tl.store(old, following, mask=mask)
                        # the grid is periodic: its edges once more beyond the opposite ones
                        tl.store(old + width, following, mask=mask & (j < reach)[None, :])
                        tl.store(old - width, following, mask=mask & (j >= width - reach)[None, :])
                        tl.store(old + height * pitch, following, mask=mask & (i < reach)[:, None])
                        tl.store(old - height * pitch, following, mask=mask & (i >= height - reach)[:, None])
            tl.debug_barrier()
        for stage in tl.static_range(steps):
            n = begin + stage
            if n < samples:
                for some in range(0, listening, record):
                    r = some + tl.arange(0, record)
                    heard = r < listening
                    i = tl.load(receivers + 2 * r, mask=heard)
                    j = tl.load(receivers + 2 * r + 1, mask=heard)
                    cell = (i + reach) * pitch + margin + j
                    value = tl.load(first + n % 2 * plane + cell, mask=heard)
                    tl.store(trace + n * listening + r, value, mask=heard)
        tl.debug_barrier()


def pitch_of(width: int) -> int:
    """Numbers from one row of a field to the next."""
    return -(-(width + MARGIN + REACH) // LINE) * LINE


def march(
    alpha: Tensor,
    level: Tensor,
    side: Tensor,
    amplitude: Tensor,
    wavelet: Tensor,
    sources: Tensor,
    receivers: Tensor,
    backwards: bool = False,
) -> Tensor:
    """Seismograms ``(maps, shots, samples, receivers)`` of all maps and shots by one launch.

    Args:
        alpha: Squared Courant numbers of the model, ``(maps, depth, columns)``; the padded grid repeats its edges.
        level: Sponge of the padded rows, ``(maps, height)``.
        side: Sponge of the padded columns, ``(maps, width)``, of which those outside the model's columns count.
        amplitude: Source factor of each map and shot, ``(maps, shots)``.
        wavelet: ``(samples,)``.
        sources: Padded row and column of each shot's source, ``(shots, 2)``, int32.
        receivers: Padded row and column of each receiver, ``(receivers, 2)``, int32.
        backwards: Whether the second step comes first in every turn. It makes no difference, or threads would have to wait between the two.
    """
    (maps, shots), samples, listening = amplitude.shape, len(wavelet), len(receivers)
    height, width = level.shape[1], side.shape[1]
    pitch = pitch_of(width)
    fields = alpha.new_zeros(maps * shots, 2, height + 2 * REACH, pitch)
    seismograms = alpha.new_empty(maps, shots, samples, listening)
    given = (x.contiguous() for x in (alpha, level, side, amplitude, wavelet, sources, receivers))
    march_kernel[(maps * shots,)](
        fields, seismograms, *given, shots, samples, listening, height, *alpha.shape[1:],
        width, pitch, MARGIN, PER_PASS, REACH, ROWS, COLUMNS, RECORD, backwards,
        num_warps=WARPS, num_stages=1,
    )  # fmt: skip
    return seismograms
