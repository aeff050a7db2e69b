"""Scaled targets of LEAP and the way back: de-scaling and post-processing in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from datamodules.leap.schema import (
    LEVELS,
    N_PROFILES,
    N_SCALARS,
    N_TARGETS,
    PROFILES,
    PTEND_TRICK_LEVELS,
    PTEND_TRICK_TARGETS,
    STEP_SECONDS,
    TARGET_GROUPS,
    ZERO_WEIGHT_TARGETS,
)
from lit_modules.precision import KeepFloat64

_BUFFERS = ("target_weight", "target_shift", "target_rms", "target_std")
# slices, not index lists: nothing is copied to the device for them
_TRICK_LEVELS = slice(PTEND_TRICK_LEVELS.start, PTEND_TRICK_LEVELS.stop)
_TRICK_TARGETS = slice(int(PTEND_TRICK_TARGETS[0]), int(PTEND_TRICK_TARGETS[-1]) + 1)
_WATER = ("q0001", "q0002", "q0003")

TargetScale = Literal["rms", "std", "weight"]


class TargetScaler(KeepFloat64):
    """Physical targets to what the net learns, and back.

    The net learns ``z = (y * weight - shift) / rms`` with the judge's first weights (1 / std, 0 for the ablated
    targets). ``decode`` inverts that in float64 and gives 0 where the weight is 0.

    Args:
        statistics: Mapping with ``target_weight``, ``target_shift``, ``target_rms``, ``target_std``, each (368,); None
            when a checkpoint will bring them.
        scale: What ``rms`` is: the root mean square of the weighted target (8th place), its ``std``, or with ``weight``
            1 (1st place), which leaves the weighted target less its mean.
    """

    target_weight: Tensor
    target_shift: Tensor
    target_rms: Tensor
    target_std: Tensor

    def __init__(self, statistics: Mapping[str, Any] | None = None, scale: TargetScale = "rms") -> None:
        super().__init__()
        if statistics is not None and scale != "rms":
            statistics = {**statistics, "target_rms": _spread(statistics, scale)}
        for name in _BUFFERS:
            value = torch.ones(N_TARGETS) if statistics is None else torch.as_tensor(statistics[name])
            self.register_buffer(name, value.to(torch.float64).clone())

    def encode(self, targets: Tensor) -> Tensor:
        """Physical (B, 368) to scaled float32."""
        return ((targets.double() * self.target_weight - self.target_shift) / self.target_rms).float()

    def decode(self, scaled: Tensor) -> Tensor:
        """Scaled (B, 368) to physical float64; targets of weight 0 become 0."""
        return (scaled.double() * self.target_rms + self.target_shift) * self._inverse_weight

    def decode_error(self, scaled: Tensor) -> Tensor:
        """Absolute errors of scaled targets (B, 368) to errors in bank units, float64; 0 where the weight is 0."""
        return scaled.double() * (self.target_rms * self._inverse_weight / self.bank_scale)

    @property
    def _inverse_weight(self) -> Tensor:
        weight = self.target_weight
        return torch.where(weight > 0, 1.0 / torch.where(weight > 0, weight, 1.0), 0.0)

    @property
    def bank_scale(self) -> Tensor:
        """Units of a prediction bank: std of each target, 1 where constant, so that float32 holds 1e-58 tendencies."""
        return torch.where(self.target_std > 0, self.target_std, 1.0)


def _spread(statistics: Mapping[str, Any], scale: TargetScale) -> Tensor:
    weight = torch.as_tensor(statistics["target_weight"]).double()
    if scale == "weight":
        return torch.ones_like(weight)
    weighted = torch.as_tensor(statistics["target_std"]) * weight
    return torch.where(weighted > 0, weighted, 1.0)


def scaled_limits(statistics: Mapping[str, Any], scale: TargetScale, factor: float) -> tuple[Tensor, Tensor]:
    """Smallest and largest scaled training target times a factor: what :func:`soft_clip_outside` lets pass.

    Args:
        statistics: As :class:`TargetScaler`, and ``target_min``, ``target_max`` (368,).
        scale: As :class:`TargetScaler`.
        factor: 1.1 at the 1st place (1.2 in one of its models).

    Returns:
        Lower and upper limits, each (368,) float32.
    """
    scaler = TargetScaler(statistics, scale)
    low, high = (scaler.encode(torch.as_tensor(statistics[f"target_{name}"])) for name in ("min", "max"))
    return factor * low, factor * high


def soft_clip_outside(scaled: Tensor, low: Tensor | float, high: Tensor | float) -> Tensor:
    """Compress scaled targets that lie outside the limits by a logarithm (1st place, high-resolution training rows).

    y > high becomes high + ln(1 + y - high), y < low becomes low - ln(1 + low - y).

    Args:
        scaled: (B, 368).
        low: Lower limits (368,), or one for all.
        high: Upper limits.
    """
    low, high = (torch.as_tensor(limit, dtype=scaled.dtype, device=scaled.device) for limit in (low, high))
    above, below = (scaled - high).clamp(min=0), (low - scaled).clamp(min=0)
    return scaled.clamp(min=low, max=high) + above.log1p() - below.log1p()


class TrainingRange(KeepFloat64):
    """The range of the training rows, which inputs and predictions can be held to.

    Args:
        statistics: Mapping with the smallest and the largest training value of everything, ``profile_min``,
            ``profile_max`` and so on; None when a checkpoint will bring them.
        targets: Scales the targets.
        target_clip: Where training targets were compressed, in scaled units; 0 = nowhere.
    """

    def __init__(self, statistics: Mapping[str, Any] | None, targets: TargetScaler, target_clip: float) -> None:
        super().__init__()
        for kind, shape in (("profile", (N_PROFILES, LEVELS)), ("scalar", (N_SCALARS,)), ("target", (N_TARGETS,))):
            for end in ("min", "max"):
                value = torch.zeros(shape) if statistics is None else torch.as_tensor(statistics[f"{kind}_{end}"])
                if kind == "target" and statistics is not None:
                    value = targets.encode(value)
                    value = soft_clip_outside(value, -target_clip, target_clip) if target_clip > 0 else value
                self.register_buffer(f"{kind}_{end}", value.to(torch.float64).clone())

    def hold(self, kind: Literal["profile", "scalar", "target"], values: Tensor) -> Tensor:
        """Values of a kind, scaled ones for targets, held to the range; same type."""
        low, high = (self.get_buffer(f"{kind}_{end}").to(values.dtype) for end in ("min", "max"))
        return values.clamp(min=low, max=high)


def postprocess(physical: Tensor, profiles: Tensor, clamp_water: bool = False) -> Tensor:
    """What every solution does before it scores or submits, in float64 from the raw state.

    The 60 targets that the judge weighs 0 become 0; ``ptend_q0002`` at levels 12 to 27 becomes ``-q0002 / 1200``
    (there one step removes all cloud liquid; discussion 502484); optionally no step may leave negative water.

    Args:
        physical: (B, 368) float64, changed in place.
        profiles: (B, 9, 60) raw float64 state.
        clamp_water: Raise moisture tendencies to at least ``-q / 1200`` (5th place).

    Returns:
        ``physical``.
    """
    profiles = profiles.double()
    liquid = profiles[:, PROFILES.index("state_q0002")]
    physical[:, _TRICK_TARGETS] = -liquid[:, _TRICK_LEVELS] / STEP_SECONDS
    if clamp_water:
        for name in _WATER:
            floor = -profiles[:, PROFILES.index(f"state_{name}")] / STEP_SECONDS
            where = TARGET_GROUPS[name]
            physical[:, where] = torch.maximum(physical[:, where], floor)
    for where in ZERO_WEIGHT_TARGETS:
        physical[:, where] = 0.0
    return physical
