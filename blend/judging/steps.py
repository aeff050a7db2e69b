"""Post-processing of a blend, as a recipe lists it: clip, round, or a function of a domain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np
import numpy.typing as npt

from blend.judging.judge import Steps
from datamodules.banks.bank import BankError
from datamodules.gwi.plateaus import WITHOUT_PLATEAUS, bucket

Array = npt.NDArray[np.float64]
_BUCKET_KEYS = {"width", "fewest", "widths", "only_groups", "except_groups"}


def make_steps(specification: Sequence[Mapping[str, Any]]) -> Steps | None:
    """Turn a list such as ``[{"clip": [1500, 4500]}, {"round": {"except_groups": ["Style_A"]}}]`` into a function.

    Steps act on ``(rows, *shape)`` in the judge's units. ``clip: [low, high]``; ``shrink: c``, probabilities to
    ``p (1 - 2 c) + c``; ``round: true`` or ``round: {only_groups | except_groups: [...]}``; ``bucket: {width: 10,
    fewest: 30, widths: {group: width}, only_groups | except_groups: [...]}``, see :func:`bucket`; ``call:
    package.module:function`` of ``(values, groups)``.

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


def _make_step(step: Mapping[str, Any]) -> Steps:
    if len(step) != 1:
        raise BankError(f"a step has one key (clip, shrink, round, bucket or call), this one has {sorted(step)}")
    (name, argument), *_ = step.items()
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
    if name == "bucket" and isinstance(argument, Mapping) and set(argument) <= _BUCKET_KEYS:
        return _bucket_groups(argument)
    if name == "call" and isinstance(argument, str) and ":" in argument:
        module, function = argument.split(":")
        try:
            result: Steps = getattr(import_module(module), function)
            return result
        except (ImportError, AttributeError) as error:
            raise BankError(f"step call: {argument} cannot be imported: {error}") from None
    raise BankError(
        f"step {name}: {argument!r} is unknown; use clip: [low, high], shrink: c, round: true, round: {{except_groups: [...]}}, "
        "bucket: {{width: 10, except_groups: [...]}} or call: package.module:function"
    )


def _round_groups(argument: Mapping[str, Sequence[str]]) -> Steps:
    def step(values: Array, groups: npt.NDArray[np.str_] | None) -> Array:
        chosen = _chosen(argument, groups)
        return np.where(chosen.reshape(-1, *[1] * (values.ndim - 1)), np.round(values), values)

    return step


def _bucket_groups(argument: Mapping[str, Any]) -> Steps:
    width, fewest = float(argument.get("width", 10)), int(argument.get("fewest", 30))
    widths = {str(group): float(own) for group, own in dict(argument.get("widths", {})).items()}
    named = [group for group in (*argument.get("only_groups", ()), *widths) if group in WITHOUT_PLATEAUS]
    if named:
        raise BankError(f"step bucket: {named[0]} maps are images without plateaus, they are never bucketed")
    if min([width, *widths.values()]) < 0 or fewest < 1:
        raise BankError(f"step bucket: widths are not negative and fewest is at least 1, got {dict(argument)}")

    def step(values: Array, groups: npt.NDArray[np.str_] | None) -> Array:
        chosen = _chosen(argument, groups)
        assert groups is not None
        chosen &= ~np.isin(groups, WITHOUT_PLATEAUS)
        out = values.astype(np.float64)
        for row in np.flatnonzero(chosen):
            out[row] = bucket(values[row], widths.get(str(groups[row]), width), fewest)
        return out

    return step


def _chosen(argument: Mapping[str, Any], groups: npt.NDArray[np.str_] | None) -> npt.NDArray[np.bool_]:
    """Rows of the groups that a step is for."""
    if groups is None:
        raise BankError("a step for some groups needs the group of every row; give --groups FILE")
    only, spared = argument.get("only_groups"), argument.get("except_groups", ())
    return ~np.isin(groups, list(spared)) if only is None else np.isin(groups, list(only))
