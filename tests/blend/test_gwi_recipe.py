"""The recipe of OpenFWI's 4th place on tiny banks: searched, applied and submitted by the command line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blend.__main__ import main
from blend.weights import read_weights
from datamodules.banks.bank import Manifest, PredictionBank, write_bank

RECIPE = Path(__file__).parents[2] / "blend" / "recipes" / "gwi_4th.yaml"
FAMILIES = ["FlatVel_A", "FlatVel_A", "Style_A", "Style_A"] * 2
MODELS = ["exact", "mirrored", "style"]


def layered(rng: np.random.Generator) -> np.ndarray:
    return np.repeat(rng.integers(1500, 4500, 5), 14)[:, None] * np.ones((1, 70))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    truth = np.stack([layered(rng) if f == "FlatVel_A" else rng.uniform(1500, 4500, (70, 70)) for f in FAMILIES])
    table = pd.DataFrame({"row_id": [f"row{i}" for i in range(8)], "fold": 0, "group": FAMILIES})
    test = pd.DataFrame({"row_id": [f"{i:010x}" for i in range(4)], "fold": -1})
    common = {"domain": "gwi", "metric": "mae"}
    write_bank(tmp_path / "truth", truth, table, Manifest(kind="truth", **common))
    for model in MODELS:
        for variant in ("full", "full-last"):
            folder = tmp_path / "runs" / f"gwi_inversion_{model}" / variant / "seed0" / "fold0"
            # the style model is good on Style, the others are on the layers
            errors = [4.0 if (f == "Style_A") == (model == "style") else 12.0 for f in FAMILIES]
            noise = rng.normal(0, 1, truth.shape) * np.array(errors)[:, None, None]
            own = {"experiment": f"gwi_inversion_{model}", "variant": variant, "seed": 0, "folds": [0], **common}
            held = Manifest(kind="out_of_fold", truth=os.path.relpath(tmp_path / "truth", folder / "bank"), **own)
            write_bank(folder / "bank", truth + noise, table, held)
            values = truth[[0, 1, 2, 3]] + noise[[0, 1, 2, 3]]
            write_bank(folder / "predictions" / "test", values, test, Manifest(kind="test", **own))
    return tmp_path


def test_the_recipe_of_the_fourth_place(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "--recipe", str(RECIPE), "--out", "blend", "--figures", "false"]) == 0
    printed = capsys.readouterr().out
    rows = {line.split("|")[1].split(":")[0].strip(): line.split("|") for line in printed.splitlines() if "|" in line}
    gains = {step: float(rows[step][4]) for step in ("clip", "round", "bucket")}
    assert gains["round"] > 0
    assert gains["bucket"] > 0.5
    for before, after in (("clip", "round"), ("round", "bucket")):
        assert rows[before][3].strip() == rows[after][2].strip()
    weights, _ = read_weights(runs / "blend")
    by_family = dict(zip(weights.segments, weights.values, strict=True))
    np.testing.assert_allclose([values[:3].sum() for values in by_family.values()], 0.6)
    assert by_family["Style_A"][[2, 5]].sum() > 0.7
    assert by_family["FlatVel_A"][[2, 5]].sum() < 0.2

    pd.DataFrame({"row_id": [f"{i:010x}" for i in range(4)], "group": FAMILIES[:4]}).to_csv("families.csv", index=False)
    assert main(["apply", "blend", "--groups", "families.csv", "--out", "final", "--submission", "submission.csv"]) == 0
    blended = PredictionBank(runs / "final").predictions
    np.testing.assert_array_equal(blended[:2], np.round(blended[:2]))
    assert len(np.unique(blended[0])) < 20
    assert (blended[2:] % 1 != 0).mean() > 0.9
    frame = pd.read_csv("submission.csv")
    assert list(frame)[:2] == ["oid_ypos", "x_1"]
    np.testing.assert_allclose(frame.iloc[:, 1:].to_numpy().reshape(4, 70, 35), blended[:, :, 1::2], atol=0.051)
