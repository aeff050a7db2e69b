"""Stratiform cloud: condensation and evaporation, freezing and melting, rain and snow falling through the column."""

from __future__ import annotations

import numpy as np

from datamodules.leap.demo.column import DT, Column, Unresolved
from datamodules.leap.demo.thermo import (
    FUSION_HEAT,
    HEAT_CAPACITY,
    LATENT_HEAT,
    liquid_fraction,
    saturation_slope,
)

_CRITICAL_HUMIDITY = 0.8  # above it part of the grid box is cloudy
_FIRST_LEVEL = 12


def condense(column: Column, unresolved: Unresolved) -> None:
    """Form cloud where the air is moist (all vapour above saturation), evaporate cloud where it is dry."""
    saturation = column.saturation
    capacity = 1.0 + LATENT_HEAT / HEAT_CAPACITY * saturation_slope(column.t, saturation)
    relative = column.q / saturation
    moist = np.clip((relative - _CRITICAL_HUMIDITY) / (1.0 - _CRITICAL_HUMIDITY), 0.0, 1.0)
    partial = 0.012 * moist**2 * saturation * unresolved.clouds
    over = np.maximum(column.q - saturation, 0.0)
    formed = (partial + over) / capacity
    cloud = column.liquid + column.ice
    dryness = np.maximum(_CRITICAL_HUMIDITY - relative, 0.0)
    lost = cloud * (1.0 - np.exp(-6.0 * dryness * unresolved.clouds))
    share = liquid_fraction(column.t)
    old_share = column.liquid / np.maximum(cloud, 1e-300)
    column.liquid = column.liquid + share * formed - old_share * lost
    column.ice = column.ice + (1.0 - share) * formed - (1.0 - old_share) * lost
    _exchange(column, formed - lost)
    _freeze(column)


def precipitate(column: Column, unresolved: Unresolved, plume_rain: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Turn cloud into rain and snow, and let it fall, collect, evaporate and melt on the way down.

    Args:
        column: Changed in place.
        unresolved: Variability of the formation rate.
        plume_rain: Rain formed in convective plumes, kg/m2 per layer.

    Returns:
        Rain and snow that reach the ground, kg/m2 in this step.
    """
    rate = 1.0 - np.exp(-0.4 * unresolved.clouds)
    autoconverted = column.liquid * rate * (1.0 - np.exp(-((column.liquid / 6e-5) ** 2)))
    settled = column.ice * rate * (1.0 - np.exp(-((column.ice / 2.5e-5) ** 2)))
    column.liquid = column.liquid - autoconverted
    column.ice = column.ice - settled
    share = liquid_fraction(column.t)
    saturation = column.saturation
    rain = np.zeros(len(column.t))
    snow = np.zeros(len(column.t))
    for level in range(_FIRST_LEVEL, column.t.shape[1]):
        mass = column.mass[:, level]
        rain = rain + autoconverted[:, level] * mass + share[:, level] * plume_rain[:, level]
        snow = snow + settled[:, level] * mass + (1.0 - share[:, level]) * plume_rain[:, level]
        collected = column.liquid[:, level] * (1.0 - np.exp(-0.5 * (rain + snow)))
        column.liquid[:, level] -= collected
        rain = rain + collected * mass
        rain, snow = _melt(column, level, rain, snow)
        dryness = np.maximum(1.0 - column.q[:, level] / saturation[:, level], 0.0)
        evaporated = 0.05 * dryness * np.sqrt(np.minimum(rain, 4.0) + 1e-12) * np.minimum(1.0, mass / 150.0)
        evaporated = np.minimum(evaporated, rain)
        sublimated = 0.15 * dryness * snow
        rain, snow = rain - evaporated, snow - sublimated
        gained = (evaporated + sublimated) / mass
        column.q[:, level] += gained
        column.t[:, level] -= LATENT_HEAT / HEAT_CAPACITY * gained
    return rain, snow


def _melt(column: Column, level: int, rain: np.ndarray, snow: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Snow that falls into warm air becomes rain and cools the air."""
    melted = snow * np.clip((column.t[:, level] - 273.16) / 3.0, 0.0, 1.0)
    column.t[:, level] -= FUSION_HEAT / HEAT_CAPACITY * melted / column.mass[:, level]
    return rain + melted, snow - melted


def _exchange(column: Column, condensed: np.ndarray) -> None:
    """Move water from vapour to cloud (negative: back) with its latent heat."""
    column.q = column.q - condensed
    column.t = column.t + LATENT_HEAT / HEAT_CAPACITY * condensed


def _freeze(column: Column) -> None:
    """Relax liquid and ice towards the share that the temperature asks for, within about half an hour."""
    wanted = liquid_fraction(column.t) * (column.liquid + column.ice)
    melted = (wanted - column.liquid) * (1.0 - np.exp(-DT / 1800.0))
    column.liquid = column.liquid + melted
    column.ice = column.ice - melted
    column.t = column.t - FUSION_HEAT / HEAT_CAPACITY * melted
