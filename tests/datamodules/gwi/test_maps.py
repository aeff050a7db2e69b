from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.folds import TRAIN, VALID
from datamodules.gwi.files import find_files
from datamodules.gwi.generate.families import generate_maps
from datamodules.gwi.generate.produce import produce, shard_keys
from datamodules.gwi.maps import FamilyDataModule, MapDataModule
from datamodules.gwi.schema import FAMILIES
from datamodules.gwi.settings import GwiMaps
from datamodules.gwi.shards import verify_shard


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Two shards of three maps for each of three families, generated and not shot."""
    families = ("FlatVel_B", "Style_A", "CurveFault_B")
    produce(
        tmp_path / "data", [key for f in families for key in shard_keys(f, 0, 6, 3, gathers="none")], progress=False
    )
    return tmp_path / "data"


def module(data_dir: Path, kind: type[MapDataModule] = FamilyDataModule, **settings: object) -> MapDataModule:
    data = kind(GwiMaps(n_folds=2, threads=0, **settings), data_dir, data_dir.parent / "cache", 4)  # type: ignore[arg-type]
    data.prepare()
    return data


def test_shards_without_gathers_are_whole(data_dir: Path) -> None:
    files = find_files(data_dir)
    assert [file.gathers for file in files] == [None] * 6
    for file in files:
        verify_shard(file.velocity.parent)
        assert sorted(path.name for path in file.velocity.parent.iterdir()) == ["manifest.json", "velocity.npy"]


def test_truth_is_the_family(data_dir: Path) -> None:
    data = module(data_dir)
    rows = data.rows(VALID)
    index, truth = data.index(rows), data.truth(rows)
    assert truth.shape == (9, 10)
    assert [FAMILIES[column] for column in truth.argmax(1)] == list(index["group"])
    np.testing.assert_array_equal(truth.sum(1), 1)
    batch = data.read(rows[[0, 8]])
    assert set(batch) == {"row_id", "velocity", "family"}
    assert index["row_id"].iloc[8] == "Style_A/shard-s0-00000000/2"
    np.testing.assert_array_equal(batch["velocity"][1], generate_maps("Style_A", 0, [2])[0])


def test_only_the_first_maps_of_a_file_are_used(data_dir: Path) -> None:
    few, all_of_them = module(data_dir, maps_per_file=2), module(data_dir)
    assert (few.n_maps, all_of_them.n_maps) == (12, 18)
    assert few.data_hash != all_of_them.data_hash
    ids = few.index(np.concatenate([few.rows(TRAIN), few.rows(VALID)]))["row_id"]
    assert {row_id.rpartition("/")[2] for row_id in ids} == {"0", "1"}
    assert module(data_dir, maps_per_file=100).data_hash == all_of_them.data_hash
    with pytest.raises(ValueError, match=r"data\.maps_per_file must not be negative"):
        GwiMaps(maps_per_file=-1)


def test_a_shard_without_manifest_is_refused(data_dir: Path) -> None:
    path = data_dir / "Style_A" / f"shard-s0-{0:08d}"
    (path / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"shard-s0-00000000 has no manifest\.json; it is not a finished shard"):
        module(data_dir)


def test_a_shard_whose_file_was_lost_or_changed_is_refused(data_dir: Path) -> None:
    path = data_dir / "Style_A" / f"shard-s0-{0:08d}" / "velocity.npy"
    maps = np.load(path)
    np.save(path, maps + 1)
    with pytest.raises(DataError, match=r"velocity\.npy has another checksum than its manifest\.json"):
        module(data_dir)
    path.unlink()
    with pytest.raises(DataError, match=r"velocity\.npy is missing though manifest\.json names it"):
        module(data_dir)
