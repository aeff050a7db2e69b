from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datamodules.errors import DataError
from datamodules.stores.arrays import ArrayFile, ArraySpec, FileSums, open_array, read_arrays

VALUES = np.arange(24, dtype=np.float32).reshape(4, 3, 2)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f8", ">i4"])
def test_any_order_and_byte_order_gives_the_same_numbers(tmp_path: Path, order: str, dtype: str) -> None:
    np.save(tmp_path / "a.npy", np.array(VALUES, dtype=dtype, order=order))
    array = open_array(tmp_path / "a.npy", np.float32)
    assert array.flags.c_contiguous
    assert array.dtype == np.float32
    assert array.dtype.isnative
    np.testing.assert_array_equal(array, VALUES)
    assert isinstance(array, np.memmap) == (order == "C" and dtype == "<f4")


def test_what_pandas_saves_is_read_right(tmp_path: Path) -> None:
    frame = pd.DataFrame({"a": [1.0, 2.0, 3.0], "b": [4.0, 5.0, 6.0]})
    np.save(tmp_path / "a.npy", frame.to_numpy())
    assert np.load(tmp_path / "a.npy").flags.f_contiguous
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy"), [[1, 4], [2, 5], [3, 6]])


def test_an_array_without_rows_is_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES[:0])
    assert open_array(tmp_path / "a.npy").shape == (0, 3, 2)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is missing"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: os.truncate(path, 150), "cannot be read"),
        (lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True), "pickled arrays are refused"),
        (lambda path: np.save(path, np.array(["x"])), "not numbers"),
        (lambda path: path.write_bytes(_npz()), "cannot be read"),
    ],
)
def test_a_file_that_is_no_array_is_named(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "a.npy"
    np.save(path, VALUES)
    damage(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"a\.npy .*{message}.*restore it|a\.npy {message}"):
        open_array(path)


def _npz() -> bytes:
    import io

    buffer = io.BytesIO()
    np.savez(buffer, a=VALUES)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is not a whole"),
        (lambda path: path.write_bytes(b""), "is not a whole"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "is not a whole"),
        (lambda path: np.savez(path, b=VALUES), "has no array 'a'"),
        (lambda path: np.savez(path, a=np.array(["x"])), "the array 'a' holds"),
        (lambda path: np.savez(path, a=np.array([{}], dtype=object)), "is not a whole"),
    ],
)
def test_an_archive_is_read_against_its_schema(tmp_path: Path, damage: object, message: str) -> None:
    path = tmp_path / "s.npz"
    np.savez(path, a=VALUES)
    assert read_arrays(path, {"a": "f"}, "make it again").keys() == {"a"}
    damage(path)  # type: ignore[operator]
    with pytest.raises(DataError, match=rf"s\.npz.* {message}.*make it again"):
        read_arrays(path, {"a": "f"}, "make it again")


def test_rows_are_written_by_several_hands(tmp_path: Path) -> None:
    spec = ArraySpec((3, 2), "float32")
    first, second = (ArrayFile(tmp_path / "a.npy", spec, 4) for _ in range(2))
    second.write(VALUES[2:], 2)
    first.write(VALUES[:2], 0)
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), VALUES)
    assert first.checksum(0, 4) == second.checksum(0, 4) != first.checksum(0, 3)
    first.close()
    second.close()


@settings(max_examples=60, deadline=None)
@given(size=st.integers(0, 300), block=st.integers(1, 64), data=st.data())
def test_every_flipped_bit_and_every_cut_is_noticed(
    size: int, block: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("sums") / "file"
    content = bytearray(np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8))
    path.write_bytes(content)
    sums = FileSums.of(path, block)
    assert len(sums.crc32) == -(-size // block)
    assert sums.damage(path) == ""
    if size:
        position = data.draw(st.integers(0, size - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
        path.write_bytes(content)
        assert f"in the bytes from {position // block * block} on" in sums.damage(path)
        path.write_bytes(content[:position])
        assert f"has {position} bytes, {size} were written" in sums.damage(path)
    path.unlink()
    assert sums.damage(path) == "is missing"
