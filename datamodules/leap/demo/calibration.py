"""Sizes of the tendencies, and the R2 that no predictor of a demo data set can beat."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from datamodules.leap import schema
from datamodules.leap.demo import scene
from datamodules.leap.demo.climate import load_climate
from datamodules.leap.demo.spec import DemoSpec, Step
from datamodules.leap.demo.state import State

Mapper = Callable[..., Iterable[Any]]
"""``map`` or the ``map`` of a process pool."""

GAIN_LIMITS = (0.01, 2.0)
_PILOT_STEPS, _CEILING_STEPS, _DRAWS = 32, 16, 4


def calibrate(spec: DemoSpec, mapper: Mapper) -> State:
    """Gain per level that gives the change of each profile the standard deviation of the real tendency.

    The physics runs once on up to 32 time steps spread over the data set. R2 does not depend on the gains (but for the
    clamp at zero water); they make the numbers look like the real ones. Gains are limited to 0.01 ... 2.

    Returns:
        Gains (60,) by state name.
    """
    climate = load_climate(spec.columns)
    steps = _spread(spec.steps(), _PILOT_STEPS)
    pilot = list(mapper(_pilot_changes, [spec] * len(steps), steps))
    gains = {}
    for name in schema.STATE_PROFILES:
        std = np.concatenate([changes[name] for changes in pilot]).std(axis=0)
        wanted = schema.STEP_SECONDS * climate.std(name.replace("state_", "ptend_"))
        gains[name] = np.clip(wanted / np.maximum(std, 1e-300), *GAIN_LIMITS)
    return gains


def noise_ceiling(spec: DemoSpec, gains: State, mapper: Mapper) -> dict[str, float]:
    """R2 of the best possible predictor: the conditional mean of the targets given the inputs.

    On 16 time steps (6,144 rows of the full grid) the unresolved variability is drawn four times for the same inputs.
    The variance between draws, averaged over rows, is what remains unexplained even by the conditional mean; one minus
    its share of the total variance is the ceiling of a target. Means over targets follow the judge: a target that never
    varies counts 1.

    Returns:
        Mean over the 368 targets as ``all``, and over each of :data:`schema.TARGET_GROUPS`.
    """
    steps = _spread(spec.steps(), _CEILING_STEPS)
    draws = np.concatenate(list(mapper(_redraw, [spec] * len(steps), steps, [gains] * len(steps))), axis=1)
    unexplained = draws.var(axis=0, ddof=1).mean(axis=0)
    total = draws.var(axis=(0, 1))
    ceiling = np.where(total > 0, 1.0 - unexplained / np.where(total > 0, total, 1.0), 1.0)
    groups = {name: float(ceiling[columns].mean()) for name, columns in schema.TARGET_GROUPS.items()}
    return {"all": float(ceiling.mean()), **groups}


def _pilot_changes(spec: DemoSpec, step: Step) -> State:
    return scene.changes(spec, step, scene.before(spec, step), draw=1)[0]


def _redraw(spec: DemoSpec, step: Step, gains: State) -> np.ndarray:
    """Targets of several draws, (draws, columns, 368)."""
    state = scene.before(spec, step)
    return np.stack([scene.targets(state, scene.after(spec, step, state, gains, draw)) for draw in range(_DRAWS)])


def _spread(steps: Sequence[Step], count: int) -> list[Step]:
    count = min(count, len(steps))
    return [steps[i * len(steps) // count] for i in range(count)]
