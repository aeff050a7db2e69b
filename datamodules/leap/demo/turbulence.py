"""Vertical mixing by turbulence, with the surface fluxes as its lower boundary, and gravity-wave drag aloft."""

from __future__ import annotations

import numpy as np

from datamodules.leap.demo.column import DT, Column, Unresolved
from datamodules.leap.demo.thermo import GAS_DRY, GRAVITY, HEAT_CAPACITY, LATENT_HEAT

VON_KARMAN = 0.4
_CRITICAL_RICHARDSON = 0.25
_MIXING_LENGTH = 25.0  # asymptotic, m
_EDDY_STRENGTH = 0.15  # of the convective boundary layer
_WAVE_LEVELS = range(45, 11, -1)  # where waves launched below travel and break


def mix(column: Column, unresolved: Unresolved) -> None:
    """Diffuse heat, moisture, cloud and momentum over one step (implicit), fed by the surface fluxes."""
    conductance = _conductance(column, unresolved)
    fluxes = column.surface
    fields = {
        "heat": (column.static_energy, fluxes["pbuf_SHFLX"]),
        "q": (column.q, fluxes["pbuf_LHFLX"] / LATENT_HEAT),
        "liquid": (column.liquid, None),
        "ice": (column.ice, None),
        "u": (column.u, fluxes["pbuf_TAUX"]),
        "v": (column.v, fluxes["pbuf_TAUY"]),
    }
    values = np.stack([field for field, _ in fields.values()])
    for row, (_, flux) in enumerate(fields.values()):
        if flux is not None:
            values[row, :, -1] += DT * flux / column.mass[:, -1]
    before = column.static_energy
    mixed = dict(zip(fields, _solve(conductance, column.mass, values), strict=True))
    column.t += (mixed.pop("heat") - before) / HEAT_CAPACITY
    for name, result in mixed.items():
        setattr(column, name, np.maximum(result, 0.0) if name in ("q", "liquid", "ice") else result)


def _conductance(column: Column, unresolved: Unresolved) -> np.ndarray:
    """DT * density * K / distance at the 59 inner interfaces, kg/m2.

    K is a mixing length squared times shear times a function of the Richardson number, plus a convective boundary
    layer whose depth follows from the surface buoyancy flux and the stability above.
    """
    height = 0.5 * (column.height[:, 1:] + column.height[:, :-1])
    distance = column.height[:, :-1] - column.height[:, 1:]
    theta = column.t * (1e5 / column.pressure) ** (GAS_DRY / HEAT_CAPACITY) * (1.0 + 0.608 * column.q)
    smooth = _smooth(theta)
    stability = GRAVITY / theta[:, 1:] * (smooth[:, :-1] - smooth[:, 1:]) / distance
    shear = np.hypot(np.diff(column.u, axis=1), np.diff(column.v, axis=1)) / distance
    richardson = stability / np.maximum(shear**2, 1e-7)
    damping = np.where(
        richardson > 0,
        1.0 / (1.0 + np.maximum(richardson, 0.0) / _CRITICAL_RICHARDSON) ** 2,
        np.sqrt(1.0 - 16.0 * np.minimum(richardson, 0.0).clip(-10.0)),
    )
    length = VON_KARMAN * height / (1.0 + VON_KARMAN * height / _MIXING_LENGTH)
    diffusivity = length**2 * shear * damping + _convective_diffusivity(column, theta, height)
    density = column.density[:, 1:]
    return DT * density * np.minimum(diffusivity * unresolved.turbulence[:, 1:], 300.0) / distance


def _convective_diffusivity(column: Column, theta: np.ndarray, height: np.ndarray) -> np.ndarray:
    """K of the convective boundary layer, m2/s: as deep as buoyant surface air can rise."""
    density = column.density[:, -1]
    heat = column.surface["pbuf_SHFLX"] / (density * HEAT_CAPACITY)
    moisture = column.surface["pbuf_LHFLX"] / (density * LATENT_HEAT)
    buoyancy = np.maximum(GRAVITY / theta[:, -1] * (heat + 0.61 * theta[:, -1] * moisture), 0.0)
    excess = 0.8 + 25.0 * np.cbrt(buoyancy)
    surface_air = theta[:, -6:].mean(axis=1) + excess
    alive = np.ones(len(density))
    depth = np.full(len(density), 60.0)
    for level in range(58, 34, -1):
        alive = alive / (1.0 + np.exp((theta[:, level] - surface_air) / 0.6))
        depth = depth + alive * column.thickness[:, level]
    velocity = np.cbrt(buoyancy * depth)
    relative = np.clip(height / depth[:, None], 0.0, 1.0)
    return _EDDY_STRENGTH * VON_KARMAN * velocity[:, None] * height * (1.0 - relative) ** 2


def drag_waves(column: Column, unresolved: Unresolved) -> None:
    """Gravity waves from rough, windy ground rise and break where the wind along them gets weak or sheared.

    The momentum flux is limited at each level by saturation; what it loses slows the wind there.
    """
    land = column.surface["cam_in_LANDFRAC"]
    low_u, low_v = column.u[:, 48:].mean(axis=1), column.v[:, 48:].mean(axis=1)
    speed = np.hypot(low_u, low_v) + 1e-3
    along_u, along_v = low_u / speed, low_v / speed
    flux = 4e-4 * (0.15 + land) * speed**2 * unresolved.turbulence[:, 45]
    for level in _WAVE_LEVELS:
        wind = np.maximum(along_u * column.u[:, level] + along_v * column.v[:, level], 0.0)
        limit = 1.5e-4 * (column.pressure[:, level] / 1e4) ** 4 * wind**2 * unresolved.turbulence[:, level]
        passed = flux / np.sqrt(1.0 + (flux / (limit + 1e-9)) ** 2)
        force = (flux - passed) / column.mass[:, level] * DT
        column.u[:, level] -= force * along_u
        column.v[:, level] -= force * along_v
        flux = passed


def _smooth(profile: np.ndarray) -> np.ndarray:
    """Mean over five levels: the columns are hundreds of kilometres wide and do not feel single-level wiggles."""
    padded = np.pad(profile, ((0, 0), (2, 2)), mode="reflect", reflect_type="odd")
    return (padded[:, :-4] + padded[:, 1:-3] + padded[:, 2:-2] + padded[:, 3:-1] + padded[:, 4:]) / 5.0


def _solve(conductance: np.ndarray, mass: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Implicit diffusion by the Thomas algorithm: (mass - d/dz conductance d/dz) x = mass * values.

    Args:
        conductance: (columns, 59).
        mass: (columns, 60).
        values: (fields, columns, 60).
    """
    levels = mass.shape[1]
    below = np.zeros_like(mass)
    below[:, :-1] = conductance
    above = np.zeros_like(mass)
    above[:, 1:] = conductance
    diagonal = mass + below + above
    factor = np.empty_like(mass)
    result = mass * values
    factor[:, 0] = below[:, 0] / diagonal[:, 0]
    result[..., 0] /= diagonal[:, 0]
    for level in range(1, levels):
        pivot = diagonal[:, level] - above[:, level] * factor[:, level - 1]
        factor[:, level] = below[:, level] / pivot
        result[..., level] = (result[..., level] + above[:, level] * result[..., level - 1]) / pivot
    for level in range(levels - 2, -1, -1):
        result[..., level] += factor[:, level] * result[..., level + 1]
    return result
