"""Tables of MoA data sets as people have them: read to the plain files' content, or refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.errors import DataError
from datamodules.moa.features import FeaturePipeline
from datamodules.moa.settings import MoaData
from datamodules.moa.split import split
from datamodules.moa.tables import read_form, read_labels, read_signatures, read_training
from tests.datamodules.moa.tiny import write_files
from tests.files.odd_tables import ODD, READ, REFUSED, write_odd

TABLES = ("train_features", "train_targets_scored", "train_targets_nonscored", "train_drug")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_files(tmp_path_factory.mktemp("moa") / "plain")
    drugs = folder / "train_drug.csv"
    first = pd.read_csv(drugs)["drug_id"].iloc[0]
    drugs.write_text(drugs.read_text().replace(first, "säure"), encoding="utf-8")  # for the encodings
    return folder


@pytest.fixture
def folder(files: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(files, tmp_path / "data"))


def edit(path: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_csv(path, dtype=str, keep_default_na=False)).to_csv(path, index=False)


@pytest.mark.parametrize("name", READ)
def test_tables_are_read_to_the_same_content(name: str, folder: Path) -> None:
    plain = read_training(folder)
    form = read_form(folder / "sample_submission.csv")
    assert plain.nonscored is not None
    for table in TABLES:
        write_odd(name, folder / f"{table}.csv")
    again = read_training(folder)
    assert again.hash == plain.hash
    assert again.nonscored is not None
    assert again.nonscored.names == plain.nonscored.names  # some hold commas
    ids, targets = read_form(write_odd(name, folder / "sample_submission.csv"))
    assert (list(ids), targets) == (list(form[0]), form[1])


@pytest.mark.parametrize("name", REFUSED)
def test_broken_files_are_named(name: str, folder: Path) -> None:
    with pytest.raises(DataError, match=ODD[name].refused):
        read_labels(write_odd(name, folder / "train_targets_scored.csv"))
    with pytest.raises(DataError, match=ODD[name].refused):
        read_signatures(write_odd(name, folder / "train_features.csv"))


def test_conditions_in_other_spellings_are_the_same_conditions(folder: Path) -> None:
    plain = read_training(folder)

    def spell(frame: pd.DataFrame) -> pd.DataFrame:
        endings = np.array(["", "h", ".0", " hours", " H"])
        frame["cp_time"] = frame["cp_time"] + endings[np.arange(len(frame)) % 5]
        frame["cp_dose"] = np.where(np.arange(len(frame)) % 2, frame["cp_dose"], frame["cp_dose"].str.lower())
        frame["cp_type"] = frame["cp_type"].str.upper()
        return frame.rename(columns=lambda name: name.upper())

    edit(folder / "train_features.csv", spell)
    assert read_training(folder).hash == plain.hash
    edit(folder / "train_features.csv", lambda f: f.assign(CP_TIME=[*f["CP_TIME"][:-1], ""]))
    with pytest.raises(DataError, match=r"cp_time of id_\w+ is empty \(1 such rows\)"):
        read_training(folder)


def test_a_checkpoint_that_knows_hours_by_another_spelling_reads_new_files(folder: Path) -> None:
    rows = read_signatures(folder / "train_features.csv")
    pipeline = FeaturePipeline.fit(("one_hot",), rows)
    encoded = pipeline.encode(rows)["time"]
    pipeline.times = tuple(f"{time}h" for time in pipeline.times)
    assert pipeline.encode(rows)["time"].tolist() == encoded.tolist()


def test_rows_without_a_drug_are_not_one_drug(folder: Path, tmp_path: Path) -> None:
    def forget(frame: pd.DataFrame) -> pd.DataFrame:
        frame.loc[3:6, "drug_id"] = ["", " ", "", ""]
        return frame

    edit(folder / "train_drug.csv", forget)
    tables = read_training(folder)
    with pytest.raises(DataError, match=r"drug_id of id_\w+ is empty \(\d treated rows\), .* or ask for --data.cv row"):
        split(tables, MoaData(), tmp_path)
    assert split(tables, MoaData(cv="row"), tmp_path).n_folds == 5


def test_reordered_columns_of_the_test_file_join_by_name(folder: Path) -> None:
    train, test = (read_signatures(folder / f"{name}_features.csv") for name in ("train", "test"))
    joined = train.join(test)
    edit(folder / "test_features.csv", lambda frame: frame[[*list(frame)[:4], *list(frame)[:3:-1]]])
    again = train.join(read_signatures(folder / "test_features.csv"))
    np.testing.assert_array_equal(again.values, joined.values)
    edit(folder / "test_features.csv", lambda frame: frame.drop(columns="g-3"))
    with pytest.raises(DataError, match="two feature files have different columns"):
        train.join(read_signatures(folder / "test_features.csv"))
