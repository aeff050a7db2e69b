"""One time step of a demo data set, made from nothing but its specification, the step and the calibration."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from datamodules.leap import schema
from datamodules.leap.demo.climate import Climate, load_climate
from datamodules.leap.demo.physics import finish_step, raw_step
from datamodules.leap.demo.spec import DemoSpec, Step
from datamodules.leap.demo.state import State, make_state
from datamodules.leap.demo.weather import Weather

_NOISE_STREAM = 3


def before(spec: DemoSpec, step: Step) -> State:
    """The ``.mli`` variables, profiles (columns, 60) and scalars (columns,)."""
    climate, weather = _world(spec.columns, spec.seed)
    return make_state(climate, weather, step)


def changes(spec: DemoSpec, step: Step, state: State, draw: int = 0) -> tuple[State, State]:
    """Uncalibrated changes of the profiles and the ``cam_out`` variables, see :func:`physics.raw_step`.

    Args:
        spec: Spec of the data set.
        step: The time step.
        state: From :func:`before`.
        draw: 0 is what the files hold; other numbers draw other unresolved variability on the same state.
    """
    climate, _ = _world(spec.columns, spec.seed)
    random = np.random.default_rng([spec.seed, _NOISE_STREAM, step.number, draw])
    return raw_step(climate, state, random, spec.noise_sigma)


def after(spec: DemoSpec, step: Step, state: State, gains: State, draw: int = 0) -> State:
    """The ``.mlo`` variables.

    Args:
        spec: Spec of the data set.
        step: The time step.
        state: From :func:`before`.
        gains: From :func:`calibration.calibrate`.
        draw: As in :func:`changes`.
    """
    return finish_step(state, *changes(spec, step, state, draw), gains)


def targets(state: State, outcome: State) -> np.ndarray:
    """The 368 targets in schema order, (columns, 368): tendencies per second, then the surface fluxes."""
    tendencies = [(outcome[name] - state[name]) / schema.STEP_SECONDS for name in schema.STATE_PROFILES]
    return np.concatenate([*tendencies, *(outcome[name][:, None] for name in schema.FLUXES)], axis=1)


@lru_cache(maxsize=4)
def _world(columns: int, seed: int) -> tuple[Climate, Weather]:
    climate = load_climate(columns)
    return climate, Weather(climate, seed)
