from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.errors import DataError
from datamodules.mars.demo import DemoSpec, generate
from datamodules.mars.demo.fingerprints import CLASSES, COMPOUNDS, MINERAL
from datamodules.mars.demo.sample import choose_compounds
from datamodules.mars.demo.write import COMBINATIONS
from datamodules.mars.features import read_run
from datamodules.mars.render import rendered
from datamodules.mars.rendering import Rendering
from datamodules.mars.tables import read_labels, read_metadata

SPEC = DemoSpec(train=12, val=4, test=3, seed=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generate(tmp_path_factory.mktemp("demo"), SPEC, processes=1)


def test_the_schema_is_the_competitions(folder: Path) -> None:
    metadata = pd.read_csv(folder / "metadata.csv")
    assert list(metadata) == ["sample_id", "split", "derivatized", "features_path", "features_md5_hash"]
    assert set(metadata["derivatized"].dropna()) <= {1.0}
    for _, row in metadata.iterrows():
        content = (folder / row["features_path"]).read_bytes()
        assert row["features_path"] == f"{row['split']}_features/{row['sample_id']}.csv"
        assert content.startswith(b"time,mass,intensity\n")
        assert hashlib.md5(content).hexdigest() == row["features_md5_hash"]
    form = pd.read_csv(folder / "submission_format.csv")
    assert list(form) == ["sample_id", *CLASSES]
    assert list(form["sample_id"]) == list(metadata["sample_id"][12:])
    assert (form[list(CLASSES)] == 0.5).all(axis=None)


def test_runs_are_like_real_ones(folder: Path) -> None:
    samples = read_metadata(folder)
    labels = read_labels(samples)
    assert labels.classes == CLASSES
    for path in samples.paths[:4]:
        run = read_run(folder / path)
        assert 2_000 < len(run.time) < 120_000
        assert run.time.max() < 52
        assert run.mass.max() < 540
        assert (run.intensity == np.rint(run.intensity)).all()
        assert run.intensity.min() >= 150
    images = rendered(samples, Rendering(), folder.parent / "cache", processes=1).arrays["image"]
    filled = (images > 1e-4).mean(axis=(1, 2))
    assert 0.01 < np.median(filled) < 0.3


def test_the_seed_decides_everything(folder: Path, tmp_path: Path) -> None:
    again = generate(tmp_path, SPEC, processes=1)
    assert (again / "metadata.csv").read_bytes() == (folder / "metadata.csv").read_bytes()
    assert generate(tmp_path, SPEC) == again
    other = generate(tmp_path, DemoSpec(train=12, val=4, test=3, seed=2), processes=1)
    assert (other / "metadata.csv").read_bytes() != (folder / "metadata.csv").read_bytes()
    (again / "demo.json").unlink()
    with pytest.raises(DataError, match="has the name of a demo data set but is none"):
        generate(tmp_path, SPEC)


@pytest.mark.parametrize("combination", list(COMBINATIONS))
def test_every_combination_of_the_competition_can_be_made(combination: str) -> None:
    wanted = {i for i, digit in enumerate(combination) if digit == "1"} - {MINERAL}
    for derivatized in (False, True):
        chosen = choose_compounds(wanted, derivatized, np.random.default_rng(0))
        assert set().union(*(c.classes for c in chosen)) == wanted
        assert derivatized or not any(c.derivatized for c in chosen)
    assert {c.name for c in COMPOUNDS} >= {"toluene", "n-C16"}
