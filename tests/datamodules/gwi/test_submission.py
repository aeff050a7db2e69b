from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.errors import DataError
from datamodules.gwi.submission import check_oids, open_submission, submit_bank


def test_rows_are_the_judges(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).uniform(1500, 4500, (3, 70, 70)).astype(np.float32)
    maps[0, 0, :4] = [1000, 1500.04, 1500, 4499.96]
    oids = ["000039dca2", "00007a4d1f", "ffff000011"]
    with open_submission(tmp_path / "submission.csv") as writer:
        writer.append(oids[:2], maps[:2])
        writer.append(oids[2:], maps[2:])
    frame = pd.read_csv(tmp_path / "submission.csv")
    assert list(frame) == ["oid_ypos", *(f"x_{column}" for column in range(1, 70, 2))]
    assert list(frame["oid_ypos"]) == [f"{oid}_y_{row}" for oid in oids for row in range(70)]
    assert frame.loc[0, ["x_1", "x_3"]].tolist() == [1500.0, 4500.0]
    np.testing.assert_allclose(frame.iloc[:, 1:].to_numpy().reshape(3, 70, 35), maps[:, :, 1::2], atol=0.0501)


def test_what_is_no_velocity_is_not_submitted(tmp_path: Path) -> None:
    maps = np.full((2, 70, 70), 2000.0)
    maps[1, 3, 3] = np.nan
    with pytest.raises(DataError, match="the map of b holds NaN"), open_submission(tmp_path / "s.csv") as writer:
        writer.append(["a", "b"], maps)
    assert not (tmp_path / "s.csv").exists()


def test_ids_of_other_data_are_refused(tmp_path: Path) -> None:
    for oid in ("a", "b"):
        np.save(tmp_path / f"{oid}.npy", np.zeros(1))
    check_oids(["b", "a"], tmp_path)
    with pytest.raises(DataError, match=r"1 files of .* have no prediction, first b\.npy"):
        check_oids(["a"], tmp_path)
    with pytest.raises(DataError, match=r"1 predictions have no file in .*, first 'c'"):
        check_oids(["a", "b", "c"], tmp_path)


class Bank:
    def __init__(self, oids: list[str], maps: np.ndarray) -> None:
        self.index, self._maps, self.shape = pd.DataFrame({"row_id": oids}), maps, maps.shape[1:]

    def in_judge_units(self, rows: slice) -> np.ndarray:
        return self._maps[rows].astype(np.float64)


def test_a_bank_in_the_order_of_the_sample_submission(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).uniform(1400, 4600, (3, 70, 70))
    oids = ["a1", "b2", "c3"]
    with open_submission(tmp_path / "sample.csv") as writer:
        writer.append(["c3", "a1", "b2"], np.full((3, 70, 70), 3000.0))
    submit_bank(Bank(oids, maps), tmp_path / "own.csv")
    submit_bank(Bank(oids, maps), tmp_path / "theirs.csv", tmp_path / "sample.csv")
    own, theirs = (pd.read_csv(tmp_path / name) for name in ("own.csv", "theirs.csv"))
    assert list(theirs["oid_ypos"]) == list(pd.read_csv(tmp_path / "sample.csv")["oid_ypos"])
    pd.testing.assert_frame_equal(
        own.sort_values("oid_ypos", ignore_index=True), theirs.sort_values("oid_ypos", ignore_index=True)
    )
    assert own.iloc[:, 1:].to_numpy().min() == 1500
    assert own.iloc[:, 1:].to_numpy().max() == 4500


def test_banks_of_other_data_are_not_submitted(tmp_path: Path) -> None:
    maps = np.full((2, 70, 70), 3000.0)
    with open_submission(tmp_path / "sample.csv") as writer:
        writer.append(["a1", "b2"], maps)
    out, sample = tmp_path / "s.csv", tmp_path / "sample.csv"
    with pytest.raises(DataError, match="wants 'b2' and 0 others that the bank does not have"):
        submit_bank(Bank(["a1", "zz"], maps), out, sample)
    with pytest.raises(DataError, match="1 predictions are not in"):
        submit_bank(Bank(["a1", "b2", "c3"], np.full((3, 70, 70), 3000.0)), out, sample)
    with pytest.raises(DataError, match="a map of a training file"):
        submit_bank(Bank(["FlatVel_A/model1/0", "FlatVel_A/model1/1"], maps), out)
    with pytest.raises(DataError, match="needs velocity maps"):
        submit_bank(Bank(["a1", "b2"], np.zeros((2, 5))), out)
    (tmp_path / "no.csv").write_text("id,x\n1,2\n")
    with pytest.raises(DataError, match=r"no\.csv has no column 'oid_ypos'"):
        submit_bank(Bank(["a1", "b2"], maps), out, tmp_path / "no.csv")
    assert not out.exists()
