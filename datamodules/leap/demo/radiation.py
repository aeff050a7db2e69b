"""Grey long-wave and two-band short-wave radiation through vapour, ozone and cloud."""

from __future__ import annotations

import numpy as np

from datamodules.leap.demo.column import DT, Column, Unresolved
from datamodules.leap.demo.thermo import HEAT_CAPACITY, STEFAN_BOLTZMANN

_OZONE_ABSORPTION = 2.57  # per kg/m2 of air times mole fraction
_CO2_DEPTH = 1.6  # grey optical depth of the well-mixed gases over the whole column


def radiate(column: Column, unresolved: Unresolved) -> dict[str, np.ndarray]:
    """Heat the column by one step of radiation.

    Returns:
        The radiative ``cam_out`` fluxes at the surface, W/m2, by ClimSim's names.
    """
    cloud_depth = _cloud_depth(column, unresolved)
    downward = _long_wave(column, cloud_depth)
    fluxes = _short_wave(column, cloud_depth)
    return {**fluxes, "cam_out_FLWDS": downward}


def _cloud_depth(column: Column, unresolved: Unresolved) -> np.ndarray:
    """Visible optical depth of the layers: 3/2 water path / (density * effective radius)."""
    path = column.mass * (column.liquid / 11.0 + column.ice / 30.0)
    return 1500.0 * path * unresolved.optics


def _long_wave(column: Column, cloud_depth: np.ndarray) -> np.ndarray:
    """Emissivity form of the grey transfer equation, downward then upward; returns the flux at the ground."""
    relative = column.pressure / 1e5
    vapour = 0.17 * (column.mass * column.q) ** 0.7
    gases = _CO2_DEPTH * column.mass / column.mass.sum(axis=1, keepdims=True) * (0.3 + relative) + vapour
    gases = gases + 0.02 * np.minimum(1.0, relative * 300.0)  # keeps the thin top layers radiating
    transmitted = np.exp(-gases - 0.5 * cloud_depth)
    emitted = (1.0 - transmitted) * STEFAN_BOLTZMANN * column.t**4
    levels = column.t.shape[1]
    down = np.zeros((len(column.t), levels + 1))
    up = np.zeros_like(down)
    for level in range(levels):
        down[:, level + 1] = down[:, level] * transmitted[:, level] + emitted[:, level]
    up[:, -1] = column.surface["cam_in_LWUP"]
    for level in range(levels - 1, -1, -1):
        up[:, level] = up[:, level + 1] * transmitted[:, level] + emitted[:, level]
    heating = (down[:, :-1] - down[:, 1:] + up[:, 1:] - up[:, :-1]) / (column.mass * HEAT_CAPACITY)
    column.t = column.t + DT * heating
    return down[:, -1]


def _short_wave(column: Column, cloud_depth: np.ndarray) -> dict[str, np.ndarray]:
    """Direct and diffuse beams in a visible and a near-infrared band.

    Ozone absorbs in the visible, vapour and cloud in the near infrared; cloud scatters the direct beam into a diffuse
    one, half of which (less where cloud is thin) goes back to space.
    """
    surface = column.surface
    cosine = np.maximum(surface["pbuf_COSZRS"], 1e-3)
    slant = 1.0 / np.sqrt(cosine**2 + 0.0025)
    heating = np.zeros_like(column.t)
    result = {}
    net = np.zeros(len(cosine))
    absorbers = {
        "S": _OZONE_ABSORPTION * column.mass * column.ozone,
        "L": 0.004 * np.sqrt(column.mass * column.q + 1e-12) + 0.02 * cloud_depth / (1.0 + 0.1 * cloud_depth),
    }
    total = cloud_depth.sum(axis=1)
    cover = total / (total + 12.0)  # share of the sky that cloud covers
    unscattered = 1.0 - cover * (1.0 - np.exp(-0.8 * total * slant))
    reflected = 0.13 * total / (1.0 + 0.13 * total) * (0.6 + 0.4 * np.minimum(slant / 3.0, 1.0))
    for band, share in (("S", 0.47), ("L", 0.53)):
        incoming = share * surface["pbuf_SOLIN"]
        depth = np.cumsum(absorbers[band], axis=1) * slant[:, None]
        left = incoming[:, None] * np.exp(-depth)
        absorbed = np.concatenate([incoming[:, None], left[:, :-1]], axis=1) - left
        heating += absorbed / (column.mass * HEAT_CAPACITY)
        rayleigh = 0.09 * slant if band == "S" else 0.02 * slant
        clear = left[:, -1] * np.exp(-rayleigh)
        direct = clear * unscattered
        diffuse = (left[:, -1] - direct) * (1.0 - reflected) * (1.0 - 0.5 * rayleigh / (1.0 + rayleigh))
        direct_albedo, diffuse_albedo = surface[f"cam_in_A{band}DIR"], surface[f"cam_in_A{band}DIF"]
        diffuse = diffuse / (1.0 - 0.5 * reflected * np.where(diffuse_albedo < 1.0, diffuse_albedo, 0.0))
        result[f"cam_out_SOL{band}"] = direct
        result[f"cam_out_SOL{band}D"] = diffuse
        net += direct * (1.0 - direct_albedo) + diffuse * (1.0 - diffuse_albedo)
    column.t = column.t + DT * heating
    return {**result, "cam_out_NETSW": net}
