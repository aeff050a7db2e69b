"""Every notebook runs from its first cell to its last, in a kernel, on data sets of a few rows."""

from __future__ import annotations

import json
import os
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from nbclient import NotebookClient

from datamodules.leap.schema import TARGET_NAMES
from tests.datamodules.mars.files import write_data_set
from tests.docs.shell import ROOT
from tests.docs.test_commands import gwi_files, moa_files

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def execute(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Run a notebook in a folder; gives the submission that it wrote."""
    startup = folder / ".ipython/profile_default/startup/00.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("from tests.docs.notebook_kernel import install; install()")
    monkeypatch.setenv("IPYTHONDIR", str(folder / ".ipython"))
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    (folder / "experiments").symlink_to(ROOT / "experiments")
    book = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    NotebookClient(book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}).execute()
    assert any("image/png" in output.get("data", {}) for output in book.cells[-1].outputs), "it ends with no picture"
    return pd.read_csv(folder / "submission.csv")


def test_leap_with_demo_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = execute("leap", tmp_path, monkeypatch)
    assert list(table) == ["sample_id", *TARGET_NAMES]
    assert np.isfinite(table[list(TARGET_NAMES)].to_numpy()).all()


def test_moa_with_the_competition_s_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moa_files(tmp_path)
    table = execute("moa", tmp_path, monkeypatch)
    features = pd.read_csv(tmp_path / "lish-moa/test_features.csv", usecols=["sig_id", "cp_type"])
    assert (table["sig_id"] == features["sig_id"]).all()
    control = (features["cp_type"] == "ctl_vehicle").to_numpy()
    values = table.drop(columns="sig_id").to_numpy()
    assert (values[control] == 0).all()
    assert ((values[~control] > 0) & (values[~control] < 1)).all()


def test_mars_with_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_data_set(tmp_path / "gcms", train=40)
    table = execute("mars", tmp_path, monkeypatch)
    wanted = pd.read_csv(tmp_path / "gcms/submission_format.csv")
    assert list(table) == list(wanted)
    assert (table["sample_id"] == wanted["sample_id"]).all()


def test_gwi_with_the_competition_s_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "waveform-inversion"
    data.mkdir()
    gwi_files(data)
    (data / "maps").rename(data / "train_samples")
    ids = [f"{oid}_y_{row}" for oid in ("00b", "00a") for row in range(70)]
    columns = [f"x_{column}" for column in range(1, 70, 2)]
    pd.DataFrame({"oid_ypos": ids} | dict.fromkeys(columns, 3000.0)).to_csv(data / "sample_submission.csv", index=False)
    table = execute("gwi", tmp_path, monkeypatch)
    assert list(table["oid_ypos"]) == ids
    assert table[columns].to_numpy().min() >= 1500


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_kept_without_outputs(path: Path) -> None:
    for cell in json.loads(path.read_text())["cells"]:
        assert not cell.get("outputs")
        assert cell.get("execution_count") is None
