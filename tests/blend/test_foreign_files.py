"""Predictions in the files of ten people: search and apply as written, to the same submission."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk

from blend.__main__ import main
from tests.files.oof_tables import MODELS, STYLES, make_case

METRICS = {"values": "rmse", "binary": "auc", "classes": "multiclass_log_loss"}


@pytest.mark.parametrize("kind", METRICS)
@pytest.mark.parametrize("style", STYLES)
def test_a_strangers_files_become_a_submission(style, kind, tmp_path, capsys):
    case = make_case(kind)
    folder = tmp_path / "files"
    folder.mkdir()
    words = STYLES[style](case, folder)
    out = tmp_path / "blend"
    flags = ["--metric", METRICS[kind], "--method", "equal", "--figures", "false", "--out", str(out)]
    assert main(["search", *words, *flags]) == 0, capsys.readouterr().err
    content = json.loads((out / "weights.json").read_text())
    assert sorted(content["weights"]["models"]) == sorted(MODELS)
    mean = case.oof.mean(axis=0)
    expected = {
        "values": lambda: sk.root_mean_squared_error(case.labels, mean),
        "binary": lambda: sk.roc_auc_score(case.labels, mean),
        "classes": lambda: sk.log_loss(case.labels, mean),
    }[kind]()
    assert content["scores"]["in_sample"] == pytest.approx(expected, rel=1e-5)
    test_ids = ["--ids", str(folder / "test.csv")] if style == "numpy_arrays" else []
    template = folder / "sample_submission.csv"
    given = ["--template", str(template)] if template.is_file() else []
    assert main(["apply", str(out), *test_ids, *given, "--submission", str(tmp_path / "s.csv")]) == 0, (
        capsys.readouterr().err
    )
    submission = pd.read_csv(tmp_path / "s.csv", dtype={0: str}).set_index(pd.read_csv(tmp_path / "s.csv").columns[0])
    submission.index = submission.index.astype(str)
    np.testing.assert_allclose(submission.loc[case.ids(test=True)], case.test.mean(axis=0), rtol=1e-5)
    if given:
        assert list(pd.read_csv(template)["id"]) == list(submission.index.astype(int))
