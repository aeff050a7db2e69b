from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.errors import DataError
from datamodules.folds import TRAIN, VALID
from datamodules.gwi import datamodule, simulated
from datamodules.gwi.datamodule import GwiDataModule
from datamodules.gwi.generate.families import generate_maps
from datamodules.gwi.generate.produce import produce, shard_keys
from datamodules.gwi.sampling import WeightedBatches, parse_weights
from datamodules.gwi.settings import GwiData
from datamodules.gwi.shards import ShardKey, write_shard
from datamodules.gwi.simulator import Simulator

FAMILIES = ("CurveVel_A", "Style_A")
ROWS = 3


def write_data(folder: Path, files: int = 3) -> Path:
    """Three compact shards for each of two families; the gathers are random, those of CurveVel_A's last file full."""
    rng = np.random.default_rng(0)
    for family in FAMILIES:
        for number in range(files):
            full = family == "CurveVel_A" and number == files - 1
            shape, dtype = ((5, 1000, 70), np.float32) if full else ((5, 288, 70), np.float16)
            key = ShardKey(family, 0, number * ROWS, ROWS, gathers="full" if full else "compact")
            velocity = generate_maps(family, 0, range(number * ROWS, (number + 1) * ROWS))
            write_shard(folder, key, velocity, rng.normal(size=(ROWS, *shape)).astype(dtype))
    return folder


def module(data_dir: Path, fold: int | str = 0, **settings: object) -> GwiDataModule:
    options = {"n_folds": 3, "threads": 0, "cache_dir": None, "check_gathers": False} | settings
    data = GwiDataModule(GwiData(**options), data_dir, data_dir.parent / "cache", 4, fold)  # type: ignore[arg-type]
    data.prepare()
    return data


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return write_data(tmp_path / "data")


def test_whole_files_are_held_out_and_ids_say_where_a_map_lies(data_dir: Path) -> None:
    data = module(data_dir, fold=1)
    train, valid = data.rows(TRAIN), data.rows(VALID)
    assert len(train) == 12
    assert len(valid) == 6
    held_out = {row_id.rpartition("/")[0] for row_id in data.index(valid)["row_id"]}
    assert held_out == {f"{family}/shard-s0-{ROWS:08d}" for family in FAMILIES}
    assert data.index(valid)["row_id"][0] == f"CurveVel_A/shard-s0-{ROWS:08d}/0"
    assert list(data.index(valid)["group"]) == ["CurveVel_A"] * 3 + ["Style_A"] * 3
    assert len(module(data_dir, "full").rows(TRAIN)) == 18


def test_a_batch_holds_compact_gathers_and_maps_in_metres_per_second(data_dir: Path) -> None:
    data = module(data_dir)
    batch = data.read(np.array([0, 8, 17]))
    assert batch["gathers"].shape == (3, 5, 288, 70)
    assert batch["gathers"].dtype == batch["velocity"].dtype == torch.float32
    assert batch["family"].tolist() == [2, 2, 8]
    np.testing.assert_array_equal(batch["velocity"][2], generate_maps("Style_A", 0, [8])[0])
    np.testing.assert_array_equal(data.truth(np.array([17]))[0], batch["velocity"][2])
    raw = np.load(data_dir / f"CurveVel_A/shard-s0-{0:08d}/gathers.npy")
    np.testing.assert_array_equal(batch["gathers"][0], raw[0])


def test_the_last_sample_of_full_gathers_changes_nothing(tmp_path: Path) -> None:
    spoiled = write_data(tmp_path / "spoiled")
    path = spoiled / "CurveVel_A" / f"shard-s0-{6:08d}" / "gathers.npy"
    before = module(spoiled, check_values=False).read(np.array([8]))["gathers"]
    gathers = np.load(path)
    gathers[:, :, -1] = 1e6
    np.save(path, gathers)
    assert torch.equal(module(spoiled, check_values=False).read(np.array([8]))["gathers"], before)


def test_mirror_images_are_extra_training_rows(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Simulator, "forward", lambda self, v, shots: v[:, None, :1].expand(-1, 1, 1000, -1).contiguous()
    )
    data = module(data_dir, exact_mirror=True)
    train = data.rows(TRAIN)
    assert len(train) == 24
    assert len(data.rows(VALID)) == 6
    row = int(train[0])
    batch = data.read(np.array([row, row + data.n_maps]))
    assert torch.equal(batch["velocity"][1], batch["velocity"][0].flip(-1))
    outer, reverse = [0, 1, 3, 4], [4, 3, 1, 0]
    assert torch.equal(batch["gathers"][1, outer], batch["gathers"][0, reverse].flip(-1))
    np.testing.assert_allclose(batch["gathers"][1, 2, 100], batch["velocity"][1, 0], rtol=1e-3)
    assert data.index(train[-1:])["row_id"][0].endswith("/mirrored")
    np.testing.assert_array_equal(data.truth(np.array([row + data.n_maps]))[0], batch["velocity"][1])


def test_maps_without_gathers_are_shot_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def shoot(self: Simulator, velocity: torch.Tensor) -> torch.Tensor:
        calls.append(len(velocity))
        return velocity[:, None, :1].expand(-1, 5, 1000, -1).contiguous()

    monkeypatch.setattr(simulated.Simulator, "forward", shoot)
    for number in (1, 2):
        path = tmp_path / f"data/FlatVel_A/model/model{number}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, generate_maps("FlatVel_A", number, range(3))[:, None])
    with pytest.raises(DataError, match="has no gathers beside it"):
        module(tmp_path / "data", simulate=False)
    assert module(tmp_path / "data").read(np.array([4]))["gathers"].shape == (1, 5, 288, 70)
    module(tmp_path / "data")
    assert calls == [3, 3]


def test_weights_show_families_more_often(data_dir: Path) -> None:
    data = module(data_dir, "full", weights="style_a=2.5")
    order = data.train_order(data.rows(TRAIN), 0, 1)
    shown = Counter(np.concatenate([order.batch(i) for i in range(len(order))]).tolist())
    assert len(order) == (9 + 9 * 2 + 4) // 4
    style = [shown[row] for row in range(9, 18)]
    assert min(style) >= 1
    assert sum(style) > sum(shown[row] for row in range(9))


def test_an_epoch_shows_every_map_as_often_as_it_is_told(data_dir: Path) -> None:
    data = module(data_dir, "full", repeat=3)
    order = data.train_order(rows := data.rows(TRAIN), 0, 1)
    shown = Counter(np.concatenate([order.batch(i) for i in range(len(order))]).tolist())
    assert len(order) == 3 * len(rows) // 4
    assert max(shown.values()) == 3
    assert min(shown.values()) >= 1


def test_weighted_epochs_differ_repeat_and_share_between_processes() -> None:
    rows, weights = np.arange(40), np.repeat([1.0, 1.5], 20)

    def epoch(number: int, rank: int = 0, world: int = 1) -> list[list[int]]:
        order = WeightedBatches(rows, weights, 10, 3, rank, world)
        order.set_epoch(number)
        return [order.batch(i).tolist() for i in range(len(order))]

    assert epoch(1) == epoch(1) != epoch(2)
    shared = [sorted(a + b) for a, b in zip(epoch(1, 0, 2), epoch(1, 1, 2), strict=True)]
    assert shared == epoch(1)


@pytest.mark.parametrize(
    ("text", "says"), [("Style_A", "Family=number"), ("Style_A=-1", "above 0"), ("Style_X=1", "not a family")]
)
def test_wrong_weights_are_named(text: str, says: str) -> None:
    with pytest.raises(DataError, match=says):
        parse_weights(text)


def test_what_cannot_be_used_is_said(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no maps of FlatVel_B, only of CurveVel_A, Style_A"):
        module(data_dir, families="FlatVel_B")
    with pytest.raises(DataError, match="has one file only"):
        module(write_data(tmp_path / "single", files=1))
    with pytest.raises(DataError, match="holds compact gathers, of which 1000 samples cannot be had"):
        module(data_dir, samples=1000)
    path = data_dir / f"Style_A/shard-s0-{0:08d}/velocity.npy"
    np.save(path, np.load(path) + 1)
    with pytest.raises(DataError, match="is not what was written"):
        module(data_dir)


def test_the_median_map_is_of_training_rows(data_dir: Path) -> None:
    data = module(data_dir, families="CurveVel_A")
    np.testing.assert_array_equal(data.statistics()["median_map"], np.median(data.truth(data.rows(TRAIN)), axis=0))


@pytest.fixture(scope="module")
def true_pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three files of two maps with a curved interface, in OpenFWI's layout, truly shot; the first two as floats of 1000 samples."""
    folder = tmp_path_factory.mktemp("true")
    for number in (1, 2, 3):
        velocity = generate_maps("CurveVel_A", 0, [2 * number, 2 * number + 1])
        with torch.no_grad():
            gathers = Simulator()(torch.from_numpy(velocity)).numpy()
        for name, array in ((f"model/model{number}", velocity[:, None]), (f"data/data{number}", gathers)):
            path = folder / "CurveVel_A" / f"{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array)
    return folder


def test_gathers_of_other_maps_are_refused_once_and_for_all(
    true_pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    shutil.copytree(true_pairs, data)
    module(data, check_gathers=True)
    monkeypatch.setattr(simulated, "check_gathers", lambda _: pytest.fail("checked again"))
    monkeypatch.setattr(datamodule, "check_gathers", lambda _: pytest.fail("checked again"))
    module(data, check_gathers=True)
    monkeypatch.undo()
    folder = data / "CurveVel_A"
    maps = np.load(folder / "model" / "model2.npy")
    for changed, cause in (
        (maps.swapaxes(2, 3), "the maps are transposed"),
        (maps[..., ::-1], "the maps are mirrored"),
        (np.load(folder / "model" / "model3.npy"), "they are of other maps"),
        (maps[::-1], "they are of other maps"),
    ):
        np.save(folder / "model" / "model2.npy", np.ascontiguousarray(changed))
        with pytest.raises(DataError, match=rf"data2\.npy, map 0: .*model2\.npy .*{cause}"):
            module(data, check_gathers=True)
    module(data)


def test_compact_gathers_of_shards_are_the_maps_own(tmp_path: Path) -> None:
    produce(tmp_path / "data", shard_keys("Style_B", 0, 4, 2, gathers="compact"), progress=False)
    module(tmp_path / "data", check_gathers=True)
