from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.errors import DataError
from datamodules.folds import TRAIN, VALID
from datamodules.leap.calendar import month_name, stamp_to_step, step_to_stamp, steps_to_months
from datamodules.leap.convert import row_names
from datamodules.leap.datamodule import LeapDataModule
from datamodules.leap.demo import DemoSpec, generate
from datamodules.leap.settings import LeapData
from datamodules.leap.split import may_train_on

LOW = DemoSpec(first_month="0008-05", months=4, steps_per_month=4, columns=8)
# another grid, other times: a month more at either end
HIGH = DemoSpec(seed=7, first_month="0008-04", months=6, steps_per_month=3, columns=5)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("sources")
    return tuple(generate(root / name, spec, progress=False) for name, spec in (("low", LOW), ("high", HIGH)))  # type: ignore[return-value]


def settings_of(high: Path | None, **more: object) -> LeapData:
    return replace(
        LeapData(columns=LOW.columns, high_res_dir=high, high_res_columns=HIGH.columns, processes=1, threads=0), **more
    )


def data_of(folders: tuple[Path, Path], fold: int | str = 0, high: bool = True, **more: object) -> LeapDataModule:
    low_dir, high_dir = folders
    settings = settings_of(high_dir if high else None, **more)
    data = LeapDataModule(settings, low_dir, low_dir.parent / "cache", batch_size=12, fold=fold)
    data.prepare()
    return data


def test_batches_hold_rows_of_both_stores_as_they_were_written(folders: tuple[Path, Path]) -> None:
    data = data_of(folders)
    batch = next(iter(data.train_dataloader()))
    assert batch["high_res"].tolist() == [False] * 8 + [True] * 4
    own, other = batch["row_id"][:8].numpy(), batch["row_id"][8:].numpy() - len(data.store)
    assert data._high_res is not None
    for name in ("profiles", "scalars", "targets", "step", "column"):
        np.testing.assert_array_equal(batch[name][:8], data.store.arrays[name][own])
        np.testing.assert_array_equal(batch[name][8:], data._high_res.store.arrays[name][other])
    assert batch["profiles"].dtype == torch.float64


def test_validation_statistics_and_identity_stay_those_of_the_first_store(folders: tuple[Path, Path]) -> None:
    mixed, alone = data_of(folders), data_of(folders, high=False)
    for role in (TRAIN, VALID):
        np.testing.assert_array_equal(mixed.rows(role), alone.rows(role))
    assert all(not batch["high_res"].any() for batch in mixed.val_dataloader())
    # banks of both kinds of run answer to the same truth and blend with each other
    assert (mixed.data_hash, mixed.folds.hash) == (alone.data_hash, alone.folds.hash)
    assert mixed.training_hash != mixed.data_hash == alone.training_hash
    for name, value in alone.statistics().items():
        np.testing.assert_array_equal(mixed.statistics()[name], value)


def test_high_resolution_rows_of_the_validation_time_are_never_trained_on(folders: tuple[Path, Path]) -> None:
    data = data_of(folders)
    assert data._high_res is not None
    rows = data.high_res_rows() - len(data.store)
    months = {month_name(int(month)) for month in steps_to_months(data._high_res.step[rows])}
    assert months == {"0008-04", "0008-05", "0008-06"}  # training ends with 0008-06; 0008-09 lies outside both ranges
    assert len(rows) == 3 * HIGH.steps_per_month * HIGH.columns
    assert len(data_of(folders, fold="full").high_res_rows()) == len(data._high_res.store)


def test_the_gap_holds_between_the_sources() -> None:
    own = np.arange(stamp_to_step("0008-06-20-00000"), stamp_to_step("0008-07-10-00000"), 7)
    valid = own[own >= stamp_to_step("0008-07-01-00000")]
    steps = np.arange(own[0], own[-1])
    months = LeapData(gap_days=2.0)
    kept = steps[may_train_on(steps, own, valid, months)]
    assert kept[0] == own[0]
    assert valid[0] - kept[-1] == 2 * 72
    blocks = LeapData(split="blocks", gap_days=0.5)
    block = own[40:60]
    kept = steps[may_train_on(steps, own, block, blocks)]
    assert not ((kept > block[0] - 36) & (kept < block[-1] + 36)).any()
    assert block[0] - 36 in kept
    assert block[-1] + 36 in kept
    without_gap = steps[may_train_on(steps, own, block, replace(blocks, gap_days=0.0))]
    assert block[0] not in without_gap
    assert block[0] - 1 in without_gap
    assert step_to_stamp(int(valid[0])).startswith("0008-07")


def test_high_resolution_rows_are_new_in_every_epoch(folders: tuple[Path, Path]) -> None:
    data = data_of(folders, mix_ratio="3:1")
    loader = data.train_dataloader()
    seen = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        rows = torch.cat([batch["row_id"][batch["high_res"]] for batch in loader])
        own = torch.cat([batch["row_id"][~batch["high_res"]] for batch in loader])
        assert len(own) == len(own.unique()) > 60 - 9
        seen.append(set(rows.tolist()))
    assert len(seen[0]) == len(loader) * 3
    assert not seen[0] & seen[1]


def test_two_processes_read_the_same_global_batches(folders: tuple[Path, Path]) -> None:
    data = data_of(folders)
    rows = data.rows(TRAIN)
    whole = data.train_order(rows, 0, 1)
    shares = [data.train_order(rows, rank, 2) for rank in range(2)]
    for order in (whole, *shares):
        order.set_epoch(1)
    for i in range(len(whole)):
        batch = data.read(whole.batch(i))
        parts = [data.read(share.batch(i)) for share in shares]
        together = torch.cat([part["row_id"] for part in parts])
        order = together.argsort()
        for name, value in batch.items():
            assert torch.equal(torch.cat([part[name] for part in parts])[order], value)


def test_a_demo_stands_in_for_the_files_beside_a_demo_and_nowhere_else(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    data = data_of(folders, high=False, mix_ratio="2:1")
    assert data._high_res is not None
    assert data._high_res.columns == LOW.columns // 2
    assert str(row_names(data._high_res.store, np.arange(1))[0]).startswith("0008-05")
    real = tmp_path / "real"
    real.symlink_to(folders[0] / "train")
    bare = LeapDataModule(settings_of(None, mix_ratio="2:1"), real, tmp_path, batch_size=12)
    with pytest.raises(DataError, match=r"mix_ratio 2:1 .* give their folder with --data.high_res_dir"):
        bare.prepare()


def test_grids_come_with_the_statistics(folders: tuple[Path, Path]) -> None:
    statistics = data_of(folders).statistics()
    assert statistics["grid"].shape == (8, 2)
    assert statistics["high_res_grid"].shape == (5, 2)
    assert np.abs(statistics["grid"][:, 0]).max() <= 90
    assert 0 <= statistics["grid"][:, 1].min() <= statistics["grid"][:, 1].max() < 360


def test_settings_check_the_ratio_and_know_the_default() -> None:
    assert LeapData(high_res_dir=Path("somewhere")).mix_ratio == "2:1"
    assert LeapData().mix_ratio is None
    with pytest.raises(ValueError, match=r"data.mix_ratio: 'two to one' is not a ratio"):
        LeapData(mix_ratio="two to one")
