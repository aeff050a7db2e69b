"""Post-processing of a blend, as a recipe lists it: clip, round, or a function of a domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from blend.bank import BankError
from blend.judge import Steps

Array = npt.NDArray[np.float64]


def make_steps(specification: Sequence[Mapping[str, Any]]) -> Steps | None:
    """Turn a list such as ``[{"clip": [1500, 4500]}, {"round": {"except_groups": ["Style_A"]}}]`` into a function.

    Steps act on ``(rows, *shape)`` in the judge's units. ``clip: [low, high]``; ``round: true`` or
    ``round: {only_groups | except_groups: [...]}``; ``call: package.module:function`` of ``(values, groups)``.

    Raises:
        BankError: an unknown step, named.
    """
    functions = [_make_step(step) for step in specification]
    if not functions:
        return None

    def run(values: Array, groups: npt.NDArray[np.str_] | None) -> Array:
        for function in functions:
            values = function(values, groups)
        return values

    return run


def _make_step(step: Mapping[str, Any]) -> Steps:
    if len(step) != 1:
        raise BankError(f"a step has one key (clip, round or call), this one has {sorted(step)}")
    (name, argument), *_ = step.items()
    if name == "clip" and isinstance(argument, Sequence) and len(argument) == 2:
        low, high = float(argument[0]), float(argument[1])
        return lambda values, _: np.clip(values, low, high)
    if name == "round" and argument is True:
        return lambda values, _: np.round(values)
    if name == "round" and isinstance(argument, Mapping) and set(argument) <= {"only_groups", "except_groups"}:
        return _round_groups(argument)
    if name == "call" and isinstance(argument, str) and ":" in argument:
        module, function = argument.split(":")
        try:
            return getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise BankError(f"step call: {argument} cannot be imported: {error}") from None
    raise BankError(
        f"step {name}: {argument!r} is unknown; use clip: [low, high], round: true, round: {{except_groups: [...]}} or "
        "call: package.module:function"
    )


def _round_groups(argument: Mapping[str, Sequence[str]]) -> Steps:
    only, spared = argument.get("only_groups"), argument.get("except_groups", ())

    def step(values: Array, groups: npt.NDArray[np.str_] | None) -> Array:
        if groups is None:
            raise BankError("a step for some groups needs the group of every row; give --groups FILE")
        chosen = ~np.isin(groups, list(spared)) if only is None else np.isin(groups, list(only))
        return np.where(chosen.reshape(-1, *[1] * (values.ndim - 1)), np.round(values), values)

    return step
