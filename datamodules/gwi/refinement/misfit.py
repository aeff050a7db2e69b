"""How far a map's simulated gathers are from the recorded ones, and which way to move the map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.errors import DataError
from datamodules.gwi.gathers import alive_traces, resize_time, zero_last_sample
from datamodules.gwi.simulator import Simulator

Array = npt.NDArray[np.float64]
_ABOVE = 4.5  # peak frequencies, from which on a Ricker wavelet has nothing
_NOTHING = 1e-6  # share of the gathers' energy
_ALMOST_ZERO = 1e-10  # keeps the slope of an envelope finite where nothing arrives


def depth_scale(rows: int) -> Array:
    """How far velocities must move to change the gathers about as much, by row ``(rows, 1)``: the depth is lit less."""
    return ((np.arange(rows, dtype=np.float64) + 5.0) / 40.0)[:, None]


@dataclass(frozen=True)
class Trial:
    """A map to be tried.

    Attributes:
        velocity: ``(depth, columns)`` in m/s.
        slowest: Velocity that sets the sponge; the map's own by default.
    """

    velocity: Array
    slowest: float | None = None


@dataclass(frozen=True)
class Fit:
    """Of one map to its gathers.

    Attributes:
        value: Squares of the residual over those of the recorded gathers.
        gradient: Gradient of ``value``, ``(depth, columns)``.
        rms: Plain root mean square of the residual, in units of the gathers.
    """

    value: float
    gradient: Array
    rms: float


class Misfit:
    """Squared difference of gathers, or of what is looked at of them.

    All samples count alike. Late ones weighted up (5th place of the competition: from 0.1 to 10) make the depth, whose reflections are
    weak and late, move before the layers above it are right. Traces that are NaN or zero throughout do not count.

    Args:
        recorded: ``(shots, samples, receivers)``, all samples or compact ones; the last sample is left out.
        simulator: Simulator of these shots.
        highest: Frequency in Hz up to which both are compared: what is low skips no cycle (Bunks et al. 1995).
        lowest: Frequency in Hz below which nothing was recorded, so that nothing is compared.
        envelope: Compare envelopes, which forgive a skipped cycle and lows that nobody recorded (Wu, Luo and Wu 2014).
    """

    def __init__(
        self,
        recorded: npt.NDArray[np.floating],
        simulator: Simulator,
        highest: float | None = None,
        envelope: bool = False,
        lowest: float | None = None,
    ) -> None:
        self.simulator, self.envelope, self.lowest = simulator, envelope, lowest
        device = simulator.wavelet.device
        a = simulator.acquisition
        self._full = recorded.shape[1] == a.samples
        values = np.array(recorded, dtype=np.float32)
        alive = alive_traces(values)[:, None]
        self._there = None if alive.all() else torch.from_numpy(alive).to(device)
        everything = torch.from_numpy(np.where(alive, values, np.float32(0))).to(device)
        if self._full:
            everything = zero_last_sample(everything)
        samples = recorded.shape[1]
        hertz = torch.fft.rfftfreq(samples, a.interval * a.samples / samples, device=device)
        self.noise = _noise(everything, hertz > _ABOVE * a.peak_frequency())
        self._band: Tensor | None = None
        for edge, falls in ((highest, True), (lowest, False)):
            if edge is not None:
                share = ((hertz / edge - (0.8 if falls else 1.0)) / (0.4 if falls else 0.3)).clamp(0, 1)
                taper = 0.5 + (0.5 if falls else -0.5) * torch.cos(math.pi * share)[:, None]
                self._band = taper if self._band is None else self._band * taper
        self._recorded = self._seen(everything)
        self.norm = float(self._recorded.square().sum(dtype=torch.float64))
        if self.norm < _NOTHING * float(everything.square().sum(dtype=torch.float64)):
            raise DataError(
                f"the gathers hold nothing between {lowest or 0:g} and {hertz[-1] if highest is None else highest:g} Hz, where they are to be compared"
            )

    def __call__(self, velocity: Array, slowest: float | None = None) -> Fit:
        """Fit and gradient of one map."""
        return evaluate([self], [Trial(velocity, slowest)])[0]

    @property
    def recorded(self) -> Tensor:
        """What is seen of the recorded gathers."""
        return self._recorded

    def residual(self, shot: Tensor) -> Tensor:
        """What is seen of simulated gathers ``(shots, samples, receivers)`` less the same of the recorded ones."""
        return self.seen(shot) - self._recorded

    def seen(self, shot: Tensor) -> Tensor:
        """What is seen of simulated gathers, with the samples of the recorded ones."""
        shot = zero_last_sample(shot)
        if not self._full:
            shot = resize_time(shot[None], self._recorded.shape[1])[0]
        if self._there is not None:
            shot = shot * self._there
        return self._seen(shot)

    def _seen(self, gathers: Tensor) -> Tensor:
        if self._band is None and not self.envelope:
            return gathers
        samples = gathers.shape[1]
        spectrum = torch.fft.rfft(gathers, dim=1)
        if self._band is not None:
            spectrum = spectrum * self._band
        traces: Tensor = torch.fft.irfft(spectrum, samples, dim=1)
        if not self.envelope:
            return traces
        quarter: Tensor = torch.fft.irfft(spectrum * -1j, samples, dim=1)  # the Hilbert transform
        return (traces.square() + quarter.square() + _ALMOST_ZERO).sqrt()


def _noise(traces: Tensor, empty: Tensor) -> float:
    """Standard deviation of white noise, from frequencies where the wavelet has nothing; 0 where there are none such."""
    if not bool(empty.any()):
        return 0.0
    window = torch.hann_window(traces.shape[1], device=traces.device)[:, None]  # a record's end is no noise
    power = torch.fft.rfft(traces * window, dim=1).abs().square()[:, empty]
    alive = power.sum(1) > 0
    return float((power.mean(1)[alive].mean() / window.square().sum()).sqrt()) if bool(alive.any()) else 0.0


def evaluate(misfits: Sequence[Misfit], trials: Sequence[Trial]) -> list[Fit]:
    """Simulate several maps at once, each for gathers of its own.

    Args:
        misfits: With the same simulator.
        trials: One for each.

    Returns:
        What each misfit would give for its map alone.
    """
    simulator = misfits[0].simulator
    maps = np.stack([trial.velocity for trial in trials]).astype(np.float32)
    sponges = [float(v.min()) if t.slowest is None else t.slowest for v, t in zip(maps, trials, strict=True)]
    x = torch.from_numpy(maps).to(simulator.wavelet.device).requires_grad_()
    shots = simulator(x, slowest=x.new_tensor(sponges))
    residuals = [misfit.residual(shot) for misfit, shot in zip(misfits, shots, strict=True)]
    values = torch.stack([r.square().sum() / m.norm for r, m in zip(residuals, misfits, strict=True)])
    values.sum().backward()
    assert x.grad is not None
    gradients = x.grad.double().cpu().numpy()
    rms = torch.stack([r.detach().square().mean(dtype=torch.float64).sqrt() for r in residuals])
    return [Fit(*one) for one in zip(values.tolist(), gradients, rms.tolist(), strict=True)]
