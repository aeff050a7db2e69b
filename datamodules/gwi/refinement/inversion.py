"""Full-waveform inversion of one survey: from where a geophysicist starts, low frequencies first, with a measure of doubt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter

from datamodules.errors import DataError
from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.files import open_array
from datamodules.gwi.refinement.descent import Descent, Refined
from datamodules.gwi.refinement.misfit import Misfit
from datamodules.gwi.refinement.priors import Prior
from datamodules.gwi.refinement.side_by_side import Job, refine_maps
from datamodules.gwi.simulator import Simulator

Array = npt.NDArray[np.float64]
_CORRELATED = 6.0  # cells over which starts of an ensemble differ
_DAMPING = 1e-3  # of the strongest frequency, where a wavelet is estimated


@dataclass(frozen=True)
class Inverted:
    """What a survey says of the ground.

    Attributes:
        velocity: ``(depth, columns)`` in m/s, the mean of an ensemble.
        deviation: Standard deviation over an ensemble of starts, or None of one start.
        members: Every member's map, ``(members, depth, columns)``.
        before, after: Root mean square of the residuals, all frequencies, over the start and over the members' results.
    """

    velocity: Array
    deviation: Array | None
    members: Array
    before: float
    after: float


def parse_start(text: str, shape: tuple[int, int]) -> Array:
    """A start as the command line writes it.

    Args:
        text: ``gradient:TOP:BOTTOM`` and ``constant:VELOCITY`` in m/s, ``FILE.npy``, or ``smooth:CELLS:FILE.npy``, which is blurred.
        shape: Depth and columns of the map.

    Raises:
        DataError: another word, numbers that are none, or a map of another shape.
    """
    kind, _, rest = text.partition(":")
    try:
        if kind == "gradient":
            top, bottom = (float(part) for part in rest.split(":"))
            return np.repeat(np.linspace(top, bottom, shape[0])[:, None], shape[1], axis=1)
        if kind == "constant":
            return np.full(shape, float(rest))
        cells, name = 0.0, text
        if kind == "smooth":
            number, _, name = rest.partition(":")
            cells = float(number)
    except ValueError:
        raise DataError(
            f"--start {text} is not written as gradient:1600:4200, constant:2500, FILE.npy or smooth:5:FILE.npy"
        ) from None
    start = np.array(open_array(Path(name)), dtype=np.float64)
    if start.shape != shape:
        raise DataError(f"--start {name} has the shape {start.shape}, the map is {shape}")
    return np.asarray(gaussian_filter(start, cells, mode="nearest")) if cells else start


def estimate_wavelet(recorded: npt.NDArray[np.floating], start: Array, acquisition: Acquisition) -> Acquisition:
    """The acquisition with the wavelet that explains gathers best over a start (Pratt 1999): a filter of the one it had.

    Args:
        recorded: ``(shots, samples, receivers)``.
        start: Map whose shallow part is about right, since direct waves weigh most.
        acquisition: With a first guess of the wavelet.
    """
    with torch.no_grad():
        shot = Simulator(acquisition)(torch.from_numpy(start.astype(np.float32))[None])[0].double().numpy()
    there = np.isfinite(recorded).all(1, keepdims=True)
    given = np.fft.rfft(np.where(there, recorded, 0.0), axis=1)
    ours = np.fft.rfft(shot * there, axis=1)
    power = (np.abs(ours) ** 2).sum((0, 2))
    ratio = (ours.conj() * given).sum((0, 2)) / (power + _DAMPING * power.max())
    samples = recorded.shape[1]
    wavelet = np.fft.irfft(np.fft.rfft(acquisition.wavelet()) * ratio, samples)
    return replace(acquisition, source_samples=tuple(wavelet.tolist()))


def invert(
    recorded: npt.NDArray[np.floating],
    start: npt.NDArray[np.floating],
    acquisition: Acquisition,
    prior: Prior,
    settings: Descent,
    frequencies: tuple[float, ...] = (),
    envelope: bool = False,
    members: int = 1,
    spread: float = 100.0,
    device: str = "cpu",
    at_once: int = 1,
    seed: int = 0,
) -> Inverted:
    """Invert gathers; iterations are shared evenly by the stages.

    Args:
        recorded: ``(shots, samples, receivers)``; missing traces are NaN or zero.
        start: ``(depth, columns)`` in m/s.
        acquisition: How they were shot.
        prior: What the ground looks like.
        settings: Settings of the descents.
        frequencies: Highest frequency of each stage in Hz, ascending; a stage with all of them follows.
        envelope: The first stage compares envelopes.
        members: Starts of an ensemble, the first as given, the others with smooth errors.
        spread: Standard deviation of these errors in m/s.
        device: Device of the simulator.
        at_once: Members side by side.
        seed: Seed of the errors.
    """
    simulator = Simulator(acquisition).to(device)
    finite = np.where(np.isfinite(recorded), recorded, 0.0)
    level = float(np.sqrt(np.mean(np.square(finite, dtype=np.float64))))
    stages: list[tuple[float | None, bool]] = [(highest, False) for highest in frequencies] + [(None, False)]
    if envelope:
        stages.insert(0, (frequencies[0] if frequencies else None, True))
    each = replace(
        settings,
        max_iterations=max(1, settings.max_iterations // len(stages)),
        settled=settings.settled // len(stages),
        # OpenFWI's thresholds as shares of its level
        enough=settings.enough * level / _OPENFWI_LEVEL,
        fitted=settings.fitted * level / _OPENFWI_LEVEL,
    )
    rng = np.random.default_rng(seed)
    maps = [np.asarray(start, dtype=np.float64)]
    for _ in range(members - 1):
        noise = gaussian_filter(rng.standard_normal(start.shape), _CORRELATED, mode="nearest")
        maps.append(np.clip(maps[0] + spread * noise / noise.std(), settings.slowest, settings.fastest))
    results: dict[int, Refined] = {}
    before = Misfit(recorded, simulator)(maps[0]).rms
    for highest, by_envelope in stages:
        misfit = Misfit(recorded, simulator, highest, by_envelope)
        jobs = (Job(row, velocity, misfit, prior) for row, velocity in enumerate(maps))
        results = dict(refine_maps(jobs, each, at_once))
        maps = [results[row].velocity for row in range(members)]
    every = np.stack(maps)
    after = float(np.mean([results[row].after for row in range(members)]))
    return Inverted(every.mean(0), every.std(0, ddof=1) if members > 1 else None, every, before, after)


_OPENFWI_LEVEL = 1.6  # root mean square of its gathers
