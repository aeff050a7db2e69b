"""Sun, surface types and the surface's side of the exchange with the air."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datamodules.leap.demo.climate import Climate
from datamodules.leap.demo.spec import Step
from datamodules.leap.demo.thermo import (
    GAS_DRY,
    HEAT_CAPACITY,
    LATENT_HEAT,
    SOLAR_CONSTANT,
    STEFAN_BOLTZMANN,
    saturation_humidity,
)
from datamodules.leap.demo.weather import Weather

NO_ICE = 1e30
"""ClimSim's fill value of ``cam_in_SNOWHICE`` where there is no sea ice."""


def sun(climate: Climate, step: Step) -> tuple[float, np.ndarray, np.ndarray]:
    """Declination (radians), cosine of the zenith angle (0 at night) and insolation at the top (W/m2)."""
    declination = np.deg2rad(23.45) * np.sin(2 * np.pi * (step.day_of_year - 80) / 365)
    hour_angle = 2 * np.pi * step.day_fraction + np.deg2rad(climate.lon) - np.pi
    latitude = np.deg2rad(climate.lat)
    cosine = np.sin(latitude) * np.sin(declination) + np.cos(latitude) * np.cos(declination) * np.cos(hour_angle)
    cosine = np.maximum(cosine, 0.0)
    orbit = 1.0 + 0.033 * np.cos(2 * np.pi * (step.day_of_year - 3) / 365)
    return float(declination), cosine, SOLAR_CONSTANT * orbit * cosine


@dataclass(frozen=True)
class Surface:
    """Surface of every column at one time step; all arrays (columns,).

    Attributes:
        land, ice, ocean: Area fractions, which sum to 1.
        snow: Snow depth on land, m of water.
        cosine_zenith: Cosine zenith of the sun.
        diurnal_warming: What the day adds to the air next to the ground, K.
        skin_excess: Skin temperature minus air temperature, K.
        gustiness: Wind that the mean wind does not see, m/s.
    """

    land: np.ndarray
    ice: np.ndarray
    ocean: np.ndarray
    snow: np.ndarray
    cosine_zenith: np.ndarray
    diurnal_warming: np.ndarray
    skin_excess: np.ndarray
    gustiness: np.ndarray

    def exchange(self, climate: Climate, state: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The ``cam_in`` scalars and the surface fluxes (bulk formulas), by ClimSim's names."""
        t, q, u, v = (state[f"state_{name}"][:, -1] for name in ("t", "q0001", "u", "v"))
        skin = t + self.skin_excess
        speed = np.hypot(u, v) + self.gustiness
        density = state["state_ps"] / (GAS_DRY * t)
        drag = 0.7e-3 * self.ocean + 2.2e-3 * self.land + 0.8e-3 * self.ice
        exchange = density * drag * speed * np.where(self.skin_excess > 0, 1.0, 0.3)  # stable air exchanges little
        wetness = self.ocean + 0.35 * self.land + 0.5 * self.ice
        dryness = saturation_humidity(skin, state["state_ps"]) - q
        fluxes = {
            "pbuf_SHFLX": exchange * HEAT_CAPACITY * self.skin_excess,
            "pbuf_LHFLX": exchange * wetness * LATENT_HEAT * np.where(dryness > 0, dryness, 0.2 * dryness),
            "pbuf_TAUX": -density * drag * speed * u,
            "pbuf_TAUY": -density * drag * speed * v,
            "cam_in_LWUP": STEFAN_BOLTZMANN * skin**4,
            "cam_in_ICEFRAC": self.ice,
            "cam_in_LANDFRAC": self.land,
            "cam_in_OCNFRAC": self.ocean,
            "cam_in_SNOWHLAND": self.snow,
            **self._albedos(),
        }
        fluxes = {name: climate.clip(name, values) for name, values in fluxes.items()}
        fluxes["cam_in_SNOWHICE"] = np.where(self.ice > 0, 0.2 * self.ice, NO_ICE)
        return fluxes

    def _albedos(self) -> dict[str, np.ndarray]:
        """Near-infrared (AL) and visible (AS), diffuse (DIF) and direct (DIR); 1 where the sun is down."""
        snowy = self.snow / (self.snow + 0.05)
        low_sun = 0.026 / (self.cosine_zenith**1.7 + 0.065) - 0.024
        albedos = {}
        for band, bare, snow in (("AL", 0.26, 0.55), ("AS", 0.11, 0.85)):
            land = bare + (snow - bare) * snowy
            ice = 0.45 if band == "AL" else 0.7
            for beam, ocean in (("DIF", 0.06), ("DIR", 0.02 + low_sun)):
                mixed = self.land * land + self.ice * ice + self.ocean * ocean
                albedos[f"cam_in_{band}{beam}"] = np.where(self.cosine_zenith > 0, mixed, 1.0)
        return albedos


def make_surface(climate: Climate, weather: Weather, step: Step, cosine_zenith: np.ndarray) -> Surface:
    """Invented continents (on the real orography), seasonal sea ice and snow, and the day's warming of the ground."""
    latitude, longitude = np.deg2rad(climate.lat), np.deg2rad(climate.lon)
    summer = np.sin(2 * np.pi * (step.day_of_year - 110) / 365) * np.sign(latitude)
    continents = (
        np.sin(2 * longitude + 0.6) * np.cos(latitude)
        + 0.8 * np.sin(3 * longitude + 4 * latitude)
        + 0.7 * np.sin(2 * latitude)
        + 2.5e-4 * (98_600 - climate.surface_pressure)
    )
    land = np.round(1.0 / (1.0 + np.exp(-4.0 * (continents - 0.75))), 3)
    cold = np.abs(climate.lat) - 64.0 - 7.0 * summer + 2.0 * weather.surface("ice", step.days, knot_days=40.0)
    ice = (1.0 - land) * np.clip(cold / 9.0, 0.0, 0.99)
    snow_line = np.abs(climate.lat) - 54.0 - 16.0 * summer + 4.0 * weather.surface("snow", step.days, knot_days=30.0)
    snow = np.where(land > 0.02, np.clip(0.04 * snow_line, 0.0, 1.0), 0.0)

    dry_ground = land * (1.0 - np.minimum(snow * 5.0, 0.8))
    ground = dry_ground * (12.0 * cosine_zenith - 2.0) + land * 1.5 * weather.surface(
        "ground", step.days, knot_days=0.5
    )
    sea = 1.0 + 1.2 * weather.surface("sea", step.days)
    return Surface(
        land=land,
        ice=ice,
        ocean=np.maximum(1.0 - land - ice, 0.0),
        snow=snow,
        cosine_zenith=cosine_zenith,
        diurnal_warming=dry_ground * (5.0 * cosine_zenith - 1.5),
        skin_excess=ground + (1.0 - land) * sea * (1.0 - 0.7 * ice),
        gustiness=1.0 + 0.8 * np.abs(weather.surface("gust", step.days, knot_days=0.5)),
    )
