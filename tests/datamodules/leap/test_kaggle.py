import struct
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.errors import DataError
from datamodules.leap.kaggle import csv_units, open_table, parquet_units, read_rows
from datamodules.leap.schema import CSV_INPUT_NAMES, MODEL_INPUT_NAMES, TARGET_NAMES
from tests.datamodules.leap.raw_files import CSV_NAMES, write_csv

N = 11
TEST_NAMES = CSV_NAMES[: 1 + len(CSV_INPUT_NAMES)]


@pytest.fixture
def values():
    """Rows of numbers of every size, with all their bits in use."""
    random = np.random.default_rng(0)
    return random.choice([-1, 1], (N, 924)) * 10.0 ** random.uniform(-58, 20, (N, 924))


def read_all(table, units):
    return [block for unit in units for block in read_rows(table, unit)]


def joined(blocks):
    names = ("numbers", "profiles", "scalars", "targets")
    return [np.concatenate([getattr(block, name) for block in blocks]) for name in names]


def assert_rows(rows, values, names=CSV_NAMES):
    _, profiles, scalars, targets = rows
    position = {name: i - 1 for i, name in enumerate(names)}
    inputs = np.concatenate([profiles.reshape(len(profiles), -1), scalars], axis=1)
    np.testing.assert_array_equal(inputs, values[:, [position[name] for name in MODEL_INPUT_NAMES]])
    np.testing.assert_array_equal(targets, values[:, [position[name] for name in TARGET_NAMES]])


def test_csv_rows_are_the_numbers_written(tmp_path, values):
    table = open_table(write_csv(tmp_path / "train.csv", values, first=384))
    assert table.has_targets
    assert table.id_prefix == "train_"
    rows = joined(read_all(table, csv_units(table)))
    assert rows[0].tolist() == list(range(384, 384 + N))
    assert rows[1].shape == (N, 9, 60)
    assert all(array.flags.c_contiguous for array in rows)
    assert_rows(rows, values)


def test_numbers_are_parsed_to_the_nearest_double(tmp_path, values):
    """Bits that a parser which scales by powers of ten gets wrong, and numbers far below float32."""
    texts = ["1e-34", "1.7014118346046923e-58", "5e-324", "2.2250738585072011e-308", "9007199254740993", "0.1", "1e23"]
    texts += ["8.442911973260991817129021e-309", "-0.0", "6.9294956446009195e15", "1.00000000000000011102230246251565"]
    names = CSV_NAMES[1 : len(texts) + 1]
    path = write_csv(tmp_path / "train.csv", values[:1])
    head, row = path.read_text().splitlines()
    path.write_text("\n".join([head, ",".join([row.split(",")[0], *texts, *row.split(",")[len(texts) + 1 :]])]))
    (block,) = read_all(table := open_table(path), csv_units(table))
    inputs = np.concatenate([block.profiles.ravel(), block.scalars.ravel()])
    read = [inputs[MODEL_INPUT_NAMES.index(name)] for name in names]
    assert [struct.pack("d", x) for x in read] == [struct.pack("d", float(text)) for text in texts]


@pytest.mark.parametrize("end", ["\n", "", "\r\n", "\n\n\n"])
@pytest.mark.parametrize("unit_bytes", [1, 20_000, 50_000, 1 << 30])
def test_a_csv_is_cut_into_units_without_loss(tmp_path, values, unit_bytes, end):
    table = open_table(write_csv(tmp_path / "train.csv", values, end=end))
    units = csv_units(table, unit_bytes)
    assert units[0].start == 0
    assert units[-1].stop == N
    assert all(a.stop == b.start and a.meta["bytes"][1] == b.meta["bytes"][0] for a, b in pairwise(units))
    assert len(units) == {1: N, 1 << 30: 1}.get(unit_bytes, len(units))
    assert_rows(joined(read_all(table, units)), values)


def test_windows_line_ends(tmp_path, values):
    path = write_csv(tmp_path / "train.csv", values)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    table = open_table(path)
    assert_rows(joined(read_all(table, csv_units(table, 30_000))), values)


def test_columns_in_another_order_are_read_by_name(tmp_path, values):
    order = np.random.default_rng(1).permutation(924)
    names = ["sample_id", *np.array(CSV_NAMES[1:])[order]]
    table = open_table(write_csv(tmp_path / "train.csv", values[:, order], names=names))
    assert_rows(joined(read_all(table, csv_units(table))), values)


def test_a_test_table_has_no_targets(tmp_path, values):
    table = open_table(write_csv(tmp_path / "test.csv", values[:, :556], prefix="test_", names=TEST_NAMES))
    assert not table.has_targets
    assert table.id_prefix == "test_"
    (block,) = read_all(table, csv_units(table))
    assert block.targets is None
    assert block.profiles.shape == (N, 9, 60)


def write_parquet(path, values, names=CSV_NAMES, group=4, ids=None):
    ids = [f"train_{i}" for i in range(len(values))] if ids is None else ids
    columns = {"sample_id": pa.array(ids)} | {n: pa.array(v) for n, v in zip(names[1:], values.T, strict=True)}
    pq.write_table(pa.table(columns), path, row_group_size=group)
    return path


def test_parquet_rows_are_the_numbers_written(tmp_path, values):
    table = open_table(write_parquet(tmp_path / "train.parquet", values))
    units = parquet_units(table)
    assert [(unit.start, unit.stop) for unit in units] == [(0, 4), (4, 8), (8, 11)]
    rows = joined(read_all(table, units))
    assert rows[0].tolist() == list(range(N))
    assert_rows(rows, values)


def test_parquet_of_other_types(tmp_path, values):
    """float32 columns, integers, large strings and nulls."""
    columns = {"sample_id": pa.array(["train_0", "train_1"], pa.large_string())}
    columns |= {name: pa.array(v.astype("float32")) for name, v in zip(CSV_NAMES[1:], values[:2].T, strict=True)}
    columns["state_ps"] = pa.array([100_000, None], pa.int64())
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    (block,) = read_all(table := open_table(tmp_path / "train.parquet"), parquet_units(table))
    np.testing.assert_array_equal(block.scalars[:, 0], [100_000, np.nan])
    np.testing.assert_array_equal(block.targets, values[:2, 556:].astype("float32").astype("float64"))


def test_empty_cells_and_nan_are_nan(tmp_path, values):
    path = write_csv(tmp_path / "train.csv", values[:1])
    head, row = path.read_text().splitlines()
    cells = row.split(",")
    cells[1], cells[2], cells[3], cells[-1] = "", "nan", "inf", "NaN"
    path.write_text(f"{head}\n{','.join(cells)}\n")
    (block,) = read_all(table := open_table(path), csv_units(table))
    np.testing.assert_array_equal(block.profiles[0, 0, :3], [np.nan, np.nan, np.inf])
    assert np.isnan(block.targets[0, -1])


# --- Bad input ----------------------------------------------------------------------------------------------------


def drop(names, name):
    return [other for other in names if other != name]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (drop(CSV_NAMES, "state_t_5"), r"lacks the column 'state_t_5'$"),
        (drop(CSV_NAMES, "sample_id"), r"lacks the column 'sample_id'$"),
        (drop(CSV_NAMES, "ptend_u_7"), r"lacks the column 'ptend_u_7'$"),
        ([*TEST_NAMES, "ptend_t_0"], r"lacks the column 'ptend_t_1' and 366 more$"),
        ([n.replace("state_ps", "state_p") for n in CSV_NAMES], "lacks the column 'state_ps': .* is 'state_p'$"),
        ([*CSV_NAMES, "lat"], r"has 1 unknown column\(s\), the first is 'lat': remove them"),
        ([*CSV_NAMES[:-1], "State_ps"], "column 'state_ps' stands more than once"),
    ],
)
def test_columns_are_checked_by_name(tmp_path, names, message):
    row = np.zeros((1, len(names) - 1))
    with pytest.raises(DataError, match=rf"train\.csv:? {message}"):
        open_table(write_csv(tmp_path / "train.csv", row, names=names))


def test_parquet_columns_are_checked_too(tmp_path, values):
    names = ["id", *CSV_NAMES[1:]]
    columns = {n: pa.array(v) for n, v in zip(names, np.zeros((925, 1)), strict=True)}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="lacks the column 'sample_id'"):
        open_table(tmp_path / "train.parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train.csv", None, "no such file"),
        ("train.csv", "", "is empty"),
        ("train.csv", ",".join(CSV_NAMES) + "\n", "has no rows"),
        ("train.parquet", "not parquet", "is not a parquet file"),
    ],
)
def test_files_that_are_no_tables(tmp_path, name, content, message):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        open_table(tmp_path / name)


def spoil(path, row, cell, text):
    lines = path.read_text().splitlines()
    cells = lines[row + 1].split(",")
    cells[cell] = text
    lines[row + 1] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("row", "cell", "text", "message"),
    [
        (7, 361, "n/a", r"train\.csv: column 'state_ps', row 7: not a number: 'n/a'"),
        (7, 361, "1,2", r"train\.csv: .*row 7: Expected 925 columns, got 926"),
        (7, 0, "test_7", r"train\.csv: sample_id 'test_7' in row 7 is not 'train_' and a number"),
        (7, 0, "train_07", r"sample_id 'train_07' in row 7 is not 'train_' and a number"),
        (7, 0, "", r"sample_id .* in row 7 is not 'train_' and a number"),
        (0, 0, "train_x", r"sample_id 'train_x' does not end in a number"),
    ],
)
@pytest.mark.parametrize("unit_bytes", [30_000, 1 << 30])
def test_bad_cells_are_named(tmp_path, values, row, cell, text, message, unit_bytes):
    path = write_csv(tmp_path / "train.csv", values)
    spoil(path, row, cell, text)
    with pytest.raises(DataError, match=message):
        read_all(table := open_table(path), csv_units(table, unit_bytes))


@pytest.mark.parametrize("empty", ["\n", "\r\n", "\n\n\r\n"])
@pytest.mark.parametrize("unit_bytes", [1, 20_000, 1 << 30])
def test_empty_lines_within_are_no_rows(tmp_path, values, empty, unit_bytes):
    path = write_csv(tmp_path / "train.csv", values)
    text = path.read_text().replace("\ntrain_0,", f"\n{empty}train_0,").replace("\ntrain_5,", f"\n{empty}train_5,")
    path.write_bytes(text.encode())
    assert_rows(joined(read_all(table := open_table(path), csv_units(table, unit_bytes))), values)


def test_text_in_a_parquet_column_is_named(tmp_path, values):
    columns = {n: pa.array(v) for n, v in zip(CSV_NAMES[1:], values.T, strict=True)}
    columns["state_ps"] = pa.array(["high"] * N)
    pq.write_table(pa.table({"sample_id": [f"train_{i}" for i in range(N)]} | columns), tmp_path / "train.parquet")
    with pytest.raises(DataError, match="column 'state_ps' holds something that is no number"):
        read_all(table := open_table(tmp_path / "train.parquet"), parquet_units(table))
