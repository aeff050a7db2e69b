"""Scaled targets of LEAP and the way back: de-scaling and post-processing in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from datamodules.leap.schema import (
    N_TARGETS,
    PROFILES,
    PTEND_TRICK_LEVELS,
    PTEND_TRICK_TARGETS,
    STEP_SECONDS,
    TARGET_GROUPS,
    zero_weight_mask,
)
from lit_modules.precision import KeepFloat64

_BUFFERS = ("target_weight", "target_shift", "target_rms", "target_std")
_WATER = ("q0001", "q0002", "q0003")


class TargetScaler(KeepFloat64):
    """Physical targets to what the net learns, and back.

    The net learns ``z = (y * weight - shift) / rms`` with the judge's first weights (1 / std, 0 for the ablated
    targets), as the 8th place does. ``decode`` inverts that in float64 and gives 0 where the weight is 0.

    Args:
        statistics: mapping with ``target_weight``, ``target_shift``, ``target_rms``, ``target_std``, each (368,); None
            when a checkpoint will bring them.
    """

    target_weight: Tensor
    target_shift: Tensor
    target_rms: Tensor
    target_std: Tensor

    def __init__(self, statistics: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        for name in _BUFFERS:
            value = torch.ones(N_TARGETS) if statistics is None else torch.as_tensor(statistics[name])
            self.register_buffer(name, value.to(torch.float64).clone())

    def encode(self, targets: Tensor) -> Tensor:
        """Physical (B, 368) to scaled float32."""
        return ((targets.double() * self.target_weight - self.target_shift) / self.target_rms).float()

    def decode(self, scaled: Tensor) -> Tensor:
        """Scaled (B, 368) to physical float64; targets of weight 0 become 0."""
        weight = self.target_weight
        inverse = torch.where(weight > 0, 1.0 / torch.where(weight > 0, weight, 1.0), 0.0)
        return (scaled.double() * self.target_rms + self.target_shift) * inverse

    @property
    def bank_scale(self) -> Tensor:
        """Units of a prediction bank: std of each target, 1 where constant, so that float32 holds 1e-58 tendencies."""
        return torch.where(self.target_std > 0, self.target_std, 1.0)


def postprocess(physical: Tensor, profiles: Tensor, clamp_water: bool = False) -> Tensor:
    """What every solution does before it scores or submits, in float64 from the raw state.

    The 60 targets that the judge weighs 0 become 0; ``ptend_q0002`` at levels 12 to 27 becomes ``-q0002 / 1200``
    (there one step removes all cloud liquid; discussion 502484); optionally no step may leave negative water.

    Args:
        physical: (B, 368) float64, changed in place.
        profiles: (B, 9, 60) raw float64 state.
        clamp_water: raise moisture tendencies to at least ``-q / 1200`` (5th place).

    Returns:
        ``physical``.
    """
    profiles = profiles.double()
    liquid = profiles[:, PROFILES.index("state_q0002")]
    levels = torch.as_tensor(list(PTEND_TRICK_LEVELS), device=physical.device)
    physical[:, torch.as_tensor(PTEND_TRICK_TARGETS, device=physical.device)] = -liquid[:, levels] / STEP_SECONDS
    if clamp_water:
        for name in _WATER:
            floor = -profiles[:, PROFILES.index(f"state_{name}")] / STEP_SECONDS
            target = physical[:, TARGET_GROUPS[name]]
            torch.maximum(target, floor, out=target)
    physical[:, torch.as_tensor(zero_weight_mask(), device=physical.device)] = 0.0
    return physical
