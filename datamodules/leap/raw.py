"""Raw ClimSim files: pairs of what the climate model held before (``mli``) and after (``mlo``) its column physics.

``.../YYYY-MM/E3SM-MMF.{mli,mlo}.YYYY-MM-DD-SSSSS.nc``, one pair per 1200 s step, every file with all grid columns.
Source: the data set ``LEAP/ClimSim_low-res`` (Yu et al. 2023, arXiv:2306.08754).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from datamodules.errors import DataError
from datamodules.leap.calendar import stamp_to_step
from datamodules.leap.netcdf import read_variables
from datamodules.leap.schema import (
    FLUXES,
    GRID_COLUMNS,
    LEVELS,
    N_PROFILES,
    N_SCALARS,
    N_TARGETS,
    PLACES,
    PROFILES,
    SCALARS,
    SNOW_ON_ICE,
    STEP_SECONDS,
    TENDENCIES,
    VariableSet,
)

_BEFORE = ("mli", "mlexpand", "ml2steploc")  # as the plain and the expanded sets name the state before the physics
_FILE_NAME = re.compile(rf".*\.({'|'.join(_BEFORE)}|mlo)\.(\d{{4}}-\d{{2}}-\d{{2}}-\d{{5}})\.nc")
_CLOCK = ("ymd", "tod")
_NO_ICE = 1e29  # ClimSim puts 1e30 where there is no sea ice to lie on
_INPUT_NAMES = (*_CLOCK, *PROFILES, *SCALARS)
_STATE_AFTER = tuple(name.replace("ptend_", "state_") for name in TENDENCIES)
_OUTPUT_NAMES = (*_CLOCK, *_STATE_AFTER, *FLUXES)


class Pair(NamedTuple):
    """The two files of a time step.

    Args:
        step: Time-step number, see :mod:`datamodules.leap.calendar`.
        stamp: ``YYYY-MM-DD-SSSSS``.
        mli: File with the state before the physics.
        mlo: File with the state after it; empty where only inputs are wanted.
    """

    step: int
    stamp: str
    mli: str
    mlo: str


def find_pairs(root: str | Path) -> list[Pair]:
    """All pairs below a folder, at any depth, in time order.

    Raises:
        DataError: No such folder, no raw file below it, a file without its partner, a stamp found twice, or a file
            name whose stamp the calendar does not have.
    """
    root = Path(root)
    if not root.is_dir():
        raise DataError(f"no such folder: {root}")
    files: dict[str, dict[str, str]] = {"mli": {}, "mlo": {}}
    for folder, _, names in os.walk(root, followlinks=True):
        for name in names:
            match = _FILE_NAME.fullmatch(name)
            if match is None:
                continue
            kind, stamp = match.groups()
            kind = "mli" if kind in _BEFORE else kind
            path = os.path.join(folder, name)  # noqa: PTH118 - hundreds of thousands of files
            if stamp in files[kind]:
                raise DataError(f"two {kind} files of {stamp}: {files[kind][stamp]} and {path}: keep one")
            files[kind][stamp] = path
    _check_partners(root, files["mli"], files["mlo"])
    pairs = [Pair(_step_of(path, stamp), stamp, path, files["mlo"][stamp]) for stamp, path in files["mli"].items()]
    return sorted(pairs)


def find_inputs(place: str | Path) -> list[Pair]:
    """The files before the physics that a folder, a file or a pattern such as ``"data/*.mli.0009-*.nc"`` names.

    Files after the physics are neither needed nor looked at. A file that is named alone may have any name: its time
    stands in it.

    Raises:
        DataError: Nothing is there, or a stamp is found twice.
    """
    place = Path(place)
    if place.is_file():
        match = _FILE_NAME.fullmatch(place.name)
        if match is not None and match[1] == "mlo":
            raise DataError(f"{place} holds the state after the physics; give the .mli file of the same time")
        return [_input_of(place, match[2] if match else stamp_in(place))]
    if place.is_dir():
        paths = [Path(folder, name) for folder, _, names in os.walk(place, followlinks=True) for name in names]
    else:
        paths = [Path(path) for path in glob.glob(os.fspath(place), recursive=True)]  # noqa: PTH207 - absolute ones too
    found: dict[str, Pair] = {}
    for path in paths:
        match = _FILE_NAME.fullmatch(path.name)
        if match is not None and match[1] in _BEFORE:
            pair = _input_of(path, match[2])
            if pair.stamp in found:
                raise DataError(f"two input files of {pair.stamp}: {found[pair.stamp].mli} and {path}: keep one")
            found[pair.stamp] = pair
    if not found:
        raise DataError(
            f"{place} names no ClimSim file of inputs (E3SM-MMF.mli.YYYY-MM-DD-SSSSS.nc); a file of another name can be "
            "given by itself"
        )
    return sorted(found.values())


def _input_of(path: Path, stamp: str) -> Pair:
    return Pair(_step_of(str(path), stamp), stamp, str(path), "")


def stamp_in(path: str | Path) -> str:
    """The time stamp that stands in a file (``ymd``, ``tod``)."""
    return _stamp_of(read_variables(path, _CLOCK))


def _stamp_of(variables: Mapping[str, np.ndarray]) -> str:
    date, second = (int(variables[name].reshape(-1)[0]) for name in _CLOCK)
    return f"{date // 10_000:04d}-{date // 100 % 100:02d}-{date % 100:02d}-{second:05d}"


def read_places(path: str | Path, columns: int) -> np.ndarray | None:
    """Cosine and sine of the latitude of a file's grid columns, ``(columns, 2)``; None where it does not say them."""
    for names in (PLACES, ("lat",)):
        try:
            values = read_variables(path, names)
        except DataError:
            continue
        for name in names:
            _check_shape(path, name, values[name], columns, profile=False)
        if names == PLACES:
            return np.stack([values[name] for name in names], axis=1).astype(np.float64)
        return cosine_and_sine(values["lat"])
    return None


def cosine_and_sine(latitude: np.ndarray) -> np.ndarray:
    """Cosine and sine of latitudes in degrees, ``(columns, 2)``."""
    radians = np.deg2rad(latitude.astype(np.float64))
    return np.stack([np.cos(radians), np.sin(radians)], axis=1)


def grid_columns(path: str | Path) -> int:
    """How many grid columns a file has."""
    return int(read_variables(path, ["state_ps"])["state_ps"].size)


def _check_partners(root: Path, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    if not before and not after:
        raise DataError(f"no ClimSim file (E3SM-MMF.mli.YYYY-MM-DD-SSSSS.nc) below {root}")
    for kind, partner, have, other in (("mli", "mlo", before, after), ("mlo", "mli", after, before)):
        lonely = sorted(set(have) - set(other))
        if lonely:
            more = f" (and {len(lonely) - 1} more like it)" if len(lonely) > 1 else ""
            raise DataError(
                f"{have[lonely[0]]} has no .{partner} file{more}: fetch its partner or remove the .{kind} file"
            )


def _step_of(path: str, stamp: str) -> int:
    try:
        return stamp_to_step(stamp)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


class Inputs(NamedTuple):
    """The state before the physics, in model order: profiles (columns, 9, 60) and scalars (columns, 16), float64."""

    profiles: np.ndarray
    scalars: np.ndarray


class Rows(NamedTuple):
    """All rows of a pair: :class:`Inputs` and targets (columns, 368), float64."""

    profiles: np.ndarray
    scalars: np.ndarray
    targets: np.ndarray

    @classmethod
    def empty(cls, columns: int) -> Rows:
        """Uninitialised memory for the rows of a pair, for :func:`read_pair` to fill."""
        shapes = ((columns, N_PROFILES, LEVELS), (columns, N_SCALARS), (columns, N_TARGETS))
        return cls(*(np.empty(shape) for shape in shapes))


@dataclass(frozen=True)
class More:
    """Memory for the variables of a set beside those of the competition: (columns, P, 60) and (columns, S), float64.

    The cosine and sine of the latitude are the same in every file: they are put there once and not read.
    """

    variables: VariableSet
    profiles: np.ndarray
    scalars: np.ndarray

    @classmethod
    def empty(cls, variables: VariableSet, columns: int) -> More:
        """Uninitialised memory."""
        shapes = ((columns, len(variables.profiles), LEVELS), (columns, len(variables.scalars)))
        return cls(variables, *(np.empty(shape) for shape in shapes))

    @property
    def scalar_names(self) -> list[str]:
        """The variables without levels that every file is asked for."""
        return [name for name in self.variables.scalars if name not in PLACES]

    def fill(self, values: Mapping[str, np.ndarray]) -> None:
        """Put the values of a file into place; no snow lies where there is no ice."""
        for i, name in enumerate(self.variables.profiles):
            self.profiles[:, i] = values[name].T
        for name in self.scalar_names:
            value = values[name]
            if name == SNOW_ON_ICE:
                value = np.where(value < _NO_ICE, value, 0.0)
            self.scalars[:, self.variables.scalars.index(name)] = value


def read_inputs(
    path: str | Path, columns: int = GRID_COLUMNS, out: Inputs | Rows | None = None, more: More | None = None
) -> Inputs:
    """Read an ``mli`` file.

    Args:
        path: The file. If its name carries a time stamp, the time in the file must be the same.
        columns: Grid columns the file must have.
        out: Where to put the result, by default new arrays.
        more: Further variables to read, and where to put them.

    Raises:
        DataError: Names the file and what is wrong: truncated, not netCDF, a variable missing or renamed, another
            grid size or number of levels, another time than the name says.
    """
    further = (more.variables.profiles, more.scalar_names) if more else ((), ())
    try:
        variables = _read_variables(path, (*_INPUT_NAMES, *further[0], *further[1]), columns, frozenset(further[0]))
    except DataError as error:
        if more and any(f"no variable '{name}'" in str(error) for names in further for name in names):
            raise DataError(f"{error}: such variables stand in {more.variables.files}") from None
        raise
    profiles, scalars = (out or Rows.empty(columns))[:2]
    for i, name in enumerate(PROFILES):
        profiles[:, i] = variables[name].T
    for i, name in enumerate(SCALARS):
        scalars[:, i] = variables[name]
    if more:
        more.fill(variables)
    return Inputs(profiles, scalars)


def read_pair(pair: Pair, columns: int = GRID_COLUMNS, out: Rows | None = None, more: More | None = None) -> Rows:
    """Read both files of a step and form the targets.

    Tendencies are ``(after - before) / 1200`` in float64, per second, as ClimSim's own tools compute them; the eight
    fluxes are copied.

    Args:
        pair: The two files.
        columns: Grid columns the files must have.
        out: Where to put the result. Using the same memory for every pair of a loop saves a third of its time or more:
            fresh pages are dear.
        more: Further variables of the ``mli`` file to read, and where to put them.

    Raises:
        DataError: As :func:`read_inputs`, for either file.
    """
    out = out or Rows.empty(columns)
    profiles, scalars = read_inputs(pair.mli, columns, out, more)
    variables = _read_variables(pair.mlo, _OUTPUT_NAMES, columns)
    targets = out.targets
    for i, name in enumerate(_STATE_AFTER):
        tendency = targets[:, i * LEVELS : (i + 1) * LEVELS]
        np.subtract(variables[name].T, profiles[:, PROFILES.index(name)], out=tendency)
        tendency /= STEP_SECONDS
    for i, name in enumerate(FLUXES, start=len(_STATE_AFTER) * LEVELS):
        targets[:, i] = variables[name]
    return Rows(profiles, scalars, targets)


# --- One file -----------------------------------------------------------------------------------------------------


def _read_variables(
    path: str | Path, names: Collection[str], columns: int, profiles: frozenset[str] = frozenset()
) -> dict[str, np.ndarray]:
    """The named variables, checked: profiles (60, columns), others (columns,); possibly big-endian and read-only."""
    variables = read_variables(path, names)
    _check_time(path, variables)
    for name in names:
        if name not in _CLOCK:
            _check_shape(path, name, variables[name], columns, name in _PROFILE_NAMES or name in profiles)
    return variables


def _check_time(path: str | Path, variables: Mapping[str, np.ndarray]) -> None:
    match = _FILE_NAME.fullmatch(os.path.basename(path))  # noqa: PTH119 - called for every file
    if match is None:
        return
    stamp = match[2]
    inside = _stamp_of(variables)
    if inside != stamp:
        raise DataError(f"{path} holds the time {inside} (ymd, tod), its name says {stamp}: one of the two is wrong")


def _check_shape(path: str | Path, name: str, values: np.ndarray, columns: int, profile: bool) -> None:
    expected = (LEVELS, columns) if profile else (columns,)
    shape = values.shape
    if shape == expected:
        return
    if len(shape) != len(expected) or shape == expected[::-1] != expected:
        raise DataError(f"{path}: '{name}' has shape {shape}, expected {expected} (level, grid column)")
    if shape[-1] != columns:
        raise DataError(
            f"{path}: '{name}' has {shape[-1]} grid columns, expected {columns}: is this another grid of ClimSim? say --data.columns {values.shape[-1]} (0 takes what the first file has)"
        )
    raise DataError(f"{path}: '{name}' has {shape[0]} levels, expected {LEVELS}")


_PROFILE_NAMES = frozenset(PROFILES)
