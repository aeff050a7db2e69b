from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from datamodules.moa.datamodule import MoaDataModule
from datamodules.moa.settings import MoaData
from lit_modules.moa.augment import ControlNoise, rare_weights
from lit_modules.moa.settings import LogisticModel, MLPModel
from lit_modules.moa.task import MoaTask
from lit_modules.settings import Optim
from tests.datamodules.moa.tiny import write_files


def test_differences_are_of_controls_of_the_rows_own_condition() -> None:
    """Controls of condition 0 end in .0, of condition 2 in .5; condition 1 has none."""
    controls = torch.tensor([[10.0], [2.5], [40.0], [7.5], [100.0]])
    noise = ControlNoise(controls, torch.tensor([0, 2, 0, 2, 0]), conditions=3, pairs=1)
    torch.manual_seed(0)
    condition = torch.tensor([0, 1, 2]).repeat(400)
    moved = noise(torch.zeros(1200, 1), condition)[:, 0]
    assert set(moved[condition == 0].tolist()) == {0, 30, -30, 60, -60, 90, -90}
    assert set(moved[condition == 1].tolist()) == {0}
    assert set(moved[condition == 2].tolist()) == {0, 5, -5}
    # half of the rows get no pair; of the others one in three draws the same control twice
    assert (moved[condition == 0] == 0).float().mean() == pytest.approx(1 / 2 + 1 / 6, abs=0.06)


def test_more_pairs_add_up_and_the_rows_themselves_stay() -> None:
    controls = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    values, condition = torch.randn(3000, 4), torch.zeros(3000, dtype=torch.long)
    torch.manual_seed(1)
    before = values.clone()
    added = ControlNoise(controls, torch.zeros(50, dtype=torch.long), 1, pairs=3)(values, condition) - values
    assert torch.equal(values, before)
    assert added.mean(dim=0).abs().max() < 0.15
    # 0 to 3 pairs of two controls each: 3 variances of a control in the mean
    torch.testing.assert_close(added.var(dim=0), 3 * controls.var(dim=0, unbiased=False), rtol=0.15, atol=0.0)


def test_the_rarest_target_weighs_one() -> None:
    weights = rare_weights(torch.tensor([0, 100, 900]))
    expected = [1.0, math.log(100) / math.log(200), math.log(100) / math.log(1000)]
    assert weights.tolist() == pytest.approx(expected)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> MoaDataModule:
    files = write_files(tmp_path_factory.mktemp("moa") / "demo")
    module = MoaDataModule(MoaData(), files, files.parent / "cache", 32, 0)
    module.prepare()
    return module


def loss_of(data: MoaDataModule, **options: object) -> tuple[MoaTask, float]:
    torch.manual_seed(0)
    model = MLPModel(hidden=(8,), dropout=(0.0, 0.0), **options)  # type: ignore[arg-type]
    task = MoaTask(model, Optim(), 1e-3, data.statistics())
    torch.manual_seed(1)
    return task, float(task.compute_loss(data.read(np.arange(60))).detach())


def test_options_change_training_but_neither_checkpoint_nor_validation(data: MoaDataModule) -> None:
    plain, without = loss_of(data)
    noisy, with_noise = loss_of(data, control_pairs=3)
    weighted, with_weights = loss_of(data, rare_weight=True)
    assert len({without, with_noise, with_weights}) == 3
    assert with_weights < without
    assert set(plain.state_dict()) == set(noisy.state_dict()) == set(weighted.state_dict())
    batch = data.read(np.arange(60))
    for task in (noisy, weighted):  # batch norm has seen other rows
        task.load_state_dict(plain.state_dict())
    losses = {task.eval().update_metrics(batch).item() for task in (plain, noisy, weighted)}
    assert len(losses) == 1


def test_the_noise_knows_each_rows_time_and_dose(data: MoaDataModule) -> None:
    task, _ = loss_of(data, control_pairs=1)
    assert task.control_noise is not None
    rows = data.tables.signatures
    names, counts = np.unique(np.char.add(rows.time, rows.dose)[rows.control], return_counts=True)
    assert task.control_noise.count.sum() == rows.control.sum()
    known = [f"{time}{dose}" for time in task.features.times for dose in task.features.doses]
    assert {name: int(n) for name, n in zip(known, task.control_noise.count, strict=True) if n} == dict(
        zip(names.tolist(), counts.tolist(), strict=True)
    )


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"model\.control_pairs must be at least 0"):
        LogisticModel(control_pairs=-1)
