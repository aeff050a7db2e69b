from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from sklearn.metrics import log_loss, mean_absolute_error, r2_score

from lit_modules.metrics import ColumnLogLoss, StreamingMAE, StreamingR2


def hard_targets(rows: int = 997) -> tuple[np.ndarray, np.ndarray]:
    """Targets whose spread goes from 1e-50 to 1e3, with large means and constant columns."""
    rng = np.random.default_rng(0)
    std = np.array([1e-50, 1e-12, 1e-12, 1e-3, 1.0, 1e3, 0.0, 0.0, 1.0])
    mean = np.array([0.0, 0.0, 1e-3, 300.0, 1e4, -5.0, 7.0, 7.0, 0.0])
    true = rng.normal(size=(rows, len(std))) * std + mean
    predicted = true + rng.normal(size=true.shape) * std * 0.3
    predicted[:, 7] += 1.0  # a constant column, missed
    predicted[:, 8] = rng.normal(size=rows)  # worse than the mean
    return predicted, true


def update_in_batches(metric: Any, predicted: np.ndarray, true: np.ndarray, size: int = 100) -> None:
    for start in range(0, len(true), size):
        rows = slice(start, start + size)
        metric.update(torch.from_numpy(predicted[rows]), torch.from_numpy(true[rows]))


def test_r2_equals_scikit_learn_per_target() -> None:
    predicted, true = hard_targets()
    metric = StreamingR2(true.shape[1], {"first": slice(0, 3), "rest": slice(3, 9)})
    update_in_batches(metric, predicted, true)
    reference = r2_score(true, predicted, multioutput="raw_values")
    np.testing.assert_allclose(metric.per_target().numpy(), reference, rtol=0, atol=1e-7)
    table = metric.table()
    assert float(table["r2"]) == pytest.approx(r2_score(true, predicted), abs=1e-7)
    assert float(table["r2_first"]) == pytest.approx(reference[:3].mean(), abs=1e-7)
    assert float(metric.compute()) == float(table["r2"])


def test_r2_of_a_constant_column_is_one_only_if_exact() -> None:
    metric = StreamingR2(2)
    metric.update(torch.tensor([[0.0, 0.0], [0.0, 1e-30]]), torch.zeros(2, 2))
    assert metric.per_target().tolist() == [1.0, 0.0]


def test_r2_does_not_depend_on_the_batches_and_forgets_on_reset() -> None:
    predicted, true = hard_targets(211)
    scores = []
    metric = StreamingR2(true.shape[1])
    for size in (1, 7, 211):
        metric.reset()
        update_in_batches(metric, predicted, true, size)
        scores.append(metric.per_target().numpy())
    np.testing.assert_allclose(scores[0], scores[2], atol=1e-9)
    np.testing.assert_allclose(scores[1], scores[2], atol=1e-9)


def test_log_loss_equals_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((300, 5)) < 0.2).astype(float)
    probabilities = rng.random((300, 5))
    probabilities[0], probabilities[1] = 0.0, 1.0
    metric = ColumnLogLoss(5)
    update_in_batches(metric, probabilities, labels)
    clipped = probabilities.clip(1e-15, 1 - 1e-15)
    reference = [log_loss(labels[:, i], clipped[:, i], labels=[0, 1]) for i in range(5)]
    np.testing.assert_allclose(metric.per_target().numpy(), reference, rtol=1e-9)
    assert float(metric.compute()) == pytest.approx(np.mean(reference), rel=1e-9)


def test_mae_equals_scikit_learn() -> None:
    rng = np.random.default_rng(2)
    true, predicted = rng.normal(3000, 800, (2, 50, 70, 70))
    metric = StreamingMAE()
    update_in_batches(metric, predicted, true, 8)
    assert float(metric.compute()) == pytest.approx(mean_absolute_error(true.ravel(), predicted.ravel()), rel=1e-12)


def _score_on(rank: int, world: int, folder: str, arrays: tuple[np.ndarray, np.ndarray]) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    predicted, true = (np.array_split(array, world)[rank] for array in arrays)
    r2, mae, log_loss_of = StreamingR2(9), StreamingMAE(), ColumnLogLoss(9)
    update_in_batches(r2, predicted, true, 64)
    update_in_batches(mae, predicted, true, 64)
    update_in_batches(log_loss_of, *as_probabilities(predicted, true), 64)
    np.savez(
        f"{folder}/{rank}.npz",
        allow_pickle=False,
        r2=r2.table()["per_target"].numpy(),
        mae=mae.compute().numpy(),
        log_loss=log_loss_of.compute().numpy(),
    )
    torch.distributed.destroy_process_group()


def as_probabilities(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Some probabilities and labels made of the same numbers."""
    return 1 / (1 + np.exp(-(predicted % 3))), (true % 1 > 0.5).astype(float)


@pytest.mark.parametrize("world", [2, 3])
def test_metrics_are_exact_on_several_processes(world: int, tmp_path: Path) -> None:
    predicted, true = hard_targets(100 * world + 1)  # unequal shares
    mp.spawn(_score_on, (world, str(tmp_path), (predicted, true)), nprocs=world)
    probabilities, labels = as_probabilities(predicted, true)
    cells = np.where(labels > 0.5, -np.log(probabilities), -np.log1p(-probabilities))
    expected = {
        "r2": r2_score(true, predicted, multioutput="raw_values"),
        "mae": np.abs(true - predicted).mean(),
        "log_loss": cells.mean(),
    }
    for rank in range(world):
        with np.load(tmp_path / f"{rank}.npz", allow_pickle=False) as values:
            for name, reference in expected.items():
                np.testing.assert_allclose(values[name], reference, rtol=1e-9, atol=1e-7)
