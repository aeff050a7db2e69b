"""Real climate statistics of ClimSim's low-resolution set: the table that the synthetic states are shaped by.

Derived from ClimSim (Yu et al. 2023, arXiv:2306.08754; CC BY 4.0) by ``make_climate.py``, which says what is in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib import resources

import numpy as np

P0 = 1e5
"""Reference pressure of the hybrid coordinate, Pa."""


@dataclass(frozen=True)
class Climate:
    """Statistics per variable and level, and the horizontal grid (all columns or an even subset).

    Attributes:
        table: Arrays keyed ``<variable>/<mean|std|min|max>`` (60 values for profiles, a scalar otherwise), in the
            units of :data:`datamodules.leap.schema.UNITS`; tendencies and fluxes have ``std`` only.
        lat: Latitude of the columns, degrees north, (columns,).
        lon: Longitude, degrees east, (columns,).
        surface_pressure: time-mean surface pressure, Pa, (columns,).
        area: On the unit sphere, steradian, (columns,).
    """

    table: dict[str, np.ndarray]
    lat: np.ndarray
    lon: np.ndarray
    surface_pressure: np.ndarray
    area: np.ndarray

    def mean(self, name: str) -> np.ndarray:
        """Mean over time and columns."""
        return self.table[f"{name}/mean"]

    def std(self, name: str) -> np.ndarray:
        """Standard deviation over time and columns."""
        return self.table[f"{name}/std"]

    def clip(self, name: str, values: np.ndarray) -> np.ndarray:
        """Values limited to the range that the real variable takes at each level."""
        result: np.ndarray = np.clip(values, self.table[f"{name}/min"], self.table[f"{name}/max"])
        return result

    def mid_pressure(self, surface_pressure: np.ndarray) -> np.ndarray:
        """Pressure in the middle of the layers, Pa, (columns, 60)."""
        result: np.ndarray = self.table["grid/hyam"] * P0 + self.table["grid/hybm"] * surface_pressure[:, None]
        return result

    def standard(self, name: str, values: np.ndarray) -> np.ndarray:
        """Distance from the mean in standard deviations, held to 4; 0 where the real variable does not vary."""
        std = self._std_if_varying(name)
        result: np.ndarray = np.clip((values - self.mean(name)) / np.where(std > 0, std, np.inf), -4.0, 4.0)
        return result

    def normal(self, name: str, z: np.ndarray) -> np.ndarray:
        """Values of the real mean, standard deviation and range from a standard normal field."""
        return self.clip(name, self.mean(name) + self._std_if_varying(name) * z)

    def lognormal(self, name: str, z: np.ndarray) -> np.ndarray:
        """The same for what is never negative."""
        mean = self.mean(name)
        sigma = np.sqrt(np.log1p((self.std(name) / np.where(mean > 0, mean, np.inf)) ** 2))
        return self.clip(name, mean * np.exp(sigma * z - 0.5 * sigma**2))

    def _std_if_varying(self, name: str) -> np.ndarray:
        """The standard deviation, 0 where it is the rounding error of a constant."""
        return np.where(self.std(name) > 1e-10 * np.abs(self.mean(name)), self.std(name), 0.0)


@lru_cache(maxsize=4)
def load_climate(columns: int) -> Climate:
    """Read the packaged table and keep ``columns`` grid columns, evenly spread over the file's order.

    Raises:
        ValueError: ``columns`` is not between 1 and the size of the grid.
    """
    with resources.files(__package__).joinpath("climate.npz").open("rb") as file, np.load(file) as archive:
        table = {name: archive[name] for name in archive.files}
    available = len(table["grid/lat"])
    if not 1 <= columns <= available:
        raise ValueError(f"columns={columns}: the grid has {available} columns, give a number from 1 to {available}.")
    kept = np.arange(columns) * available // columns
    return Climate(table, *(table[f"grid/{name}"][kept] for name in ("lat", "lon", "PS", "area")))
