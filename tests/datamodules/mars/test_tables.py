from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from datamodules.errors import DataError
from datamodules.mars.tables import read_labels, read_metadata
from tests.datamodules.mars.files import CLASSES, write_data_set


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "data", train=6, val=2, test=2)


def change(folder: Path, name: str, edit: Callable[[str], str]) -> None:
    path = folder / name
    path.write_text(edit(path.read_text()))


def test_tables_are_read_with_three_states_of_derivatized(folder: Path) -> None:
    change(folder, "metadata.csv", lambda text: text.replace("S0001,train,,", "S0001,train,0,"))
    samples = read_metadata(folder)
    assert list(samples.ids[:3]) == ["S0000", "S0001", "S0002"]
    assert list(samples.derivatized[:5]) == [1, 0, -1, -1, 1]
    assert list(samples.splits[5:9]) == ["train", "val", "val", "test"]
    labels = read_labels(samples)
    assert labels.classes == CLASSES
    assert list(labels.known) == [True] * 8 + [False] * 2
    np.testing.assert_array_equal(labels.values[:2, :2], [[1, 0], [0, 1]])


def test_classes_come_from_the_header(folder: Path) -> None:
    for name in ("train_labels.csv", "val_labels.csv"):
        change(folder, name, lambda text: text.replace("mineral", "basalt"))
    assert read_labels(read_metadata(folder)).classes == ("acid", "basalt", "alcohol")


def test_val_labels_may_be_absent(folder: Path) -> None:
    (folder / "val_labels.csv").unlink()
    assert read_labels(read_metadata(folder)).known.sum() == 6


@pytest.mark.parametrize(
    ("name", "old", "new", "sentence"),
    [
        ("metadata.csv", "features_path", "path", "has no column 'features_path'"),
        (
            "metadata.csv",
            "derivatized,",
            "Derivatised,",
            r"has no column 'derivatized' \(is '[Dd]erivatised' meant\?\)",
        ),
        ("metadata.csv", "S0001,train", "S0000,train", "sample_id 'S0000' stands 2 times"),
        (
            "metadata.csv",
            "S0001,train",
            "S0001,tain",
            r"row 3 \(sample 'S0001'\): split is 'tain'; it must be train or",
        ),
        ("metadata.csv", "S0001,train,,", "S0001,train,yes,", "derivatized is 'yes'; it must be empty or 0"),
        ("train_labels.csv", "sample_id", "id", "has no column 'sample_id'"),
        ("val_labels.csv", "mineral", "basalt", "names the classes acid,basalt,alcohol, train_labels.csv acid,mineral"),
        ("train_labels.csv", "S0001,0", "S0001,2", "row 3, column 'acid': '2' is neither 0 nor 1"),
        ("train_labels.csv", "S0001,", "S0099,", "row 3: sample 'S0099' is not in metadata.csv, so it has no features"),
        ("train_labels.csv", "S0001,", "S0007,", "row 3: sample 'S0007' is not of split 'train'"),
        ("train_labels.csv", "S0001,0,1,", "", "cannot be read|neither|no row for sample 'S0001'|not in"),
    ],
)
def test_what_cannot_be_used_is_named(folder: Path, name: str, old: str, new: str, sentence: str) -> None:
    change(folder, name, lambda text: text.replace(old, new))
    with pytest.raises(DataError, match=sentence) as error:
        read_labels(read_metadata(folder))
    assert str(folder / name) in str(error.value)


def test_a_training_sample_without_labels_is_named(folder: Path) -> None:
    change(
        folder, "train_labels.csv", lambda text: "\n".join(line for line in text.splitlines() if "S0003" not in line)
    )
    with pytest.raises(DataError, match=r"train_labels.csv has no row for sample 'S0003' .* \(1 such samples\)"):
        read_labels(read_metadata(folder))


def test_missing_tables_are_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(DataError, match=r"metadata.csv does not exist; --data_dir must be a folder with"):
        read_metadata(tmp_path)
    (folder / "train_labels.csv").unlink()
    with pytest.raises(DataError, match=r"train_labels.csv does not exist"):
        read_labels(read_metadata(folder))
    (folder / "train_labels.csv").write_text("")
    with pytest.raises(DataError, match=r"train_labels.csv is empty"):
        read_labels(read_metadata(folder))
