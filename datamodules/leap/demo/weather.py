"""Smooth random fields on (columns, levels) and on columns, with correlation in height, distance and time.

A field is a pure function of (seed, name, day): noise is drawn at *knots* in time, each from its own generator, and the
two knots around a date are blended so that the variance stays 1. Hence any time step can be made alone, in any process.
Large vertical scales live for days, small ones for hours, as in the atmosphere.
"""

from __future__ import annotations

import zlib
from functools import lru_cache

import numpy as np

from datamodules.leap.demo.climate import Climate
from datamodules.leap.schema import LEVELS

_WEATHER_STREAM = 2


class Weather:
    """Standard normal random fields for one grid and one seed.

    Args:
        climate: Gives the grid.
        seed: Seed of the data set.
    """

    LARGE_DAYS, SMALL_DAYS = 5.0, 0.75
    DISTANCE_KM = 1500.0

    def __init__(self, climate: Climate, seed: int) -> None:
        self.columns = len(climate.lat)
        self.seed = seed
        self._horizontal = _factor(climate.distance, self.DISTANCE_KM)

    def profiles(self, name: str, days: float, large: float, small: float, small_share: float) -> np.ndarray:
        """A field on (columns, 60) of mean 0 and variance 1.

        Args:
            name: A different name is an independent field.
            days: Date, in days.
            large: Vertical correlation length of the long-lived part, in levels.
            small: Vertical correlation length of the short-lived part, in levels.
            small_share: Its share of the variance.
        """
        shape = (self.columns, LEVELS)
        coherent = self._horizontal @ self._knots(f"{name}/large", days, self.LARGE_DAYS, shape) @ _vertical(large).T
        local = self._knots(f"{name}/small", days, self.SMALL_DAYS, shape) @ _vertical(small).T
        return np.sqrt(1.0 - small_share) * coherent + np.sqrt(small_share) * local

    def surface(self, name: str, days: float, knot_days: float = LARGE_DAYS) -> np.ndarray:
        """A horizontally coherent field on (columns,) of mean 0 and variance 1."""
        return self._horizontal @ self._knots(name, days, knot_days, (self.columns,))

    def _knots(self, name: str, days: float, knot_days: float, shape: tuple[int, ...]) -> np.ndarray:
        knot, fraction = divmod(days / knot_days, 1.0)
        angle = 0.5 * np.pi * fraction
        return np.cos(angle) * self._draw(name, int(knot), shape) + np.sin(angle) * self._draw(
            name, int(knot) + 1, shape
        )

    def _draw(self, name: str, knot: int, shape: tuple[int, ...]) -> np.ndarray:
        key = [self.seed, _WEATHER_STREAM, zlib.crc32(name.encode()), knot]
        return np.random.default_rng(key).standard_normal(shape)


def correlated_levels(random: np.random.Generator, columns: int, length: float) -> np.ndarray:
    """Standard normal noise on (columns, 60) with vertical correlation length ``length`` in levels."""
    return random.standard_normal((columns, LEVELS)) @ _vertical(length).T


@lru_cache(maxsize=16)
def _vertical(length: float) -> np.ndarray:
    levels = np.arange(LEVELS, dtype=np.float64)
    return _factor(np.abs(levels[:, None] - levels), length)


def _factor(distance: np.ndarray, length: float) -> np.ndarray:
    """Cholesky factor of the squared-exponential covariance (the small diagonal keeps it positive definite)."""
    covariance = np.exp(-0.5 * (distance / length) ** 2)
    return np.linalg.cholesky((1 - 1e-6) * covariance + 1e-6 * np.eye(len(distance)))
