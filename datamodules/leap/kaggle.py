"""The competition's tables: ``train.csv`` (925 columns), ``test.csv`` (557) and parquet files of the same columns.

Source: competition ``leap-atmospheric-physics-ai-climsim``; one row is one grid column at one time step,
``sample_id`` is ``train_<n>`` or ``test_<n>``.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from datamodules.errors import DataError, nearest_name
from datamodules.files import refuse_lfs_pointer
from datamodules.leap.schema import LEVELS, MODEL_INPUT_NAMES, N_PROFILES, TARGET_NAMES
from datamodules.stores.store import Unit
from datamodules.text_tables import TableForm, arrow_reason, say_form, table_form, table_names, unpacking

if TYPE_CHECKING:
    import pyarrow as pa

ID_COLUMN = "sample_id"
_BATCH_ROWS = 1024
_CSV_BLOCK_BYTES = 8 << 20  # about 450 rows of train.csv
_LARGE = 1 << 30
_EMPTY = 2  # bytes of an empty line at most, its ends \r\n included
_SPELLED = {name.lower(): name for name in (ID_COLUMN, *MODEL_INPUT_NAMES, *TARGET_NAMES)}
_SAMPLE_ID = re.compile(r"(.*?)(0|[1-9]\d*)")


@dataclass(frozen=True)
class Table:
    """What the head of a table tells.

    Args:
        path: The file, CSV or parquet.
        columns: Names of the file's columns, in its order.
        has_targets: Whether the 368 targets are there.
        id_prefix: What stands before the number in ``sample_id``.
        form: How a text table is written; None for parquet.
    """

    path: Path
    columns: tuple[str, ...]
    has_targets: bool
    id_prefix: str
    form: TableForm | None = None


@dataclass(frozen=True)
class TableRows:
    """Consecutive rows of a table, float64, in the project's model order.

    Args:
        numbers: (n,) int64, the number in ``sample_id``.
        profiles: (n, 9, 60).
        scalars: (n, 16).
        targets: (n, 368), or None.
    """

    numbers: np.ndarray
    profiles: np.ndarray
    scalars: np.ndarray
    targets: np.ndarray | None


def open_table(path: str | Path) -> Table:
    """Look at the head of a table and check its columns by name; their order does not matter.

    Raises:
        DataError: No such file, neither a text table nor parquet, empty, or a column that is missing (with the nearest
            name), repeated or unknown.
    """
    path, form = Path(path), None
    if not path.is_file():
        raise DataError(f"no such file: {path}")
    if _is_parquet(path):
        columns, first = _parquet_head(path)
    else:
        form = table_form(path)
        say_form(form)
        if not form.byte_lines and path.stat().st_size > _LARGE:
            print(
                f"note: {path} can only be read from its beginning, in one go and by one process; as an unpacked UTF-8 file it is "
                "read by all cores, and conversion goes on where it was broken off",
                file=sys.stderr,
            )
        columns = table_names(form, canonical=lambda name: _SPELLED.get(name.lower(), name))
        cells = form.first_row()
        if not cells:
            raise DataError(f"{path} has no rows")
        first = dict(zip(columns, cells, strict=False)).get(ID_COLUMN, "0")
    has_targets = _check_columns(path, columns)
    match = _SAMPLE_ID.fullmatch(first)
    if match is None:
        raise DataError(f"{path}: {ID_COLUMN} '{first}' does not end in a number (expected such as train_0)")
    return Table(path, tuple(columns), has_targets, match[1], form)


def _is_parquet(path: Path) -> bool:
    with open(path, "rb") as file:
        return file.read(4) == b"PAR1" or path.suffix.lower() in (".parquet", ".pq")


def _check_columns(path: Path, columns: Collection[str]) -> bool:
    """Whether the table has targets; raises if its columns are not those of a train or a test table."""
    present = set(columns)
    if len(present) != len(columns):
        raise DataError(f"{path} has the column '{Counter(columns).most_common(1)[0][0]}' twice")
    has_targets = any(name in present for name in TARGET_NAMES)
    expected = [ID_COLUMN, *MODEL_INPUT_NAMES, *(TARGET_NAMES if has_targets else [])]
    missing = [name for name in expected if name not in present]
    unexpected = sorted(present.difference(expected))
    if missing:
        near = nearest_name(missing[0], unexpected)
        hint = f": the nearest name in it is '{near}'" if near else ""
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{path} lacks the column '{missing[0]}'{more}{hint}")
    if unexpected:
        raise DataError(f"{path} has {len(unexpected)} unknown column(s), the first is '{unexpected[0]}': remove them")
    return has_targets


# --- Units of work ------------------------------------------------------------------------------------------------


def csv_units(table: Table, unit_bytes: int = 32 << 20) -> list[Unit]:
    """Cut a CSV file at line ends into pieces of about ``unit_bytes``, and count the rows of each.

    The lines are counted with one pass over the bytes, in threads. ``meta`` holds the byte range. A file that is packed
    or in UTF-16 can only be read from its beginning: it is one unit.
    """
    path, form = table.path, table.form
    assert form is not None  # it is no parquet file
    if not form.byte_lines:
        with form.lines() as lines:
            rows = sum(1 for _ in lines)
        return [Unit(f"{path.name} rows 0-{rows}", 0, rows)]
    size = _content_end(path)
    with open(path, "rb") as file:
        for _ in range(form.skip):
            file.readline()
        cuts = [file.tell()]
        while cuts[-1] < size:
            file.seek(min(cuts[-1] + unit_bytes, size) - 1)
            file.readline()
            cuts.append(min(file.tell(), size))
    ranges = list(pairwise(cuts))
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        counts = list(threads.map(lambda cut: _count_lines(path, *cut), ranges))
    units: list[Unit] = []
    row = 0
    for (start, stop), rows in zip(ranges, counts, strict=True):
        units.append(Unit(f"{path.name} rows {row}-{row + rows}", row, row + rows, {"bytes": [start, stop]}))
        row += rows
    return units


def parquet_units(table: Table) -> list[Unit]:
    """One unit per row group; ``meta`` holds its number."""
    metadata = _open_parquet(table.path).metadata
    units: list[Unit] = []
    row = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        units.append(Unit(f"{table.path.name} rows {row}-{row + rows}", row, row + rows, {"row_group": group}))
        row += rows
    return units


def _content_end(path: Path) -> int:
    """Size of the file without blank lines at its end."""
    size = path.stat().st_size
    with open(path, "rb") as file:
        while size:
            start = max(0, size - 4096)
            file.seek(start)
            tail = file.read(size - start)
            kept = len(tail.rstrip(b"\r\n"))
            if kept:
                return start + kept
            size = start
    return 0


def _count_lines(path: Path, start: int, stop: int) -> int:
    """Lines that are not empty, in a byte range that begins at a line's begin; the last one may lack its end."""
    count, last = 0, start - 1
    with open(path, "rb") as file:
        file.seek(start)
        while start < stop:
            data = np.frombuffer(file.read(min(4 << 20, stop - start)), np.uint8)
            ends = start + np.flatnonzero(data == ord("\n"))
            count += int(np.count_nonzero(np.diff(ends, prepend=last) > _EMPTY))
            start, last = start + len(data), int(ends[-1]) if len(ends) else last
    return count + (stop - last > _EMPTY)


# --- Rows ---------------------------------------------------------------------------------------------------------


def read_rows(table: Table, unit: Unit) -> Iterator[TableRows]:
    """Read a unit in blocks of at most about a thousand rows; numbers are parsed to the nearest float64.

    An empty cell or the text ``nan`` becomes NaN.

    Raises:
        DataError: A cell that is no number, a row with too few or too many cells, or a ``sample_id`` that is not the
            table's prefix and a number; names the rows.
    """
    batches = _csv_batches(table, table.form, unit) if table.form else _parquet_batches(table, unit)
    row = unit.start
    for batch in batches:
        yield _to_rows(table, batch, row)
        row += len(batch)
    if row != unit.stop:
        raise DataError(f"{table.path}: rows {unit.start}-{unit.stop} hold {row - unit.start} rows that can be read")


def _to_rows(table: Table, batch: pa.RecordBatch, first_row: int) -> TableRows:
    inputs = _matrix(table, batch, MODEL_INPUT_NAMES)
    profiles, scalars = np.split(inputs, [N_PROFILES * LEVELS])
    return TableRows(
        _sample_numbers(table, batch.column(ID_COLUMN), first_row),
        np.ascontiguousarray(profiles.reshape(N_PROFILES, LEVELS, -1).transpose(2, 0, 1)),
        np.ascontiguousarray(scalars.T),
        np.ascontiguousarray(_matrix(table, batch, TARGET_NAMES).T) if table.has_targets else None,
    )


def _matrix(table: Table, batch: pa.RecordBatch, names: list[str]) -> np.ndarray:
    """Columns by name as (names, rows) float64; nulls become NaN."""
    import pyarrow as pa

    matrix = np.empty((len(names), len(batch)))
    for target, name in zip(matrix, names, strict=True):
        try:
            target[:] = batch.column(name).cast(pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid as error:
            raise DataError(f"{table.path}: column '{name}' holds something that is no number: {error}") from error
    return matrix


def _sample_numbers(table: Table, ids: pa.Array, first_row: int) -> np.ndarray:
    """The numbers in ``sample_id``, which must be written as prefix and number without leading zeros."""
    import pyarrow as pa
    import pyarrow.compute as pc

    ids = ids.cast(pa.large_string())
    digits = pc.utf8_slice_codeunits(ids, start=len(table.id_prefix))
    good = pc.fill_null(pc.and_(pc.starts_with(ids, table.id_prefix), pc.match_substring_regex(digits, _DIGITS)), False)
    if not pc.all(good).as_py():
        row = pc.index(good, False).as_py()
        raise DataError(
            f"{table.path}: {ID_COLUMN} {ids[row].as_py()!r} in row {first_row + row} is not "
            f"'{table.id_prefix}' and a number"
        )
    result: np.ndarray = digits.cast(pa.int64()).to_numpy(zero_copy_only=False)
    return result


_DIGITS = r"^(0|[1-9]\d{0,17})$"


# --- CSV ----------------------------------------------------------------------------------------------------------


def _csv_batches(table: Table, form: TableForm, unit: Unit) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv

    options = form.arrow_options(table.columns, (ID_COLUMN,), threads=False)
    options["read_options"].block_size = _CSV_BLOCK_BYTES
    options["convert_options"].null_values = ["", "nan", "NaN", "NA", "null"]
    with unpacking(table.path), form.open() as file:
        source: Any = file
        if "bytes" in unit.meta:
            start, stop = unit.meta["bytes"]
            file.seek(start)
            source = pa.BufferReader(file.read(stop - start))
            options["read_options"].skip_rows = 0
        before = unit.start - 1 - options["read_options"].skip_rows  # Arrow counts from 1, what it skips too
        try:
            yield from csv.open_csv(source, **options)
        except pa.ArrowInvalid as error:
            raise DataError(f"{table.path}: {arrow_reason(error, form, table.columns, before)}") from None


# --- Parquet ------------------------------------------------------------------------------------------------------


def _open_parquet(path: Path) -> Any:
    import pyarrow as pa
    from pyarrow import parquet

    refuse_lfs_pointer(path)
    try:
        return parquet.ParquetFile(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{path} is not a parquet file, or a damaged one ({error}): fetch it again") from error


def _parquet_head(path: Path) -> tuple[list[str], str]:
    file = _open_parquet(path)
    columns = list(file.schema_arrow.names)
    if not file.metadata.num_rows:
        raise DataError(f"{path} has no rows")
    if ID_COLUMN not in columns:
        return columns, "0"  # the check of the columns says what is wrong
    return columns, str(next(file.iter_batches(1, columns=[ID_COLUMN])).column(0)[0].as_py())


def _parquet_batches(table: Table, unit: Unit) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    try:
        yield from _open_parquet(table.path).iter_batches(
            _BATCH_ROWS, row_groups=[unit.meta["row_group"]], use_threads=False
        )
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(f"{table.path}, data rows {unit.start}-{unit.stop}: {error}") from error
