"""The column that the physics works on, and the unresolved variability that it feels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from datamodules.leap.demo import thermo
from datamodules.leap.demo.climate import Climate
from datamodules.leap.demo.weather import correlated_levels
from datamodules.leap.schema import STEP_SECONDS

DT = float(STEP_SECONDS)


@dataclass
class Column:
    """State of many columns, changed in place by one process after the other.

    Profiles are (columns, 60) from the top down: temperature ``t`` (K), vapour ``q``, cloud ``liquid`` and ``ice``
    (kg/kg), winds ``u`` and ``v`` (m/s), mid-layer ``pressure`` (Pa), ``mass`` (kg/m2), ``thickness`` and ``height`` (m).
    ``surface`` holds the scalars (columns,) by ClimSim's names.
    """

    t: np.ndarray
    q: np.ndarray
    liquid: np.ndarray
    ice: np.ndarray
    u: np.ndarray
    v: np.ndarray
    pressure: np.ndarray
    mass: np.ndarray
    thickness: np.ndarray
    height: np.ndarray
    ozone: np.ndarray
    surface: dict[str, np.ndarray]

    @property
    def density(self) -> np.ndarray:
        """Air density, kg/m3."""
        return self.mass / self.thickness

    @property
    def static_energy(self) -> np.ndarray:
        """Dry static energy cp T + g z, J/kg."""
        return thermo.HEAT_CAPACITY * self.t + thermo.GRAVITY * self.height

    @property
    def saturation(self) -> np.ndarray:
        """Saturation specific humidity, kg/kg."""
        return thermo.saturation_humidity(self.t, self.pressure)

    def profiles(self) -> dict[str, np.ndarray]:
        """The six state profiles by ClimSim's names."""
        return {
            "state_t": self.t,
            "state_q0001": self.q,
            "state_q0002": self.liquid,
            "state_q0003": self.ice,
            "state_u": self.u,
            "state_v": self.v,
        }


def make_column(climate: Climate, state: dict[str, np.ndarray]) -> Column:
    """Copy the state of an ``.mli`` file into a column with its masses and heights."""
    interfaces = climate.interface_pressure(state["state_ps"])
    thickness = thermo.layer_heights(state["state_t"], state["state_q0001"], interfaces)
    return Column(
        t=state["state_t"].copy(),
        q=state["state_q0001"].copy(),
        liquid=state["state_q0002"].copy(),
        ice=state["state_q0003"].copy(),
        u=state["state_u"].copy(),
        v=state["state_v"].copy(),
        pressure=state["state_pmid"],
        mass=np.diff(interfaces, axis=1) / thermo.GRAVITY,
        thickness=thickness,
        height=thermo.heights(thickness),
        ozone=state["pbuf_ozone"],
        surface={name: values for name, values in state.items() if values.ndim == 1},
    )


@dataclass(frozen=True)
class Unresolved:
    """Factors of mean 1 that the grid-scale state does not determine, as an embedded cloud model's would be.

    Attributes:
        convection: On the mass flux, (columns, 60).
        turbulence: On the diffusivity, (columns, 60).
        clouds: On condensation and precipitation formation, (columns, 60).
        optics: On cloud optical depth, (columns, 60).
    """

    convection: np.ndarray
    turbulence: np.ndarray
    clouds: np.ndarray
    optics: np.ndarray


def draw_unresolved(random: np.random.Generator, columns: int, sigma: float) -> Unresolved:
    """Lognormal factors with log-standard deviation ``sigma`` for convection and shares of it for the rest."""

    def factor(share: float, column_share: float) -> np.ndarray:
        whole = random.standard_normal((columns, 1))
        profile = correlated_levels(random, columns, 3.0)
        normal = np.sqrt(column_share) * whole + np.sqrt(1.0 - column_share) * profile
        return np.exp(share * sigma * normal - 0.5 * (share * sigma) ** 2)

    return Unresolved(
        convection=factor(0.92, 0.7),
        turbulence=factor(0.4, 0.3),
        clouds=factor(0.6, 0.5),
        optics=factor(0.45, 0.8),
    )
