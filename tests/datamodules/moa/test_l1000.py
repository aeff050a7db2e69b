from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.errors import DataError
from datamodules.folds import VALID
from datamodules.moa.features import FeaturePipeline
from datamodules.moa.l1000 import convert
from datamodules.moa.settings import MoaData
from datamodules.moa.split import split
from datamodules.moa.tables import read_training


def write_source(folder: Path) -> Path:
    frame = pd.DataFrame(
        {
            "sig_id": ["a:1", "a:2", "b:1"], "cp_type": ["ctl_vehicle", "trt_cp", "trt_cp"], "cp_time": [24, 6, 24],
            "cp_dose": ["-666", "0.04", "10"], "cell_id": "A375", "drug_id": ["DMSO", "x", "y"], "src": "s",
            "g-0": [0.5, 1.25, -2.0], "g-1": [0.0, 3.0, 1.0],
        }
    )  # fmt: skip
    frame.to_csv(folder / "derived_l1000_features.csv.gz", index=False)
    targets = pd.DataFrame({"sig_id": ["a:1", "a:2", "b:1"], "raf_inhibitor": [0, 1, 0]})
    targets.to_csv(folder / "derived_l1000_targets.csv.gz", index=False)
    return folder


def test_the_converted_folder_is_read_like_any_other(tmp_path: Path) -> None:
    tables = read_training(convert(write_source(tmp_path), tmp_path / "data"))
    assert tables.signatures.ids.tolist() == ["a:1", "a:2", "b:1"]
    assert tables.signatures.dose.tolist() == ["-666", "0.04", "10"]
    assert tables.signatures.cells == ()
    np.testing.assert_array_equal(tables.signatures.values, np.float32([[0.5, 0], [1.25, 3], [-2, 1]]))
    assert tables.scored.values[:, 0].tolist() == [0, 1, 0]
    assert tables.drugs is not None
    assert tables.drugs.tolist() == ["DMSO", "x", "y"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="derived_l1000_features"):
        convert(tmp_path, tmp_path / "data")


@pytest.mark.real_data
def test_real_signatures_make_folds_and_features(real_data: Path, tmp_path: Path) -> None:
    tables = read_training(convert(real_data / "moa", tmp_path / "data"))
    assert tables.signatures.values.shape == (649, 978)
    assert len(tables.scored.names) == 37
    folds = split(tables, MoaData(cv="row"))
    assert ((folds.roles == VALID).sum(axis=1) == 1).all()
    pipeline = FeaturePipeline.fit(
        ["rank_gauss", "pca:genes=20,cells=5", "row_statistics", "one_hot"], tables.signatures
    )
    assert np.isfinite(pipeline(**pipeline.encode(tables.signatures)).numpy()).all()
