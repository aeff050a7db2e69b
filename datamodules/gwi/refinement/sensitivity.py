"""How every trace answers to every cell: the sensitivities that Gauss-Newton steps are made of, from one run for each source and receiver.

By reciprocity the wave from a cell to a receiver is that from the receiver to the cell, so that the first-order change of a trace
(the Born approximation) is a product of two wavefields in the Laplace domain, at complex frequencies ``s = damping + 2 pi i f``. Damping looks at
early arrivals first (Shin and Cha 2009) and makes the record's end, where the product is not exact, count little.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812

from datamodules.gwi.propagation import Shots, snapshots
from datamodules.gwi.simulator import Simulator

Array = npt.NDArray[np.float64]
Spectra = npt.NDArray[np.complex64]
Place = tuple[int, int]
_BAND = 3.5  # peak frequencies of a wavelet above which it holds nothing
_BLOCK = 8  # receivers whose products are in memory at once


def laplace(
    traces: npt.NDArray[np.floating], interval: float, s: npt.NDArray[np.complex128]
) -> npt.NDArray[np.complex128]:
    """Laplace transforms ``(frequencies, ...)`` of traces ``(samples, ...)``."""
    kernel = np.exp(-np.outer(s, np.arange(len(traces)) * interval)) * interval
    return np.asarray(np.tensordot(kernel, traces, axes=(1, 0)))


class Sensitivities:
    """Of one survey.

    Args:
        simulator: Simulator on the CPU, without a free surface.
        margin: Cells around the model, which repeat its edges, that count as well; as many as the sponge has for exact ones.
    """

    def __init__(self, simulator: Simulator, margin: int = 60) -> None:
        self._simulator = simulator
        self._margin = min(margin, simulator.acquisition.sponge - 1)
        a = simulator.acquisition
        self._every = max(1, int(1.0 / (2.0 * _BAND * a.peak_frequency() * a.interval)))

    def __call__(
        self,
        velocity: Array,
        slowest: float,
        s: npt.NDArray[np.complex128],
        sources: Sequence[Place],
        receivers: Sequence[Place],
    ) -> Spectra:
        """Change of each trace's Laplace transform by a change of each cell.

        Args:
            velocity: ``(depth, columns)`` in m/s.
            slowest: Velocity that sets the sponge.
            s: Complex frequencies in 1/s.
            sources: Row and column of each.
            receivers: Row and column of each.

        Returns:
            ``(frequencies, sources, receivers, depth, columns)`` per m/s.
        """
        interval, margin = self._simulator.acquisition.interval, self._margin
        places = sorted({*sources, *receivers})
        fields, sponge = self._fields(velocity, slowest, s, places)
        back = np.exp(-s * interval)[:, None, None]
        wavelet = laplace(self._simulator.acquisition.wavelet(), interval, s) / interval
        padded = np.pad(velocity, margin, mode="edge")
        # what a change of a cell sends out is what made the wave there, second difference and sponge, times 2 / velocity
        sent = (1.0 - back) ** 2 + sponge * (back - back**2)
        factor = (2.0 / (padded**3 * interval) * sent / wavelet[:, None, None]).astype(np.complex64)
        of_sources = fields[[places.index(place) for place in sources]]
        of_receivers = fields[[places.index(place) for place in receivers]]
        out = np.empty((len(s), len(sources), len(receivers), *velocity.shape), np.complex64)
        for k in range(len(s)):
            for m in range(len(sources)):
                lit = of_sources[m, k] * factor[k]
                for first in range(0, len(receivers), _BLOCK):
                    some = slice(first, first + _BLOCK)
                    out[k, m, some] = _fold(of_receivers[some, k] * lit, margin)
        return out

    def _fields(
        self, velocity: Array, slowest: float, s: npt.NDArray[np.complex128], places: Sequence[Place]
    ) -> tuple[Spectra, Array]:
        """Laplace transforms of the wavefields of sources at these places, margin included, and the sponge there."""
        a, margin = self._simulator.acquisition, self._margin
        model = torch.from_numpy(velocity.astype(np.float32))[None]
        alpha = F.pad((model * (a.interval / a.spacing)).square()[:, None], [a.sponge] * 4, mode="replicate")[:, 0]
        kappa = self._simulator.sponge_of(model, model.new_tensor([slowest]))
        shots = Shots(
            tuple((a.sponge + row, a.sponge + column) for row, column in places), (), velocity.shape[0], velocity.shape[1], 1, "numba"
        )  # fmt: skip
        amplitudes = np.array([(velocity[place] * a.interval) ** 2 for place in places], np.float32)
        wavelet = self._simulator.wavelet.numpy().astype(np.float32)
        times = np.arange(0, a.samples, self._every) * a.interval
        kernel = np.exp(-np.outer(s, times)) * self._every
        both = np.concatenate([kernel.real, kernel.imag]).astype(np.float32)
        fields = np.empty((len(places), len(s), *(cells + 2 * margin for cells in velocity.shape)), np.complex64)
        for k, shown in enumerate(snapshots(alpha, kappa, amplitudes, wavelet, shots, margin, self._every)):
            parts = (both @ shown.reshape(len(times), -1)).reshape(2, *fields.shape[1:])
            fields[k].real, fields[k].imag = parts
        inside = slice(a.sponge - margin, margin - a.sponge)
        return fields, kappa[0].numpy()[inside, inside].astype(np.float64)


def _fold(padded: Spectra, margin: int) -> Spectra:
    """Sum what repeats an edge onto the edge, ``(..., depth, columns)``."""
    for axis in (-2, -1):
        moved = np.moveaxis(padded, axis, -1)
        inner = moved[..., margin:-margin].copy()
        inner[..., 0] += moved[..., :margin].sum(-1)
        inner[..., -1] += moved[..., -margin:].sum(-1)
        padded = np.moveaxis(inner, -1, axis)
    return padded
