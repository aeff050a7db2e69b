from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import r2_score

from datamodules.banks.bank import Manifest, PredictionBank, write_bank
from datamodules.leap.schema import N_TARGETS
from experiments.domains.leap.confidence import draw_risk_coverage, expected_errors, risk_coverage
from lit_modules.leap.losses import learnable_target_mask

ROWS = 200


@pytest.fixture
def bank(tmp_path: Path) -> PredictionBank:
    """Errors grow from row to row in a shuffled order, and the confidence knows how large they are."""
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(ROWS, N_TARGETS))
    size = rng.permutation(np.linspace(0.0, 1.0, ROWS))[:, None]
    predictions = truth + size * rng.normal(size=truth.shape)
    index = pd.DataFrame({"row_id": [f"r{i}" for i in range(ROWS)], "fold": np.zeros(ROWS, dtype=np.int16)})
    scale = np.logspace(-9, 3, N_TARGETS)
    confidence = np.broadcast_to(size * learnable_target_mask().numpy(), truth.shape)
    write_bank(tmp_path / "truth", truth, index, Manifest("truth", "leap", "r2"), scale=scale)
    manifest = Manifest("out_of_fold", "leap", "r2", truth="../truth")
    return write_bank(tmp_path / "bank", predictions, index, manifest, scale=scale, extras={"confidence": confidence})


def test_the_curve_is_that_of_sorted_rows(bank: PredictionBank) -> None:
    curve = risk_coverage(bank, (1.0, 0.5, 0.1))
    order = np.argsort(expected_errors(bank), kind="stable")
    true, predicted = bank.truth().predictions.astype(float), bank.predictions.astype(float)
    learnable = learnable_target_mask().numpy()
    assert curve["kept"] == [1.0, 0.5, 0.1]
    for i, count in enumerate((200, 100, 20)):
        kept = order[:count]
        assert curve["rows"][i] == count
        assert curve["r2"][i] == pytest.approx(r2_score(true[kept], predicted[kept]), abs=1e-6)
        squared = ((true[kept] - predicted[kept]) ** 2).mean(axis=0)
        assert curve["skill"][i] == pytest.approx((1 - squared / true.var(axis=0)).mean(), abs=1e-6)
        assert curve["error"][i] == pytest.approx(np.abs(true - predicted)[kept][:, learnable].mean(), rel=1e-5)


def test_a_confidence_that_knows_pays(bank: PredictionBank) -> None:
    curve = risk_coverage(bank)
    assert (np.diff(curve["error"]) < 0).all()
    assert (np.diff(curve["r2"]) > 0).all()
    assert draw_risk_coverage(curve).axes


def test_all_rows_are_always_on_the_curve(bank: PredictionBank) -> None:
    assert risk_coverage(bank, (0.5,))["rows"] == [200, 100]
