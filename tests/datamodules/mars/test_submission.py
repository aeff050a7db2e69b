from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blend.commands.submission import write_submission
from datamodules.banks.bank import Manifest, PredictionBank, write_bank
from datamodules.errors import DataError

IDS = ["S0003", "S0004", "S0005"]


def bank_of(folder: Path, values: np.ndarray) -> PredictionBank:
    manifest = Manifest(kind="test", domain="mars", metric="column_log_loss", targets=["acid", "mineral"])
    return write_bank(folder, values.astype(np.float32), pd.DataFrame({"row_id": IDS, "fold": -1}), manifest)


@pytest.fixture
def bank(tmp_path: Path) -> PredictionBank:
    return bank_of(tmp_path / "bank", np.array([[0.1, 0.9], [0.25, 0], [1, 0.123456789]]))


def test_rows_and_columns_are_the_forms(bank: PredictionBank, tmp_path: Path) -> None:
    form = tmp_path / "submission_format.csv"
    form.write_text("sample_id,mineral,acid\nS0005,0.5,0.5\nS0003,0.5,0.5\nS0004,0.5,0.5\n")
    write_submission(bank, tmp_path / "s.csv", form)
    written = pd.read_csv(tmp_path / "s.csv")
    assert list(written) == ["sample_id", "mineral", "acid"]
    assert list(written["sample_id"]) == ["S0005", "S0003", "S0004"]
    np.testing.assert_allclose(written["acid"], [1, 0.1, 0.25], rtol=1e-7)
    write_submission(bank, tmp_path / "own.csv")
    assert (tmp_path / "own.csv").read_text().splitlines()[:2] == [
        "sample_id,acid,mineral",
        "S0003,0.100000001,0.899999976",
    ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "sample_id,acid,mineral\nS0003,1,1\nS0004,1,1\n",
            r"does not ask for sample 'S0005', which was predicted \(1 of 3\)",
        ),
        (
            "sample_id,acid,mineral\nS0003,1,1\nS0004,1,1\nS0005,1,1\nS0006,1,1\n",
            "asks for sample 'S0006', which was not",
        ),
        (
            "sample_id,acid,basalt\nS0003,1,1\nS0004,1,1\nS0005,1,1\n",
            "asks for class 'basalt', which was not predicted",
        ),
        ("sample_id,acid\nS0003,1\nS0004,1\nS0005,1\n", "does not ask for class 'mineral'"),
        ("id,acid,mineral\nS0003,1,1\n", "has no column 'sample_id'"),
        (None, "does not exist; give the judge's submission_format.csv"),
    ],
)
def test_forms_that_do_not_fit_are_named(bank: PredictionBank, tmp_path: Path, text: str | None, sentence: str) -> None:
    form = tmp_path / "form.csv"
    if text is not None:
        form.write_text(text)
    with pytest.raises(DataError, match=f"form.csv {sentence}"):
        write_submission(bank, tmp_path / "s.csv", form)
    assert not (tmp_path / "s.csv").exists()


def test_what_is_no_probability_is_named(tmp_path: Path) -> None:
    bank = bank_of(tmp_path / "bank", np.array([[0.1, 0.9], [0.25, 1.5], [1, 0]]))
    with pytest.raises(DataError, match=r"the prediction of S0004, 'mineral', is 1\.5, not a probability"):
        write_submission(bank, tmp_path / "s.csv")
