"""Raw physical columns to the inputs of the nets, on the device, in float64 until the last step.

Cloud water aloft is 1e-34 kg/kg; its square, and a difference of two such numbers, fall out of float32's range. The batches
therefore arrive in float64, all arithmetic stays in float64, and the cast to float32 comes last. The statistics are
buffers, so a checkpoint holds everything that inference on a new file needs.

Sources: write-ups of the 8th place (jackhuntcn, discussion 523223) and of the 1st place (greySnow) of
``leap-atmospheric-physics-ai-climsim``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from datamodules.leap.schema import LEVELS, N_PROFILES, N_SCALARS, PROFILES, SCALARS
from lit_modules.leap.humidity import level_pressure, relative_humidity
from lit_modules.precision import KeepFloat64

_T, _Q, _U, _V = (PROFILES.index(name) for name in ("state_t", "state_q0001", "state_u", "state_v"))
_PS = SCALARS.index("state_ps")

_SHAPES: dict[str, tuple[int, ...]] = {
    "profile_mean": (N_PROFILES, LEVELS),
    "profile_std": (N_PROFILES, LEVELS),
    "profile_min": (N_PROFILES, LEVELS),
    "profile_total_mean": (N_PROFILES,),
    "profile_total_std": (N_PROFILES,),
    "profile_constant": (N_PROFILES, LEVELS),
    "scalar_mean": (N_SCALARS,),
    "scalar_std": (N_SCALARS,),
    "scalar_constant": (N_SCALARS,),
}


class ColumnStatistics(KeepFloat64):
    """Base of the representations: named statistics of the training rows as buffers that stay float64.

    Args:
        names: Which statistics the representation uses.
        statistics: Mapping from these names to arrays; further names in it are ignored. Without it the buffers hold a
            neutral scaling (mean 0, std 1, nothing constant) and wait for ``load_state_dict``.

    Raises:
        KeyError: A statistic is missing.
        ValueError: A statistic has the wrong shape or is not finite, or a std is not positive where the column is not
            flagged constant.

    Attributes:
        out_channels: Channels of the result.
        scalar_channels: Which of them are scalars repeated on the levels: the first, and the one after the last.
    """

    out_channels: int
    scalar_channels: tuple[int, int]

    def __init__(self, names: tuple[str, ...], statistics: Mapping[str, Any] | None) -> None:
        super().__init__()
        for name in names:
            self.register_buffer(name, _read_statistic(name, statistics))
        for kind in ("profile", "scalar"):
            if statistics is not None and f"{kind}_std" in names:
                _require_positive_std(kind, getattr(self, f"{kind}_std"), getattr(self, f"{kind}_constant"))


class StandardColumns(ColumnStatistics):
    """Standardised column of the 8th place: nine profiles, and sixteen scalars repeated on the levels.

    Every column of the input is z = (x - mean) / std; columns flagged constant are exactly 0.

    Args:
        statistics: Mapping with ``profile_mean``, ``profile_std``, ``profile_constant`` (9, 60) and ``scalar_mean``,
            ``scalar_std``, ``scalar_constant`` (16,) in the order of ``schema.PROFILES`` and ``schema.SCALARS``; see
            :class:`ColumnStatistics`.
        relative_humidity: Append one channel, relative humidity as a fraction between 0 and 2 (3rd, 4th, 10th places).
        vertical_difference: Append nine channels, the standardised profiles minus those of the level above; 0 at the
            model top (7th place).

    Attributes:
        out_channels: Channels of the result: 25, plus 1 and 9 for the options, in this order.
    """

    profile_mean: Tensor
    profile_std: Tensor
    profile_constant: Tensor
    scalar_mean: Tensor
    scalar_std: Tensor
    scalar_constant: Tensor

    def __init__(
        self,
        statistics: Mapping[str, Any] | None = None,
        relative_humidity: bool = False,
        vertical_difference: bool = False,
    ) -> None:
        names = ("profile_mean", "profile_std", "profile_constant", "scalar_mean", "scalar_std", "scalar_constant")
        super().__init__(names, statistics)
        self.relative_humidity = relative_humidity
        self.vertical_difference = vertical_difference
        self.scalar_channels = (N_PROFILES, N_PROFILES + N_SCALARS)
        self.out_channels = N_PROFILES + N_SCALARS + relative_humidity + N_PROFILES * vertical_difference

    def forward(self, profiles: Tensor, scalars: Tensor) -> Tensor:
        """Standardise raw columns.

        Args:
            profiles: (batch, 9, 60) float64, SI units.
            scalars: (batch, 16) float64, SI units.

        Returns:
            (batch, 60, out_channels) float32, level 0 at the model top.

        Raises:
            TypeError: The columns are not float64.
        """
        _require_float64(profiles, scalars)
        z = _standardise(profiles, self.profile_mean, self.profile_std, self.profile_constant)
        blocks = [z, self._scalars(scalars)]
        if self.relative_humidity:
            blocks.append(_humidity_channel(profiles, scalars))
        if self.vertical_difference:
            blocks.append(torch.diff(z, dim=-1, prepend=z[..., :1]))
        return _assemble(blocks)

    def _scalars(self, scalars: Tensor) -> Tensor:
        z = _standardise(scalars, self.scalar_mean, self.scalar_std, self.scalar_constant)
        return z.unsqueeze(-1).expand(-1, -1, LEVELS)


class MultiRepresentation(ColumnStatistics):
    """Several scalings of the same column side by side: the input of the 1st place, 1696 values in 44 channels.

    Channels on the 60 levels, in this order:

    * 9, total: (x - M) / S with mean and std of the variable over all its levels together;
    * 9, column: z = (x - m) / s with mean and std of the level, soft-clipped beyond 30 by a square root;
    * 9, logarithm: sign(b) ln(1 + |b|) with b = z - z_min, the distance from the smallest training value of the level;
      odd, so that it continues smoothly below that minimum;
    * 1, wind speed: (sqrt(u^2 + v^2) - (m_u + m_v) / 2) / (s_u + s_v), soft-clipped like the columns;
    * 16, the standardised scalars, repeated on the levels.

    After the cast to float32 everything is soft-clipped beyond 86 by a logarithm, a bound that only high-resolution columns
    reach. Columns flagged constant are 0 in the blocks that divide by their own std (column, logarithm, scalars).

    Args:
        statistics: Mapping with ``profile_mean``, ``profile_std``, ``profile_min``, ``profile_constant`` (9, 60),
            ``profile_total_mean``, ``profile_total_std`` (9,), and ``scalar_mean``, ``scalar_std``, ``scalar_constant``
            (16,); see :class:`ColumnStatistics`.
        relative_humidity: Append one channel, as :class:`StandardColumns` does.
        vertical_difference: Append nine channels, the column block minus the same one level above; 0 at the model top.

    Attributes:
        out_channels: 44, plus 1 and 9 for the options, in this order.
    """

    profile_mean: Tensor
    profile_std: Tensor
    profile_min: Tensor
    profile_constant: Tensor
    profile_total_mean: Tensor
    profile_total_std: Tensor
    scalar_mean: Tensor
    scalar_std: Tensor
    scalar_constant: Tensor

    def __init__(
        self,
        statistics: Mapping[str, Any] | None = None,
        relative_humidity: bool = False,
        vertical_difference: bool = False,
    ) -> None:
        names = (
            "profile_mean",
            "profile_std",
            "profile_min",
            "profile_constant",
            "profile_total_mean",
            "profile_total_std",
            "scalar_mean",
            "scalar_std",
            "scalar_constant",
        )
        super().__init__(names, statistics)
        self.relative_humidity = relative_humidity
        self.vertical_difference = vertical_difference
        self.scalar_channels = (3 * N_PROFILES + 1, 3 * N_PROFILES + 1 + N_SCALARS)
        self.out_channels = 3 * N_PROFILES + 1 + N_SCALARS + relative_humidity + N_PROFILES * vertical_difference

    def forward(self, profiles: Tensor, scalars: Tensor) -> Tensor:
        """Compute the representations of raw columns.

        Args:
            profiles: (batch, 9, 60) float64, SI units.
            scalars: (batch, 16) float64, SI units.

        Returns:
            (batch, 60, out_channels) float32, level 0 at the model top.

        Raises:
            TypeError: The columns are not float64.
        """
        _require_float64(profiles, scalars)
        z = _standardise(profiles, self.profile_mean, self.profile_std, self.profile_constant)
        z_min = _standardise(self.profile_min, self.profile_mean, self.profile_std, self.profile_constant)
        total_std = self.profile_total_std.unsqueeze(-1)
        total = _standardise(profiles, self.profile_total_mean.unsqueeze(-1), total_std, total_std == 0)
        z_scalars = _standardise(scalars, self.scalar_mean, self.scalar_std, self.scalar_constant)
        column = soft_clip_sqrt(z)
        blocks = [
            total,
            column,
            signed_log1p(z - z_min),
            soft_clip_sqrt(self._wind_speed(profiles)).unsqueeze(1),
            z_scalars.unsqueeze(-1).expand(-1, -1, LEVELS),
        ]
        if self.relative_humidity:
            blocks.append(_humidity_channel(profiles, scalars))
        if self.vertical_difference:
            blocks.append(torch.diff(column, dim=-1, prepend=column[..., :1]))
        return soft_clip_log(_assemble(blocks))

    def _wind_speed(self, profiles: Tensor) -> Tensor:
        """Scaled wind speed (batch, 60), 0 at levels where both wind components are constant."""
        mean = 0.5 * (self.profile_mean[_U] + self.profile_mean[_V])
        std = self.profile_std[_U] + self.profile_std[_V]
        constant = self.profile_constant[_U] & self.profile_constant[_V]
        return _standardise(torch.hypot(profiles[:, _U], profiles[:, _V]), mean, std, constant)


def soft_clip_sqrt(z: Tensor, limit: float = 30.0) -> Tensor:
    """Compress magnitudes beyond the limit: sign(z) (sqrt|z| + limit - sqrt(limit)). Continuous, not smooth."""
    magnitude = z.abs()
    squeezed = (magnitude.clamp(min=limit).sqrt() + (limit - math.sqrt(limit))).copysign(z)
    return torch.where(magnitude > limit, squeezed, z)


def soft_clip_log(z: Tensor, limit: float = 86.0) -> Tensor:
    """Compress magnitudes beyond the limit: sign(z) (ln|z| + limit - ln(limit)). Continuous, not smooth."""
    magnitude = z.abs()
    squeezed = (magnitude.clamp(min=limit).log() + (limit - math.log(limit))).copysign(z)
    return torch.where(magnitude > limit, squeezed, z)


def signed_log1p(b: Tensor) -> Tensor:
    """sign(b) ln(1 + |b|)."""
    return b.abs().log1p().copysign(b)


def _standardise(x: Tensor, mean: Tensor, std: Tensor, constant: Tensor) -> Tensor:
    """(x - mean) / std in float64, exactly 0 where constant."""
    return (x - mean) * torch.where(constant, 0.0, std.reciprocal())


def _humidity_channel(profiles: Tensor, scalars: Tensor) -> Tensor:
    """Relative humidity (batch, 1, 60), bounded because single cold spikes above the tropopause reach 8."""
    pressure = level_pressure(scalars[:, _PS])
    return relative_humidity(profiles[:, _T], profiles[:, _Q], pressure).clamp(0.0, 2.0).unsqueeze(1)


def _assemble(blocks: list[Tensor]) -> Tensor:
    """Blocks (batch, channels, 60) in float64 to one sequence (batch, 60, all channels) in float32.

    Each block is cast and transposed in the one copy that puts it into the result.
    """
    first = blocks[0]
    channels = [block.shape[1] for block in blocks]
    out = torch.empty(first.shape[0], LEVELS, sum(channels), dtype=torch.float32, device=first.device)
    start = 0
    for block, width in zip(blocks, channels, strict=True):
        out[..., start : start + width] = block.transpose(1, 2)
        start += width
    return out


def _require_float64(profiles: Tensor, scalars: Tensor) -> None:
    if profiles.dtype != torch.float64 or scalars.dtype != torch.float64:
        raise TypeError(
            f"Raw columns must arrive as float64 (profiles are {profiles.dtype}, scalars {scalars.dtype}): cloud water "
            "aloft is as small as 1e-34 and is lost in a narrower type before it is scaled."
        )


def _read_statistic(name: str, statistics: Mapping[str, Any] | None) -> Tensor:
    """One statistic as a float64 (or boolean) tensor of its own, checked; neutral where no statistics are given."""
    shape = _SHAPES[name]
    dtype = torch.bool if name.endswith("constant") else torch.float64
    if statistics is None:
        return torch.full(shape, 1.0 if name.endswith("std") else 0.0, dtype=torch.float64).to(dtype)
    if name not in statistics:
        raise KeyError(f"The input statistics lack {name!r}; fit them on the training rows.")
    value = torch.as_tensor(statistics[name]).to(dtype).clone()
    if tuple(value.shape) != shape:
        raise ValueError(f"The input statistic {name!r} has shape {tuple(value.shape)}, expected {shape}.")
    if not torch.isfinite(value).all():
        raise ValueError(f"The input statistic {name!r} holds NaN or infinite values.")
    return value


def _require_positive_std(kind: str, std: Tensor, constant: Tensor) -> None:
    wrong = (std <= 0) & ~constant
    if wrong.any():
        where = tuple(wrong.nonzero()[0].tolist())
        raise ValueError(
            f"{kind}_std is {std[where]:g} at {where}, where {kind}_constant does not flag a constant column."
        )
