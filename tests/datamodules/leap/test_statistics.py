from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.leap import statistics
from datamodules.leap.convert import convert
from datamodules.leap.statistics import training_statistics
from datamodules.stores.store import Store
from tests.datamodules.leap.raw_files import write_pair


@pytest.fixture
def store(tmp_path: Path) -> Store:
    for second in ("00000", "01200", "02400"):
        write_pair(tmp_path / "raw", f"0008-01-05-{second}", 6)
    return convert(tmp_path / "raw", tmp_path / "stores", columns=6, processes=1, progress=False)


@pytest.mark.parametrize("chunk", [1, 5, 7, 17, 4096])
def test_every_row_counts_whatever_the_chunk(
    store: Store, tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_CHUNK", chunk)
    rows = np.delete(np.arange(store.rows), [2, 9])
    found = training_statistics(store, rows, tmp_path)
    for kind in ("profile", "scalar", "target"):
        values = store.arrays[f"{kind}s"][rows]
        for name in ("mean", "std", "min", "max"):
            np.testing.assert_allclose(found[f"{kind}_{name}"], getattr(values, name)(axis=0), rtol=1e-9, atol=1e-70)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_bytes(b""), "is not a whole"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "is not a whole"),
        (lambda path: np.savez(path, profile_mean=np.zeros(3)), "has no array 'profile_std'"),
        (lambda path: _edit(path, "target_rms", np.array(["x"])), "the array 'target_rms' holds"),
        (lambda path: _edit(path, "target_rms", np.full(368, np.nan)), "the array 'target_rms' is not finite"),
    ],
)
def test_a_damaged_file_is_named(store: Store, tmp_path: Path, damage: Callable[[Path], None], message: str) -> None:
    training_statistics(store, np.arange(store.rows), tmp_path)
    damage(next(tmp_path.glob("statistics-*.npz")))
    with pytest.raises(DataError, match=rf"statistics-.*\.npz.*{message}.*delete it, it is computed again"):
        training_statistics(store, np.arange(store.rows), tmp_path)


def _edit(path: Path, name: str, values: np.ndarray) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **(arrays | {name: values}))
