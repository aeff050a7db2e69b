from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.text_tables import read_table, table_form
from tests.files.odd_tables import ODD, READ, REFUSED, write_odd

PLAIN = 'row_id,größe,"glucan, 1,3-beta",c\nid_1,1.5,-2.25,0\nid_2,12.125,3.5,1\n id_3 ,-0.5,7.75,0\n'


def plain(folder: Path, text: str = PLAIN) -> Path:
    path = folder / "table.csv"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("name", READ)
def test_odd_files_are_read_to_the_plain_ones_values(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_odd(name, plain(tmp_path))
    table = read_table(path, ("row_id",), text=("row_id",))
    assert table.names == ["row_id", "größe", "glucan, 1,3-beta", "c"]
    assert list(table.text("row_id")) == ["id_1", "id_2", "id_3"]
    np.testing.assert_array_equal(table.numbers("größe"), [1.5, 12.125, -0.5])
    np.testing.assert_array_equal(table.numbers("glucan, 1,3-beta"), [-2.25, 3.5, 7.75])
    said = capsys.readouterr().err
    assert bool(said) == bool(table.form.note)
    for word, kinds in (("semicolons", "semicolons"), ("UTF-16", "utf_16"), ("Latin-1", "latin_1"), ("gzip", "gzip")):
        assert (word in said) == (kinds in name or (word == "semicolons" and name == "excel_separator_line"))


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    path = write_odd(name, plain(tmp_path))
    with pytest.raises(DataError, match=ODD[name].refused) as caught:
        read_table(path, ("row_id",), text=("row_id",))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_required_names_are_found_in_any_case_and_order(tmp_path: Path) -> None:
    path = plain(tmp_path, "MASS, Time,intensity\n1,2,3\n")
    assert read_table(path, ("time", "mass"), text=()).names == ["mass", "time", "intensity"]
    with pytest.raises(DataError, match=r"no column 'tmie' \(is 'Time' meant\?\); its header is MASS,Time,intensity"):
        read_table(path, ("tmie",))
    with pytest.raises(DataError, match="column 'time' stands more than once"):
        read_table(plain(tmp_path, "time,Time\n1,2\n"), ("time",))
    with pytest.raises(DataError, match="column 2 has no name"):
        read_table(plain(tmp_path, "a,,b\n1,2,3\n"))
    with pytest.raises(DataError, match="column 1 has no name"):  # ids, not row numbers
        read_table(plain(tmp_path, ",a,b\nr1,1,2\nr2,3,4\n"))
    with pytest.raises(DataError, match="column 3 has values but no name"):
        read_table(plain(tmp_path, "a,b,\n1,2,3\n"))


def test_cells_that_are_no_numbers_are_named_by_row_and_column(tmp_path: Path) -> None:
    text = PLAIN.replace("12.125", "high")
    with pytest.raises(DataError, match="column 'größe', row 3: not a number: 'high'"):
        read_table(plain(tmp_path, text), text=("row_id",))
    with pytest.raises(DataError, match=r"row_id 'id_1' stands 2 times"):
        read_table(plain(tmp_path, PLAIN.replace("id_2", "id_1"))).unique_ids("row_id")
    with pytest.raises(DataError, match=r"table.csv, row 3: row_id is empty"):
        read_table(plain(tmp_path, PLAIN.replace("id_2", " "))).unique_ids("row_id")
    with pytest.raises(DataError, match="does not exist"):
        read_table(tmp_path / "no.csv")


def test_an_umlaut_behind_the_head_of_a_large_file(tmp_path: Path) -> None:
    path = tmp_path / "deep.csv"
    path.write_bytes(("id,v\n" + "x,1\n" * 300_000 + "Öl,2\n").encode("latin-1"))
    table = read_table(path, text=("id",))
    assert len(table) == 300_001
    assert table.text("id")[-1] == "Öl"
    assert table_form(path).encoding == "utf-8"  # of the head


def test_arrow_streams_a_table_in_the_same_form(tmp_path: Path) -> None:
    """What the tables that do not fit in memory use."""
    from pyarrow import csv

    form = table_form(write_odd("semicolons_and_decimal_commas", plain(tmp_path)))
    names = [form.fields[i] for i in form.columns]
    with form.open() as file, csv.open_csv(file, **form.arrow_options(names, ("row_id",))) as reader:
        assert reader.read_all()["größe"].to_pylist() == [1.5, 12.125, -0.5]
