"""Tables around GWI as people have them: read to the plain file's content, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.banks.groups import read_groups
from datamodules.errors import DataError
from datamodules.gwi.archives import unpack_archives
from datamodules.gwi.files import open_test_gathers
from datamodules.gwi.submission import open_submission, template_oids
from experiments.domains.gwi.predict import Gathers
from tests.files.odd_tables import ODD, READ, REFUSED, write_odd

OIDS = ["c3", "å1", "b2"]


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "sample_submission.csv"
    with open_submission(path) as writer:
        writer.append(OIDS, np.full((3, 70, 70), 3000.0))
    return path


@pytest.mark.parametrize("name", READ)
def test_sample_submissions_are_read_to_the_same_oids(name: str, sample: Path, tmp_path: Path) -> None:
    path = write_odd(name, sample)
    assert template_oids(path).tolist() == OIDS
    test = tmp_path / "test"
    test.mkdir()
    for oid in OIDS:
        np.save(test / f"{oid}.npy", np.zeros((5, 1000, 70), np.float32))
    assert Gathers(test, 288, path).rows == 3


@pytest.mark.parametrize("name", READ)
def test_tables_of_families_are_read_to_the_same_groups(name: str, tmp_path: Path) -> None:
    path = tmp_path / "families.csv"
    path.write_text("row_id,group\nå1,Style_A\nb2,FlatVel_A\nc3,Style_B\n", encoding="utf-8")
    assert read_groups(write_odd(name, path), pd.Series(OIDS)).tolist() == ["Style_B", "Style_A", "FlatVel_A"]


@pytest.mark.parametrize("name", REFUSED)
def test_broken_tables_are_named(name: str, sample: Path) -> None:
    with pytest.raises(DataError, match=ODD[name].refused) as caught:
        template_oids(write_odd(name, sample))
    assert "sample_submission.csv" in str(caught.value)


def test_rows_of_a_map_that_do_not_stand_together_are_refused(sample: Path) -> None:
    head, *rows = sample.read_text(encoding="utf-8").splitlines()
    for wrong in (rows[:-1], rows[70:] + rows[:69], rows[1:] + rows[:1], sorted(rows, key=lambda r: r.split("_y_")[1])):
        sample.write_text("\n".join([head, *wrong]) + "\n", encoding="utf-8")
        with pytest.raises(DataError, match="does not list maps one after the other, 70 rows oid_ypos"):
            template_oids(sample)


def test_pointers_of_git_lfs_are_named(tmp_path: Path) -> None:
    for name in ("0a.npy", "FlatVel_A_model1.zip"):
        (tmp_path / name).write_bytes(ODD["git_lfs_pointer"].make(""))
    with pytest.raises(DataError, match=rf"0a\.npy {ODD['git_lfs_pointer'].refused}"):
        open_test_gathers(tmp_path / "0a.npy")
    with pytest.raises(DataError, match=rf"model1\.zip {ODD['git_lfs_pointer'].refused}"):
        unpack_archives(tmp_path, tmp_path / "maps")
