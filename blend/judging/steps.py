"""Post-processing of a blend, as a recipe lists it: clip, shrink, round, a step of the domain, or a function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from blend.domains import domain_hook
from blend.judging.judge import Steps
from blend.metrics.tables import call_user
from datamodules.banks.bank import BankError
from datamodules.banks.groups import chosen_rows

Array = npt.NDArray[np.float64]


def make_steps(specification: Sequence[Mapping[str, Any]], domain: str = "") -> Steps | None:
    """Turn a list such as ``[{"clip": [1500, 4500]}, {"round": {"except_groups": ["Style_A"]}}]`` into a function.

    Steps act on ``(rows, *shape)`` in the judge's units. ``clip: [low, high]``; ``shrink: c``, probabilities to
    ``p (1 - 2 c) + c``; ``round: true`` or ``round: {only_groups | except_groups: [...]}``; what the domain declares (see
    :mod:`blend.domains`); ``call: package.module:function`` of ``(values, groups)``.

    Args:
        specification: The recipe's ``steps``.
        domain: Domain of the banks.

    Raises:
        DataError: an unknown step, named.
    """
    functions = [_make_step(step, domain) for step in specification]
    if not functions:
        return None

    def run(values: Array, groups: npt.NDArray[np.str_] | None) -> Array:
        for function in functions:
            values = function(values, groups)
        return values

    return run


def shrink(probabilities: Array, c: float) -> Array:
    """``p (1 - 2 c) + c``: 0 becomes c, 1 becomes 1 - c."""
    return probabilities * (1.0 - 2.0 * c) + c


def label_of(step: Mapping[str, Any]) -> str:
    """A step as a report names it, such as ``bucket: width 10, fewest 30, except Style_A, Style_B``."""
    return ", ".join(name if argument is True else f"{name}: {_in_words(argument)}" for name, argument in step.items())


def _in_words(argument: Any) -> str:
    if isinstance(argument, Mapping):
        names = {"only_groups": "only", "except_groups": "except"}
        return ", ".join(f"{names.get(key, key)} {_in_words(value)}" for key, value in argument.items())
    if isinstance(argument, Sequence) and not isinstance(argument, str):
        return (" to " if all(isinstance(value, int | float) for value in argument) else ", ").join(map(str, argument))
    return str(argument)


def _make_step(step: Mapping[str, Any], domain: str) -> Steps:
    if not isinstance(step, Mapping) or len(step) != 1:
        held = sorted(step) if isinstance(step, Mapping) else step
        raise BankError(f"a step has one key, such as clip, shrink, round or call, this one has {held}")
    (name, argument), *_ = step.items()
    own = domain_hook(domain, "steps", "STEPS") or {}
    if name in own:
        made: Steps = own[name](argument)
        return made
    if name == "clip" and isinstance(argument, Sequence) and len(argument) == 2:
        low, high = float(argument[0]), float(argument[1])
        return lambda values, _: np.clip(values, low, high)
    if name == "shrink" and isinstance(argument, int | float) and 0 <= argument < 0.5:
        c = float(argument)
        return lambda values, _: shrink(values, c)
    if name == "round" and argument is True:
        return lambda values, _: np.round(values)
    if name == "round" and isinstance(argument, Mapping) and set(argument) <= {"only_groups", "except_groups"}:
        return _round_groups(argument)
    if name == "call" and isinstance(argument, str) and ":" in argument:
        return _call(argument)
    raise BankError(
        f"step {name}: {argument!r} is unknown; use clip: [low, high], shrink: c, round: true, round: {{except_groups: [...]}}, "
        f"{''.join(f'{step}: ..., ' for step in own)}or call: package.module:function"
    )


def _call(argument: str) -> Steps:
    module, _, name = argument.partition(":")
    try:
        function = getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise BankError(f"step call: {argument} cannot be imported: {error}") from None
    return lambda values, groups: np.asarray(call_user(f"step call: {argument}", function, values, groups))


def _round_groups(argument: Mapping[str, Sequence[str]]) -> Steps:
    def step(values: Array, groups: npt.NDArray[np.str_] | None) -> Array:
        chosen = chosen_rows(argument, groups)
        return np.where(chosen.reshape(-1, *[1] * (values.ndim - 1)), np.round(values), values)

    return step
