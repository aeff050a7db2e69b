"""How OpenFWI shot its maps: grid, time axis, wavelet, sources, receivers, sponge (numbers only, no torch)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Acquisition:
    """Geometry and numerics of a simulation; the defaults are OpenFWI's.

    The scheme is the "FD2.8" code of KAUST's CSIM laboratory, that OpenFWI's authors used: constant density, second order in
    time, fourth in space, a sponge on all four sides (no free surface) and a periodic outer edge.

    Args:
        spacing: Grid spacing in m, the same in depth and along the line.
        interval: Time step and sampling interval in s.
        samples: Time samples of a trace.
        frequency: Peak frequency of the Ricker wavelet in Hz.
        sponge: Cells of the absorbing sponge on each side.
        source_columns: Column of each shot's source; linspace(0, 690 m, 5) rounded half to even, so that the central
            source stands at 34, not at the middle of the line (34.5).
        row: Depth row of sources and receivers; receivers stand in every column.
    """

    spacing: float = 10.0
    interval: float = 1e-3
    samples: int = 1000
    frequency: float = 15.0
    sponge: int = 120
    source_columns: tuple[int, ...] = (0, 17, 34, 52, 69)
    row: int = 1

    def __post_init__(self) -> None:
        if self.sponge < 2:
            raise ValueError(f"a sponge needs at least 2 cells, got {self.sponge}")
        if self.samples < 1:
            raise ValueError(f"a trace needs at least 1 sample, got {self.samples}")

    def wavelet(self) -> Array:
        """Ricker wavelet, ``(samples,)``, zero after its 147 samples; the peak of 1 is at sample 73."""
        half = int(2.2 / (self.frequency * self.interval)) // 2
        phase = (half - np.arange(2 * half + 1)) * self.frequency * self.interval * math.pi
        ricker = (1.0 - 2.0 * phase**2) * np.exp(-(phase**2))
        return np.pad(ricker, (0, max(0, self.samples - len(ricker))))[: self.samples]

    def damping(self, cells: int) -> Array:
        """Shape of the sponge along one axis, ``(cells + 2 * sponge,)``: times 3 vmin ln(1e7) / 2 it is a rate in 1/s.

        Args:
            cells: Cells of the model along that axis.
        """
        width = (self.sponge - 1) * self.spacing
        outward = (np.arange(self.sponge) * self.spacing / width) ** 2 / width
        return np.concatenate([outward[::-1], np.zeros(cells), outward])

    @property
    def damping_rate(self) -> float:
        """Damping per m/s of the slowest velocity and unit of :meth:`damping`: 3 ln(1e7) / 2."""
        return 1.5 * math.log(1e7)


OPENFWI = Acquisition()
"""What made the ten families: 70 x 70 cells of 10 m, 5 shots, 1000 samples of 1 ms."""
