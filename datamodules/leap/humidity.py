"""Relative humidity of the raw state, as ClimSim defines it.

Saturation pressure is a pair of polynomials, over liquid and over ice (Flatau et al. 1992, J. Appl. Meteorol. 31, 1507),
blended linearly in temperature between 253.16 K and 273.16 K; pressure follows from the hybrid coefficients. Relative
humidity generalises better across climates than specific humidity (Beucler et al. 2024, "Climate-invariant machine
learning") and was an input of the 3rd, 4th and 10th places of LEAP.
"""

from __future__ import annotations

import torch
from torch import Tensor

from datamodules.leap.hybrid_levels import HYAM, HYBM, REFERENCE_PRESSURE

GAS_CONSTANT_DRY_AIR = 287.0  # J/kg/K
GAS_CONSTANT_VAPOUR = 461.0  # J/kg/K
TRIPLE_POINT = 273.16  # K; cloud water is all liquid above
ALL_ICE = 253.16  # K; cloud water is all ice below

# Coefficients of T - 273.16 K in hPa, constant term first.
_LIQUID = (
    6.11239921,
    0.443987641,
    0.142986287e-1,
    0.264847430e-3,
    0.302950461e-5,
    0.206739458e-7,
    0.640689451e-10,
    -0.952447341e-13,
    -0.976195544e-15,
)
_ICE = (
    6.11147274,
    0.503160820,
    0.188439774e-1,
    0.420895665e-3,
    0.615021634e-5,
    0.602588177e-7,
    0.385852041e-9,
    0.146898966e-11,
    0.252751365e-14,
)
_COLD_ICE = (0.00763685, 0.000151069, 7.48215e-07)  # below 185 K, where the polynomial of degree 8 no longer holds
_COLDEST_POLYNOMIAL = 185.0 - TRIPLE_POINT
_HOTTEST = 100.0  # the liquid fit turns down far above; ClimSim holds single spikes of 663 K at the model top


def level_pressure(surface_pressure: Tensor) -> Tensor:
    """Pressure in Pa at the 60 mid-levels.

    Args:
        surface_pressure: (batch,) in Pa.

    Returns:
        Tensor (batch, 60) of the same type, level 0 at the model top.
    """
    hyam, hybm = (torch.tensor(c, dtype=surface_pressure.dtype, device=surface_pressure.device) for c in (HYAM, HYBM))
    return hyam * REFERENCE_PRESSURE + surface_pressure.unsqueeze(-1) * hybm


def saturation_pressure_liquid(temperature: Tensor) -> Tensor:
    """Saturation vapour pressure over liquid water in Pa; held constant below 193.16 K and above 373.16 K."""
    return 100.0 * _polynomial((temperature - TRIPLE_POINT).clamp(-80.0, _HOTTEST), _LIQUID)


def saturation_pressure_ice(temperature: Tensor) -> Tensor:
    """Saturation vapour pressure over ice in Pa, for temperatures up to the triple point (held constant above it)."""
    t = (temperature - TRIPLE_POINT).clamp(-100.0, 0.0)
    return 100.0 * torch.where(t > _COLDEST_POLYNOMIAL, _polynomial(t, _ICE), _polynomial(t, _COLD_ICE))


def saturation_pressure(temperature: Tensor) -> Tensor:
    """Saturation vapour pressure in Pa over liquid above 273.16 K, over ice below 253.16 K, blended linearly between."""
    ice, liquid = saturation_pressure_ice(temperature), saturation_pressure_liquid(temperature)
    return torch.lerp(ice, liquid, liquid_share(temperature))


def liquid_share(temperature: Tensor) -> Tensor:
    """Share of liquid in cloud water: 1 above 273.16 K, 0 below 253.16 K, linear between."""
    return ((temperature - ALL_ICE) / (TRIPLE_POINT - ALL_ICE)).clamp(0.0, 1.0)


def relative_humidity(temperature: Tensor, specific_humidity: Tensor, pressure: Tensor) -> Tensor:
    """Relative humidity as a fraction: vapour pressure ``p q Rv / Rd`` over saturation pressure.

    Args:
        temperature: In K, any shape.
        specific_humidity: In kg/kg, same shape.
        pressure: In Pa, same shape.

    Returns:
        Tensor of the same shape, 1 at saturation.
    """
    vapour_pressure = pressure * specific_humidity * (GAS_CONSTANT_VAPOUR / GAS_CONSTANT_DRY_AIR)
    return vapour_pressure / saturation_pressure(temperature)


def specific_humidity(temperature: Tensor, relative: Tensor, pressure: Tensor) -> Tensor:
    """The inverse of :func:`relative_humidity`.

    Args:
        temperature: In K, any shape.
        relative: Relative humidity as a fraction, same shape.
        pressure: In Pa, same shape.

    Returns:
        Tensor of the same shape in kg/kg.
    """
    return relative * saturation_pressure(temperature) * (GAS_CONSTANT_DRY_AIR / GAS_CONSTANT_VAPOUR) / pressure


def _polynomial(t: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    value = torch.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        value = value * t + coefficient
    return value
