from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from datamodules.banks.bank import Manifest, PredictionBank, write_bank
from datamodules.errors import DataError
from datamodules.folds import TRAIN, VALID
from datamodules.gwi.files import MapFile, find_files
from datamodules.gwi.generate.families import generate_maps
from datamodules.gwi.generate.produce import produce, shard_keys
from datamodules.gwi.maps import FamilyDataModule, MapDataModule, split_by_file
from datamodules.gwi.schema import FAMILIES
from datamodules.gwi.settings import FamilyMaps
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
    data = kind(FamilyMaps(n_folds=2, threads=0, **settings), data_dir, data_dir.parent / "cache", 4)  # type: ignore[arg-type]
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
    with pytest.raises(ValueError, match=r"data\.maps_per_file must be at least 0"):
        FamilyMaps(maps_per_file=-1)


def test_a_shard_without_manifest_is_refused(data_dir: Path) -> None:
    path = data_dir / "Style_A" / f"shard-s0-{0:08d}"
    (path / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"shard-s0-00000000 has no manifest\.json; it is not a finished shard"):
        module(data_dir)


def test_a_shard_whose_file_was_lost_or_changed_is_refused(data_dir: Path) -> None:
    path = data_dir / "Style_A" / f"shard-s0-{0:08d}" / "velocity.npy"
    maps = np.load(path)
    np.save(path, maps + 1)
    with pytest.raises(DataError, match=r"velocity\.npy is not what was written"):
        module(data_dir)
    path.unlink()
    with pytest.raises(DataError, match=r"velocity\.npy is missing though manifest\.json names it"):
        module(data_dir)


def files_named(*names: str) -> list[MapFile]:
    return [MapFile(*name.split("/"), Path(), None, 100) for name in names]


def folds_of(*names: str, n_folds: int = 5) -> dict[str, int]:
    table = split_by_file(files_named(*names), n_folds)
    return {str(key): int((roles == VALID).argmax()) for key, roles in zip(table.keys, table.roles, strict=True)}


def test_a_file_falls_into_the_fold_of_its_number_whichever_others_are_there() -> None:
    whole = folds_of(*(f"Style_{side}/model{k}" for side in "AB" for k in range(1, 13)))
    gaps = folds_of(*(f"Style_{side}/model{k}" for side in "AB" for k in range(1, 13) if (side, k) != ("A", 4)))
    assert gaps.items() < whole.items()
    assert all(whole[f"Style_A/model{k}"] == whole[f"Style_B/model{k}"] == (k - 1) % 5 for k in range(1, 13))


def test_kaggles_fault_files_and_shards_of_any_size_keep_what_belongs_together() -> None:
    assert (
        list(folds_of("Style_A/model1", "Style_A/model2", "FlatFault_B/vel6_1_0", "FlatFault_B/vel8_1_0").values())
        == [0, 1] * 2
    )
    shards = [MapFile("Style_A", f"shard-s0-{first:08d}", Path(), None, 100) for first in range(0, 500, 100)]
    halves = [MapFile("Style_B", f"shard-s0-{first:08d}", Path(), None, 50) for first in range(100, 500, 50)]
    table = split_by_file(shards + halves, 5)
    folds = dict(zip(table.keys, (table.roles == VALID).argmax(1), strict=True))
    for half in halves:
        first = int(half.name[-8:])
        assert folds[f"Style_B/{half.name}"] == folds[f"Style_A/shard-s0-{first // 100 * 100:08d}"]


def test_numbers_with_gaps_still_leave_something_to_train_on() -> None:
    assert set(folds_of("Style_A/model1", "Style_A/model3").values()) == {0, 1}
    with pytest.raises(DataError, match=r"numbers of Style_A's files, 1, 3, leave it in one fold of 2"):
        folds_of("Style_A/model1", "Style_A/model3", n_folds=2)


def write_predictions(root: Path, data: MapDataModule, seed: int, fold: int, off: float) -> Path:
    """A bank of the files that ``fold`` holds out, ``off`` m/s too fast."""
    rows = np.arange(data.n_maps)
    index = data.index(rows)
    held = rows[np.isin(data._file(rows), data.folds.where(fold, VALID))]
    manifest = Manifest(
        "out_of_fold", "gwi", "mae", "net", "demo", seed, folds=[fold], hashes={"folds": data.folds.hash}
    )  # fmt: skip
    bank = root / "net" / "demo" / f"seed{seed}" / f"fold{fold}" / "bank"
    table = index.iloc[held[::-1]].assign(fold=np.int16(fold)).reset_index(drop=True)
    write_bank(bank, (data.maps(held[::-1]) + off) / 1000, table, manifest, scale=np.array(1000.0))
    return root / "net" / "demo"


def test_maps_come_as_a_net_predicted_them(data_dir: Path, tmp_path: Path) -> None:
    plain = module(data_dir)
    runs = write_predictions(tmp_path, plain, seed=0, fold=0, off=40.0)
    data = module(data_dir, predicted=runs)
    assert isinstance(data, FamilyDataModule)
    assert data.predicted is not None
    assert len(data.predicted) == 9
    rows = np.concatenate([data.rows(VALID)[[5, 0]], data.rows(TRAIN)[:1]])
    batch = data.read(rows)
    assert batch["is_predicted"].tolist() == [True, True, False]
    np.testing.assert_allclose(batch["predicted"][:2], batch["velocity"][:2] + 40, rtol=1e-6)
    write_predictions(tmp_path, plain, seed=1, fold=0, off=20.0)
    both = module(data_dir, predicted=runs)
    np.testing.assert_allclose(both.read(rows)["predicted"][:2], batch["velocity"][:2] + 30, rtol=1e-6)
    assert plain.data_hash == data.data_hash == both.data_hash == plain.training_hash
    assert len({plain.training_hash, data.training_hash, both.training_hash}) == 3


def test_predictions_that_do_not_fit_are_refused(data_dir: Path, tmp_path: Path) -> None:
    plain = module(data_dir)
    runs = write_predictions(tmp_path / "runs", plain, seed=0, fold=0, off=40.0)
    with pytest.raises(DataError, match=r"data\.predicted: there is no folder .*nowhere"):
        module(data_dir, predicted=tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"another fold table.*--data\.families"):
        module(data_dir, predicted=runs, families="Style_A,CurveFault_B")
    path = runs / "seed0" / "fold0" / "bank"
    bank = PredictionBank(path)
    shutil.copytree(runs, tmp_path / "other")
    other = tmp_path / "other" / "seed0" / "fold0" / "bank"
    values = np.asarray(bank.predictions)
    strange = bank.index.assign(row_id=[f"Style_B/elsewhere/{i}" for i in range(9)])
    write_bank(other, values, strange, bank.manifest, scale=bank.scale)
    with pytest.raises(DataError, match=r"no prediction of any map here, such as .*was it trained on another data"):
        module(data_dir, predicted=tmp_path / "other")
    write_bank(other, values[:, 0], bank.index, bank.manifest, scale=bank.scale)
    with pytest.raises(DataError, match=r"shape \(70,\) per row, not velocity maps"):
        module(data_dir, predicted=tmp_path / "other")
