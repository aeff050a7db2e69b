"""Raw ClimSim files or competition tables into a memory-mapped store of rows.

Both kinds of source give the same arrays, and the same rows the same float64 numbers:

=============  ==================  =================================================================================
``profiles``   (9, 60)             model order, see :mod:`datamodules.leap.schema`
``scalars``    (16,)
``targets``    (368,)              tendencies per second and fluxes; absent for a test table
``step``       () int64            time-step number, -1 where unknown (test table)
``column``     () int32            grid column, -1 where unknown
``row_id``     () int64            raw: ``yyyymmdd * 10**10 + second * 10**5 + column``; table: number in ``sample_id``
``bad``        () bool             the row holds a NaN or an infinity
=============  ==================  =================================================================================
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from datamodules.errors import DataError
from datamodules.leap import kaggle
from datamodules.leap.calendar import (
    format_months,
    month_name,
    parse_months,
    stamp_to_step,
    steps_in_months,
    steps_to_dates,
    steps_to_months,
)
from datamodules.leap.grid import grid_coordinates
from datamodules.leap.listing import Listing, kept_listing
from datamodules.leap.raw import (
    More,
    Pair,
    Rows,
    cosine_and_sine,
    find_inputs,
    find_pairs,
    grid_columns,
    read_inputs,
    read_pair,
    read_places,
)
from datamodules.leap.schema import (
    FLUXES,
    GRID_COLUMNS,
    LEVELS,
    MODEL_INPUT_NAMES,
    MORE_UNITS,
    N_PROFILES,
    N_SCALARS,
    N_TARGETS,
    PLACES,
    PROFILES,
    SCALARS,
    TARGET_NAMES,
    TENDENCIES,
    UNITS,
    VARIABLE_SETS,
    VariableSet,
)
from datamodules.stores.build import build_part, build_store
from datamodules.stores.store import ArraySpec, RowSource, Store, Unit, key_hash
from datamodules.text_tables import find_table

READER_VERSION = 1
"""Raised whenever the same files would give other rows: stores of older versions are then made anew."""
FILES_PER_UNIT = 24
KAGGLE_TIME_STRIDE = 7
_ROWS_AT_ONCE = 1 << 20
KAGGLE_FIRST_STAMP = "0001-02-01-00000"

StoreDtype = Literal["float64", "float32"]
_DATE_FACTOR, _SECOND_FACTOR = 10**10, 10**5


# --- Sources ------------------------------------------------------------------------------------------------------


class RawSource:
    """Raw file pairs as rows: files in time order, in each the grid columns in file order.

    Args:
        root: Folder of the raw files, at any depth below.
        columns: Grid columns of every file; 0 takes what the first file has.
        months: Which months, such as ``0001-02:0008-06`` or ``0008-07,0008-09``; all by default.
        stride: Take every ``stride``-th file of the sorted list (after the selection of months).
        drop_last_file: Leave out the last file of the sorted list before the stride, as ClimSim's own tools do
            (their slice is ``[0:-1:stride]``).
        dtype: Dtype of profiles, scalars and targets in the store. float64 by default because the cloud-liquid columns reach
            1e-58, which float32 flushes to zero; float32 halves the disk space.
        files_per_unit: File pairs that one process reads in one go.
        listing: File that keeps which files there are, so that the parts of a conversion need not look again.
        variables: Name of a set of :data:`datamodules.leap.schema.VARIABLE_SETS`; what it has beside the competition's
            variables becomes the arrays ``more_profiles`` and ``more_scalars``. Snow on ice is 0 where the files hold their
            fill value; latitude comes from the files, or from the grid where they lack it.
        targets: Whether files after the physics are read too. Without, ``root`` may also be one file or a pattern.
        grid_file: ClimSim grid-info file, for latitudes that neither the files nor this project know.

    Raises:
        DataError: As :func:`datamodules.leap.raw.find_pairs`; no file in the chosen months.
    """

    def __init__(
        self,
        root: str | Path,
        columns: int = GRID_COLUMNS,
        months: str | None = None,
        stride: int = 1,
        drop_last_file: bool = False,
        dtype: StoreDtype = "float64",
        files_per_unit: int = FILES_PER_UNIT,
        listing: Path | None = None,
        variables: str = "kaggle",
        targets: bool = True,
        grid_file: Path | None = None,
    ) -> None:
        if stride < 1:
            raise DataError(f"stride is {stride}, it must be 1 or more")
        if variables not in VARIABLE_SETS:
            raise DataError(f"there is no variable set {variables!r}, only {', '.join(VARIABLE_SETS)}")
        self.root, self.dtype, self.files_per_unit = Path(root), dtype, files_per_unit
        self.variables, self.targets = variables, targets

        def make() -> Listing:
            pairs = _in_months(find_pairs(root) if targets else find_inputs(root), months, self.root)
            pairs = pairs[0 : len(pairs) - drop_last_file : stride]
            if not pairs:
                raise DataError(f"dropping the last file below {root} leaves none")
            return Listing.of(self.root, pairs)

        self.listing = kept_listing(listing, make) if listing else make()
        self.columns = columns or grid_columns(self.pairs[0].mli)
        self.places = None
        if set(PLACES) <= set(VARIABLE_SETS[variables].scalars):
            self.places = self._places(grid_file)

    def _places(self, grid_file: Path | None) -> np.ndarray:
        first = self.pairs[0].mli
        values = None if grid_file is not None else read_places(first, self.columns)
        if values is None:
            grid = grid_coordinates(self.root, self.columns, grid_file)
            if grid is None:
                read_inputs(first, self.columns, more=More.empty(VARIABLE_SETS[self.variables], self.columns))
                raise DataError(
                    f"{first} has no variable 'clat' nor 'lat', and the grid of {self.columns:,} columns is not known: give its "
                    f"ClimSim grid-info file with --data.grid_file, which --data.variables {self.variables} needs for the latitude"
                )
            values = cosine_and_sine(grid[:, 0])
        return values

    @property
    def pairs(self) -> list[Pair]:
        """The file pairs, in time order."""
        return self.listing.pairs

    def key(self) -> dict[str, Any]:
        """Reader version, options, and a hash of every file's relative path, size and time of change."""
        return {
            "reader": "climsim-raw",
            "version": READER_VERSION,
            "files": len(self.pairs),
            "listing": self.listing.digest,
            "columns": self.columns,
            "dtype": self.dtype,
            "files_per_unit": self.files_per_unit,
            # only where they differ from what stores were made with before there was a choice
            **({"variables": self.variables, "snow_fill": 0} if self.variables != "kaggle" else {}),
            **({} if self.places is None else {"places": hashlib.sha256(self.places.tobytes()).hexdigest()}),
            **({} if self.targets else {"targets": False}),
        }

    def arrays(self) -> dict[str, ArraySpec]:
        """See the table at the top of this module."""
        return _array_specs(self.dtype, self.targets, VARIABLE_SETS[self.variables])

    def units(self) -> list[Unit]:
        """Chunks of ``files_per_unit`` files, named by their first and last stamp."""
        units = []
        for first in range(0, len(self.pairs), self.files_per_unit):
            chunk = self.pairs[first : first + self.files_per_unit]
            name = f"{chunk[0].stamp}..{chunk[-1].stamp}"
            units.append(Unit(name, first * self.columns, (first + len(chunk)) * self.columns))
        return units

    def read(self, unit: Unit) -> Iterator[dict[str, np.ndarray]]:
        """One block per file pair."""
        column = np.arange(self.columns, dtype=np.int32)
        memory = Rows.empty(self.columns)
        more = More.empty(VARIABLE_SETS[self.variables], self.columns)
        if self.places is not None:
            more.scalars[:, [more.variables.scalars.index(name) for name in PLACES]] = self.places
        for index in range(unit.start // self.columns, unit.stop // self.columns):
            self.listing.check(index)
            pair = self.pairs[index]
            if self.targets:
                profiles, scalars, targets = read_pair(pair, self.columns, memory, more)
            else:
                (profiles, scalars), targets = read_inputs(pair.mli, self.columns, memory, more), None
            step = np.full(self.columns, pair.step)
            further = {"more_profiles": more.profiles, "more_scalars": more.scalars}
            yield _block(
                self.dtype, profiles, scalars, targets, step, column, raw_row_ids(step, column),
                {name: values for name, values in further.items() if values.size},
            )  # fmt: skip

    def manifest(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Months with their rows, units, bad rows."""
        more = VARIABLE_SETS[self.variables]
        info: dict[str, Any] = {"row_id_kind": "raw", "id_prefix": "", "grid_columns": self.columns}
        if self.variables != "kaggle":
            units = {name: {v: MORE_UNITS[v] for v in getattr(more, name)} for name in ("profiles", "scalars")}
            info |= {"variables": self.variables, "more_profiles": units["profiles"], "more_scalars": units["scalars"]}
        return {**info, **_row_facts(arrays, lambda row: self.pairs[row // self.columns].mli)}


def _in_months(pairs: list[Pair], months: str | None, root: Path) -> list[Pair]:
    if months is None:
        return pairs
    ranges = parse_months(months)
    inside = steps_in_months(np.array([pair.step for pair in pairs]), ranges)
    if not inside.any():
        raise DataError(
            f"no file of the months {format_months(ranges)} below {root}: "
            f"there are files from {pairs[0].stamp[:7]} to {pairs[-1].stamp[:7]}"
        )
    return [pair for pair, chosen in zip(pairs, inside, strict=True) if chosen]


class KaggleSource:
    """A competition table (CSV or parquet) as rows, in file order.

    A train table was made from every seventh raw file, so that the number in ``sample_id`` gives time step and grid
    column: 384 rows a step, steps 7 apart from 0001-02-01-00000. A test table was shuffled: both are unknown.

    Args:
        file: ``train.csv``, ``test.csv`` or parquet of the same columns, in any order.
        dtype: As in :class:`RawSource`.
        time_stride: Time steps between consecutive steps of a train table.
        unit_bytes: Bytes of CSV that one process reads in one go.

    Raises:
        DataError: As :func:`datamodules.leap.kaggle.open_table`.
    """

    def __init__(
        self,
        file: str | Path,
        dtype: StoreDtype = "float64",
        time_stride: int = KAGGLE_TIME_STRIDE,
        unit_bytes: int = 32 << 20,
    ) -> None:
        self.table = kaggle.open_table(file)
        self.dtype, self.time_stride, self.unit_bytes = dtype, time_stride, unit_bytes

    def key(self) -> dict[str, Any]:
        """Reader version, options, and the file's name, size, time of change and column names."""
        status = self.table.path.stat()
        return {
            "reader": "climsim-kaggle",
            "version": READER_VERSION,
            "file": self.table.path.name,
            "size": status.st_size,
            "mtime_ns": status.st_mtime_ns,
            "columns": hashlib.sha256("\n".join(self.table.columns).encode()).hexdigest(),
            "dtype": self.dtype,
            "time_stride": self.time_stride,
            "unit_bytes": self.unit_bytes,
        }

    def arrays(self) -> dict[str, ArraySpec]:
        """See the table at the top of this module."""
        return _array_specs(self.dtype, self.table.has_targets)

    def units(self) -> list[Unit]:
        """Byte ranges of a CSV file (one unit where it is packed), row groups of a parquet file."""
        if self.table.form is None:
            return kaggle.parquet_units(self.table)
        return kaggle.csv_units(self.table, self.unit_bytes)

    def read(self, unit: Unit) -> Iterator[dict[str, np.ndarray]]:
        """Blocks of about a thousand rows."""
        for rows in kaggle.read_rows(self.table, unit):
            if self.table.has_targets:
                first = stamp_to_step(KAGGLE_FIRST_STAMP)
                step = first + rows.numbers // GRID_COLUMNS * self.time_stride
                column = (rows.numbers % GRID_COLUMNS).astype(np.int32)
            else:
                step = np.full(len(rows.numbers), -1)
                column = np.full(len(rows.numbers), -1, np.int32)
            yield _block(self.dtype, rows.profiles, rows.scalars, rows.targets, step, column, rows.numbers)

    def manifest(self, arrays: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Months with their rows, units, bad rows; refuses a table that repeats a ``sample_id``."""
        numbers = np.sort(arrays["row_id"])
        repeated = numbers[1:][numbers[1:] == numbers[:-1]]
        if repeated.size:
            raise DataError(
                f"{self.table.path}: {kaggle.ID_COLUMN} '{self.table.id_prefix}{repeated[0]}' stands in it more than "
                "once"
            )
        info = {"row_id_kind": "kaggle", "id_prefix": self.table.id_prefix, "grid_columns": GRID_COLUMNS}
        return {**info, **_row_facts(arrays, lambda row: f"{self.table.path} (data row {row})")}


# --- Rows ---------------------------------------------------------------------------------------------------------


def raw_row_ids(step: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Row ids of raw rows, int64: ``yyyymmdd * 10**10 + second * 10**5 + column``."""
    dates, seconds = steps_to_dates(step)
    result: np.ndarray = dates * _DATE_FACTOR + seconds * _SECOND_FACTOR + column
    return result


def row_names(store: Store, rows: np.ndarray | slice) -> np.ndarray:
    """Names of rows as strings: ``0008-01-01-62400_017`` (raw), ``train_123`` or ``test_123`` (tables).

    Args:
        store: A store of this module.
        rows: Row numbers, mask or slice.
    """
    ids = np.asarray(store.arrays["row_id"][rows])
    if store.info["row_id_kind"] == "kaggle":
        return np.strings.add(store.info["id_prefix"], ids.astype(str))
    return raw_row_names(ids)


def raw_row_names(ids: np.ndarray) -> np.ndarray:
    """Names of raw rows, ``0008-01-01-62400_017``, from their int64 ids."""
    if not ids.size:
        return np.empty(ids.shape, "U20")
    dates, rest = np.divmod(ids, _DATE_FACTOR)
    seconds, columns = np.divmod(rest, _SECOND_FACTOR)
    parts = ((dates // 10_000, 4, "-"), (dates // 100 % 100, 2, "-"), (dates % 100, 2, "-"), (seconds, 5, "_"))
    names = np.full(ids.shape, "")
    for values, width, separator in parts:
        names = np.strings.add(names, np.strings.add(np.strings.zfill(values.astype(str), width), separator))
    return np.strings.add(names, np.strings.zfill(columns.astype(str), 3))


def _array_specs(dtype: StoreDtype, with_targets: bool, more: VariableSet = VariableSet()) -> dict[str, ArraySpec]:  # noqa: B008
    if dtype not in ("float64", "float32"):
        raise DataError(f"a store holds float64 or float32, not {dtype}")
    specs = {"profiles": ArraySpec((N_PROFILES, LEVELS), dtype), "scalars": ArraySpec((N_SCALARS,), dtype)}
    if with_targets:
        specs["targets"] = ArraySpec((N_TARGETS,), dtype)
    if more.profiles:
        specs["more_profiles"] = ArraySpec((len(more.profiles), LEVELS), dtype)
    if more.scalars:
        specs["more_scalars"] = ArraySpec((len(more.scalars),), dtype)
    integers = {"step": "int64", "column": "int32", "row_id": "int64", "bad": "bool"}
    return specs | {name: ArraySpec((), kind) for name, kind in integers.items()}


def _block(
    dtype: StoreDtype,
    profiles: np.ndarray,
    scalars: np.ndarray,
    targets: np.ndarray | None,
    step: np.ndarray,
    column: np.ndarray,
    row_id: np.ndarray,
    more: Mapping[str, np.ndarray] | None = None,
) -> dict[str, np.ndarray]:
    values = {"profiles": profiles, "scalars": scalars}
    if targets is not None:
        values["targets"] = targets
    values |= more or {}
    values = {name: array.astype(dtype, copy=False) for name, array in values.items()}
    bad = np.zeros(len(step), bool)
    for array in values.values():
        bad |= ~np.isfinite(array.reshape(len(bad), -1)).all(axis=1)
    return {**values, "step": step, "column": column, "row_id": row_id, "bad": bad}


def _row_facts(arrays: Mapping[str, np.ndarray], file_of_row: Any) -> dict[str, Any]:
    months: Counter[int] = Counter()
    for start in range(0, len(arrays["step"]), _ROWS_AT_ONCE):
        step = np.asarray(arrays["step"][start : start + _ROWS_AT_ONCE])
        found, counts = np.unique(steps_to_months(step[step >= 0]), return_counts=True)
        months.update(dict(zip(found.tolist(), counts.tolist(), strict=True)))
    bad = np.flatnonzero(arrays["bad"])
    groups = {"profiles": PROFILES, "scalars": SCALARS, "targets": TENDENCIES + FLUXES}
    return {
        "months": {month_name(month): months[month] for month in sorted(months)},
        "variable_units": {
            group: {name: UNITS[name] for name in names} for group, names in groups.items() if group in arrays
        },
        "bad_rows": {"count": len(bad), "first": asdict(_bad_place(arrays, int(bad[0]), file_of_row))}
        if len(bad)
        else {"count": 0, "first": None},
    }


@dataclass(frozen=True)
class BadPlace:
    """Where the first NaN or infinity stands."""

    row: int
    file: str
    column: int
    variable: str


def _bad_place(arrays: Mapping[str, np.ndarray], row: int, file_of_row: Any) -> BadPlace:
    names = {"profiles": MODEL_INPUT_NAMES, "scalars": SCALARS, "targets": TARGET_NAMES}
    for array in ("profiles", "scalars", "targets", "more_profiles", "more_scalars"):
        bad = ~np.isfinite(arrays[array][row].ravel()) if array in arrays else np.zeros(0, bool)
        if bad.any():
            place = int(bad.argmax())
            name = names[array][place] if array in names else f"number {place} of {array}"
            return BadPlace(row, file_of_row(row), int(arrays["column"][row]), name)
    raise AssertionError("the row is not bad")


def join_more(rows: Mapping[str, Any], concatenate: Any = np.concatenate) -> dict[str, Any]:
    """Rows with one array of profiles and one of scalars: those of the competition, then ``more_profiles`` and ``more_scalars``.

    Args:
        rows: Arrays by name.
        concatenate: Of their kind, numpy's or torch's.
    """
    whole = {name: values for name, values in rows.items() if not name.startswith("more_")}
    for name in ("profiles", "scalars"):
        if f"more_{name}" in rows:
            whole[name] = concatenate([rows[name], rows[f"more_{name}"]], 1)
    return whole


# --- Conversion ---------------------------------------------------------------------------------------------------


def open_source(
    path: str | Path,
    columns: int = GRID_COLUMNS,
    months: str | None = None,
    stride: int = 1,
    drop_last_file: bool = False,
    dtype: StoreDtype = "float64",
    time_stride: int = KAGGLE_TIME_STRIDE,
    listing: Path | None = None,
    variables: str = "kaggle",
    targets: bool = True,
    grid_file: Path | None = None,
) -> RawSource | KaggleSource:
    """The source that fits what is there: a table for a file (or a folder with ``train.csv``), else raw files.

    Args: as :class:`RawSource` and :class:`KaggleSource`; without ``targets`` also a raw file or a pattern of them.

    Raises:
        DataError: Nothing usable is there, or a table is asked for with options of raw files.
    """
    path = Path(path)
    tables = [file for file in (find_table(path, "train"), path / "train.parquet") if file.is_file()]
    if not tables and (path.suffix in (".nc", "") or path.is_dir()):
        if targets and not path.is_dir():
            raise DataError(
                f"no such file or folder: {path}" if not path.exists() else f"{path} is no folder of raw files"
            )
        return RawSource(
            path, columns, months, stride, drop_last_file, dtype, listing=listing, variables=variables, targets=targets,
            grid_file=grid_file,
        )  # fmt: skip
    path = tables[0] if tables else path
    if not path.exists():
        raise DataError(f"no such file or folder: {path}")
    if variables != "kaggle":
        raise DataError(f"{path} is a table: it holds the competition's variables only, not the set {variables!r}")
    if months is not None or stride != 1 or drop_last_file or columns not in (0, GRID_COLUMNS):
        raise DataError(f"{path} is a table: months, stride, columns and drop_last_file are options of raw files only")
    return KaggleSource(path, dtype, time_stride)


def convert(
    path: str | Path,
    destination: str | Path,
    columns: int = GRID_COLUMNS,
    months: str | None = None,
    stride: int = 1,
    drop_last_file: bool = False,
    dtype: StoreDtype = "float64",
    time_stride: int = KAGGLE_TIME_STRIDE,
    processes: int | None = None,
    progress: bool = True,
    variables: str = "kaggle",
    grid_file: Path | None = None,
) -> Store:
    """Convert raw files or a table into a store below ``destination``, or open it if it is there.

    The store's folder carries a hash of what it was made from, so that several sources share a destination.

    Args:
        path: A folder of raw files, a table, or a folder with ``train.csv``.
        destination: Folder of stores.
        columns: See :class:`RawSource`, as the four that follow.
        months: Raw files only.
        stride: Raw files only.
        drop_last_file: Raw files only.
        dtype: Dtype of profiles, scalars and targets.
        time_stride: Tables only, see :class:`KaggleSource`.
        processes: See :func:`datamodules.stores.store.build_store`.
        progress: Show a progress bar.
        variables: Raw files only, see :class:`RawSource`, as the next.
        grid_file: Raw files only.

    Raises:
        DataError: Bad input or a full disk, in one sentence.
    """
    source = open_source(
        path, columns, months, stride, drop_last_file, dtype, time_stride, variables=variables, grid_file=grid_file
    )
    return build_store(source, Path(destination) / store_name(source), processes, progress)


def convert_part(
    path: str | Path,
    destination: str | Path,
    part: tuple[int, int],
    columns: int = GRID_COLUMNS,
    months: str | None = None,
    stride: int = 1,
    drop_last_file: bool = False,
    dtype: StoreDtype = "float64",
    time_stride: int = KAGGLE_TIME_STRIDE,
    processes: int | None = None,
    progress: bool = True,
    variables: str = "kaggle",
) -> Store | None:
    """Convert one part of several into the same store that :func:`convert` makes, see :func:`build_part`.

    The files are listed by the first part that starts; the others read its list, which is kept beside the store until
    that is complete.

    Args:
        path: As :func:`convert`, like all that is not named here.
        destination: Folder of stores, seen by all parts.
        part: Which part, from 1 on, and of how many.
        columns: See :class:`RawSource`, as the four that follow.
        months: Raw files only.
        stride: Raw files only.
        drop_last_file: Raw files only.
        dtype: Dtype of profiles, scalars and targets.
        time_stride: Tables only.
        processes: Worker processes of this part.
        progress: Show a progress bar.
        variables: Raw files only.

    Returns:
        The store, or None while other parts are missing.
    """
    listing = listing_path(path, destination, months, stride, drop_last_file)
    source = open_source(path, columns, months, stride, drop_last_file, dtype, time_stride, listing, variables)
    store = build_part(source, Path(destination) / store_name(source), *part, processes, progress)
    if store is not None:
        listing.unlink(missing_ok=True)
    return store


def listing_path(
    path: str | Path, destination: str | Path, months: str | None, stride: int, drop_last_file: bool
) -> Path:
    """Where the parts of a conversion keep the list of their files."""
    key = {"root": str(Path(path).resolve()), "months": months, "stride": stride, "drop_last_file": drop_last_file}
    return Path(destination) / f"files-{key_hash(key)[:12]}.parquet"


def store_name(source: RowSource) -> str:
    """Folder name of a source's store: the kind of reader and a hash of its key."""
    key = source.key()
    return f"{key['reader']}-{key_hash(key)[:12]}"


def describe(store: Store) -> str:
    """What a store holds, in a few lines for a person."""
    months = list(store.info["months"])
    lines = [f"{store.directory}: {store.rows:,} rows"]
    if months:
        lines.append(f"{len(months)} months, {months[0]} to {months[-1]}")
    if bad := describe_bad_rows(store):
        lines.append(bad)
    return "\n".join(lines)


def usable_rows(store: Store, path: str | Path, on_bad_row: Literal["error", "drop"]) -> np.ndarray:
    """Boolean mask of the rows without a NaN or an infinity.

    Args:
        store: A store of this module.
        path: What it was made from, for the message.
        on_bad_row: Whether a bad row is an error.

    Raises:
        DataError: A row is bad and that is an error.
    """
    bad = np.asarray(store.arrays["bad"])
    if bad.any() and on_bad_row == "error":
        raise DataError(f"{path}: {describe_bad_rows(store)}; mend the file or pass --data.on_bad_row drop")
    return ~bad


def describe_bad_rows(store: Store) -> str:
    """How many rows hold a NaN or an infinity and where the first stands; empty if there are none."""
    bad = store.info["bad_rows"]
    if not bad["count"]:
        return ""
    first = bad["first"]
    column = f", grid column {first['column']}" if first["column"] >= 0 else ""
    return (
        f"{bad['count']:,} of {store.rows:,} rows hold a NaN or an infinity, "
        f"the first in {first['file']}{column}, variable {first['variable']}"
    )
