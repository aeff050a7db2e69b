"""Further maps from one that was shot: where all velocities and the run of time are multiplied alike, the wave equation stays the same."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.gwi.acquisition import Acquisition
from datamodules.gwi.schema import N_SAMPLES, VMAX, VMIN

_STEPS = 12  # factors on either side of 1
_HIGHEST = 75.0  # in Hz; a Ricker wavelet of 15 Hz has nothing there


def scaled(gathers: Tensor, velocity: Tensor, most: float) -> tuple[Tensor, Tensor]:
    """Multiply every map of a batch by a random factor, and turn its gathers into those of that map.

    Samples after the end of the record are zero where a factor above 1 calls for them.

    Args:
        gathers: ``(batch, shots, samples, receivers)`` as recorded, of OpenFWI's survey.
        velocity: ``(batch, rows, columns)`` in m/s.
        most: Factors lie between 1 / (1 + most) and 1 + most, evenly by their logarithm, as far as velocities stay
            between 1500 and 4500 m/s.
    """
    matrices = _matrices(most, gathers.shape[2], gathers.device)
    reach = float(np.log1p(most))
    low = (VMIN / velocity.amin((1, 2))).log().clamp(-reach, 0)
    high = (VMAX / velocity.amax((1, 2))).log().clamp(0, reach)
    chosen = low + (high - low) * torch.rand(len(velocity), device=velocity.device)
    step = (chosen / reach * _STEPS).trunc()
    traces = gathers.permute(0, 2, 1, 3)
    new = torch.bmm(matrices[step.long() + _STEPS], traces.flatten(2)).view_as(traces).permute(0, 2, 1, 3)
    return new, velocity * (step / _STEPS * reach).exp()[:, None, None]


def at_speed(gathers: Tensor, factor: float) -> Tensor:
    """Gathers ``(batch, shots, samples, receivers)`` as they were if all velocities were ``factor`` times as high."""
    matrix = torch.from_numpy(scaling_matrix(factor, gathers.shape[2])).to(gathers)
    return torch.einsum("ij,bsjr->bsir", matrix, gathers)


@lru_cache
def _matrices(most: float, samples: int, device: torch.device) -> Tensor:
    """:func:`scaling_matrix` of all factors, ``(25, samples, samples)``: up to 100 MB, which are not sent to a GPU in every step."""
    factors = np.exp(np.linspace(-1, 1, 2 * _STEPS + 1) * np.log1p(most))
    return torch.from_numpy(np.stack([scaling_matrix(float(factor), samples) for factor in factors])).float().to(device)


@lru_cache
def scaling_matrix(factor: float, samples: int) -> npt.NDArray[np.float64]:
    """What turns a trace of a map into the trace of ``factor`` times the map, ``(samples, samples)``.

    With velocities ``factor`` times as high the field at t is the old one at ``factor * t``, of a wavelet that is stretched as
    much: its spectrum is put back by the ratio of two Ricker spectra, and its peak to the time where it was.

    Args:
        factor: Ratio of the new velocities to the old ones.
        samples: Time samples of a trace, 1000 or fewer that share out the same record.
    """
    survey = Acquisition()
    interval = N_SAMPLES / samples * survey.interval
    first = (interval - survey.interval) / 2  # time of the first of fewer samples, each the middle of its share
    peak = int(np.argmax(survey.wavelet())) * survey.interval
    padded = 2 * samples
    frequencies = np.fft.rfftfreq(padded, interval)
    ricker = factor**3 * np.exp(np.minimum((1 - factor**2) * (frequencies / survey.frequency) ** 2, 20))
    fade = np.cos(np.pi / 2 * np.clip(4 * frequencies / _HIGHEST - 3, 0, 1)) ** 2
    times = factor * (first + interval * np.arange(samples)) - (factor - 1) * peak - first
    waves = np.exp(2j * np.pi * times[:, None] * frequencies)
    twice = np.where((frequencies == 0) | (np.arange(len(frequencies)) == samples), 1, 2)
    spectra = np.fft.rfft(np.eye(padded, samples), axis=0)
    matrix: npt.NDArray[np.float64] = ((waves * (twice * ricker * fade)) @ spectra).real / padded
    matrix[(times < -interval) | (times > interval * (samples - 1))] = 0
    return matrix
