"""Names, orders and units of ClimSim's low-resolution set (the ``v2`` variables of the LEAP competition).

One row is one atmospheric column at one time step. Level 0 is the model top (about 0.08 hPa), level 59 lies next to
the surface (about 993 hPa). Two orders exist for the 556 inputs and are never mixed: the *CSV order* of the
competition files (six state profiles, sixteen scalars, three gas profiles) and the *model order* of this project
(nine profiles, then sixteen scalars). All permutations below are built from names.

Source: ClimSim (Yu et al. 2023, arXiv:2306.08754) and the competition ``leap-atmospheric-physics-ai-climsim``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

LEVELS = 60
GRID_COLUMNS = 384  # ne4pg2, low resolution
STEP_SECONDS = 1200  # the climate model's time step
STEPS_PER_DAY = 72

STATE_PROFILES = ("state_t", "state_q0001", "state_q0002", "state_q0003", "state_u", "state_v")
GAS_PROFILES = ("pbuf_ozone", "pbuf_CH4", "pbuf_N2O")
PROFILES = STATE_PROFILES + GAS_PROFILES
SCALARS = (
    "state_ps",
    "pbuf_SOLIN",
    "pbuf_LHFLX",
    "pbuf_SHFLX",
    "pbuf_TAUX",
    "pbuf_TAUY",
    "pbuf_COSZRS",
    "cam_in_ALDIF",
    "cam_in_ALDIR",
    "cam_in_ASDIF",
    "cam_in_ASDIR",
    "cam_in_LWUP",
    "cam_in_ICEFRAC",
    "cam_in_LANDFRAC",
    "cam_in_OCNFRAC",
    "cam_in_SNOWHLAND",
)
TENDENCIES = ("ptend_t", "ptend_q0001", "ptend_q0002", "ptend_q0003", "ptend_u", "ptend_v")
FLUXES = (
    "cam_out_NETSW",
    "cam_out_FLWDS",
    "cam_out_PRECSC",
    "cam_out_PRECC",
    "cam_out_SOLS",
    "cam_out_SOLL",
    "cam_out_SOLSD",
    "cam_out_SOLLD",
)

FORCING_PROFILES = tuple(f"{when}state_{name}_dyn" for when in ("", "tm_") for name in ("t", "q0", "u"))
"""Large-scale forcings of this and of the previous step; ``q0`` is all water together."""
MEMORY_PROFILES = tuple(
    f"{when}state_{name}_prvphy" for when in ("", "tm_") for name in ("t", "q0001", "q0002", "q0003", "u")
)
"""Tendencies of the physics one and two steps before."""
EXPANDED_PROFILES = FORCING_PROFILES + MEMORY_PROFILES
SNOW_ON_ICE = "cam_in_SNOWHICE"
PLACES = ("clat", "slat")
"""Cosine and sine of the latitude, from the files or, where they lack them, from the grid."""

VariableSetName = Literal["kaggle", "v2", "v2_pmid", "v2_rh_mc", "v3", "v4", "v6"]


@dataclass(frozen=True)
class VariableSet:
    """Which variables of a raw file are read beside those of the competition.

    Args:
        profiles: Names of further variables on the 60 levels.
        scalars: Names of further variables without levels.
        files: Which files hold them, for messages.
        total_water: Whether nets see relative humidity, cloud water and its liquid share in place of vapour, cloud liquid and
            cloud ice, and answer with one tendency of cloud water, which is divided by temperature: 308 outputs.
    """

    profiles: tuple[str, ...] = ()
    scalars: tuple[str, ...] = ()
    files: str = "ClimSim's raw files"
    total_water: bool = False

    @property
    def expanded(self) -> bool:
        """Whether a demo of it needs expanded files, which real data need for their variables alone."""
        return self.total_water or not set(self.profiles).isdisjoint(EXPANDED_PROFILES)

    @property
    def all_profiles(self) -> tuple[str, ...]:
        """All variables on levels in model order: those of the competition first."""
        return PROFILES + self.profiles

    @property
    def all_scalars(self) -> tuple[str, ...]:
        """All variables without levels in model order: those of the competition first."""
        return SCALARS + self.scalars


_EXPANDED_FILES = "the files of LEAP/ClimSim_low-res-expanded (mlexpand, ml2steploc)"
VARIABLE_SETS: dict[str, VariableSet] = {
    "kaggle": VariableSet(),
    "v2": VariableSet(scalars=(SNOW_ON_ICE,)),
    "v2_pmid": VariableSet(("state_pmid",), (SNOW_ON_ICE,)),
    "v2_rh_mc": VariableSet(scalars=(SNOW_ON_ICE,), total_water=True),
    "v3": VariableSet(FORCING_PROFILES, (SNOW_ON_ICE, *PLACES), _EXPANDED_FILES),
    "v4": VariableSet(EXPANDED_PROFILES, (SNOW_ON_ICE, *PLACES), _EXPANDED_FILES),
    "v6": VariableSet(EXPANDED_PROFILES, (SNOW_ON_ICE, *PLACES), _EXPANDED_FILES, total_water=True),
}
"""By name: the 556 inputs of the competition; with snow on ice (ClimSim's v2); with mid-level pressure too; with forcings
and latitude (v3); with tendencies of the steps before (v4, Hu et al. 2025). ``v2_rh_mc`` and ``v6`` are v2 and v4 in the total-water
form of "Crowdsourcing the Frontier" (arXiv:2511.20963)."""

MORE_UNITS = {
    SNOW_ON_ICE: "m",
    "state_pmid": "Pa",
    **dict.fromkeys(PLACES, "1"),
    **{name: "K/s" if "_t_" in name else "m/s2" if "_u_" in name else "kg/kg/s" for name in EXPANDED_PROFILES},
}

UNITS = {
    "cam_in_SNOWHICE": "m",
    "state_pmid": "Pa",
    **{name: "K/s" if "_t_" in name else "m/s2" if "_u_" in name else "kg/kg/s" for name in EXPANDED_PROFILES},
}

UNITS = {
    "state_t": "K",
    "state_q0001": "kg/kg",
    "state_q0002": "kg/kg",
    "state_q0003": "kg/kg",
    "state_u": "m/s",
    "state_v": "m/s",
    "pbuf_ozone": "mol/mol",
    "pbuf_CH4": "mol/mol",
    "pbuf_N2O": "mol/mol",
    "state_ps": "Pa",
    "pbuf_SOLIN": "W/m2",
    "pbuf_LHFLX": "W/m2",
    "pbuf_SHFLX": "W/m2",
    "pbuf_TAUX": "N/m2",
    "pbuf_TAUY": "N/m2",
    "pbuf_COSZRS": "1",
    "cam_in_ALDIF": "1",
    "cam_in_ALDIR": "1",
    "cam_in_ASDIF": "1",
    "cam_in_ASDIR": "1",
    "cam_in_LWUP": "W/m2",
    "cam_in_ICEFRAC": "1",
    "cam_in_LANDFRAC": "1",
    "cam_in_OCNFRAC": "1",
    "cam_in_SNOWHLAND": "m",
    "ptend_t": "K/s",
    "ptend_q0001": "kg/kg/s",
    "ptend_q0002": "kg/kg/s",
    "ptend_q0003": "kg/kg/s",
    "ptend_u": "m/s2",
    "ptend_v": "m/s2",
    "cam_out_NETSW": "W/m2",
    "cam_out_FLWDS": "W/m2",
    "cam_out_PRECSC": "m/s",
    "cam_out_PRECC": "m/s",
    "cam_out_SOLS": "W/m2",
    "cam_out_SOLL": "W/m2",
    "cam_out_SOLSD": "W/m2",
    "cam_out_SOLLD": "W/m2",
}

N_PROFILES = len(PROFILES)  # 9
N_SCALARS = len(SCALARS)  # 16
N_TARGETS = len(TENDENCIES) * LEVELS + len(FLUXES)  # 368


def level_names(variables: tuple[str, ...]) -> list[str]:
    """Column names ``<variable>_<level>`` in variable-major order."""
    return [f"{name}_{level}" for name in variables for level in range(LEVELS)]


MODEL_INPUT_NAMES = level_names(PROFILES) + list(SCALARS)
CSV_INPUT_NAMES = level_names(STATE_PROFILES) + list(SCALARS) + level_names(GAS_PROFILES)
TARGET_NAMES = level_names(TENDENCIES) + list(FLUXES)

_csv_position = {name: i for i, name in enumerate(CSV_INPUT_NAMES)}
CSV_TO_MODEL = np.array([_csv_position[name] for name in MODEL_INPUT_NAMES])
"""``csv_row[CSV_TO_MODEL]`` is the row in model order. Not its own inverse."""
MODEL_TO_CSV = np.argsort(CSV_TO_MODEL)
"""``model_row[MODEL_TO_CSV]`` is the row in CSV order."""

TARGET_GROUPS: dict[str, slice] = {
    **{name.removeprefix("ptend_"): slice(i * LEVELS, (i + 1) * LEVELS) for i, name in enumerate(TENDENCIES)},
    "surface": slice(len(TENDENCIES) * LEVELS, N_TARGETS),
}
"""Variable groups of the score tables: t, q0001, q0002, q0003, u, v, surface."""

_ABLATED_LEVELS = 12  # the host set the tendencies of moisture and wind to zero above this level


def zero_weight_mask() -> np.ndarray:
    """Boolean (368,): the 60 targets that the judge weighs 0 (levels 0-11 of q0001, q0002, q0003, u, v)."""
    mask = np.zeros(N_TARGETS, dtype=bool)
    for where in ZERO_WEIGHT_TARGETS:
        mask[where] = True
    return mask


ZERO_WEIGHT_TARGETS = [
    slice(where.start, where.start + _ABLATED_LEVELS)
    for name, where in TARGET_GROUPS.items()
    if name not in ("t", "surface")
]
"""The same targets as slices. The judge multiplies truth and submission by the weights, so that both are 0 there."""

PTEND_TRICK_LEVELS = range(12, 28)
"""Levels where one step removes all cloud liquid, so that ``ptend_q0002 = -state_q0002 / 1200`` holds (discussion 502484)."""
PTEND_TRICK_TARGETS = np.array([TARGET_GROUPS["q0002"].start + level for level in PTEND_TRICK_LEVELS])
