"""The synthetic state before physics: what an ``.mli`` file holds.

Means, standard deviations, ranges, gases, grid and hybrid pressure are real (``climate.py``); the weather on top of them
is a smooth random field shaped by latitude, season, hour and surface type.
"""

from __future__ import annotations

import numpy as np

from datamodules.leap.demo.climate import Climate
from datamodules.leap.demo.spec import Step
from datamodules.leap.demo.surface import Surface, make_surface, sun
from datamodules.leap.demo.thermo import saturation_humidity
from datamodules.leap.demo.weather import Weather
from datamodules.leap.schema import GAS_PROFILES, LEVELS

State = dict[str, np.ndarray]
"""Variables by their ClimSim names: profiles (columns, 60), scalars (columns,), float64."""

_LEVEL = np.arange(LEVELS)
_TROPOSPHERE = 1.0 / (1.0 + np.exp(-(_LEVEL - 24.0) / 2.0))  # 0 in the stratosphere, 1 in the troposphere

# Liquid cloud at levels 12-27 is what numerical diffusion leaves: powers of ten that fall to 1e-53 and rise again,
# often exactly zero. Per level: log10 of the largest value, log10 span from there to the median, share of zeros.
FIRST_TRACE_LEVEL = 12
_TRACE_TOP = np.array([-38, -44, -49, -53, -51, -45, -41, -38, -35, -32, -28, -25, -21, -16, -12, -7], dtype=float)
_TRACE_SPAN = np.array([3, 3, 3, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 12, 12, 12], dtype=float)
_TRACE_ZERO = np.array([0, 0, 0.28, 0.95, 0.95, 0.9, 0.88, 0.85, 0.69, 0.52, 0.41, 0.33, 0.27, 0.23, 0.2, 0.19])


def make_state(climate: Climate, weather: Weather, step: Step) -> State:
    """All variables of one ``.mli`` file except ``ymd`` and ``tod``.

    Args:
        climate: Statistics and grid.
        weather: Random fields of the data set.
        step: The time step.

    Returns:
        Variables by name, profiles (columns, 60) and scalars (columns,), in ClimSim's units.
    """
    declination, cosine_zenith, insolation = sun(climate, step)
    pressure_anomaly = 650.0 * weather.surface("ps", step.days)
    ps = climate.clip("state_ps", climate.surface_pressure + pressure_anomaly)
    pressure = climate.mid_pressure(ps)
    surface = make_surface(climate, weather, step, cosine_zenith)

    temperature = _temperature(climate, weather, step, declination, surface)
    humidity, relative = _humidity(climate, weather, step, declination, temperature, pressure)
    liquid, ice = _clouds(climate, weather, step, temperature, relative)
    u, v = _winds(climate, weather, step, declination)
    state = {
        "state_t": temperature,
        "state_q0001": humidity,
        "state_q0002": liquid,
        "state_q0003": ice,
        "state_u": u,
        "state_v": v,
        "state_pmid": pressure,
        "state_ps": ps,
        "pbuf_SOLIN": insolation,
        "pbuf_COSZRS": cosine_zenith,
        **_gases(climate, step),
    }
    state.update(surface.exchange(climate, state))
    return state


def _season(step: Step) -> float:
    """+1 in northern midsummer, -1 in northern midwinter (air lags the sun by a month)."""
    return float(np.sin(2 * np.pi * (step.day_of_year - 110) / 365))


def _standardised(pattern: np.ndarray) -> np.ndarray:
    return (pattern - pattern.mean()) / max(float(pattern.std()), 1e-6)


def _temperature(climate: Climate, weather: Weather, step: Step, declination: float, surface: Surface) -> np.ndarray:
    """Real mean and spread: warm tropics below the tropopause, cold tropical tropopause, warm summer stratosphere."""
    latitude = np.deg2rad(climate.lat)
    season = _season(step)
    tropics = 1.6 * np.cos(latitude - 0.4 * declination) ** 2 + 0.35 * season * np.sin(latitude) - 1.03
    summer = season * np.sin(latitude)
    tropopause = np.exp(-(((_LEVEL - 18.0) / 4.0) ** 2))
    pattern = 2.0 * tropics[:, None] * (_TROPOSPHERE - 0.9 * tropopause) + 1.2 * summer[:, None] * (
        1.0 - _TROPOSPHERE
    ) * (1.0 - tropopause)
    synoptic = weather.profiles("t", step.days, large=9.0, small=2.5, small_share=0.06)
    share = 0.42 * _TROPOSPHERE + 0.7 * (1.0 - _TROPOSPHERE)
    storminess = 0.4 + 1.05 * np.abs(np.sin(latitude))[:, None]  # tropical temperatures hardly vary
    temperature = climate.mean("state_t") + climate.std("state_t") * (0.87 * pattern + share * storminess * synoptic)
    near_surface = np.exp(-(59.0 - _LEVEL) / 4.0)
    return climate.clip("state_t", temperature + surface.diurnal_warming[:, None] * near_surface)


def _humidity(
    climate: Climate, weather: Weather, step: Step, declination: float, temperature: np.ndarray, pressure: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Specific humidity and relative humidity; above the tropopause the real mean with a slow variation."""
    degrees = climate.lat - np.rad2deg(0.45 * declination)
    rain_belt = np.exp(-((degrees / 11.0) ** 2))
    dry_belt = np.exp(-(((np.abs(degrees) - 24.0) / 9.0) ** 2))
    height = 1.1 * np.exp(-(59.0 - _LEVEL) / 12.0) + 0.45
    mean = height + 0.8 * rain_belt[:, None] - 1.0 * dry_belt[:, None] * np.exp(-(((_LEVEL - 42) / 14.0) ** 2))
    anomaly = weather.profiles("rh", step.days, large=5.0, small=2.0, small_share=0.25)
    relative = 0.02 + 1.02 / (1.0 + np.exp(-(mean + 1.25 * anomaly)))
    saturation = saturation_humidity(temperature, pressure)
    troposphere = relative * saturation
    dry = np.minimum(climate.mean("state_q0001") * np.exp(0.2 * anomaly - 0.02), 0.8 * saturation)
    weight = 1.0 / (1.0 + np.exp(-(_LEVEL - 21.0)))
    humidity = climate.clip("state_q0001", weight * troposphere + (1.0 - weight) * dry)
    return humidity, humidity / saturation


def _clouds(
    climate: Climate, weather: Weather, step: Step, temperature: np.ndarray, relative: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Cloud liquid and ice: the real mean amount where the air is moist, parted by temperature, traces aloft."""
    texture = weather.profiles("cloud", step.days, large=3.0, small=1.5, small_share=0.4)
    moist = np.clip((relative - 0.6) / 0.4, 0.0, 1.1)
    amount = 3.0 * moist**2 * np.exp(0.7 * texture - 0.245) + 1e-3 * np.exp(1.5 * texture)
    mean = climate.mean("state_q0002") + climate.mean("state_q0003")
    share = 1.0 / (1.0 + np.exp(-(temperature - 262.0) / 4.0))
    liquid = share * amount * mean
    ice = (1.0 - share) * amount * mean
    amount_aloft = climate.mean("state_q0003") * np.exp(0.9 * texture - 0.4)
    ice = np.where(_LEVEL < 20, amount_aloft, ice)

    liquid[:, :FIRST_TRACE_LEVEL] = climate.mean("state_q0002")[:FIRST_TRACE_LEVEL] * np.exp(
        0.8 * texture[:, :FIRST_TRACE_LEVEL] - 0.32
    )
    trace = slice(FIRST_TRACE_LEVEL, FIRST_TRACE_LEVEL + len(_TRACE_TOP))
    liquid[:, trace] = _traces(weather, step)
    return climate.clip("state_q0002", liquid), climate.clip("state_q0003", ice)


def _traces(weather: Weather, step: Step) -> np.ndarray:
    """Liquid at levels 12-27, kg/kg: half-normal in log10 below a largest value, with exact zeros."""
    count = len(_TRACE_TOP)
    depth = weather.profiles("trace", step.days, large=4.0, small=1.0, small_share=0.3)[:, :count]
    zero = weather.profiles("trace zero", step.days, large=4.0, small=1.0, small_share=0.3)[:, :count]
    values = 10.0 ** (_TRACE_TOP - _TRACE_SPAN / 0.674 * np.abs(depth))
    # share p of a standard normal lies below its p-quantile; the logistic approximation is close enough here
    threshold = np.log(np.maximum(_TRACE_ZERO, 1e-9) / (1.0 - _TRACE_ZERO)) / 1.702
    return np.where(zero < threshold, 0.0, values)


def _winds(climate: Climate, weather: Weather, step: Step, declination: float) -> tuple[np.ndarray, np.ndarray]:
    """Jets at 35 degrees (stronger in winter), trade winds, polar vortex, and weather."""
    latitude = climate.lat
    winter = 1.0 - 0.5 * _season(step) * np.sign(latitude)
    jet = winter * np.exp(-(((np.abs(latitude) - 36.0) / 14.0) ** 2))
    trades = np.exp(-(((latitude - np.rad2deg(0.3 * declination)) / 20.0) ** 2))
    pattern = _standardised(jet)[:, None] - 0.6 * trades[:, None] * np.exp(-(((59 - _LEVEL) / 20.0) ** 2))
    eddies_u = weather.profiles("u", step.days, large=8.0, small=2.5, small_share=0.08)
    eddies_v = weather.profiles("v", step.days, large=8.0, small=2.5, small_share=0.08)
    u = climate.mean("state_u") + climate.std("state_u") * (0.65 * pattern + 0.72 * eddies_u)
    v = climate.mean("state_v") + climate.std("state_v") * eddies_v
    return climate.clip("state_u", u), climate.clip("state_v", v)


def _gases(climate: Climate, step: Step) -> State:
    """Ozone, methane and nitrous oxide follow latitude and season; the two latter are constant near the surface."""
    latitude = np.deg2rad(climate.lat)
    pattern = 1.6 * (np.abs(np.sin(latitude)) - 0.5) + 0.7 * np.sin(latitude) * np.cos(
        2 * np.pi * (step.day_of_year - 80) / 365
    )
    fields = {}
    for name in GAS_PROFILES:
        sign = 1.0 if name == "pbuf_ozone" else -1.0
        std = np.where(climate.std(name) > 1e-10 * climate.mean(name), climate.std(name), 0.0)
        fields[name] = climate.clip(name, climate.mean(name) + sign * std * pattern[:, None])
    return fields
