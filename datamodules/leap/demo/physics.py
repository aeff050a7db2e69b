"""One 1,200 s step of column physics: from the state of an ``.mli`` file to what its ``.mlo`` file holds.

Invented, but of the same kind as the parent model's: vertical mixing, convection, cloud, precipitation, radiation and
wave drag act one after the other, each non-linear and coupled over height, and each disturbed by unresolved variability.
"""

from __future__ import annotations

import numpy as np

from datamodules.leap import schema
from datamodules.leap.demo.climate import Climate
from datamodules.leap.demo.column import DT, draw_unresolved, make_column
from datamodules.leap.demo.convection import convect
from datamodules.leap.demo.microphysics import condense, precipitate
from datamodules.leap.demo.radiation import radiate
from datamodules.leap.demo.state import State
from datamodules.leap.demo.thermo import WATER_DENSITY
from datamodules.leap.demo.turbulence import drag_waves, mix

_NON_NEGATIVE = ("state_q0001", "state_q0002", "state_q0003")
_ABLATED_LEVELS = int(schema.zero_weight_mask()[schema.TARGET_GROUPS["q0001"]].sum())


def raw_step(climate: Climate, state: State, random: np.random.Generator, sigma: float) -> tuple[State, State]:
    """Run the processes once, before calibration.

    Args:
        climate: Hybrid coordinate.
        state: Variables of the ``.mli`` file, profiles (columns, 60).
        random: Source of the unresolved variability.
        sigma: Its log-standard deviation.

    Returns:
        Changes of the six profiles over the step, (columns, 60), and the eight ``cam_out`` variables, (columns,).
    """
    column = make_column(climate, state)
    unresolved = draw_unresolved(random, len(column.t), sigma)
    mix(column, unresolved)
    plume_rain = convect(column, unresolved)
    condense(column, unresolved)
    rain, snow = precipitate(column, unresolved, plume_rain)
    fluxes = radiate(column, unresolved)
    drag_waves(column, unresolved)
    fluxes["cam_out_PRECC"] = (rain + snow) / WATER_DENSITY / DT
    fluxes["cam_out_PRECSC"] = snow / WATER_DENSITY / DT
    changes = {name: values - state[name] for name, values in column.profiles().items()}
    return changes, fluxes


def finish_step(state: State, changes: State, fluxes: State, gains: State) -> State:
    """Apply the calibration and the rules that hold exactly in the real files.

    The change at each level is scaled by its gain; moisture and wind do not change at levels 0-11 (the ablated targets);
    liquid at the trick levels is removed entirely; water never turns negative.

    Args:
        state: Before physics.
        changes: From :func:`raw_step`.
        fluxes: From :func:`raw_step`.
        gains: Factor per level, (60,), by profile name.

    Returns:
        All variables of the ``.mlo`` file except ``ymd`` and ``tod``.
    """
    after = {name: state[name] + gains[name] * change for name, change in changes.items()}
    trick = slice(schema.PTEND_TRICK_LEVELS.start, schema.PTEND_TRICK_LEVELS.stop)
    after["state_q0002"][:, trick] = 0.0
    for name in _NON_NEGATIVE:
        after[name] = np.maximum(after[name], 0.0)
    ablated = slice(0, _ABLATED_LEVELS)
    for name in schema.STATE_PROFILES:
        if name != "state_t":
            after[name][:, ablated] = state[name][:, ablated]
    return {**after, **fluxes}
