from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.errors import DataError
from datamodules.moa.submission import write_submission

IDS = np.array(["id_2", "id_0", "id_1"])
TARGETS = ("b,inhibitor", "a")
VALUES = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], dtype=np.float32)
CONTROL = np.array([False, True, False])


def form(path: Path, ids: list[str], targets: list[str]) -> Path:
    pd.DataFrame({"sig_id": ids} | dict.fromkeys(targets, 0.5)).to_csv(path, index=False)
    return path


def test_rows_and_columns_follow_the_form_and_controls_are_zero(tmp_path: Path) -> None:
    template = form(tmp_path / "form.csv", ["id_0", "id_1", "id_2"], ["a", "b,inhibitor"])
    write_submission(tmp_path / "out.csv", IDS, TARGETS, VALUES, CONTROL, template)
    out = pd.read_csv(tmp_path / "out.csv")
    assert list(out) == ["sig_id", "a", "b,inhibitor"]
    assert out["sig_id"].tolist() == ["id_0", "id_1", "id_2"]
    np.testing.assert_allclose(out.iloc[:, 1:], [[0, 0], [0.6, 0.5], [0.2, 0.1]], rtol=1e-6)
    assert (out.loc[0, ["a", "b,inhibitor"]] == 0).all()


def test_without_a_form_the_rows_stay_in_their_order(tmp_path: Path) -> None:
    write_submission(tmp_path / "out.csv", IDS, TARGETS, VALUES, CONTROL)
    out = pd.read_csv(tmp_path / "out.csv")
    assert out["sig_id"].tolist() == IDS.tolist()
    assert list(out)[1:] == list(TARGETS)


@pytest.mark.parametrize(
    ("ids", "targets", "sentence"),
    [
        (["id_0", "id_1"], ["a", "b,inhibitor"], "has no row 'id_2', which was predicted"),
        (["id_0", "id_1", "id_2", "id_3"], ["a", "b,inhibitor"], "asks for row 'id_3', which was not predicted"),
        (["id_0", "id_1", "id_2"], ["a"], "has no column 'b,inhibitor'"),
        (["id_0", "id_1", "id_2"], ["a", "b,inhibitor", "c"], "asks for column 'c'"),
        (["id_0", "id_1", "id_1"], ["a", "b,inhibitor"], "'id_1' stands 2 times"),
    ],
)
def test_forms_that_do_not_fit_are_refused(ids: list[str], targets: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=sentence):
        write_submission(tmp_path / "out.csv", IDS, TARGETS, VALUES, CONTROL, form(tmp_path / "form.csv", ids, targets))
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("bad", [1.5, -0.1, np.nan])
def test_what_is_no_probability_is_refused(bad: float, tmp_path: Path) -> None:
    values = VALUES.copy()
    values[2, 0] = bad
    with pytest.raises(DataError, match=r"the prediction of id_1, 'b,inhibitor', is .* not a probability"):
        write_submission(tmp_path / "out.csv", IDS, TARGETS, values, CONTROL)
    assert not (tmp_path / "out.csv").exists()
