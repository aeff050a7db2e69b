from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.errors import DataError
from datamodules.moa.demo import CONTROL_DRUG, DemoSpec, generate
from datamodules.moa.tables import read_training
from tests.datamodules.moa.tiny import SPEC, write_files


def digest(folder: Path) -> str:
    content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*.csv")))
    return hashlib.sha256(content).hexdigest()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("moa") / "demo")


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(files: Path, tmp_path: Path) -> None:
    assert digest(write_files(tmp_path / "again")) == digest(files)
    assert digest(write_files(tmp_path / "other", seed=1)) != digest(files)


def test_a_second_call_finds_the_files_and_another_size_replaces_them(tmp_path: Path) -> None:
    folder = write_files(tmp_path / "demo")
    before = (folder / "train_features.csv").stat().st_mtime_ns
    write_files(folder)
    assert (folder / "train_features.csv").stat().st_mtime_ns == before
    write_files(folder, seed=1)
    assert (folder / "train_features.csv").stat().st_mtime_ns != before
    stranger = tmp_path / "mine"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("keep me")
    with pytest.raises(DataError, match="no demo data"):
        generate(stranger, SPEC)
    assert (stranger / "thesis.txt").exists()


def test_full_width_files_have_the_competitions_schema(tmp_path: Path) -> None:
    folder = generate(tmp_path / "wide", DemoSpec(drugs=20, test_drugs=3, reference_drugs=1))
    headers = {}
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            headers[path.name] = next(csv.reader(file))
    measured = [f"g-{i}" for i in range(772)] + [f"c-{i}" for i in range(100)]
    assert headers["train_features.csv"] == ["sig_id", "cp_type", "cp_time", "cp_dose", *measured]
    assert headers["test_features.csv"] == headers["train_features.csv"]
    assert len(headers["train_targets_scored.csv"]) == 207
    assert len(headers["train_targets_nonscored.csv"]) == 403
    assert "fungal_1,3-beta-d-glucan_synthase_inhibitor" in headers["train_targets_nonscored.csv"]
    assert headers["sample_submission.csv"] == headers["train_targets_scored.csv"]
    assert headers["train_drug.csv"] == ["sig_id", "drug_id"]
    nonscored = pd.read_csv(folder / "train_targets_nonscored.csv").drop(columns="sig_id")
    assert (nonscored.sum() == 0).sum() == 71


def test_rows_drugs_and_controls_are_as_the_recipe_says(files: Path) -> None:
    tables = read_training(files)
    s = tables.signatures
    assert tables.drugs is not None
    assert tables.nonscored is not None
    assert list(s.ids) == sorted(s.ids)
    assert all(len(i) == 12 and i.startswith("id_") for i in s.ids)
    assert s.control.mean() == pytest.approx(0.0784, abs=0.01)
    assert (tables.drugs[s.control] == CONTROL_DRUG).all()
    assert tables.scored.values[s.control].sum() == 0
    assert tables.nonscored.values[s.control].sum() == 0
    assert np.abs(s.values).max() <= 10
    frame = pd.DataFrame(tables.scored.values).groupby(tables.drugs)
    assert (frame.nunique() == 1).all().all(), "labels are a function of the drug"
    counts = pd.Series(tables.drugs[~s.control]).value_counts()
    assert len(counts) == SPEC.drugs
    assert (counts > 18).sum() == SPEC.reference_drugs
    assert counts.mode().tolist() == [6]
    regular = counts.index[counts == 6][0]
    conditions = {(t, d) for t, d in zip(s.time[tables.drugs == regular], s.dose[tables.drugs == regular], strict=True)}
    assert conditions == {(t, d) for t in ("24", "48", "72") for d in ("D1", "D2")}


@pytest.mark.parametrize("seed", [0, 1])
def test_nonscored_targets_have_drugs_enough_and_tell_of_scored_ones(tmp_path: Path, seed: int) -> None:
    """What a first stage on the non-scored targets can hand on, whatever the net: measurements play no part in this."""
    tables = read_training(generate(tmp_path / "labels", DemoSpec(seed=seed, genes=3, cells=2)))
    assert tables.drugs is not None
    assert tables.nonscored is not None
    _, first = np.unique(tables.drugs[~tables.signatures.control], return_index=True)
    treated = np.flatnonzero(~tables.signatures.control)[first]
    scored, nonscored = tables.scored.values[treated].astype(float), tables.nonscored.values[treated].astype(float)
    drugs = nonscored.sum(axis=0)
    assert (drugs == 0).sum() == 71
    assert drugs[drugs > 0].min() >= 20, "a target of a few drugs teaches those drugs"
    # drugs of one mechanism have similar non-scored labels, drugs of different mechanisms do not
    labelled = scored.any(axis=1)
    shared = (scored @ scored.T)[np.ix_(labelled, labelled)] > 0
    alike = np.corrcoef(nonscored[labelled][:, drugs > 0])
    pairs = np.triu(np.ones_like(shared), 1)
    # 0.17 and 0.11 with these seeds; labels drawn without regard to the scored ones give -0.01 to 0.02
    assert alike[pairs & shared].mean() > alike[pairs & ~shared].mean() + 0.05


def test_cells_move_together(files: Path) -> None:
    s = read_training(files).signatures
    cells = s.values[:, len(s.genes) :]
    correlation = np.atleast_2d(np.corrcoef(cells.T))
    assert correlation[np.triu_indices(len(correlation), 1)].mean() > 0.3


def test_hidden_labels_and_the_form_belong_to_the_test_rows(files: Path) -> None:
    form = pd.read_csv(files / "sample_submission.csv")
    hidden = pd.read_csv(files / "hidden" / "test_targets_scored.csv")
    assert list(form) == list(hidden)
    assert (form["sig_id"] == hidden["sig_id"]).all()
    assert (pd.read_csv(files / "test_features.csv")["sig_id"] == form["sig_id"]).all()
    assert set(form["sig_id"]).isdisjoint(read_training(files).signatures.ids)
