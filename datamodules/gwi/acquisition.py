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
        row: Depth row of sources and receivers where no others are given.
        source_rows: Depth row of each source.
        receiver_columns: Column of each receiver; None: one in every column.
        receiver_rows: Depth row of each receiver.
        free_surface: Whether the pressure is zero above the first row, so that waves come back from there; else a sponge takes them up.
        source_samples: The wavelet itself, from its first sample on, in the place of a Ricker wavelet.
        origin: X in m of the map's first column, from which headers of SEG-Y files count.
    """

    spacing: float = 10.0
    interval: float = 1e-3
    samples: int = 1000
    frequency: float = 15.0
    sponge: int = 120
    source_columns: tuple[int, ...] = (0, 17, 34, 52, 69)
    row: int = 1
    source_rows: tuple[int, ...] | None = None
    receiver_columns: tuple[int, ...] | None = None
    receiver_rows: tuple[int, ...] | None = None
    free_surface: bool = False
    source_samples: tuple[float, ...] | None = None
    origin: float = 0.0

    def __post_init__(self) -> None:
        if self.sponge < 2:
            raise ValueError(f"a sponge needs at least 2 cells, got {self.sponge}")
        if self.samples < 1:
            raise ValueError(f"a trace needs at least 1 sample, got {self.samples}")
        for name in ("spacing", "interval", "frequency"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)}")
        if self.source_samples is None and self.frequency * self.interval >= 0.5:
            raise ValueError(
                f"samples every {self.interval} s hold frequencies below {0.5 / self.interval:g} Hz, the wavelet's is {self.frequency:g} Hz"
            )
        if not self.source_columns:
            raise ValueError("a survey needs at least one source; give source_columns")
        if self.source_rows is not None and len(self.source_rows) != len(self.source_columns):
            raise ValueError(f"{len(self.source_columns)} source_columns but {len(self.source_rows)} source_rows")
        if self.receiver_rows is not None and len(self.receiver_rows) != len(self.receiver_columns or ()):
            raise ValueError(
                f"{len(self.receiver_rows)} receiver_rows but {len(self.receiver_columns or ())} receiver_columns; give both, one for each receiver"
            )

    def sources(self) -> list[tuple[int, int]]:
        """Row and column of each source."""
        return list(zip(self.source_rows or [self.row] * len(self.source_columns), self.source_columns, strict=True))

    def receivers(self, columns: int) -> list[tuple[int, int]]:
        """Row and column of each receiver on a map of so many columns."""
        places = range(columns) if self.receiver_columns is None else self.receiver_columns
        return list(zip(self.receiver_rows or [self.row] * len(places), places, strict=True))

    def wavelet(self) -> Array:
        """The wavelet, ``(samples,)``: OpenFWI's Ricker is zero after its 147 samples, the peak of 1 is at sample 73."""
        if self.source_samples is not None:
            given = np.asarray(self.source_samples[: self.samples], dtype=np.float64)
            return np.pad(given, (0, self.samples - len(given)))
        half = int(2.2 / (self.frequency * self.interval)) // 2
        phase = (half - np.arange(2 * half + 1)) * self.frequency * self.interval * math.pi
        ricker = (1.0 - 2.0 * phase**2) * np.exp(-(phase**2))
        return np.pad(ricker, (0, max(0, self.samples - len(ricker))))[: self.samples]

    def peak_frequency(self) -> float:
        """Frequency in Hz at which the wavelet is strongest: that of the Ricker wavelet, or of the wavelet of one's own."""
        if self.source_samples is None:
            return self.frequency
        spectrum = np.abs(np.fft.rfft(self.wavelet(), 4 * self.samples))
        return max(float(np.argmax(spectrum)), 1.0) / (4 * self.samples * self.interval)

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
