"""A run that version 0.1.0 wrote, before the packages were laid out anew, goes on being read."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from blend.__main__ import main as blend
from datamodules.banks.bank import PredictionBank
from datamodules.banks.sources import resolve
from experiments.predict import main as predict

WRITTEN = Path(__file__).parents[1] / "fixtures" / "version_0_1"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Its run directory, beside the truth it answers to."""
    shutil.copytree(WRITTEN, tmp_path / "runs")
    return next((tmp_path / "runs" / "leap_bilstm").glob("*/seed1325/fold0"))


def test_the_checkpoint_predicts_what_it_predicted(run: Path) -> None:
    expected = PredictionBank(run / "predictions" / "test").in_judge_units(slice(None))
    shutil.rmtree(run / "predictions")
    predict(["--run", str(run), "--input", str(run.parents[3] / "test.csv"), "--accelerator", "cpu"])
    again = PredictionBank(run / "predictions" / "test")
    scale = np.abs(expected).max(0).clip(min=1e-300)
    assert np.abs((again.in_judge_units(slice(None)) - expected) / scale).max() < 1e-5
    assert next(iter(again.index["row_id"])).startswith("test_")


def test_its_bank_is_blended(run: Path, tmp_path: Path) -> None:
    source = resolve([str(run.parents[2])])[0]
    assert source.identity == ("leap_bilstm", run.parent.parent.name, (1325,))
    assert source.banks[0].truth().manifest.kind == "truth"
    arguments = [
        "search",
        str(run.parents[2]),
        "--method",
        "equal",
        "--nested",
        "false",
        "--out",
        str(tmp_path / "blend"),
    ]
    assert blend(arguments) == 0
