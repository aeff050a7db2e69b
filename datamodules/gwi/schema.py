"""Names and shapes of OpenFWI's ten families (no torch here)."""

from __future__ import annotations

from datamodules.errors import DataError, nearest_name

FAMILIES = (
    "FlatVel_A",
    "FlatVel_B",
    "CurveVel_A",
    "CurveVel_B",
    "FlatFault_A",
    "FlatFault_B",
    "CurveFault_A",
    "CurveFault_B",
    "Style_A",
    "Style_B",
)
SIDE = 70
N_SHOTS, N_SAMPLES, N_RECEIVERS = 5, 1000, 70
VMIN, VMAX = 1500.0, 4500.0
PLAUSIBLE = (1000.0, 6000.0)
"""Velocities outside of this are no velocities in m/s."""


def family_name(text: str) -> str:
    """The family that ``flatvel_a``, ``flatvel-a`` or ``FlatVelA`` means.

    Raises:
        DataError: no family is written so.
    """
    plain = {name.replace("_", "").lower(): name for name in FAMILIES}
    key = text.replace("_", "").replace("-", "").lower()
    if key not in plain:
        near = nearest_name(key, plain)
        hint = f"; did you mean {plain[near]}?" if near else f"; families are {', '.join(FAMILIES)}"
        raise DataError(f"{text!r} is not a family of OpenFWI{hint}")
    return plain[key]


def is_style(family: str) -> bool:
    """Whether a family's maps are images, without plateaus that could be rounded."""
    return family.startswith("Style")
