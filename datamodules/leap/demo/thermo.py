"""Moist thermodynamics of an atmospheric column: constants, saturation, heights.

Constants as in ClimSim's own utilities; saturation pressure after Bolton (1980) over liquid and Magnus over ice, blended
linearly between 253.16 K and 273.16 K, the two temperatures by which the parent model parts liquid from ice.
"""

from __future__ import annotations

import numpy as np

GRAVITY = 9.80616  # m/s2
HEAT_CAPACITY = 1004.64  # dry air at constant pressure, J/kg/K
LATENT_HEAT = 2.501e6  # vaporisation, J/kg
FUSION_HEAT = 3.337e5  # J/kg
GAS_DRY = 287.0  # J/kg/K
GAS_VAPOUR = 461.0  # J/kg/K
STEFAN_BOLTZMANN = 5.670e-8  # W/m2/K4
SOLAR_CONSTANT = 1361.0  # W/m2
WATER_DENSITY = 1000.0  # kg/m3
ICE_ONLY, LIQUID_ONLY = 253.16, 273.16  # K

_EPSILON = GAS_DRY / GAS_VAPOUR


def liquid_fraction(temperature: np.ndarray) -> np.ndarray:
    """Share of liquid in the condensate that a saturated parcel forms."""
    return np.clip((temperature - ICE_ONLY) / (LIQUID_ONLY - ICE_ONLY), 0.0, 1.0)


def saturation_humidity(temperature: np.ndarray, pressure: np.ndarray) -> np.ndarray:
    """Saturation specific humidity, kg/kg, at temperature (K) and pressure (Pa)."""
    celsius = temperature - 273.15
    over_liquid = 611.2 * np.exp(17.67 * celsius / np.maximum(temperature - 29.65, 60.0))
    over_ice = 611.2 * np.exp(22.46 * celsius / np.maximum(temperature - 0.53, 60.0))
    share = liquid_fraction(temperature)
    vapour = np.minimum(share * over_liquid + (1.0 - share) * over_ice, 0.3 * pressure)
    return _EPSILON * vapour / (pressure - (1.0 - _EPSILON) * vapour)


def saturation_slope(temperature: np.ndarray, saturation: np.ndarray) -> np.ndarray:
    """d(saturation humidity)/dT, 1/K (Clausius-Clapeyron)."""
    return LATENT_HEAT * saturation / (GAS_VAPOUR * temperature**2)


def layer_heights(temperature: np.ndarray, humidity: np.ndarray, interface_pressure: np.ndarray) -> np.ndarray:
    """Thickness of the layers, m, (columns, 60), from hydrostatic balance."""
    virtual = temperature * (1.0 + 0.608 * humidity)
    return GAS_DRY * virtual / GRAVITY * np.log(interface_pressure[:, 1:] / interface_pressure[:, :-1])


def heights(thickness: np.ndarray) -> np.ndarray:
    """Height of the middle of the layers above the surface, m."""
    above_bottom = np.cumsum(thickness[:, ::-1], axis=1)[:, ::-1]
    return above_bottom - 0.5 * thickness
