from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.errors import DataError
from datamodules.gwi.gathers import compact, resize_time, zero_last_sample
from datamodules.gwi.generate import produce as production
from datamodules.gwi.generate.families import generate_map
from datamodules.gwi.generate.produce import make_shard, part_of, produce, shard_keys
from datamodules.gwi.shards import ShardKey, is_finished, read_manifest, verify_shard, write_shard
from experiments import gwi_generate

KEY = ShardKey("FlatVel_A", 1, 0, 2, 0.0, "compact")


def fake_shoot(velocity: np.ndarray, gathers: str, device: str = "cpu") -> np.ndarray:
    shape, dtype = ((5, 288, 70), np.float16) if gathers == "compact" else ((5, 1000, 70), np.float32)
    return np.broadcast_to(velocity[:, None, :1, :] / 1000, (len(velocity), *shape)).astype(dtype)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(production, "shoot", fake_shoot)


def test_a_shard_says_what_it_is(tmp_path: Path, quick: None) -> None:
    make_shard(tmp_path, KEY)
    path = tmp_path / "FlatVel_A" / KEY.folder
    verify_shard(path)
    assert read_manifest(path).key == KEY
    assert np.array_equal(np.load(path / "velocity.npy")[1], generate_map("FlatVel_A", 1, 1))


def test_a_real_shard_holds_the_simulators_gathers(tmp_path: Path) -> None:
    key = ShardKey("FlatVel_A", 0, 5, 1)
    make_shard(tmp_path, key)
    gathers = np.load(tmp_path / "FlatVel_A" / key.folder / "gathers.npy")
    assert gathers.shape == (1, 5, 1000, 70)
    assert gathers.dtype == np.float32
    surface = generate_map("FlatVel_A", 0, 5)[1, 0]
    assert gathers[0, 0, 0, 0] == pytest.approx((surface * 1e-3) ** 2 * -1.6444e-4, rel=1e-3)


def test_production_goes_on_where_it_stood(tmp_path: Path, quick: None) -> None:
    keys = shard_keys("CurveVel_A", 0, 7, 3)
    assert [(key.first, key.rows) for key in keys] == [(0, 3), (3, 3), (6, 1)]
    assert produce(tmp_path, keys[:1], progress=False) == 3
    assert produce(tmp_path, keys, progress=False) == 4
    assert produce(tmp_path, keys, progress=False) == 0
    first = np.load(tmp_path / "CurveVel_A" / keys[1].folder / "velocity.npy")
    assert np.array_equal(first[0], generate_map("CurveVel_A", 0, 3))


def test_parts_cover_all_shards_once() -> None:
    keys = shard_keys("Style_A", 0, 10, 2)
    parts = [part_of(keys, part, 3) for part in (1, 2, 3)]
    assert sorted(key.first for part in parts for key in part) == [0, 2, 4, 6, 8]
    with pytest.raises(DataError, match="part 4 of 3"):
        part_of(keys, 4, 3)


def test_a_changed_file_has_another_checksum(tmp_path: Path) -> None:
    velocity = np.full((2, 70, 70), 2000, np.float32)
    path = write_shard(tmp_path, KEY, velocity, fake_shoot(velocity, "compact"))
    np.save(path / "velocity.npy", velocity + 1)
    with pytest.raises(DataError, match=r"velocity\.npy is not what was written"):
        verify_shard(path)
    (path / "velocity.npy").unlink()
    with pytest.raises(DataError, match=r"velocity\.npy is missing"):
        verify_shard(path)
    (path / "manifest.json").unlink()
    with pytest.raises(DataError, match=r"has no manifest\.json"):
        is_finished(tmp_path, KEY)


def test_other_settings_under_the_same_name_are_refused(tmp_path: Path, quick: None) -> None:
    make_shard(tmp_path, KEY)
    assert is_finished(tmp_path, KEY)
    with pytest.raises(DataError, match="made with other settings"):
        is_finished(tmp_path, ShardKey("FlatVel_A", 1, 0, 2, 0.5, "compact"))
    with pytest.raises(DataError, match="made with other settings"):  # a data set begun with other generators
        is_finished(tmp_path, replace(KEY, generator=KEY.generator + 1))


def test_a_shard_that_does_not_name_its_generator_is_of_the_first(tmp_path: Path, quick: None) -> None:
    make_shard(tmp_path, KEY)
    file = tmp_path / "FlatVel_A" / KEY.folder / "manifest.json"
    manifest = json.loads(file.read_text())
    del manifest["generator"], manifest["checksum"]
    file.write_text(json.dumps(manifest))
    assert read_manifest(file.parent).key == replace(KEY, generator=1)


def test_compact_gathers_lose_the_last_sample_and_little_else() -> None:
    t = torch.arange(1000) / 1000
    wave = torch.sin(2 * torch.pi * 30 * t)[None, None, :, None].expand(1, 5, -1, 70).contiguous()
    spoiled = wave.clone()
    spoiled[:, :, -1] = 1000
    assert torch.equal(zero_last_sample(spoiled)[:, :, -1], torch.zeros(1, 5, 70))
    small = compact(spoiled)
    assert small.dtype == np.float16
    assert small.shape == (1, 5, 288, 70)
    centres = (np.arange(288) + 0.5) / 288 - 0.5 / 1000
    np.testing.assert_allclose(small[0, 0, 5:-5, 0], np.sin(2 * np.pi * 30 * centres)[5:-5], atol=0.08)
    assert torch.equal(resize_time(wave, 1000), wave)


def test_the_command_generates_and_refuses(tmp_path: Path, quick: None, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--family", "flatvel_a", "--samples", "4", "--shard_rows", "2", "--processes", "1", "--device", "cpu"]
    gwi_generate.main([*flags, "--out", str(tmp_path), "--part", "2/2"])
    assert "2 maps made, FlatVel_A, part 2 of 2" in capsys.readouterr().out
    for wrong, says in (
        (["--part", "x"], "K/N"),
        (["--family", "nope"], "not a family"),
        (["--samples", "0"], "at least 1"),
    ):
        with pytest.raises(SystemExit):
            gwi_generate.main([*flags, "--out", str(tmp_path), *wrong])
        assert says in capsys.readouterr().err
