"""How far a map's simulated gathers are from the recorded ones, and which way to move the map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from datamodules.gwi.gathers import resize_time, zero_last_sample
from datamodules.gwi.simulator import Simulator

Array = npt.NDArray[np.float64]


def depth_scale(rows: int) -> Array:
    """How far velocities must move to change the gathers about as much, by row ``(rows, 1)``: the depth is lit less."""
    return ((np.arange(rows, dtype=np.float64) + 5.0) / 40.0)[:, None]


@dataclass(frozen=True)
class Fit:
    """Of one map to its gathers.

    Attributes:
        value: squares of the residual over those of the recorded gathers.
        gradient: of ``value``, ``(depth, columns)``.
        rms: plain root mean square of the residual, in units of the gathers.
    """

    value: float
    gradient: Array
    rms: float


class Misfit:
    """Squared difference of gathers.

    All samples count alike. Late ones weighted up (5th place of the competition: from 0.1 to 10) make the depth, whose reflections are
    weak and late, move before the layers above it are right.

    Args:
        recorded: ``(shots, samples, receivers)``, all samples or compact ones; the last sample is left out.
        simulator: of these shots.
    """

    def __init__(self, recorded: npt.NDArray[np.floating], simulator: Simulator) -> None:
        self.simulator = simulator
        device = simulator.wavelet.device
        self._full = recorded.shape[1] == simulator.acquisition.samples
        everything = torch.from_numpy(np.array(recorded, dtype=np.float32)).to(device)
        self._recorded = zero_last_sample(everything) if self._full else everything
        self._norm = float(self._recorded.square().sum(dtype=torch.float64))

    def __call__(self, velocity: Array, slowest: float) -> Fit:
        """Fit and gradient of a map, with the sponge of a slowest velocity that is held."""
        x = torch.from_numpy(velocity.astype(np.float32)).to(self._recorded.device)[None].requires_grad_()
        residual = self._residual(x, slowest)
        value = residual.square().sum() / self._norm
        value.backward()
        assert x.grad is not None
        gradient = x.grad[0].double().cpu().numpy()
        return Fit(float(value.detach()), gradient, self._rms(residual.detach()))

    @torch.no_grad()
    def rms(self, velocity: Array) -> float:
        """Root mean square of the residual of a map with its own sponge."""
        x = torch.from_numpy(velocity.astype(np.float32)).to(self._recorded.device)[None]
        return self._rms(self._residual(x, float(x.min())))

    def _residual(self, x: Tensor, slowest: float) -> Tensor:
        shot = zero_last_sample(self.simulator(x, slowest=x.new_tensor([slowest])))
        if not self._full:
            shot = resize_time(shot, self._recorded.shape[1])
        return shot[0] - self._recorded

    @staticmethod
    def _rms(residual: Tensor) -> float:
        return float(residual.square().mean(dtype=torch.float64).sqrt())
