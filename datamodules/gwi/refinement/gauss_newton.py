"""Gauss-Newton steps in the Laplace domain, from a plain gradient into the basin where a descent in time ends well.

A gradient of the misfit sees little of the depth, which is lit less and whose waves come late and weak, and at the wavelet's
own frequencies it skips cycles. Here every trace counts by its own size, the lowest frequencies and the earliest arrivals come first, and the
sensitivities of all cells are known (:mod:`.sensitivity`), so that a step solves for what shallow layers do to deep ones. A map is moved in
cosines: at first by its profile alone, then by finer and finer ones.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import torch
from scipy.fft import dct
from scipy.linalg import cho_factor, cho_solve
from scipy.sparse.linalg import eigsh

from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.propagation import has_numba
from datamodules.gwi.refinement.misfit import Misfit, depth_scale
from datamodules.gwi.refinement.priors import Edges, Penalty
from datamodules.gwi.refinement.quasi_newton import solve
from datamodules.gwi.refinement.sensitivity import Sensitivities, laplace
from datamodules.gwi.simulator import Simulator

Array = npt.NDArray[np.float64]
_MOST_CELLS, _MOST_PRODUCTS = 12_000, 150_000  # cells, and cells times sources: about 1 GB of sensitivities
_MOST_TRACES = 70  # of a shot, of which a share is compared
_DEVIATION = 400.0  # m/s of a cosine
_LEVEL = 0.02  # traces below this share of the mean count less than the others
_TRIES = 4
_SURE = 1.5  # times what noise leaves on average, above which a misfit is more than noise
_WORSE = 1.5  # times the least residual of a stage, above which its steps are thrown away
_ROUNDING = 3e-9  # misfit that float32 leaves
_POWER, _JUMP = 0.3, 20.0  # of the prior that sharpens
_SHARE = 0.1  # its least weight against the misfit
_MULTIPLICATIONS = 300
_LENGTHS = (1.0, 0.4, 0.15)


@dataclass(frozen=True)
class Data:
    """What of the gathers is compared.

    Args:
        damping: Of the traces, over the time that waves take to the map's bottom and back: 4 leaves exp(-4) of what comes from there.
        frequencies: Shares of the wavelet's peak frequency.
        traces: Share of the receivers, of the first 70 evenly spread ones where there are more.
    """

    damping: float
    frequencies: tuple[float, ...]
    traces: float = 0.34


@dataclass(frozen=True)
class Stage:
    """Some iterations with the same data and the same cosines.

    Args:
        data: What is compared.
        rows: Cosines in depth, as a share of the rows.
        columns: Cosines along the line, as a share of the columns; 0 for the profile alone.
        length: Length of correlation of the steps, in cells.
        first: Levenberg-Marquardt damping to begin with, as a share of the largest eigenvalue.
        least: The least.
        largest: Largest root mean square of a step in m/s.
        iterations: At most.
        gain: The stage ends with an iteration that lowers the misfit by less than this factor.
    """

    data: Data
    rows: float
    columns: float
    length: float
    first: float
    least: float = 1e-9
    largest: float = 150.0
    iterations: int = 12
    gain: float = 1.1


@dataclass(frozen=True)
class Sharpening:
    """Some iterations in cells, under a prior of few edges.

    Args:
        data: What is compared.
        first: Weight of the prior of a cell against the misfit, in the first iteration.
        last: In the last; each iteration between weighs it less by the same factor.
        iterations: How many.
    """

    data: Data
    first: float = 1e-6
    last: float = 5e-8
    iterations: int = 8


_LOW = Data(4, (0.07, 0.13, 0.2, 0.27, 0.4))
_HIGH = Data(3, (0.2, 0.4, 0.6, 0.8, 1.0, 1.2))
PROFILE = (
    Stage(Data(4, (0.07, 0.13, 0.2, 0.27), 0.17), 0.17, 0.0, 6.0, 1e-2, 1e-6, 200.0, 16, 1.25),
    Stage(Data(3, (0.07, 0.13, 0.2, 0.27, 0.4, 0.54), 0.17), 0.57, 0.0, 2.0, 1e-3, 1e-9, 100.0, 12, 1.4),
)
"""For starts without structure; where the ground is no profile they end at once."""
FINER = (
    Stage(_LOW, 0.3, 0.12, 4.0, 1e-3, 1e-6),
    Stage(Data(3, (0.07, 0.13, 0.27, 0.4, 0.54)), 0.43, 0.23, 2.0, 1e-4),
    Stage(Data(3, (0.13, 0.27, 0.4, 0.54, 0.67, 0.8)), 1.0, 1.0, 1.5, 1e-5),
)
"""For any start whose cycles may skip."""
SHARPENING = (Sharpening(_HIGH), Sharpening(_HIGH, 3e-7, 3e-8))
"""For layered ground."""
NEAR = (replace(FINER[-1], iterations=3), Sharpening(_HIGH), Sharpening(_HIGH, 3e-7, 3e-8, 3))
"""For a net's maps of layers, whose cycles do not skip: about half a minute of one core."""
_MIDDLE = (0.13, 0.27, 0.4, 0.54, 0.67, 0.8, 1.0, 1.2, 1.5)
TEXTURED = (
    Stage(FINER[-1].data, 1.0, 1.0, 2.0, 1e-4, iterations=3),
    Stage(Data(3, _MIDDLE), 1.0, 1.0, 1.5, 1e-5, iterations=8, gain=1.02),
    Stage(Data(2, (0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.5, 1.8, 2.1, 2.4)), 1.0, 1.0, 0.7, 1e-6, iterations=6, gain=1.02),
    Stage(Data(1.5, tuple(k / 10 for k in range(2, 31))), 1.0, 1.0, 0.5, 1e-6, iterations=6, gain=1.02),
)
"""For a net's Style maps: no edges to sharpen, so that only data tell their details: higher frequencies, and at last so many of them that there are more
equations than cells. With ten frequencies gathers were explained and half of the details were not. Less than two minutes of one core."""


def suits(acquisition: Acquisition, shape: tuple[int, int]) -> bool:
    """Whether the sensitivities of all cells fit into memory and time, and the compiled kernels know the survey."""
    cells = shape[0] * shape[1]
    small = cells <= _MOST_CELLS and cells * len(acquisition.source_columns) <= _MOST_PRODUCTS
    return small and not acquisition.free_surface and has_numba()


class GaussNewton:
    """Of one survey's gathers.

    Args:
        misfit: Recorded gathers and what counts of them: missing traces, frequencies that nobody recorded.
        slowest: Lower bound of velocities in m/s.
        fastest: Upper bound.
        watch: Is told the root mean square of the residual after every step.
    """

    def __init__(
        self, misfit: Misfit, slowest: float, fastest: float, watch: Callable[[float], None] | None = None
    ) -> None:
        self._misfit, self._bounds, self._watch = misfit, (slowest, fastest), watch
        self._simulator = Simulator(misfit.simulator.acquisition, backend="numba")
        self._sensitivities = Sensitivities(self._simulator)

    def __call__(self, velocity: npt.NDArray[np.floating], stage: Stage | Sharpening) -> Array:
        """Move a map through a stage."""
        found: Array = np.clip(velocity, *self._bounds).astype(np.float64)
        comparison = _Comparison(self._misfit, self._simulator, self._sensitivities, stage.data, found)
        return (
            self._run(found, stage, comparison) if isinstance(stage, Stage) else self._sharpen(found, stage, comparison)
        )

    def _moved(self, trail: list[tuple[float, Array]], velocity: Array, rms: float) -> bool:
        """Whether a map that steps led to explains the traces themselves still about as well as those before it."""
        trail.append((rms, velocity))
        if self._watch is not None:
            self._watch(rms)
        return rms <= _WORSE * min(one for one, _ in trail)

    def _run(self, velocity: Array, stage: Stage, comparison: _Comparison) -> Array:
        """Levenberg-Marquardt steps in cosines, until they no longer pay or what is left is noise."""
        cosines, deviation = _cosines((velocity.shape[0], velocity.shape[1]), stage)
        damping = stage.first
        trail: list[tuple[float, Array]] = []
        for _ in range(stage.iterations):
            slowest = float(velocity.min())
            residual, rms = comparison.residual(velocity, slowest)
            trail = trail or [(rms, velocity)]
            value = _square(residual)
            if value <= comparison.expected:
                break
            changes = comparison.changes(velocity, slowest)
            rows = (cosines[0].T @ (changes @ cosines[1]) * deviation).reshape(-1, deviation.size)
            damped = _Damped(_real(rows), _real(residual))
            for _ in range(_TRIES):
                while True:
                    amounts = damped(damping).reshape(deviation.shape) * deviation
                    step = cosines[0] @ amounts @ cosines[1].T
                    if np.sqrt((step**2).mean()) <= stage.largest:
                        break
                    damping *= 2.0
                tried = np.clip(velocity + step, *self._bounds)
                after, rms = comparison.residual(tried, slowest)
                reached = _square(after)
                if reached < value:
                    break
                damping *= 10.0
            else:
                break
            if not self._moved(trail, tried, rms):
                return min(trail, key=itemgetter(0))[1]
            velocity = tried
            damping = max(damping / (4.0 if reached < value / 1.5 else 2.0), stage.least)
            if reached > value / stage.gain:
                break
        return velocity

    def _sharpen(self, velocity: Array, stage: Sharpening, comparison: _Comparison) -> Array:
        """Gauss-Newton steps in cells under the prior; few edges decide what the gathers leave open."""
        scale = np.broadcast_to(depth_scale(len(velocity)), velocity.shape)
        prior = Edges(_POWER, _JUMP, by_depth=False)
        weight, fade = stage.first, (stage.last / stage.first) ** (1.0 / max(1, stage.iterations - 1))
        trail: list[tuple[float, Array]] = []
        for _ in range(stage.iterations):
            slowest = float(velocity.min())
            residual, rms = comparison.residual(velocity, slowest)
            trail = trail or [(rms, velocity)]
            if _square(residual) <= comparison.expected:
                break
            rows = _real((comparison.changes(velocity, slowest) * scale).reshape(-1, velocity.size)).astype(np.float32)
            penalty = prior(velocity)
            # noise must not be explained, nor a misfit that is still large by edges of any kind
            least = _SHARE * _square(residual) / max(penalty.value, 1e-9)
            share = 2.0 * max(weight / velocity.size, least)
            gradient = (rows.T @ _real(residual)).reshape(velocity.shape) + 0.5 * share * scale * penalty.gradient

            def bend(
                change: Array, rows: npt.NDArray[np.float32] = rows, penalty: Penalty = penalty, share: float = share
            ) -> Array:
                of_misfit = rows.T @ (rows @ change.ravel().astype(np.float32))
                return of_misfit.reshape(change.shape) + 0.5 * share * scale * penalty.curvature(scale * change)

            step = -scale * solve(bend, gradient, most=_MULTIPLICATIONS)
            before = _square(residual) + share * penalty.value
            for length in _LENGTHS:
                tried = np.clip(velocity + length * step, *self._bounds)
                after, rms = comparison.residual(tried, slowest)
                if _square(after) + share * prior(tried).value < before:
                    break
            else:
                break
            if not self._moved(trail, tried, rms):
                return min(trail, key=itemgetter(0))[1]
            velocity = tried
            weight *= fade
        return velocity


class _Comparison:
    """Recorded and simulated gathers of some maps, in the Laplace domain, every trace by its own size."""

    def __init__(
        self, misfit: Misfit, simulator: Simulator, sensitivities: Sensitivities, data: Data, velocity: Array
    ) -> None:
        a = simulator.acquisition
        self._misfit, self._simulator, self._sensitivities = misfit, simulator, sensitivities
        self._recorded = misfit.recorded.double().cpu().numpy()
        samples, receivers = self._recorded.shape[1:]
        self._interval = a.interval * a.samples / samples  # compact gathers have fewer samples
        many = min(receivers, max(2, round(data.traces * min(receivers, _MOST_TRACES))))
        self._chosen = np.unique(np.linspace(0, receivers - 1, many).round().astype(np.int64))
        peak = a.peak_frequency()
        lowest = 1.3 * (misfit.lowest or 0.0) / peak
        shares = {max(share, lowest) for share in data.frequencies} | ({1.3 * lowest} if lowest else set())
        both_ways = 2.0 * a.spacing * len(velocity) * float((1.0 / velocity).mean())
        self._s = data.damping / min(both_ways, a.interval * a.samples) + 2j * np.pi * peak * np.array(sorted(shares))
        self._observed = self._transform(self._recorded)
        size = np.abs(self._observed)
        energy = float(np.exp(-2.0 * self._s[0].real * np.arange(samples) * self._interval).sum())
        noise = misfit.noise * math.sqrt(energy) * self._interval
        weights = 1.0 / np.sqrt(size**2 + (_LEVEL * size.mean((1, 2), keepdims=True)) ** 2 + noise**2)
        weights[:, (self._recorded[:, :, self._chosen] == 0).all(1)] = 0.0  # missing traces
        self._weights = weights / math.sqrt(weights.size)
        self.expected = max(_ROUNDING, _SURE * float((self._weights**2).sum() * noise**2))
        """Misfit that noise alone leaves."""

    def _transform(self, gathers: Array) -> npt.NDArray[np.complex128]:
        """Laplace transforms ``(frequencies, shots, receivers)``."""
        found = laplace(gathers[:, :, self._chosen].transpose(1, 0, 2), self._interval, self._s)
        # a compact sample is the mean around its middle, later than its first
        middle = (self._interval - self._simulator.acquisition.interval) / 2.0
        moved: npt.NDArray[np.complex128] = found * np.exp(-self._s * middle)[:, None, None]
        return moved

    def residual(self, velocity: Array, slowest: float) -> tuple[npt.NDArray[np.complex128], float]:
        """Weighted residual of a map, and the plain root mean square of its traces'."""
        with torch.no_grad():
            x = torch.from_numpy(velocity.astype(np.float32))[None]
            shot = self._simulator(x, slowest=x.new_tensor([slowest]))[0]
            seen = self._misfit.seen(shot.to(self._misfit.recorded.device)).double().cpu().numpy()
        rms = float(np.sqrt(np.mean((seen - self._recorded) ** 2)))
        return (self._transform(seen) - self._observed) * self._weights, rms

    def changes(self, velocity: Array, slowest: float) -> npt.NDArray[np.complexfloating]:
        """Change of the weighted residual by each cell, ``(frequencies, shots, receivers, depth, columns)``."""
        a = self._simulator.acquisition
        receivers = a.receivers(velocity.shape[1])
        found = self._sensitivities(velocity, slowest, self._s, a.sources(), [receivers[c] for c in self._chosen])
        found *= self._weights[..., None, None].astype(np.float32)
        return found


def _real(values: npt.NDArray[np.complexfloating]) -> Array:
    """Real parts, then imaginary ones, of the first axes as one."""
    rows = values.reshape(-1, values.shape[-1]) if values.ndim == 2 else values.ravel()
    return np.concatenate([rows.real, rows.imag]).astype(np.float64)


def _square(residual: npt.NDArray[np.complex128]) -> float:
    return float((np.abs(residual) ** 2).sum())


class _Damped:
    """Levenberg-Marquardt steps of ``|rows x + residual|`` for any damping, solved for the fewer of unknowns and equations."""

    def __init__(self, rows: Array, residual: Array) -> None:
        self._rows, self._residual = rows, residual
        self._dual = rows.shape[0] < rows.shape[1]
        self._normal = rows @ rows.T if self._dual else rows.T @ rows
        first = np.random.default_rng(0).standard_normal(len(self._normal))  # else each run would end in other bits
        self._largest = float(eigsh(self._normal, k=1, v0=first, return_eigenvectors=False)[0])

    def __call__(self, damping: float) -> Array:
        """Step with a damping that is a share of the largest eigenvalue."""
        damped = self._normal + damping * self._largest * np.eye(len(self._normal))
        right = self._residual if self._dual else self._rows.T @ self._residual
        found: Array = cho_solve(cho_factor(damped, overwrite_a=True, check_finite=False), right)
        return -(self._rows.T @ found) if self._dual else -found


def _cosines(shape: tuple[int, int], stage: Stage) -> tuple[tuple[Array, Array], Array]:
    """Cosines in depth and along the line ``(cells, cosines)``, and the deviation of each pair in m/s."""
    bases, decays = [], []
    for cells, share in zip(shape, (stage.rows, stage.columns), strict=True):
        many = max(1, round(share * cells))
        bases.append(np.asarray(dct(np.eye(cells), norm="ortho", axis=0))[:many].T)
        decays.append(np.exp(-0.25 * (np.pi * np.arange(many) / cells * stage.length) ** 2))
    return (bases[0], bases[1]), _DEVIATION * np.outer(*decays)
