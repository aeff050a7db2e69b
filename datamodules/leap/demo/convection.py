"""Moist convection: an entraining plume whose mass flux heats, dries and stirs the column (bulk mass-flux scheme)."""

from __future__ import annotations

import numpy as np

from datamodules.leap.demo.column import DT, Column, Unresolved
from datamodules.leap.demo.thermo import GRAVITY, HEAT_CAPACITY, LATENT_HEAT, liquid_fraction, saturation_slope

_BASE, _TOP = 55, 18  # the plume starts at the first and cannot reach the second
_TAPER_LEVELS = 8  # below the top over which its mass flux is squeezed
_BASE_FLUX = 0.004  # mass flux of a plume of 1 m/s, kg/m2/s
_RAIN_SHARE = 0.6  # of what condenses in the plume; the rest is detrained as cloud


def convect(column: Column, unresolved: Unresolved) -> np.ndarray:
    """Apply one step of convection.

    Returns:
        Rain formed in the plume at each level, kg/m2, (columns, 60).
    """
    flux, plume = _rise(column)
    flux = flux * unresolved.convection
    flux = np.minimum(flux, 0.6 * column.mass / DT)
    below = np.roll(flux, -1, axis=1)
    below[:, -1] = 0.0
    detrained = np.maximum(below - flux, 0.0)
    shares = detrained * DT / column.mass

    for name, source in (("s", column.static_energy), ("q", column.q), ("u", column.u), ("v", column.v)):
        above = np.roll(source, 1, axis=1)
        above[:, 0] = source[:, 0]
        change = flux * DT / column.mass * (above - source)  # compensating subsidence brings air down from above
        if name == "s":
            column.t = column.t + change / HEAT_CAPACITY
        else:
            change = change + shares * (plume[name] - source)
            setattr(column, name, np.maximum(source + change, 0.2 * source) if name == "q" else source + change)

    condensed = flux * DT * plume["condensed"]  # kg/m2 in each layer
    column.t = column.t + 0.3 * LATENT_HEAT * condensed / (column.mass * HEAT_CAPACITY)
    cloud = (1.0 - _RAIN_SHARE) * condensed / column.mass
    share = liquid_fraction(column.t)
    column.liquid = column.liquid + share * cloud
    column.ice = column.ice + (1.0 - share) * cloud
    return _RAIN_SHARE * condensed


def _rise(column: Column) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Plume from the boundary layer upward: vertical speed by buoyancy, entrainment of dry air, condensation.

    Returns:
        Mass flux through each level, kg/m2/s, and the plume's vapour, winds and condensation per unit mass.
    """
    saturation = column.saturation
    dry = column.static_energy
    moist = dry + LATENT_HEAT * column.q
    saturated = dry + LATENT_HEAT * saturation
    slope = 1.0 + LATENT_HEAT / HEAT_CAPACITY * saturation_slope(column.t, saturation)

    source = slice(_BASE, None)
    warmth = 600.0 + 4.0 * np.maximum(column.surface["pbuf_SHFLX"] + 0.3 * column.surface["pbuf_LHFLX"], 0.0)
    energy = moist[:, source].mean(axis=1) + warmth
    water = column.q[:, source].mean(axis=1) * 1.02
    winds = {name: getattr(column, name)[:, source].mean(axis=1) for name in ("u", "v")}
    kinetic = 1.0 + 0.01 * np.maximum(column.surface["pbuf_SHFLX"], 0.0)

    flux = np.zeros_like(column.t)
    plume = {name: np.zeros_like(column.t) for name in ("q", "u", "v", "condensed")}
    for level in range(_BASE - 1, _TOP, -1):
        depth = column.thickness[:, level]
        entrained = np.minimum(depth * 1.2 / (column.height[:, level] + 700.0), 0.6)
        energy = energy + entrained * (moist[:, level] - energy)
        water = water + entrained * (column.q[:, level] - water)
        excess = (energy - saturated[:, level]) / (HEAT_CAPACITY * slope[:, level])  # K, where saturated
        inside = saturation[:, level] + (slope[:, level] - 1.0) * HEAT_CAPACITY / LATENT_HEAT * excess
        condensed = np.maximum(water - inside, 0.0)
        buoyancy = GRAVITY * np.where(condensed > 0, excess, 0.15 * excess) / column.t[:, level]
        kinetic = np.maximum(kinetic + depth * (buoyancy - 2e-4 * kinetic) - 0.3 * entrained * kinetic, 0.0)
        kinetic = np.minimum(kinetic, 400.0)
        room = min((level - _TOP) / _TAPER_LEVELS, 1.0)
        flux[:, level] = _BASE_FLUX * room * np.sqrt(kinetic) * column.density[:, level]
        plume["condensed"][:, level] = condensed
        plume["q"][:, level] = water - condensed
        water = water - condensed
        for name in winds:
            winds[name] = winds[name] + entrained * (getattr(column, name)[:, level] - winds[name])
            plume[name][:, level] = winds[name]
    return flux, plume
