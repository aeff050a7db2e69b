"""Tables as people send them, made from a plain one: what is read to the same values, and what is refused with which sentence.

``python -m tests.files.odd_tables TABLE.csv FOLDER`` writes all of them for a look.
"""

from __future__ import annotations

import csv
import gzip
import io
import sys
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Odd:
    """One kind of odd file.

    Args:
        make: Text of a plain table to the odd file's bytes.
        refused: Regular expression of the sentence; empty where the file is read to the plain one's values.
        suffix: What stands behind the name's ``.csv``.
    """

    make: Callable[[str], bytes]
    refused: str = ""
    suffix: str = ""


def _rewritten(text: str, **options: object) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n", **options).writerows(csv.reader(io.StringIO(text)))  # type: ignore[arg-type]
    return out.getvalue()


def _decimal_commas(text: str) -> str:
    rows = list(csv.reader(io.StringIO(text)))
    number = str.maketrans(".", ",")
    body = [
        [cell.translate(number) if cell.replace(".", "", 1).lstrip("-").isdigit() else cell for cell in row]
        for row in rows[1:]
    ]
    out = io.StringIO()
    csv.writer(out, delimiter=";", lineterminator="\n").writerows([rows[0], *body])
    return out.getvalue()


def _header(text: str, change: Callable[[str], str]) -> str:
    rows = list(csv.reader(io.StringIO(text)))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[change(name) for name in rows[0]], *rows[1:]])
    return out.getvalue()


def _indexed(text: str, name: str) -> str:
    head, *rows = text.splitlines()
    return "\n".join([f"{name},{head}", *(f"{i},{row}" for i, row in enumerate(rows))]) + "\n"


def _twice(text: str) -> str:
    """The last column once more under its own name, with other values."""
    head, *rows = text.splitlines()
    return "\n".join([f"{head},{head.rpartition(',')[2]}", *(f"{row},0" for row in rows)]) + "\n"


def _zipped(text: str) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("table.csv", text)
        file.writestr("__MACOSX/._table.csv", b"\0\5\x16")
    return out.getvalue()


def _lost(archive: bytes) -> bytes:
    """A zip archive whose directory is said to begin far behind its end."""
    end = archive.rindex(b"PK\5\6")
    return archive[: end + 16] + b"\xff\xff\xff\x7f" + archive[end + 20 :]


ODD: dict[str, Odd] = {
    "byte_order_mark": Odd(lambda t: t.encode("utf-8-sig")),
    "semicolons": Odd(lambda t: _rewritten(t, delimiter=";").encode()),
    "semicolons_and_decimal_commas": Odd(lambda t: _decimal_commas(t).encode()),
    "excel_separator_line": Odd(lambda t: ("sep=;\n" + _rewritten(t, delimiter=";")).encode()),
    "tabs": Odd(lambda t: _rewritten(t, delimiter="\t").encode()),
    "all_quoted": Odd(lambda t: _rewritten(t, quoting=csv.QUOTE_ALL).encode()),
    "spaces_around_names": Odd(lambda t: _header(t, lambda name: f" {name}  ").encode()),
    "windows_line_ends": Odd(lambda t: t.replace("\n", "\r\n").encode()),
    "old_mac_line_ends": Odd(lambda t: t.replace("\n", "\r").encode()),
    "no_line_end_at_the_end": Odd(lambda t: t.rstrip("\n").encode()),
    "empty_lines_around": Odd(lambda t: ("\n\n" + t + "\n\n").encode()),
    "latin_1": Odd(lambda t: t.encode("latin-1")),
    "utf_16": Odd(lambda t: t.encode("utf-16")),
    "utf_16_without_mark": Odd(lambda t: t.encode("utf-16-le")),
    "gzip_under_a_csv_name": Odd(lambda t: gzip.compress(t.encode())),
    "zip_of_one_table": Odd(_zipped, suffix=".zip"),
    "zip_under_a_csv_name": Odd(_zipped),
    "nameless_index": Odd(lambda t: _indexed(t, "").encode()),
    "pandas_index": Odd(lambda t: _indexed(t, "Unnamed: 0").encode()),
    "delimiter_at_line_ends": Odd(lambda t: t.replace("\n", ",\n").encode()),
    "cut_gzip": Odd(lambda t: gzip.compress(t.encode())[:-12], "ends in the middle of its compressed data"),
    "cut_zip": Odd(lambda t: _zipped(t)[:-30], "is a damaged or cut zip archive"),
    "zip_with_a_damaged_directory": Odd(lambda t: _lost(_zipped(t)), "is damaged"),
    "cut_utf_16": Odd(lambda t: t.encode("utf-16")[:-1], r"is damaged or cut \(not UTF-16 throughout"),
    "git_lfs_pointer": Odd(
        lambda t: f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize {len(t)}\n".encode(),
        r"is a Git-LFS pointer, not the file itself; fetch it with git lfs pull",
    ),
    "login_page": Odd(lambda t: b"<!DOCTYPE html>\n<html><body>Sign in</body></html>\n", "is a web page"),
    "parquet": Odd(lambda t: b"PAR1" + b"\0" * 40, "is a Parquet file; save it as CSV"),
    "binary": Odd(lambda t: bytes(range(256)) * 4, "is a binary file, not a table of text"),
    "nothing": Odd(lambda t: b"", "is empty"),
    "last_column_twice": Odd(lambda t: _twice(t).encode(), r"column '[^']+' stands more than once in the header"),
    "row_names_of_r": Odd(
        lambda t: "\n".join([t.splitlines()[0], *(f"{i},{row}" for i, row in enumerate(t.splitlines()[1:]))]).encode(),
        r"rows have \d+ fields, the header \d+; write the table without row names",
    ),
    "cut_row": Odd(lambda t: t.rstrip("\n").rpartition(",")[0].encode(), r"row \d+: Expected \d+ columns, got \d+"),
}  # fmt: skip
"""Kinds by name."""

READ = [name for name, odd in ODD.items() if not odd.refused]
REFUSED = [name for name, odd in ODD.items() if odd.refused]


def write_odd(name: str, table: Path) -> Path:
    """Replace a plain table by an odd one; its path, which for some kinds has another suffix."""
    odd = ODD[name]
    content = odd.make(table.read_text(encoding="utf-8"))
    table.unlink()
    target = table.with_name(table.name + odd.suffix)
    target.write_bytes(content)
    return target


if __name__ == "__main__":
    source, folder = Path(sys.argv[1]), Path(sys.argv[2])
    for kind in ODD:
        copy = folder / f"{kind}.csv"
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(source.read_bytes())
        print(write_odd(kind, copy))
