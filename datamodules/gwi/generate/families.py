"""One map from (family, seed, index), whatever was drawn before it and on whichever machine."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError
from datamodules.gwi.generate.faults import draw, faults_a, faults_b, join, slip
from datamodules.gwi.generate.layers import (
    CURVE_KNOTS,
    Array,
    Rng,
    both_halves,
    curved,
    distinct_integers,
    evenly_spaced,
    fill,
    many_waves,
    single_wave,
    stick_breaking,
)
from datamodules.gwi.generate.style import style_a, style_b
from datamodules.gwi.schema import SIDE, family_name

Maps = npt.NDArray[np.float32]
_FLAT = np.zeros(SIDE)


def generator(family: str, seed: int, index: int, purpose: str = "map") -> Rng:
    """Random numbers of one map; both Style families share theirs, as OpenFWI's share photographs."""
    stem = "Style" if family.startswith("Style") else family
    return np.random.default_rng([zlib.crc32(f"{stem}|{purpose}".encode()), seed, index])


def generate_map(family: str, seed: int, index: int, layers: int | None = None) -> Maps:
    """Map ``index`` of a family in m/s, ``(70, 70)`` float32.

    Args:
        family: One of :data:`datamodules.gwi.schema.FAMILIES`, in any of its spellings.
        seed: Seed of the data set.
        index: Index of the map.
        layers: Layers of a Fault map, instead of 2 to 4 (A) or 6 to 8 (B) at random.

    Raises:
        DataError: no such family, or a number of layers for a family that has none to choose.
    """
    family = family_name(family)
    rng = generator(family, seed, index)
    if layers is None:
        return _RECIPES[family](rng).astype(np.float32)
    if family not in _FAULTED:
        raise DataError(f"the layers of {family} cannot be chosen, only those of {', '.join(_FAULTED)}")
    return _FAULTED[family](rng, layers).astype(np.float32)


def generate_maps(family: str, seed: int, indices: Iterable[int], layers: int | None = None) -> Maps:
    """Several maps of a family, ``(maps, 70, 70)`` float32; see :func:`generate_map`."""
    return np.stack([generate_map(family, seed, index, layers) for index in indices])


def _flat_vel(rng: Rng, ordered: bool) -> Array:
    n = int(rng.integers(3, 8))
    # the deepest layer may lie below the map, and with it the fastest velocity
    return np.repeat(fill(evenly_spaced(rng, n), _velocities(rng, n + 1, ordered)), SIDE, axis=1)


def _curve_vel(rng: Rng, ordered: bool) -> Array:
    n = int(rng.integers(3, 8))
    velocities = _velocities(rng, n + 1, ordered)
    while True:  # a few draws in most cases: every layer must show
        made = fill(curved(evenly_spaced(rng, n, CURVE_KNOTS)), velocities)
        if np.isin(velocities, made).all():
            return made


def _velocities(rng: Rng, n: int, ordered: bool) -> Array:
    velocities = distinct_integers(rng, n)
    return np.sort(velocities) if ordered else velocities


def _fault_a(rng: Rng, curve: Callable[[Rng], Array], layers: int | None) -> Array:
    layers = layers or int(rng.integers(2, 5))
    interfaces = stick_breaking(rng, layers)[:, None] + curve(rng)
    return draw(fill(interfaces, both_halves(rng, layers)), faults_a(rng))


def _fault_b(rng: Rng, curve: Callable[[Rng], Array], layers: int | None) -> Array:
    layers = layers or int(rng.integers(6, 9))

    def side() -> Array:
        interfaces = stick_breaking(rng, layers)[:, None] + curve(rng)
        return slip(fill(interfaces, np.sort(distinct_integers(rng, layers))), faults_b(rng))

    return join(side(), side(), rng)


_FAULTED: dict[str, Callable[..., Array]] = {
    "FlatFault_A": lambda rng, layers: _fault_a(rng, lambda _: _FLAT, layers),
    "FlatFault_B": lambda rng, layers: _fault_b(rng, lambda _: _FLAT, layers),
    "CurveFault_A": lambda rng, layers: _fault_a(rng, single_wave, layers),
    "CurveFault_B": lambda rng, layers: _fault_b(rng, many_waves, layers),
}
_RECIPES: dict[str, Callable[[Rng], Array]] = {
    "FlatVel_A": lambda rng: _flat_vel(rng, ordered=True),
    "FlatVel_B": lambda rng: _flat_vel(rng, ordered=False),
    "CurveVel_A": lambda rng: _curve_vel(rng, ordered=True),
    "CurveVel_B": lambda rng: _curve_vel(rng, ordered=False),
    **{name: partial(recipe, layers=None) for name, recipe in _FAULTED.items()},
    "Style_A": style_a,
    "Style_B": style_b,
}
