"""CSV tables as people have them: compressed or not, with any usual delimiter and encoding, read into typed columns.

What stands at the beginning of a file decides how it is read, never its name: gzip, a zip archive of one table, a byte-order
mark, UTF-16, Latin-1, semicolons, tabs. What is no table (a Git-LFS pointer, a web page, a workbook) is refused by its own
name. Column names come without quotes and spaces around them; no name may stand twice.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt

from datamodules.errors import DataError, nearest_name
from datamodules.files import LFS_POINTER

Text = npt.NDArray[np.str_]

_HEAD = 1 << 20  # bytes that decide encoding and delimiter
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_INDEX_NAMES = re.compile(r"|Unnamed: 0(_level_0)?")  # what pandas and R write above row numbers
_ENCODINGS = {"utf-8": "UTF-8", "utf-16-le": "UTF-16", "utf-16-be": "UTF-16", "cp1252": "Latin-1 (Windows-1252)"}
_SAID: set[tuple[Path, str]] = set()
_FOREIGN = (
    LFS_POINTER,
    (b"PAR1", "a Parquet file; save it as CSV"),
    (b"\x89HDF", "an HDF5 or netCDF-4 file, not a CSV table"),
    (b"CDF", "a netCDF file, not a CSV table"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook; save its sheet as CSV"),
    (b"\x93NUMPY", "a NumPy array, not a CSV table"),
    (b"<!doctype html", "a web page (perhaps that of a login), not the table; download it again"),
    (b"<html", "a web page (perhaps that of a login), not the table; download it again"),
    (b"<?xml", "an XML document, not a CSV table"),
)


@dataclass(frozen=True)
class TableForm:
    """How the text of a table is written.

    Args:
        path: The file.
        packing: ``""``, ``"gzip"``, or the name of the one member of a zip archive.
        encoding: Python's name of the encoding.
        bom: Whether a byte-order mark stands first.
        delimiter: What separates the fields.
        decimal: The decimal sign of numbers, a comma only beside another delimiter.
        skip: Lines before the first row, the header's included.
        fields: Names as the header has them, stripped.
        numbered: Whether the first column holds nothing but row numbers.
        returns: Whether lines end in carriage returns alone, as on old Macs.
    """

    path: Path
    packing: str
    encoding: str
    bom: bool
    delimiter: str
    decimal: str
    skip: int
    fields: tuple[str, ...]
    numbered: bool = False
    returns: bool = False

    @property
    def note(self) -> str:
        """What is out of the ordinary, in words; empty for plain UTF-8 with commas."""
        parts = []
        if self.encoding != "utf-8" or self.bom:
            parts.append(_ENCODINGS[self.encoding] + (" with a byte-order mark" if self.bom else ""))
        if self.delimiter != ",":
            parts.append(_DELIMITERS[self.delimiter] + (" and decimal commas" if self.decimal == "," else ""))
        if self.packing and not (self.packing == "gzip" and self.path.suffix == ".gz"):
            parts.append("gzip" if self.packing == "gzip" else f"{self.packing} of a zip archive")
        return ", ".join(parts)

    @property
    def byte_lines(self) -> bool:
        """Whether any line feed in the file's bytes ends a line, so that several readers can share the file."""
        return not (self.packing or self.returns or self.encoding.startswith("utf-16"))

    @property
    def columns(self) -> list[int]:
        """Positions of the columns that hold something: without row numbers in front and nameless ones at the end."""
        last = len(self.fields)
        while last and not self.fields[last - 1]:
            last -= 1
        return list(range(int(self.numbered), last))

    def open(self, content: bytes | None = None) -> IO[bytes]:
        """The unpacked bytes, from the file or from its content."""
        raw: Any = self.path if content is None else io.BytesIO(content)
        if self.packing == "gzip":
            return cast(IO[bytes], gzip.open(raw))
        if self.packing:
            try:
                return zipfile.ZipFile(raw).open(self.packing)
            except (ValueError, OSError):
                raise zipfile.BadZipFile("its directory leads out of the file") from None
        return open(raw, "rb") if content is None else raw

    @contextmanager
    def lines(self) -> Iterator[Iterator[str]]:
        """The rows as they are written, without empty lines."""
        with unpacking(self.path), self.open() as file:
            text = io.TextIOWrapper(file, self.encoding, errors="replace")
            yield (line for line in islice(text, self.skip, None) if not line.isspace())

    def first_row(self) -> list[str]:
        """Cells of the first row, of :attr:`columns` only; none where there is no row."""
        with self.lines() as lines:
            row = next(csv.reader(lines, delimiter=self.delimiter), [])
        return [row[i].strip() for i in self.columns if i < len(row)]

    def arrow_options(self, names: Sequence[str], text: Iterable[str] = (), threads: bool = True) -> dict[str, Any]:
        """Arguments of ``pyarrow.csv.read_csv`` and ``open_csv``; every column but the ``text`` ones is float64.

        Args:
            names: Names of :attr:`columns`, as :func:`table_names` gives them.
            text: Columns that stay text.
            threads: Read with several threads (errors then do not know their row).
        """
        import pyarrow as pa
        from pyarrow import csv as arrow

        kept = dict(zip(self.columns, names, strict=True))
        kinds = dict.fromkeys(names, pa.float64()) | dict.fromkeys(text, pa.string())
        return {
            "read_options": arrow.ReadOptions(
                use_threads=threads,
                column_names=[kept.get(i, f"\0{i}") for i in range(len(self.fields))],
                skip_rows=self.skip,
                encoding=self.encoding,
            ),
            "parse_options": arrow.ParseOptions(delimiter=self.delimiter),
            "convert_options": arrow.ConvertOptions(
                column_types=kinds, include_columns=list(names), decimal_point=self.decimal
            ),
        }


def find_table(folder: Path, name: str) -> Path:
    """The table of a name in a folder, plain or packed (``.csv.gz``, ``.csv.zip``); the plain path where there is none."""
    paths = [Path(folder) / f"{name}.csv{suffix}" for suffix in ("", ".gz", ".zip")]
    return next((path for path in paths if path.is_file()), paths[0])


def table_form(path: Path, content: bytes | None = None) -> TableForm:
    """Find out how a table is written.

    Args:
        path: The file.
        content: Its bytes, where they were read already.

    Raises:
        DataError: no file, an empty one, or one that is no table of text.
    """
    path = Path(path)
    if content is None and not path.is_file():
        raise DataError(f"{path} is a folder; give one table" if path.is_dir() else f"{path} does not exist")
    source: Any = io.BytesIO(content) if content is not None else path.open("rb")
    with source:
        packing = _packing(path, source.read(4), source)
    plain = TableForm(path, packing, "utf-8", False, ",", ".", 1, ())
    with unpacking(path), plain.open(content) as file:
        head = file.read(_HEAD)
        whole = not file.read(1)
    encoding, bom = _encoding(path, head, whole)
    text = head.decode(encoding, errors="replace").removeprefix("\ufeff")
    return _layout(path, packing, encoding, bom, text, whole)


def table_names(form: TableForm, required: Sequence[str] = (), canonical: Callable[[str], str] = str) -> list[str]:
    """Names of a table's columns; required ones are found whatever their case.

    Args:
        form: The table.
        required: Names that must be there.
        canonical: The right spelling of other names, such as ``g-1`` of ``G-1``.

    Raises:
        DataError: a name is missing (a near one is suggested), stands twice, or is empty.
    """
    fields = [form.fields[i] for i in form.columns]
    known = {name.lower(): name for name in required}
    names = [field if field in required else known.get(field.lower(), canonical(field)) for field in fields]
    for i, name in enumerate(names):
        if not name:
            raise DataError(f"{form.path}: column {form.columns[i] + 1} has no name; complete the header")
        if name in names[:i]:
            raise DataError(
                f"{form.path}: column {name!r} stands more than once in the header; take one out or rename it"
            )
    for name in required:
        if name not in names:
            near = nearest_name(name, [other for other in names if other not in required])
            hint = f" (is {near!r} meant?)" if near else ""
            shown = ",".join(names[:8]) + (",..." if len(names) > 8 else "")
            raise DataError(f"{form.path} has no column {name!r}{hint}; its header is {shown}")
    return names


class TextTable:
    """A table in memory.

    Args:
        form: How it was written.
        columns: Arrow's table, text columns stripped.
    """

    def __init__(self, form: TableForm, columns: Any) -> None:
        self.form, self.path, self._columns = form, form.path, columns

    def __len__(self) -> int:
        return int(self._columns.num_rows)

    @property
    def names(self) -> list[str]:
        """Names of the columns in the file's order."""
        return [str(name) for name in self._columns.column_names]

    def text(self, name: str, rows: slice = slice(None)) -> Text:
        """A text column, ``(rows,)``, or some of its rows."""
        column = self._columns[name]
        if rows != slice(None):
            column = column.take(np.arange(len(self))[rows])
        return np.asarray(column.to_numpy(), dtype=str)

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """A column of numbers, ``(rows,)``; an empty cell is NaN."""
        return np.asarray(self._columns[name].to_numpy(), dtype=np.float64)

    def row(self, index: int) -> str:
        """Where a row stands, for an error."""
        return f"{self.path}, row {index + self.form.skip + 1}"

    def unique_ids(self, name: str) -> Text:
        """A text column that names the rows.

        Raises:
            DataError: a cell is empty or stands twice.
        """
        ids = self.text(name)
        if (empty := ids == "").any():
            raise DataError(f"{self.row(int(np.argmax(empty)))}: {name} is empty; every row needs its own")
        unique, counts = np.unique(ids, return_counts=True)
        if len(unique) != len(ids):
            raise DataError(
                f"{self.path}: {name} {str(unique[np.argmax(counts)])!r} stands {counts.max()} times; ids must be unique"
            )
        return ids


def read_table(
    path: Path,
    required: Sequence[str] = (),
    *,
    text: Iterable[str] | None = None,
    canonical: Callable[[str], str] = str,
    content: bytes | None = None,
    only: Iterable[str] | None = None,
    threads: bool = True,
    quiet: bool = False,
    form: TableForm | None = None,
) -> TextTable:
    """Read a table.

    Args:
        path: The file, plain, gzipped or the one member of a zip archive.
        required: Columns that must be there, in any order and case.
        text: Columns that stay text, all others are numbers; by default all are text.
        canonical: The right spelling of names that are not required.
        content: The file's bytes, where they were read already.
        only: Columns to read; by default all.
        threads: Read with several threads.
        quiet: Do not say on the error stream when the file is not plain UTF-8 with commas.
        form: How the file is written, where that is known already.

    Raises:
        DataError: no such file, no table, a column is missing or stands twice, or a cell cannot be read; the row is named.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    form = form or table_form(path, content)
    if not quiet:
        say_form(form)
    names = table_names(form, required, canonical)
    strings = set(names) if text is None else set(text) & set(names)
    wanted = names if only is None else [name for name in names if name in set(only)]

    def read(form: TableForm, threads: bool) -> Any:
        from pyarrow import csv as arrow

        options = form.arrow_options(names, strings, threads)
        options["convert_options"].include_columns = wanted
        with unpacking(path):
            if not form.packing:  # without a Python file between
                return arrow.read_csv(form.path if content is None else pa.BufferReader(content), **options)
            with form.open(content) as file:
                return arrow.read_csv(file, **options)

    try:
        table = read(form, threads)
    except pa.ArrowInvalid as error:
        if "UTF8" in str(error) and form.encoding == "utf-8":  # beyond the head that was looked at
            form = replace(form, encoding="cp1252")
        try:
            table = read(form, False)
        except pa.ArrowInvalid as again:
            raise DataError(f"{path} cannot be read as a table: {arrow_reason(again, form, names)}") from None
    for i, name in enumerate(table.column_names):
        if name in strings:
            table = table.set_column(i, name, pc.utf8_trim_whitespace(table[name]))
    return TextTable(form, table)


def say_form(form: TableForm) -> None:
    """Say once for each folder how a file that is not plain UTF-8 with commas is read."""
    if form.note and (form.path.parent, form.note) not in _SAID:
        _SAID.add((form.path.parent, form.note))
        print(f"note: {form.path} is read as {form.note}", file=sys.stderr)


@contextmanager
def unpacking(path: Path) -> Iterator[None]:
    """Turn errors of unpacking into sentences."""
    try:
        yield
    except EOFError:
        raise DataError(
            f"{path} ends in the middle of its compressed data (a broken download?); get it again"
        ) from None
    except UnicodeDecodeError as error:
        name = _ENCODINGS.get(error.encoding, error.encoding)
        raise DataError(f"{path} is damaged or cut (not {name} throughout: {error.reason}); get it again") from None
    except (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is damaged ({error}); get it again") from None
    except (RuntimeError, NotImplementedError) as error:  # zip archives with a password or of a rare method
        raise DataError(f"{path} cannot be unpacked ({error}); unpack it by hand") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror or error}") from None


def _packing(path: Path, magic: bytes, file: IO[bytes]) -> str:
    if magic[:2] == b"\x1f\x8b":
        return "gzip"
    if magic != b"PK\x03\x04":
        return ""
    try:
        names = zipfile.ZipFile(file).namelist()
    except zipfile.BadZipFile:
        raise DataError(f"{path} is a damaged or cut zip archive; get it again") from None
    if "[Content_Types].xml" in names:
        raise DataError(f"{path} is an Excel workbook; save its sheet as CSV")
    members = [n for n in names if not n.endswith("/") and not PurePosixPath(n).name.startswith((".", "__"))]
    members = [n for n in members if not n.startswith("__MACOSX/")]
    if len(members) != 1:
        raise DataError(
            f"{path} is a zip archive of {len(members)} files; unpack it and give the folder, or pack one table alone"
        )
    return members[0]


def _encoding(path: Path, head: bytes, whole: bool) -> tuple[str, bool]:
    """The encoding of the first bytes, and whether a byte-order mark stands there."""
    if not head.strip(b" \t\r\n\0"):
        raise DataError(f"{path} is empty; restore it or get it again")
    lower = head[:64].lower()
    for magic, what in _FOREIGN:
        if lower.startswith(magic.lower()):
            raise DataError(f"{path} is {what}")
    for mark, encoding in ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        if head.startswith(mark):
            return encoding, True
    if b"\0" in head:
        even, odd = head[:4096:2].count(0), head[1:4096:2].count(0)
        if max(even, odd) > 0.4 * len(head[:4096]) / 2 and min(even, odd) == 0:
            return ("utf-16-be" if even else "utf-16-le"), False
        raise DataError(f"{path} is a binary file, not a table of text")
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        if whole or error.start < len(head) - 4:  # not a character that the head cut
            return "cp1252", False
    return "utf-8", False


def _layout(path: Path, packing: str, encoding: str, bom: bool, text: str, whole: bool) -> TableForm:
    lines = re.split(r"\r\n|\r|\n", text)
    skip = next((i for i, line in enumerate(lines) if line.strip()), 0)
    declared = re.fullmatch(r"(?i)sep=(.)", lines[skip].strip()) if skip < len(lines) else None
    if declared:
        skip += 1
    header = lines[skip] if skip < len(lines) else ""
    unquoted = re.sub(r'"[^"]*"', "", header)
    delimiter = max(_DELIMITERS, key=unquoted.count)  # the first, a comma, where there is none
    if declared and declared[1] in _DELIMITERS:
        delimiter = declared[1]
    fields = tuple(
        field.strip().strip("\ufeff").strip()
        for field in next(csv.reader([header], delimiter=delimiter, skipinitialspace=True))
    )
    rows = lines[skip + 1 :] if whole else lines[skip + 1 : -1]
    written = "\n".join(rows[:20])
    decimal = "," if delimiter != "," and re.search(r"\d,\d", written) and not re.search(r"\d\.\d", written) else "."
    first = next((row for row in rows if row.strip()), "")
    found = len(next(csv.reader([first], delimiter=delimiter), [])) if first else len(fields)
    if found == len(fields) + 1 and not first.rstrip().endswith(delimiter):
        raise DataError(
            f"{path}: rows have {found} fields, the header {len(fields)}; write the table without row names "
            "(index=False in pandas, row.names=FALSE in R)"
        )
    cells = [row for row in csv.reader(rows[:20], delimiter=delimiter) if row]
    leading = [row[0].strip() for row in cells]
    numbered = (
        len(fields) > 1
        and bool(_INDEX_NAMES.fullmatch(fields[0]))
        and any(leading == [str(i + start) for i in range(len(leading))] for start in (0, 1))
    )
    returns = "\n" not in text and "\r" in text
    form = TableForm(path, packing, encoding, bom, delimiter, decimal, skip + 1, fields, numbered, returns)
    nameless = set(range(1, len(fields))) - set(form.columns)
    for row in cells:
        if any(i < len(row) and row[i].strip() for i in nameless):
            raise DataError(f"{path}: column {min(nameless) + 1} has values but no name; complete the header")
    return form


def arrow_reason(error: Exception, form: TableForm, names: Sequence[str], rows_before: int = 0) -> str:
    """Arrow's first line, with the column's name and the file's row in the place of its numbers.

    Args:
        error: What Arrow raised.
        form: The table.
        names: Names of its columns, as :func:`table_names` gives them.
        rows_before: Added to Arrow's number of a row, which is that of the line it was given.
    """
    reason = str(error).splitlines()[0]
    kept = dict(zip(form.columns, names, strict=True))
    if number := re.search(r"[Ii]n CSV column #(\d+): ", reason):
        reason = reason.replace(number.group(0), f"column {kept.get(int(number.group(1)), '?')!r}, ")
    if number := re.search(r"Row #(\d+): ", reason):
        reason = reason.replace(number.group(0), f"row {rows_before + int(number.group(1))}: ")
    return reason.replace("CSV conversion error to double: invalid value", "not a number:")
