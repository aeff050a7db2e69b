"""Small raw ClimSim files and competition tables with arbitrary numbers, for tests."""

import netCDF4
import numpy as np

from datamodules.leap.calendar import stamp_to_step
from datamodules.leap.raw import Pair
from datamodules.leap.schema import (
    CSV_INPUT_NAMES,
    FLUXES,
    LEVELS,
    MODEL_TO_CSV,
    PROFILES,
    SCALARS,
    STATE_PROFILES,
    TARGET_NAMES,
)

CDF5 = "NETCDF3_64BIT_DATA"
EXTRA_INPUTS = {"state_pmid": True, "cam_in_SNOWHICE": False}  # in the real files, not in the competition's inputs
CSV_NAMES = ["sample_id", *CSV_INPUT_NAMES, *TARGET_NAMES]


def write_pair(folder, stamp, columns=6, seed=0, **tamper):
    """Write ``folder/YYYY-MM/E3SM-MMF.{mli,mlo}.<stamp>.nc`` and return the pair.

    ``more`` names further variables on the levels for the ``mli`` file; ``tamper`` is handed to :func:`write_file` for the ``mli`` file, and for the ``mlo`` file where ``kind="mlo"`` is
    among it.
    """
    kind, more = tamper.pop("kind", "mli"), tamper.pop("more", ())
    month = folder / stamp[:7]
    month.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng([seed, stamp_to_step(stamp)])
    before = {name: state(random, name, columns) for name in STATE_PROFILES}
    after = {name: values + state(random, name, columns) * 1e-3 for name, values in before.items()}
    inputs = before | {name: random.random((LEVELS, columns)) * 1e-6 for name in PROFILES if name not in before}
    inputs |= {name: random.standard_normal(columns) for name in SCALARS}
    inputs |= {name: random.random((LEVELS, columns) if profile else columns) for name, profile in EXTRA_INPUTS.items()}
    inputs |= {name: random.standard_normal((LEVELS, columns)) for name in more}
    outputs = after | {name: random.random(columns) for name in FLUXES}
    paths = {}
    for this, variables in (("mli", inputs), ("mlo", outputs)):
        paths[this] = month / f"E3SM-MMF.{this}.{stamp}.nc"
        write_file(paths[this], stamp, variables, **(tamper if this == kind else {}))
    return Pair(stamp_to_step(stamp), stamp, str(paths["mli"]), str(paths["mlo"]))


def state(random, name, columns):
    """Numbers of the size of a state variable; the cloud variables reach down to 1e-58."""
    if name in ("state_q0002", "state_q0003"):
        return 10.0 ** random.uniform(-58, -4, (LEVELS, columns))
    return random.standard_normal((LEVELS, columns)) * 10 + 200


def write_file(path, stamp, variables, file_format=CDF5, drop=(), rename=None, levels=None, clock=None, poke=None):
    """Write one file.

    Args:
        path: The file.
        stamp: Time stamp, for ``ymd`` and ``tod``.
        variables: Values by name.
        file_format: Of the netCDF library.
        drop: Variables to leave out.
        rename: Other names, by name.
        levels: Number of levels, if not that of the values (repeated or cut).
        clock: Another stamp to write into ``ymd`` and ``tod``.
        poke: Single values by ``(variable, index)``.
    """
    year, month, day, second = map(int, (clock or stamp).split("-"))
    if levels is not None:
        variables = {name: np.resize(v, (levels, v.shape[1])) if v.ndim == 2 else v for name, v in variables.items()}
    for (name, index), value in (poke or {}).items():
        variables[name][index] = value
    with netCDF4.Dataset(path, "w", format=file_format) as file:
        file.calendar = "NO_LEAP"
        file.createDimension("ncol", len(next(v for v in variables.values() if v.ndim == 1)))
        file.createDimension("lev", len(next(v for v in variables.values() if v.ndim == 2)))
        for name, value in (("ymd", year * 10_000 + month * 100 + day), ("tod", second)):
            file.createVariable(name, "i4")[...] = value
        for name, values in variables.items():
            if name not in drop:
                dimensions = ("lev", "ncol") if values.ndim == 2 else ("ncol",)
                variable = file.createVariable((rename or {}).get(name, name), "f8", dimensions)
                variable.units = "a text of odd length"
                variable[...] = values


def csv_rows(rows):
    """Inputs (in the order of the competition's tables) and targets of a pair, (n, 556 + 368)."""
    inputs = np.concatenate([rows.profiles.reshape(len(rows.profiles), -1), rows.scalars], axis=1)
    return np.concatenate([inputs[:, MODEL_TO_CSV], rows.targets], axis=1)


def write_csv(path, values, first=0, prefix="train_", names=CSV_NAMES, end="\n"):
    """Write rows as the competition does, every number with all its digits."""
    lines = [",".join(names)]
    lines += [f"{prefix}{first + i}," + ",".join(map(repr, row)) for i, row in enumerate(values.tolist())]
    path.write_text("\n".join(lines) + end)
    return path
