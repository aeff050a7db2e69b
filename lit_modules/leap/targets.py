"""Scaled targets of LEAP and the way back: de-scaling and post-processing in float64."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor

from datamodules.leap.schema import (
    LEVELS,
    N_TARGETS,
    PROFILES,
    PTEND_TRICK_LEVELS,
    PTEND_TRICK_TARGETS,
    STEP_SECONDS,
    TARGET_GROUPS,
    TENDENCIES,
    ZERO_WEIGHT_TARGETS,
    VariableSet,
)
from datamodules.leap.total_water import (
    MIXED_GROUPS,
    N_MIXED_TARGETS,
    mix_targets,
    split_water,
    spread_to_targets,
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

    Attributes:
        n_targets: How many targets the net learns.
        n_level_targets: How many of them every level has.
        groups: Where the variables stand among them.
    """

    n_targets = N_TARGETS
    n_level_targets = len(TENDENCIES)
    groups: Mapping[str, slice] = TARGET_GROUPS

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

    def scaled_range(self, statistics: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """Smallest and largest scaled training target, each float32; from ``target_min`` and ``target_max`` (368,)."""
        low, high = (
            self.encode(torch.as_tensor(statistics[f"target_{end}"]).unsqueeze(0))[0] for end in ("min", "max")
        )
        return low, high

    def encode(self, targets: Tensor) -> Tensor:
        """Physical (B, 368) to scaled float32."""
        return ((targets.double() * self.target_weight - self.target_shift) / self.target_rms).float()

    def decode(self, scaled: Tensor, profiles: Tensor | None = None) -> Tensor:
        """Scaled (B, 368) to physical float64; targets of weight 0 become 0.

        Args:
            scaled: What the net gives.
            profiles: (B, P, 60) raw float64 state, which the total-water form needs.
        """
        del profiles
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


class TotalWaterScaler(TargetScaler):
    """The same in the total-water form: the net learns 308 targets, and gives 368 by the temperature after the step.

    Args:
        statistics: As :class:`TargetScaler`, and the same of the 308 targets, ``mixed_target_weight`` and so on.
        scale: As :class:`TargetScaler`.
    """

    n_targets = N_MIXED_TARGETS
    n_level_targets = len(MIXED_GROUPS) - 1
    groups = MIXED_GROUPS

    def __init__(self, statistics: Mapping[str, Any] | None = None, scale: TargetScale = "rms") -> None:
        super().__init__(statistics, scale)
        mixed = None
        if statistics is not None:
            prefix = "mixed_"
            mixed = {name.removeprefix(prefix): value for name, value in statistics.items() if name.startswith(prefix)}
        self.mixed = TargetScaler(mixed, scale)
        if mixed is None:  # of the size that a checkpoint will bring
            for name in _BUFFERS:
                self.mixed.register_buffer(name, torch.ones(N_MIXED_TARGETS, dtype=torch.float64))

    def scaled_range(self, statistics: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        """As :class:`TargetScaler`, from ``mixed_target_min`` and ``mixed_target_max`` (308,)."""
        return self.mixed.scaled_range({f"target_{end}": statistics[f"mixed_target_{end}"] for end in ("min", "max")})

    def encode(self, targets: Tensor) -> Tensor:
        """Physical (B, 368) to scaled float32 (B, 308)."""
        return self.mixed.encode(mix_targets(targets.double()))

    def decode(self, scaled: Tensor, profiles: Tensor | None = None) -> Tensor:
        """Scaled (B, 308) and the state before the step to physical float64 (B, 368)."""
        assert profiles is not None
        return split_water(self.mixed.decode(scaled), profiles.double())

    def decode_error(self, scaled: Tensor) -> Tensor:
        """Errors of the 308 in bank units of the 368: liquid and ice are both as far off as cloud water."""
        physical = self.mixed.decode_error(scaled) * self.mixed.bank_scale
        return spread_to_targets(physical) / self.bank_scale


def make_scaler(variables: VariableSet, statistics: Mapping[str, Any] | None, scale: TargetScale) -> TargetScaler:
    """The scaler of what a set of variables has its nets learn."""
    return (TotalWaterScaler if variables.total_water else TargetScaler)(statistics, scale)


def _spread(statistics: Mapping[str, Any], scale: TargetScale) -> Tensor:
    weight = torch.as_tensor(statistics["target_weight"]).double()
    if scale == "weight":
        return torch.ones_like(weight)
    weighted = torch.as_tensor(statistics["target_std"]) * weight
    return torch.where(weighted > 0, weighted, 1.0)


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
        variables: What a column holds.
    """

    def __init__(
        self,
        statistics: Mapping[str, Any] | None,
        targets: TargetScaler,
        target_clip: float,
        variables: VariableSet = VariableSet(),  # noqa: B008
    ) -> None:
        super().__init__()
        shapes = {"profile": (len(variables.all_profiles), LEVELS), "scalar": (len(variables.all_scalars),)}
        ends = {f"{kind}_{end}": torch.zeros(shape) for kind, shape in shapes.items() for end in ("min", "max")}
        ends |= {f"target_{end}": torch.zeros(targets.n_targets) for end in ("min", "max")}
        if statistics is not None:
            low, high = targets.scaled_range(statistics)
            if target_clip > 0:
                low, high = (soft_clip_outside(value, -target_clip, target_clip) for value in (low, high))
            ends = {name: torch.as_tensor(statistics[name]) for name in ends} | {"target_min": low, "target_max": high}
        for name, value in ends.items():
            self.register_buffer(name, value.to(torch.float64).clone())

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
