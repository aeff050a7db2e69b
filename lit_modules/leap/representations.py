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

from datamodules.leap.humidity import level_pressure, relative_humidity
from datamodules.leap.schema import LEVELS, PROFILES, SCALARS, VariableSet
from datamodules.leap.total_water import mix_profiles, mixed_names
from lit_modules.precision import KeepFloat64

_T, _Q, _U, _V = (PROFILES.index(name) for name in ("state_t", "state_q0001", "state_u", "state_v"))
_RH, _CLOUD, _SHARE = 1, 2, 3  # in the total-water form
_PS = SCALARS.index("state_ps")
_COMPETITION = VariableSet()
_CLOUDLESS_LEVELS = 15  # cloud water above counts as none in the total-water form
_HIGHEST_HUMIDITY = 1.2  # in the total-water form


class ColumnStatistics(KeepFloat64):
    """Base of the representations: named statistics of the training rows as buffers that stay float64.

    Args:
        names: Which statistics of profiles, such as ``mean``, the representation uses; of scalars it uses mean and std.
        statistics: Mapping from names such as ``profile_mean`` to arrays; further names in it are ignored. Without it the
            buffers hold a neutral scaling (mean 0, std 1, nothing constant) and wait for ``load_state_dict``.
        variables: What a column holds. In the total-water form the nets' profiles are others than the column's
            (:func:`datamodules.leap.total_water.mix_profiles`), and have statistics of their own, ``mixed_profile_mean``
            and so on, and ``mixed_cloud``, the mean cloud water of cloudy cells.

    Raises:
        KeyError: A statistic is missing.
        ValueError: A statistic has the wrong shape or is not finite, or a std is not positive where the column is not
            flagged constant.

    Attributes:
        n_profiles: Profiles that the nets see.
        n_scalars: Scalars.
        out_channels: Channels of the result.
        scalar_channels: Which of them are scalars repeated on the levels: the first, and the one after the last.
    """

    out_channels: int
    scalar_channels: tuple[int, int]

    def __init__(
        self, names: tuple[str, ...], statistics: Mapping[str, Any] | None, variables: VariableSet = _COMPETITION
    ) -> None:
        super().__init__()
        self.variables = variables
        self.n_profiles, self.n_scalars = len(variables.all_profiles), len(variables.all_scalars)
        shapes = {f"profile_{name}": self._shape(name) for name in names}
        shapes |= {f"scalar_{name}": (self.n_scalars,) for name in ("mean", "std", "constant")}
        self._kind = "profile"
        if variables.total_water:
            self._kind = "mixed_profile"
            self.n_profiles = len(mixed_names(variables))
            shapes |= {f"mixed_profile_{name}": self._shape(name) for name in names} | {"mixed_cloud": (LEVELS,)}
        for name, shape in shapes.items():
            self.register_buffer(name, _read_statistic(name, shape, statistics))
        if statistics is not None:
            for kind in ("profile", "scalar", self._kind):
                _require_positive_std(kind, self.get_buffer(f"{kind}_std"), self.get_buffer(f"{kind}_constant"))

    def _shape(self, name: str) -> tuple[int, ...]:
        return (self.n_profiles,) if name.startswith("total") else (self.n_profiles, LEVELS)

    def statistic(self, name: str) -> Tensor:
        """A statistic of the profiles that the net sees."""
        return self.get_buffer(f"{self._kind}_{name}")

    def seen(self, profiles: Tensor, scalars: Tensor) -> Tensor:
        """The profiles that the net sees (batch, n_profiles, 60), of raw columns.

        Raises:
            TypeError: The columns are not float64.
        """
        _require_float64(profiles, scalars)
        return mix_profiles(profiles, scalars, self.variables) if self.variables.total_water else profiles

    def by_level(self, seen: Tensor) -> Tensor:
        """Each level of each profile by its own mean and std."""
        return _standardise(seen, self.statistic("mean"), self.statistic("std"), self.statistic("constant"))

    def scalars_on_levels(self, scalars: Tensor) -> Tensor:
        """Standardised scalars, repeated on the levels: (batch, n_scalars, 60)."""
        mean, std, constant = (self.get_buffer(f"scalar_{name}") for name in ("mean", "std", "constant"))
        return _standardise(scalars, mean, std, constant).unsqueeze(-1).expand(-1, -1, LEVELS)


class StandardColumns(ColumnStatistics):
    """Standardised column of the 8th place: nine profiles, and sixteen scalars repeated on the levels.

    Every column of the input is z = (x - mean) / std; columns flagged constant are exactly 0. In the total-water form
    relative humidity is held to 0 to 1.2, cloud water c is 1 - exp(-c / the mean cloud of its level) and 0 on the upper 15
    levels, and the liquid share stays as it is (arXiv:2511.20963).

    Args:
        statistics: Mapping with ``profile_mean``, ``profile_std``, ``profile_constant`` (9, 60) and ``scalar_mean``,
            ``scalar_std``, ``scalar_constant`` (16,) in the order of ``schema.PROFILES`` and ``schema.SCALARS``; see
            :class:`ColumnStatistics`.
        relative_humidity: Append one channel, relative humidity as a fraction between 0 and 2 (3rd, 4th, 10th places); the
            total-water form has it already.
        vertical_difference: Append as many channels as there are profiles, the standardised profiles minus those of the
            level above; 0 at the model top (7th place).
        variables: What a column holds; larger sets have more profiles and scalars.

    Attributes:
        out_channels: Channels of the result: 25 for the competition's variables, plus 1 and 9 for the options, in this order.
    """

    def __init__(
        self,
        statistics: Mapping[str, Any] | None = None,
        relative_humidity: bool = False,
        vertical_difference: bool = False,
        variables: VariableSet = _COMPETITION,
    ) -> None:
        super().__init__(("mean", "std", "constant"), statistics, variables)
        self.relative_humidity = relative_humidity and not variables.total_water
        self.vertical_difference = vertical_difference
        self.scalar_channels = (self.n_profiles, self.n_profiles + self.n_scalars)
        self.out_channels = (
            self.scalar_channels[1] + self.relative_humidity + self.n_profiles * self.vertical_difference
        )

    def forward(self, profiles: Tensor, scalars: Tensor) -> Tensor:
        """Standardise raw columns.

        Args:
            profiles: (batch, 9, 60) float64, SI units; more with more variables.
            scalars: (batch, 16) float64, SI units; more with more variables.

        Returns:
            (batch, 60, out_channels) float32, level 0 at the model top.

        Raises:
            TypeError: The columns are not float64.
        """
        seen = self.seen(profiles, scalars)
        z = self.by_level(seen)
        if self.variables.total_water:
            z = torch.cat([z[:, :_RH], self._water(seen), z[:, _SHARE + 1 :]], dim=1)
        blocks = [z, self.scalars_on_levels(scalars)]
        if self.relative_humidity:
            blocks.append(_humidity_channel(profiles, scalars))
        if self.vertical_difference:
            blocks.append(torch.diff(z, dim=-1, prepend=z[..., :1]))
        return _assemble(blocks)

    def _water(self, seen: Tensor) -> Tensor:
        cloud = -torch.expm1(-seen[:, _CLOUD] / self.get_buffer("mixed_cloud"))
        cloud = torch.cat([torch.zeros_like(cloud[:, :_CLOUDLESS_LEVELS]), cloud[:, _CLOUDLESS_LEVELS:]], dim=1)
        return torch.stack([seen[:, _RH].clamp(0.0, _HIGHEST_HUMIDITY), cloud, seen[:, _SHARE]], dim=1)


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

    In the total-water form the liquid share stands among the columns alone, as it is, and there is no wind speed: 25 blocks
    of levels for ``v2_rh_mc``, as in arXiv:2511.20963. The soft clips stay, which the paper does without.

    Args:
        statistics: Mapping with ``profile_mean``, ``profile_std``, ``profile_min``, ``profile_constant`` (9, 60),
            ``profile_total_mean``, ``profile_total_std`` (9,), and ``scalar_mean``, ``scalar_std``, ``scalar_constant``
            (16,); see :class:`ColumnStatistics`.
        relative_humidity: Append one channel, as :class:`StandardColumns` does.
        vertical_difference: Append as many channels as there are profiles, the column block minus the same one level above; 0
            at the model top.
        variables: What a column holds; larger sets have more profiles and scalars.

    Attributes:
        out_channels: 44 for the competition's variables, plus 1 and 9 for the options, in this order.
    """

    def __init__(
        self,
        statistics: Mapping[str, Any] | None = None,
        relative_humidity: bool = False,
        vertical_difference: bool = False,
        variables: VariableSet = _COMPETITION,
    ) -> None:
        super().__init__(("mean", "std", "min", "constant", "total_mean", "total_std"), statistics, variables)
        mixed = variables.total_water
        self.relative_humidity = relative_humidity and not mixed
        self.vertical_difference = vertical_difference
        first = 3 * self.n_profiles + (-2 if mixed else 1)
        self.scalar_channels = (first, first + self.n_scalars)
        self.out_channels = (
            self.scalar_channels[1] + self.relative_humidity + self.n_profiles * self.vertical_difference
        )

    def forward(self, profiles: Tensor, scalars: Tensor) -> Tensor:
        """Compute the representations of raw columns.

        Args:
            profiles: (batch, 9, 60) float64, SI units; more with more variables.
            scalars: (batch, 16) float64, SI units; more with more variables.

        Returns:
            (batch, 60, out_channels) float32, level 0 at the model top.

        Raises:
            TypeError: The columns are not float64.
        """
        mixed = self.variables.total_water
        seen = self.seen(profiles, scalars)
        z = self.by_level(seen)
        total_std = self.statistic("total_std").unsqueeze(-1)
        total = _standardise(seen, self.statistic("total_mean").unsqueeze(-1), total_std, total_std == 0)
        logarithm = signed_log1p(z - self.by_level(self.statistic("min")))
        column = soft_clip_sqrt(z)
        if mixed:
            column = torch.cat([column[:, :_SHARE], seen[:, _SHARE : _SHARE + 1], column[:, _SHARE + 1 :]], dim=1)
        blocks = [_without_share(total), column, _without_share(logarithm)] if mixed else [total, column, logarithm]
        if not mixed:
            blocks.append(soft_clip_sqrt(self._wind_speed(seen)).unsqueeze(1))
        blocks.append(self.scalars_on_levels(scalars))
        if self.relative_humidity:
            blocks.append(_humidity_channel(profiles, scalars))
        if self.vertical_difference:
            blocks.append(torch.diff(column, dim=-1, prepend=column[..., :1]))
        return soft_clip_log(_assemble(blocks))

    def _wind_speed(self, profiles: Tensor) -> Tensor:
        """Scaled wind speed (batch, 60), 0 at levels where both wind components are constant."""
        mean, std, constant = (self.statistic(name) for name in ("mean", "std", "constant"))
        speed = torch.hypot(profiles[:, _U], profiles[:, _V])
        return _standardise(speed, 0.5 * (mean[_U] + mean[_V]), std[_U] + std[_V], constant[_U] & constant[_V])


def _without_share(profiles: Tensor) -> Tensor:
    return torch.cat([profiles[:, :_SHARE], profiles[:, _SHARE + 1 :]], dim=1)


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


def _read_statistic(name: str, shape: tuple[int, ...], statistics: Mapping[str, Any] | None) -> Tensor:
    """One statistic as a float64 (or boolean) tensor of its own, checked; neutral where no statistics are given."""
    dtype = torch.bool if name.endswith("constant") else torch.float64
    if statistics is None:
        return torch.full(shape, 1.0 if name.endswith(("std", "cloud")) else 0.0, dtype=torch.float64).to(dtype)
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
