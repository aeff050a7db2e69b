"""The wave equation of OpenFWI as one differentiable function: forward steps, exact adjoint, bounded memory.

    p[n+1] = (2 - 5 a - k) p[n] - (1 - k) p[n-1] + a (4/3 near - 1/12 far),    a = (v dt / dx)^2,  k = sponge rate * dt

with the sums of the four neighbours at distance one and two, periodic at the outer edge of the padded grid. The adjoint field
times ``a`` obeys the same equation backwards in time with the residuals as sources, so one stencil serves both ways.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Backend = Literal["auto", "torch", "inductor", "triton", "numba"]
HALO = 2
_NEAR, _FAR = 4.0 / 3.0, 1.0 / 12.0
COMPILER = "inductor"
"""Backend of ``torch.compile`` for fused steps."""
_FUSED = "inductor", "triton"  # backends whose gradients are made of fused steps
_FEWEST = 2  # maps and wavefields of a fused batch: a dimension of one would be compiled for itself


@dataclass(frozen=True)
class Shots:
    """Where a set of shots is fired and recorded, in cells of the padded grid.

    Args:
        sources: Row and column of every shot's source.
        receivers: Row and column of every receiver, the same for all shots.
        depth: Rows of the model.
        width: Columns of the model.
        segment: Steps between the wavefields that the adjoint keeps.
        backend: ``torch``, ``inductor`` (the same steps fused by torch.compile), ``triton`` (all steps in one launch, gradients as
            ``inductor``) or ``numba``.
    """

    sources: tuple[tuple[int, int], ...]
    receivers: tuple[tuple[int, int], ...]
    depth: int
    width: int
    segment: int
    backend: Backend = "torch"

    def __len__(self) -> int:
        return len(self.sources)


def has_numba() -> bool:
    """Whether the compiled CPU kernels can be used."""
    return find_spec("numba") is not None


def resolve_backend(backend: Backend, device: torch.device) -> Backend:
    """What ``auto`` means on a device: compiled kernels on a CPU with numba, fused steps on a GPU, else plain torch.

    Raises:
        ValueError: ``numba`` or ``triton`` is asked for where it is not installed or where it does not run.
    """
    if backend == "auto":
        if device.type == "cuda":
            return "inductor"
        return "numba" if device.type == "cpu" and has_numba() else "torch"
    if backend == "numba" and device.type != "cpu":
        raise ValueError(f"the numba backend runs on the CPU, the velocities are on {device}; use inductor or torch")
    if backend == "numba" and not has_numba():
        raise ValueError("the numba backend needs the package numba; install it or use the torch backend")
    if backend == "triton" and not find_spec("triton"):
        raise ValueError("the triton backend needs the package triton; install it or use the inductor backend")
    if backend == "triton" and device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise ValueError("the triton backend runs on a GPU, the velocities are on the CPU; use numba or torch")
    return backend


def propagate(alpha: Tensor, kappa: Tensor, amplitude: Tensor, wavelet: Tensor, shots: Shots) -> Tensor:
    """Seismograms ``(maps, shots, samples, receivers)``, differentiable in the first three arguments.

    Args:
        alpha: Squared Courant numbers on the padded grid, ``(maps, height, width)``; edges repeat the model's.
        kappa: Sponge rates times the time step, the same shape.
        amplitude: Source factor of each map and shot, ``(maps, shots)``.
        wavelet: ``(samples,)``.
        shots: Geometry and backend.
    """
    maps = len(alpha)
    if shots.backend in _FUSED and maps * len(shots) < _FEWEST:
        alpha, kappa, amplitude = (torch.cat([field] * _FEWEST) for field in (alpha, kappa, amplitude))
    seismograms: Tensor = _Propagation.apply(alpha, kappa, amplitude, wavelet, shots)
    return seismograms[:maps]


class _Propagation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, alpha: Tensor, kappa: Tensor, amplitude: Tensor, wavelet: Tensor, shots: Shots) -> Tensor:
        ctx.save_for_backward(alpha, kappa, amplitude, wavelet)
        ctx.shots = shots
        if shots.backend == "triton":
            return _record_triton(alpha, kappa, amplitude, wavelet, shots)
        if shots.backend != "numba":
            return _record_torch(alpha, kappa, amplitude, wavelet, shots)
        ctx.kept, seismograms = _record_numba(alpha, kappa, amplitude, wavelet, shots, any(ctx.needs_input_grad[:3]))
        return seismograms

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, residual: Tensor) -> tuple[Tensor | None, ...]:
        alpha, kappa, amplitude, wavelet = ctx.saved_tensors
        if ctx.shots.backend == "numba":
            of_alpha, of_kappa, of_amplitude = _gradient_numba(
                alpha, kappa, amplitude, wavelet, residual, ctx.shots, ctx.kept, ctx.needs_input_grad[1]
            )
        else:
            of_alpha, of_kappa, of_amplitude = _gradient_torch(alpha, kappa, amplitude, wavelet, residual, ctx.shots)
        # no wave where alpha is zero, above a free surface
        safe = alpha.where(alpha > 0, torch.ones_like(alpha))
        return of_alpha / safe.square(), of_kappa / safe, of_amplitude, None, None


# --- torch: fields (maps * shots, height + 4, width + 4), whose two outer cells repeat the opposite side. Steps run over whole rows,
# halo included, as one contiguous stretch of memory, in which the neighbours lie at fixed distances; the halo is mended after.


class _Stencil:
    """Shifted views of fields, and buffers of their size."""

    def __init__(self, fields: Tensor, maps: int) -> None:
        self.maps, height, self.width = maps, fields.shape[1] - 2 * HALO, fields.shape[2]
        self.length = height * self.width
        self.near, self.far = fields.new_empty(2, maps, len(fields) // maps, self.length)

    def at(self, fields: Tensor, rows: int = 0, columns: int = 0) -> Tensor:
        """The cells so many rows below and columns to the right of every cell inside, ``(maps, shots, length)``."""
        return fields.view(self.maps, -1, fields[0].numel()).narrow(
            2, (HALO + rows) * self.width + columns, self.length
        )

    def laplacian(self, p: Tensor) -> Tensor:
        """4/3 of the sum at distance one less 1/12 of that at two; the buffer is used again by the next call."""
        for buffer, distance in ((self.near, 1), (self.far, 2)):
            # mirrored neighbours first: a mirrored map gives the mirrored field to the last bit
            torch.add(self.at(p, 0, -distance), self.at(p, 0, distance), out=buffer)
            buffer += self.at(p, -distance)
            buffer += self.at(p, distance)
        out: Tensor = self.near.mul_(_NEAR).sub_(self.far, alpha=_FAR)
        return out

    def step(self, older: Tensor, newer: Tensor, alpha: Tensor, of_newer: Tensor, of_older: Tensor) -> None:
        """One time step written over ``older``."""
        change = self.laplacian(newer).mul_(alpha)
        self.at(older).mul_(of_older).addcmul_(self.at(newer), of_newer).add_(change)
        _wrap(older)


def _wrap(p: Tensor) -> None:
    """Make the edge periodic (corners are never read)."""
    p[..., :HALO, :] = p[..., -2 * HALO : -HALO, :]
    p[..., -HALO:, :] = p[..., HALO : 2 * HALO, :]
    p[..., :HALO] = p[..., -2 * HALO : -HALO]
    p[..., -HALO:] = p[..., HALO : 2 * HALO]


def _functional_step(
    older: Tensor, newer: Tensor, alpha: Tensor, of_newer: Tensor, of_older: Tensor, map_of: Tensor
) -> None:
    """The same step of ``(wavefields, height + 4, width + 4)`` as expressions, that a compiler fuses into one pass.

    Coefficients are looked up, ``map_of`` tells each wavefield's map: so the numbers of maps and of shots are no shapes.
    """
    width = newer.shape[-1]
    length = (newer.shape[-2] - 2 * HALO) * width
    flat = newer.flatten(1)

    def at(rows: int, columns: int) -> Tensor:
        return flat.narrow(1, (HALO + rows) * width + columns, length)

    near = (at(0, -1) + at(0, 1)) + at(-1, 0) + at(1, 0)
    far = (at(0, -2) + at(0, 2)) + at(-2, 0) + at(2, 0)
    inside = older.flatten(1).narrow(1, HALO * width, length)
    change = alpha[map_of] * (_NEAR * near - _FAR * far)
    inside.copy_(of_older[map_of] * inside + of_newer[map_of] * at(0, 0) + change)
    _wrap(older)


@lru_cache(maxsize=8)
def _fused_step(dtype: torch.dtype, device: torch.device) -> Callable[..., None]:
    """The step compiled for a precision on a device, once for all numbers of maps and shots and all grids.

    It is compiled on a sample whose sizes all differ, or those that happen to be equal would be taken for one. As one graph
    (``fullgraph``) it raises torch's error where it would have to be compiled too often, instead of running uncompiled.
    """
    step: Callable[..., None] = torch.compile(_functional_step, dynamic=True, fullgraph=True, backend=COMPILER)
    # tensors of their own: a view is told apart from a tensor that owns its memory
    fields = [torch.zeros(7, 96, 160, dtype=dtype, device=device) for _ in range(2)]
    rows = [torch.zeros(3, 92 * 160, dtype=dtype, device=device) for _ in range(3)]
    with torch.no_grad():  # as all steps run, forward and adjoint
        step(*fields, *rows, torch.zeros(7, dtype=torch.int64, device=device))
    return step


class _Steps:
    """The stencil's coefficients for a batch of maps, and where its shots are."""

    def __init__(self, alpha: Tensor, kappa: Tensor, shots: Shots) -> None:
        self._like = alpha
        self.shape = (len(alpha), len(shots), alpha.shape[1] + 2 * HALO, alpha.shape[2] + 2 * HALO)
        self.stencil = _Stencil(self.field(), len(alpha))
        self.alpha = self._rows(alpha)
        self.of_newer = self._rows(2.0 - 5.0 * alpha - kappa)
        self.of_older = self._rows(kappa - 1.0)
        self.which = torch.arange(len(shots), device=alpha.device)
        self.sources, self.receivers = (
            (torch.tensor(places, device=alpha.device) + HALO).unbind(1) for places in (shots.sources, shots.receivers)
        )
        self._fused = None
        if shots.backend in _FUSED:
            self._fused = _fused_step(alpha.dtype, alpha.device)
            copies = _FEWEST if len(alpha) < _FEWEST else 1
            coefficients = (torch.cat([rows[:, 0]] * copies) for rows in (self.alpha, self.of_newer, self.of_older))
            map_of = torch.arange(len(alpha) * len(shots), device=alpha.device) // len(shots)
            self._fixed = *coefficients, map_of

    @staticmethod
    def _rows(grid: Tensor) -> Tensor:
        """Coefficients along the stretch of memory, zero in the halo: ``(maps, 1, length)``."""
        return torch.nn.functional.pad(grid, (HALO, HALO)).flatten(1)[:, None]

    def grid(self, rows: Tensor) -> Tensor:
        """``(maps, length)`` as ``(maps, height, width)`` without halo."""
        out: Tensor = rows.unflatten(1, (-1, self.stencil.width))[:, :, HALO:-HALO]
        return out

    def field(self) -> Tensor:
        """A wavefield at rest."""
        return self._like.new_zeros(self.shape[0] * self.shape[1], *self.shape[2:])

    def advance(self, older: Tensor, newer: Tensor) -> None:
        """One free step, written over ``older``."""
        if self._fused is None:
            self.stencil.step(older, newer, self.alpha, self.of_newer, self.of_older)
        else:
            self._fused(older, newer, *self._fixed)

    def shoot(self, field: Tensor, values: Tensor) -> None:
        """Add ``(maps, shots)`` at the sources."""
        field.view(self.shape)[:, self.which, self.sources[0], self.sources[1]] += values

    def at_sources(self, field: Tensor) -> Tensor:
        """Each shot's own source cell, ``(maps, shots)``."""
        return field.view(self.shape)[:, self.which, self.sources[0], self.sources[1]]

    def at_receivers(self, field: Tensor) -> Tensor:
        """The recorded cells, ``(maps, shots, receivers)``."""
        return field.view(self.shape)[:, :, self.receivers[0], self.receivers[1]]

    def inject(self, field: Tensor, values: Tensor) -> None:
        """Add ``(maps, shots, receivers)`` at the receivers, of which several may share a cell."""
        places = (self.receivers[0] * self.shape[3] + self.receivers[1]).expand(values.shape)
        field.view(self.shape).flatten(2).scatter_add_(2, places, values)


@torch.no_grad()
def _record_torch(alpha: Tensor, kappa: Tensor, amplitude: Tensor, wavelet: Tensor, shots: Shots) -> Tensor:
    steps = _Steps(alpha, kappa, shots)
    older, newer = steps.field(), steps.field()
    out = alpha.new_empty(len(alpha), len(shots), len(wavelet), len(shots.receivers))
    for n in range(len(wavelet)):
        steps.advance(older, newer)
        steps.shoot(older, amplitude * wavelet[n])
        out[:, :, n] = steps.at_receivers(older)
        older, newer = newer, older
    return out


@torch.no_grad()
def _record_triton(alpha: Tensor, kappa: Tensor, amplitude: Tensor, wavelet: Tensor, shots: Shots) -> Tensor:
    from datamodules.gwi.march import march

    top, left = (alpha.shape[1] - shots.depth) // 2, (alpha.shape[2] - shots.width) // 2
    model = alpha[:, top : top + shots.depth, left : left + shots.width]
    sources, receivers = (
        torch.tensor(places, dtype=torch.int32, device=alpha.device) for places in (shots.sources, shots.receivers)
    )
    return march(model, kappa[:, :, left], kappa[:, top], amplitude, wavelet, sources, receivers)


@torch.no_grad()
def _gradient_torch(
    alpha: Tensor, kappa: Tensor, amplitude: Tensor, wavelet: Tensor, residual: Tensor, shots: Shots
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of alpha, times its square, of kappa, times alpha, and of the amplitude.

    What multiplies alpha in a step is the part of a change that is not the change before, damped: ``d[n+1] - (1 - k) d[n]``. Summed by
    parts over the steps, each change counts once: ``d[n+1] (adjoint[n] - (1 - k) adjoint[n+1])``, and no stencil is computed again.
    """
    steps = _Steps(alpha, kappa, shots)
    samples, segment = len(wavelet), shots.segment
    kept = _keep_fields(steps, amplitude, wavelet, segment)
    late, following = steps.field(), steps.field()
    of_alpha, of_kappa = torch.zeros_like(steps.alpha[:, 0]), torch.zeros_like(steps.alpha[:, 0])
    shot = torch.zeros_like(amplitude)  # the adjoint at each source times the wavelet
    (rows, columns), (source_rows, source_columns) = (
        [x - HALO for x in places] for places in (steps.receivers, steps.sources)
    )
    weights = alpha[:, None, rows, columns]
    at = steps.stencil.at
    while kept:
        start = (len(kept) - 1) * segment
        fields = _fields_between(steps, kept.pop(), amplitude, wavelet[start : start + segment])
        for n in range(min(samples, start + segment) - 1, start - 1, -1):
            steps.advance(late, following)
            steps.inject(late, weights * residual[:, :, n])
            change = at(fields[n - start + 2]) - at(fields[n - start + 1])
            of_alpha += (change * torch.addcmul(at(late), steps.of_older, at(following))).sum(1)
            of_kappa -= (change * at(following)).sum(1)
            shot += steps.at_sources(late) * wavelet[n]
            late, following = following, late
    of_alpha = steps.grid(of_alpha).contiguous()
    # what was shot is no work of alpha's
    for place, value in enumerate((shot * amplitude).unbind(1)):
        of_alpha[:, source_rows[place], source_columns[place]] -= value
    return of_alpha, steps.grid(of_kappa), shot / alpha[:, source_rows, source_columns]


def _keep_fields(steps: _Steps, amplitude: Tensor, wavelet: Tensor, segment: int) -> list[tuple[Tensor, Tensor]]:
    """The two wavefields before the first step of every segment."""
    older, newer = steps.field(), steps.field()
    kept = []
    for n in range(len(wavelet)):
        if n % segment == 0:
            kept.append((older.clone(), newer.clone()))
        steps.advance(older, newer)
        steps.shoot(older, amplitude * wavelet[n])
        older, newer = newer, older
    return kept


def _fields_between(steps: _Steps, first: tuple[Tensor, Tensor], amplitude: Tensor, wavelet: Tensor) -> list[Tensor]:
    """Wavefields of a segment: the two that were kept and all that follow."""
    fields = list(first)
    for value in wavelet:
        following = fields[-2].clone()
        steps.advance(following, fields[-1])
        steps.shoot(following, amplitude * value)
        fields.append(following)
    return fields


# --- numba: one thread per shot


def _aligned(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Zeros that begin at a cache line."""
    line = 64
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.zeros(size + line, np.uint8)
    begin = -memory.ctypes.data % line
    result: np.ndarray = memory[begin : begin + size].view(dtype).reshape(shape)
    return result


def _grids(alpha: Tensor, kappa: Tensor, shots: Shots) -> list[tuple[np.ndarray, ...]]:
    """What the kernels read of each map instead of two whole padded grids.

    Squared Courant numbers of the model's rows, columns padded to whole vectors at both sides; 1 less the sponge of the side columns; 1 for the
    model's columns, else 0; sponge of the rows; which row any row is, of those read around it, on the periodic grid; which of the
    model's rows it repeats; the stencil's constants.
    """
    from datamodules.gwi.kernels import AROUND, LINE

    a, k = alpha.detach().numpy(), kappa.detach().numpy()
    height, width = a.shape[1:]
    top, left = (height - shots.depth) // 2, (width - shots.width) // 2
    vectors, aside = -(-width // LINE) * LINE, _aside(width)
    inner = _aligned((vectors,), a.dtype)
    inner[aside + left :][: shots.width] = 1
    rows = np.arange(-height - AROUND, 2 * height + AROUND + 1) % height
    models = np.clip(np.arange(height) - top, 0, shots.depth - 1)
    same = rows.astype(np.uint64), models.astype(np.uint64), np.array([_NEAR, _FAR, 5.0], a.dtype)
    grids: list[tuple[np.ndarray, ...]] = []
    for one, sponge in zip(a, k, strict=True):
        model, free = _aligned((shots.depth, vectors), a.dtype), _aligned((vectors,), a.dtype)
        model[:, aside:][:, :width], free[aside:][:width] = one[top : top + shots.depth], 1 - sponge[top]
        grids.append((model, free, inner, np.ascontiguousarray(sponge[:, left]), *same))
    return grids


def _aside(width: int) -> int:
    """Columns of the first vector before the padded grid begins."""
    from datamodules.gwi.kernels import LINE

    return -width % LINE // 2


def _places(alpha: Tensor, shots: Shots, samples: int) -> list[list[tuple[Any, ...]]]:
    """Of every map and shot: row and column of the source, those of the receivers, and what each step computes.

    Columns are counted from the first vector; rows from and to may lie beyond the edge, whole vectors of columns may not.
    """
    from datamodules.gwi.kernels import LINE
    from datamodules.gwi.reach import falls, windows

    window: Callable[..., np.ndarray] = windows
    table, width = falls(), alpha.shape[2]
    receivers, aside = np.array(shots.receivers, np.int64), _aside(width)

    def steps(fastest: np.ndarray, axis: int) -> dict[int, np.ndarray]:
        """By the row, or column, of the source."""
        return {at: window(fastest, table, at, receivers[:, axis], samples) for at in {s[axis] for s in shots.sources}}

    found = []
    for one in alpha.detach().numpy():
        rows, columns = steps(one.max(1), 0), steps(one.max(0), 1)
        for of_column in columns.values():
            of_column[(of_column[:, 0] < 0) | (of_column[:, 1] > width)] = 0, width
            of_column += aside
            of_column[:, 0], of_column[:, 1] = of_column[:, 0] // LINE * LINE, -(-of_column[:, 1] // LINE) * LINE
        found.append(
            [
                (row, column + aside, np.add(receivers, [0, aside]), np.hstack([rows[row], columns[column]]))
                for row, column in shots.sources
            ]
        )
    return found


def _field_shape(alpha: Tensor) -> tuple[int, int, int]:
    """Of a pair of wavefields."""
    from datamodules.gwi.kernels import LINE, MARGIN

    return 2, alpha.shape[1], -(-alpha.shape[2] // LINE) * LINE + 2 * MARGIN


def _run_shots(work: Callable[[int, int], Any], maps: int, n_shots: int) -> list[Any]:
    """Run every (map, shot) in torch's number of threads; the kernels release the interpreter lock."""
    cells = [(m, s) for m in range(maps) for s in range(n_shots)]
    threads = min(torch.get_num_threads(), len(cells))
    if threads == 1:
        return [work(m, s) for m, s in cells]
    with ThreadPoolExecutor(threads, thread_name_prefix="shot") as pool:
        return list(pool.map(lambda cell: work(*cell), cells))


def _record_numba(
    alpha: Tensor, kappa: Tensor, amplitude: Tensor, wavelet: Tensor, shots: Shots, keep: bool
) -> tuple[list[np.ndarray], Tensor]:
    """Kept wavefields of every map and shot, empty unless asked for, and the seismograms."""
    from datamodules.gwi.kernels import record_shot

    kernel: Callable[..., None] = record_shot
    grids = _grids(alpha, kappa, shots)
    w, pair, width = wavelet.numpy(), _field_shape(alpha), alpha.shape[2]
    out = alpha.new_empty(len(alpha), len(shots), len(wavelet), len(shots.receivers)).detach()
    seismograms, factors = out.numpy(), amplitude.detach().numpy()
    segments = -(-len(w) // shots.segment) if keep else 0
    places = _places(alpha, shots, len(w))

    def work(m: int, s: int) -> np.ndarray:
        kept, p = np.empty((segments, *pair), w.dtype), _aligned(pair, w.dtype)
        kernel(grids[m], width, factors[m, s], w, *places[m][s], seismograms[m, s], p, kept, shots.segment)
        return kept

    return _run_shots(work, len(grids), len(shots)), out


def _gradient_numba(
    alpha: Tensor,
    kappa: Tensor,
    amplitude: Tensor,
    wavelet: Tensor,
    residual: Tensor,
    shots: Shots,
    kept: list[np.ndarray],
    of_sponge: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    from datamodules.gwi.kernels import gradient_shot

    kernel: Callable[..., float] = gradient_shot
    grids = _grids(alpha, kappa, shots)
    w, pair, width = wavelet.numpy(), _field_shape(alpha), alpha.shape[2]
    upstream, factors = np.ascontiguousarray(residual.numpy()), amplitude.detach().numpy()
    places = _places(alpha, shots, len(w))
    n_shots, (depth, vectors) = len(shots), grids[0][0].shape

    def work(m: int, s: int) -> tuple[np.ndarray, np.ndarray | None, float]:
        # arrays of its own for every shot: threads may not add to the same ones
        of_alpha = _aligned((depth, vectors), w.dtype)
        sponge = _aligned((pair[1], vectors), w.dtype) if of_sponge else None
        p, fields = _aligned(pair, w.dtype), _aligned((shots.segment + 2, *pair[1:]), w.dtype)
        of_amplitude = kernel(
            grids[m], width, factors[m, s], w, *places[m][s], upstream[m, s], p, kept[m * n_shots + s], shots.segment, fields, of_alpha, sponge
        )  # fmt: skip
        return of_alpha, sponge, of_amplitude

    results = _run_shots(work, len(grids), n_shots)
    of_alpha, of_kappa = torch.zeros_like(alpha), torch.zeros_like(alpha)
    top, within = (alpha.shape[1] - depth) // 2, slice(_aside(width), _aside(width) + width)
    for cell, (model, sponge, _) in enumerate(results):
        of_alpha[cell // n_shots, top : top + depth] += torch.from_numpy(model[:, within])
        if sponge is not None:
            of_kappa[cell // n_shots] += torch.from_numpy(sponge[:, within])
    of_amplitude = torch.tensor([value for *_, value in results], dtype=alpha.dtype).view(len(grids), n_shots)
    return of_alpha, of_kappa, of_amplitude


def snapshots(
    alpha: Tensor, kappa: Tensor, amplitudes: np.ndarray, wavelet: np.ndarray, shots: Shots, margin: int, every: int
) -> Iterator[np.ndarray]:
    """Wavefields of one map's shots by the compiled kernels, one shot after the other.

    Args:
        alpha: Squared Courant numbers on the padded grid, ``(1, height, width)``.
        kappa: Sponge rates times the time step, the same shape.
        amplitudes: Source factor of each shot.
        wavelet: ``(samples,)``.
        shots: Geometry; receivers do not matter.
        margin: Cells around the model that are kept too.
        every: Samples from one snapshot to the next.

    Yields:
        ``(snapshots, depth + 2 margin, columns + 2 margin)``, the same memory for every shot.
    """
    from datamodules.gwi.kernels import snapshot_shot

    kernel: Callable[..., None] = snapshot_shot
    grid = _grids(alpha, kappa, shots)[0]
    p = _aligned(_field_shape(alpha), grid[0].dtype)
    shape = (-(-len(wavelet) // every), shots.depth + 2 * margin, shots.width + 2 * margin)
    shown = np.empty(shape, p.dtype)
    first = (alpha.shape[1] - shots.depth) // 2 - margin
    corners = (first, first), (first + shape[1] - 1, first + shape[2] - 1)
    (places,) = _places(alpha, replace(shots, receivers=corners), len(wavelet))
    for (row, column, _, steps), amplitude in zip(places, amplitudes, strict=True):
        kernel(grid, alpha.shape[2], amplitude, wavelet, row, column, steps, p, every, first, shown)
        yield shown
