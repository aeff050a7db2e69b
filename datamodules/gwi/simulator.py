"""OpenFWI's forward modelling as a torch module: velocity maps to seismic gathers, exact, batched, differentiable."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from datamodules.errors import DataError
from datamodules.gwi.acquisition import OPENFWI, Acquisition
from datamodules.gwi.propagation import Backend, Shots, propagate, resolve_backend

CENTRAL_SHOT = 2
_STABLE_COURANT = 0.6123  # sqrt(3 / 8), of this stencil in two dimensions


class Simulator(nn.Module):
    """Shoot velocity maps: ``(maps, depth, columns)`` in m/s to ``(maps, shots, samples, receivers)``.

    Computes in the dtype and on the device of the velocities. Gradients are those of the discrete scheme (an adjoint run,
    not a recorded graph): wavefields are kept at every ``segment``-th sample and computed again in between, so that a
    gradient needs memory for about ``2 samples / segment + segment`` wavefields of 0.4 MB a shot instead of for all.

    OpenFWI itself was computed in float32, which leaves rounding of 2e-5 to 5e-5 (root mean square) of samples that reach 57.

    Args:
        acquisition: Geometry and numerics.
        backend: ``numba`` (compiled, CPU), ``inductor`` (torch.compile), ``triton`` (GPU), ``torch``, or ``auto``: numba on a CPU that has
            it, inductor on a GPU, else torch.
        segment: Samples between kept wavefields; the root of half the samples by default, a tenth faster than the root of twice the samples,
            where memory is least, for a quarter more of it.
    """

    wavelet: Tensor

    def __init__(
        self, acquisition: Acquisition = OPENFWI, backend: Backend = "auto", segment: int | None = None
    ) -> None:
        super().__init__()
        self.acquisition = acquisition
        self.backend: Backend = backend
        self.segment = segment or math.ceil(math.sqrt(acquisition.samples / 2))
        self.register_buffer("wavelet", torch.from_numpy(acquisition.wavelet()), persistent=False)

    def forward(self, velocity: Tensor, shots: Sequence[int] | None = None, slowest: Tensor | None = None) -> Tensor:
        """Gathers of the given shots.

        Args:
            velocity: m/s, ``(maps, depth, columns)``, float32 or float64.
            shots: Numbers of the shots, in any order; all by default.
            slowest: ``(maps,)``, the velocity that sets the sponge; by default each map's own minimum. Hold it fixed
                when a map is inverted, or the sponge shifts with every update.

        Raises:
            DataError: a shape or dtype that cannot be shot, or velocities that are not finite, not above zero, or too
                fast for the time step.
        """
        a = self.acquisition
        self._check(velocity)
        sources = [a.sources()[shot] for shot in (range(len(a.source_columns)) if shots is None else shots)]
        receivers = a.receivers(velocity.shape[2])
        for what, places in (("source", sources), ("receiver", receivers)):
            for row, column in places:
                if not (0 <= row < velocity.shape[1] and 0 <= column < velocity.shape[2]):
                    raise DataError(
                        f"a {what} stands in row {row}, column {column} of maps that have {velocity.shape[1]} rows and {velocity.shape[2]} columns; "
                        "give maps of the survey's size or another acquisition"
                    )
        slowest = velocity.flatten(1).amin(1) if slowest is None else slowest
        alpha = (velocity * (a.interval / a.spacing)).square()
        padded = F.pad(alpha[:, None], [a.sponge] * 4, mode="replicate")[:, 0]
        if a.free_surface:
            padded = torch.cat([torch.zeros_like(padded[:, : a.sponge]), padded[:, a.sponge :]], dim=1)
        source_rows, source_columns = zip(*sources, strict=True)
        amplitude = (velocity[:, source_rows, source_columns] * a.interval).square()
        geometry = Shots(
            sources=tuple((a.sponge + row, a.sponge + column) for row, column in sources),
            receivers=tuple((a.sponge + row, a.sponge + column) for row, column in receivers),
            depth=velocity.shape[1],
            width=velocity.shape[2],
            segment=self.segment,
            backend=self._backend(velocity.device),
        )
        wavelet = self.wavelet.to(velocity.device, velocity.dtype)
        return propagate(padded, self.sponge_of(velocity, slowest), amplitude, wavelet, geometry)

    def _backend(self, device: torch.device) -> Backend:
        backend = resolve_backend(self.backend, device)
        if not self.acquisition.free_surface:
            return backend
        # these kernels repeat the model's edge outwards, where a free surface has nothing
        instead: dict[Backend, Backend] = {"numba": "torch", "triton": "inductor"}
        return instead.get(backend, backend)

    def sponge_of(self, velocity: Tensor, slowest: Tensor) -> Tensor:
        """Rate times time step on the padded grid; in the corners the columns' value holds, not the rows'."""
        a = self.acquisition
        rows, columns = (torch.from_numpy(a.damping(cells)).to(velocity) for cells in velocity.shape[1:])
        shape = rows[:, None].expand(-1, len(columns)).clone()
        shape[:, : a.sponge] = columns[: a.sponge]
        shape[:, -a.sponge :] = columns[-a.sponge :]
        return (slowest * (a.damping_rate * a.interval))[:, None, None] * shape

    def _check(self, velocity: Tensor) -> None:
        a = self.acquisition
        if velocity.ndim != 3:
            raise DataError(f"velocity maps have the shape (maps, depth, columns), got {tuple(velocity.shape)}")
        if velocity.dtype not in (torch.float32, torch.float64):
            raise DataError(f"velocities are simulated in float32 or float64, got {velocity.dtype}; convert the maps")
        fastest = _STABLE_COURANT * a.spacing / a.interval
        low, high = velocity.detach().aminmax()
        if not (low > 0 and high < fastest):  # also catches NaN
            raise DataError(
                f"velocities from {float(low):g} to {float(high):g} m/s cannot be simulated; they must be finite, above 0 and "
                f"below {fastest:.0f} m/s, where this time step becomes unstable"
            )


def mirror(seismograms: Tensor) -> Tensor:
    """Reverse shots and receivers of ``(..., shots, samples, receivers)``.

    For the shots at both ends of OpenFWI's line this is exactly what the mirrored map gives; the central source stands at
    column 34 of 0 to 69, so its gather would be that of a source at 35.
    """
    return seismograms.flip(-3, -1)


def exact_mirror(simulator: Simulator, velocity: Tensor, seismograms: Tensor) -> tuple[Tensor, Tensor]:
    """A true sample from the mirrored map for a fifth of a simulation: only the central shot is shot again.

    Args:
        simulator: With OpenFWI's five shots.
        velocity: ``(maps, depth, columns)``.
        seismograms: Seismograms of these maps, ``(maps, 5, samples, receivers)``.

    Returns:
        Mirrored maps and their seismograms.
    """
    mirrored = velocity.flip(-1)
    gathers = mirror(seismograms)
    gathers[:, CENTRAL_SHOT] = simulator(mirrored, shots=[CENTRAL_SHOT])[:, 0]
    return mirrored, gathers
