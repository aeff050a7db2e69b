"""Full-waveform inversion of one survey: from where a geophysicist starts, low frequencies first, with a measure of doubt."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import gaussian_filter
from tqdm import tqdm

from datamodules.errors import DataError
from datamodules.files import atomic_path
from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.files import open_array
from datamodules.gwi.gathers import alive_traces
from datamodules.gwi.refinement.descent import Descent
from datamodules.gwi.refinement.gauss_newton import (
    FINER,
    NEAR,
    PROFILE,
    SHARPENING,
    TEXTURED,
    GaussNewton,
    Sharpening,
    Stage,
    suits,
)
from datamodules.gwi.refinement.misfit import Misfit
from datamodules.gwi.refinement.priors import Edges, Prior
from datamodules.gwi.refinement.side_by_side import Job, refine_maps
from datamodules.gwi.simulator import Simulator

Array = npt.NDArray[np.float64]
_CORRELATED = 6.0  # cells over which starts of an ensemble differ
_DAMPING = 1e-3  # of the strongest frequency, where a wavelet is estimated


Method = Literal["auto", "gauss_newton", "quasi_newton"]


@dataclass(frozen=True)
class Inverted:
    """What a survey says of the ground.

    Attributes:
        velocity: ``(depth, columns)`` in m/s, the mean of an ensemble.
        deviation: Standard deviation over an ensemble of starts, or None of one start.
        members: Every member's map, ``(members, depth, columns)``.
        before, after: Root mean square of the residuals, all frequencies, over the start and over the members' results.
        history: Step number and root mean square of the residual after each iteration of the first member.
    """

    velocity: Array
    deviation: Array | None
    members: Array
    before: float
    after: float
    history: Array


@dataclass(frozen=True)
class Plan:
    """How one survey is inverted.

    Args:
        settings: Settings of the descents, whose iterations are shared evenly by the frequencies.
        frequencies: Highest frequency of each descent in Hz, ascending; one with all of them follows.
        envelope: The first descent compares envelopes.
        lowest: Frequency in Hz below which nothing was recorded.
        method: ``gauss_newton`` steps come before the descents, or the descents alone; ``auto``: where
            sensitivities fit into memory and the gathers are without noise, which hides the low frequencies that the steps begin with.
        members: Starts of an ensemble, the first as given, the others with smooth errors.
        spread: Standard deviation of these errors in m/s.
        seed: Seed of the errors.
    """

    settings: Descent
    frequencies: tuple[float, ...] = ()
    envelope: bool = False
    lowest: float | None = None
    method: Method = "auto"
    members: int = 1
    spread: float = 100.0
    seed: int = 0


@dataclass
class _State:
    """Where an inversion stands; written after every step, so that one that was broken off ends with the same bits."""

    maps: Array
    history: list[tuple[float, float]]
    step: int = 0

    def write(self, path: Path | None) -> None:
        if path is not None:
            with atomic_path(path) as part, part.open("wb") as file:
                np.savez(file, maps=self.maps, history=np.array(self.history).reshape(-1, 2), step=np.array(self.step))

    @classmethod
    def read(cls, path: Path) -> _State:
        with np.load(path, allow_pickle=False) as held:
            return cls(held["maps"], [(float(k), float(v)) for k, v in held["history"]], int(held["step"]))


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
    there = alive_traces(recorded)[:, None]
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
    plan: Plan,
    device: str = "cpu",
    at_once: int = 1,
    state: Path | None = None,
) -> Inverted:
    """Invert gathers.

    Args:
        recorded: ``(shots, samples, receivers)``; missing traces are NaN or zero.
        start: ``(depth, columns)`` in m/s.
        acquisition: How they were shot.
        prior: What the ground looks like.
        plan: How they are inverted.
        device: Device of the descents' simulator.
        at_once: Members side by side.
        state: File of the steps that are done, from which an inversion that was broken off goes on.

    Raises:
        DataError: Gauss-Newton steps are asked for where they cannot be made.
    """
    simulator = Simulator(acquisition).to(device)
    plain = Misfit(recorded, simulator, lowest=plan.lowest)
    shape = (start.shape[0], start.shape[1])
    if plan.method == "gauss_newton" and not suits(acquisition, shape):
        raise DataError(
            "Gauss-Newton steps need a map of at most 12,000 cells, at most 150,000 cells times shots, numba and no free surface; use --method quasi_newton"
        )
    wanted = plan.method == "gauss_newton" or (plan.method == "auto" and not _noisy(plain))
    opening = stages_for(start, prior) if wanted and suits(acquisition, shape) else ()
    descents: list[tuple[float | None, bool]] = [(highest, False) for highest in plan.frequencies] + [(None, False)]
    if plan.envelope:
        descents.insert(0, (plan.frequencies[0] if plan.frequencies else None, True))
    now = _State.read(state) if state is not None and state.is_file() else _State(_starts(start, plan), [])
    before = plain(np.asarray(start, dtype=np.float64)).rms
    with tqdm(total=len(opening) + len(descents), initial=now.step, unit=" steps", desc="inverting") as bar:

        def watch(rms: float) -> None:
            now.history.append((float(now.step), rms))
            bar.set_postfix_str(f"residual {rms:.4g}")

        for number in range(now.step, len(opening) + len(descents)):
            if number < len(opening):
                bounds = plan.settings.slowest, plan.settings.fastest
                of_first = GaussNewton(plain, *bounds, watch)
                of_others = GaussNewton(plain, *bounds)
                moved = [(of_others if k else of_first)(one, opening[number]) for k, one in enumerate(now.maps)]
                now.maps = np.stack(moved)
            else:
                highest, by_envelope = descents[number - len(opening)]
                misfit = Misfit(recorded, simulator, highest, by_envelope, plan.lowest)
                jobs = [Job(row, one, misfit, prior) for row, one in enumerate(now.maps)]
                settings = _shared(plan.settings, len(descents), plain)
                results = dict(
                    refine_maps(jobs, settings, at_once, lambda row, fit: watch(fit.rms) if row == 0 else None)
                )
                now.maps = np.stack([results[row].velocity for row in range(len(jobs))])
            now.step = number + 1
            now.write(state)
            bar.update()
    after = float(np.mean([plain(one).rms for one in now.maps]))
    deviation = now.maps.std(0, ddof=1) if len(now.maps) > 1 else None
    return Inverted(now.maps.mean(0), deviation, now.maps, before, after, np.array(now.history).reshape(-1, 2))


def stages_for(start: npt.NDArray[np.floating], prior: Prior) -> tuple[Stage | Sharpening, ...]:
    """Gauss-Newton steps that a start needs: its profile first unless it has structure."""
    profile = PROFILE if not np.ptp(start, axis=1).any() else ()
    return (*profile, *FINER, *(SHARPENING if isinstance(prior, Edges) else ()))


def stages_near(prior: Prior) -> tuple[Stage | Sharpening, ...]:
    """Gauss-Newton steps that a net's map needs."""
    return NEAR if isinstance(prior, Edges) else TEXTURED


def _starts(start: npt.NDArray[np.floating], plan: Plan) -> Array:
    rng = np.random.default_rng(plan.seed)
    maps = [np.asarray(start, dtype=np.float64)]
    for _ in range(plan.members - 1):
        noise = gaussian_filter(rng.standard_normal(start.shape), _CORRELATED, mode="nearest")
        disturbed = maps[0] + plan.spread * noise / noise.std()
        maps.append(np.clip(disturbed, plan.settings.slowest, plan.settings.fastest))
    return np.stack(maps)


def _shared(settings: Descent, descents: int, misfit: Misfit) -> Descent:
    """Settings of each descent; OpenFWI's thresholds are shares of its level, and noise is not explained."""
    level = _level(misfit) / _OPENFWI_LEVEL
    return replace(
        settings,
        max_iterations=max(1, settings.max_iterations // descents),
        settled=settings.settled // descents,
        enough=max(settings.enough * level, misfit.noise),
        fitted=max(settings.fitted * level, 1.2 * misfit.noise),
        noise=misfit.noise if _noisy(misfit) else 0.0,
    )


def _level(misfit: Misfit) -> float:
    """Root mean square of the recorded gathers."""
    return float(misfit.recorded.square().mean(dtype=torch.float64).sqrt())


def _noisy(misfit: Misfit) -> bool:
    return misfit.noise > _ROUNDING * _level(misfit)


_ROUNDING = 1e-3  # share of the gathers' level below which noise is none
_OPENFWI_LEVEL = 1.6  # root mean square of its gathers
