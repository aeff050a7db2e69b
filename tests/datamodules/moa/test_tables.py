from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.errors import DataError
from datamodules.moa.tables import read_form, read_labels, read_signatures, read_training
from tests.datamodules.moa.tiny import write_files


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


def edited(files: Path, target: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    shutil.copytree(files, target)
    frame = pd.read_csv(files / f"{name}.csv", dtype=str)
    change(frame).to_csv(target / f"{name}.csv", index=False)
    return target


def put(row: int, column: str, value: str) -> Callable[[pd.DataFrame], pd.DataFrame]:
    def change(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[row, column] = value
        return frame

    return change


def test_values_are_what_pandas_reads(files: Path) -> None:
    tables = read_training(files)
    frame = pd.read_csv(files / "train_features.csv").sort_values("sig_id")
    columns = [*tables.signatures.genes, *tables.signatures.cells]
    np.testing.assert_array_equal(tables.signatures.values, frame[columns].to_numpy(dtype=np.float32))
    labels = pd.read_csv(files / "train_targets_nonscored.csv").sort_values("sig_id")
    assert tables.nonscored is not None
    assert list(tables.nonscored.names) == list(labels)[1:]
    np.testing.assert_array_equal(tables.nonscored.values, labels.iloc[:, 1:].to_numpy())


def test_rows_are_joined_by_id_and_not_by_position(files: Path, tmp_path: Path) -> None:
    whole = read_training(files)
    for name in ("train_features", "train_targets_scored", "train_drug"):
        shuffled = edited(files, tmp_path / name, name, lambda frame: frame.sample(frac=1, random_state=0))
        again = read_training(shuffled)
        assert again.hash == whole.hash
        np.testing.assert_array_equal(again.scored.values, whole.scored.values)


def test_the_hash_follows_the_content(files: Path, tmp_path: Path) -> None:
    changed = edited(files, tmp_path / "changed", "train_features", put(3, "g-4", "0.1234"))
    assert read_training(changed).hash != read_training(files).hash


def test_gzipped_files_and_optional_files(files: Path, tmp_path: Path) -> None:
    pd.read_csv(files / "train_features.csv", dtype=str).to_csv(tmp_path / "train_features.csv.gz", index=False)
    shutil.copy(files / "train_targets_scored.csv", tmp_path)
    tables = read_training(tmp_path)
    assert tables.nonscored is None
    assert tables.drugs is None
    np.testing.assert_array_equal(tables.signatures.values, read_training(files).signatures.values)


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("train_features", lambda f: f.drop(columns="cp_dose"), r"train_features.csv has no column 'cp_dose'"),
        ("train_features", lambda f: f.rename(columns={"cp_dose": "cp_doses"}), r"\(is 'cp_doses' meant\?\)"),
        ("train_features", lambda f: f.rename(columns={"g-3": "gene3"}), "column 'gene3' is no feature"),
        ("train_features", lambda f: f.rename(columns={"g-3": "g-4"}), "column 'g-4' stands more than once"),
        ("train_features", lambda f: pd.concat([f, f.iloc[[5]]]), r"sig_id 'id_\w+' stands 2 times"),
        ("train_features", put(3, "g-7", ""), r"g-7 of id_\w+ is missing or not finite \(1 such rows\)"),
        ("train_features", put(3, "c-2", "inf"), r"c-2 of id_\w+ is missing or not finite"),
        ("train_features", put(3, "g-7", "high"), r"column 'g-7', row 5: not a number: 'high'"),
        ("train_features", put(3, "cp_type", "dmso"), r"cp_type of id_\w+ is 'dmso'; it must be trt_cp or ctl_vehicle"),
        ("train_features", lambda f: f.iloc[:0], "has a header but no row"),
        ("train_targets_scored", put(2, "nfkb_inhibitor", "2"), r"label 'nfkb_inhibitor' of id_\w+ is 2; labels must be 0 or 1"),
        ("train_targets_scored", put(2, "nfkb_inhibitor", ""), r"is nan; labels must be 0 or 1"),
        ("train_targets_scored", lambda f: f.iloc[1:], "has no row for sig_id"),
        ("train_targets_nonscored", lambda f: pd.concat([f, f.tail(1).assign(sig_id="id_x")]), "'id_x' is not in the feature file"),
        ("train_targets_nonscored", lambda f: f.drop(columns="sig_id"), "has no column 'sig_id'"),
        ("train_drug", lambda f: f.rename(columns={"drug_id": "drug"}), r"no column 'drug_id' \(is 'drug' meant\?\)"),
    ],
)  # fmt: skip
def test_bad_files_are_named_in_one_sentence(
    name: str, change: Callable[[pd.DataFrame], pd.DataFrame], sentence: str, files: Path, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=sentence) as caught:
        read_training(edited(files, tmp_path / "bad", name, change))
    assert "\n" not in str(caught.value)


def test_missing_files_are_named(files: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        read_training(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"has no train_features\.csv"):
        read_training(tmp_path)
    shutil.copy(files / "train_features.csv", tmp_path)
    with pytest.raises(DataError, match=r"has no train_targets_scored\.csv"):
        read_training(tmp_path)


def test_a_cut_row_is_named(files: Path, tmp_path: Path) -> None:
    text = (files / "train_features.csv").read_text()
    (tmp_path / "cut.csv").write_text(text[: len(text) - 40])
    with pytest.raises(DataError, match=r"cut.csv cannot be read as a table: .*Expected 44 columns, got"):
        read_signatures(tmp_path / "cut.csv")


def test_form_and_labels(files: Path) -> None:
    ids, names = read_form(files / "sample_submission.csv")
    own, labels = read_labels(files / "hidden" / "test_targets_scored.csv")
    assert (ids == own).all()
    assert names == labels.names
