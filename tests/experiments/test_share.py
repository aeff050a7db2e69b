"""A shared model answers as the run it was made of, and nothing but what was shared is read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from datamodules.leap.convert import open_source
from datamodules.leap.demo import write_kaggle_files
from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.inference import load_pretrained, load_task
from experiments.engine.training import train
from experiments.predict import main as predict
from experiments.share import main as share
from tests.datamodules.leap import hub_server
from tests.experiments.tiny import COLUMNS, flags

FOLDS = ("seed1325-fold0", "seed1325-fold1")


@pytest.fixture(scope="module")
def runs(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two folds of a tiny net."""
    out = tmp_path_factory.mktemp("runs")
    blocks = ("--epochs", "1", "--data.split", "blocks", "--data.n_folds", "2")
    words = [flags(raw_files, out, *blocks, "--fold", fold) for fold in "01"]
    return [train(parse(load_experiment("leap_bilstm_tcn"), each)).path for each in words]


@pytest.fixture(scope="module")
def written(runs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared") / "columns"
    share(["--run", *map(str, runs), "--to", str(folder)])
    return folder


@pytest.fixture
def shared(written: Path, tmp_path: Path) -> Path:
    """A copy, for tests that change it or predict with it."""
    return Path(shutil.copytree(written, tmp_path / "columns"))


@pytest.fixture(scope="module")
def kaggle(raw_files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kaggle_files(
        raw_files, tmp_path_factory.mktemp("kaggle"), train_steps=4, test_rows=50, columns=COLUMNS
    )


@pytest.fixture(scope="module")
def rows(raw_files: Path) -> dict[str, Tensor]:
    """Some columns of the raw files."""
    source = open_source(raw_files, columns=COLUMNS)
    block = next(iter(source.read(next(iter(source.units())))))
    return {name: torch.from_numpy(np.array(block[name])) for name in ("profiles", "scalars", "row_id")}


def answer(place: Path, rows: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        return load_task(place).task.predict_step(rows)["predictions"]


def submission(run: str | Path, kaggle: Path, out: Path) -> pd.DataFrame:
    words = ["--run", str(run), "--input", str(kaggle / "test.csv"), "--submission", str(out), "--accelerator", "cpu"]
    predict(words)
    return pd.read_csv(out)


def test_every_fold_answers_as_its_checkpoint(runs: list[Path], shared: Path, rows: dict[str, Tensor]) -> None:
    answers = [answer(shared / name, rows) for name in FOLDS]
    assert not torch.equal(*answers)
    for run, mine, name in zip(runs, answers, FOLDS, strict=True):
        assert torch.equal(answer(run, rows), mine)
        ours, theirs = load_pretrained(shared / name), load_task(run)
        assert ours.task.model_settings == theirs.task.model_settings
        assert ours.task.optim_settings == theirs.task.optim_settings
        assert ours.data_settings == theirs.data_settings
        for key, value in theirs.task.state_dict().items():  # net, normalisers, scales
            assert torch.equal(ours.task.state_dict()[key], value), key


def test_nothing_in_it_speaks_of_this_machine_or_is_a_pickled_checkpoint(runs: list[Path], shared: Path) -> None:
    files = {path.relative_to(shared).as_posix() for path in shared.rglob("*") if path.is_file()}
    own = {f"{name}/{file}" for name in FOLDS for file in ("model.safetensors", "emulator.pt2", "emulator.json")}
    assert files == {"README.md", "config.json", "checksums.json", *own}
    for name in files:
        content = (shared / name).read_bytes()
        assert str(runs[0].parents[3]).encode() not in content, name
        assert str(Path.cwd()).encode() not in content, name
    sums = json.loads((shared / "checksums.json").read_text())
    assert sums == {
        name: hashlib.sha256((shared / name).read_bytes()).hexdigest() for name in files - {"checksums.json"}
    }


def test_the_card_says_what_the_runs_recorded(runs: list[Path], shared: Path) -> None:
    card = (shared / "README.md").read_text()
    for run, name in zip(runs, FOLDS, strict=True):
        record = json.loads((run / "run.json").read_text())
        score, (low, high) = record["scores"]["leap_bilstm_tcn"]["all"], record["intervals"]["all"]
        assert f"| {name} | {score:.5g} | {low:.5g} to {high:.5g} |" in card
    assert "CC BY 4.0" in card
    assert "jackhuntcn/kaggle-leap-competition-codes" in card
    assert "DEMO" not in card


def test_demo_scores_are_called_so(runs: list[Path], tmp_path: Path) -> None:
    run = Path(shutil.copytree(runs[0], tmp_path / "a" / "b" / "seed1325" / "fold0"))
    record = json.loads((run / "run.json").read_text())
    record.pop("checksum")
    (run / "run.json").write_text(json.dumps({**record, "demo": True}))
    share(["--run", str(run), "--to", str(tmp_path / "demo")])
    assert "**DEMO: " in (tmp_path / "demo" / "README.md").read_text()


def test_prediction_reads_it(runs: list[Path], shared: Path, kaggle: Path, tmp_path: Path) -> None:
    expected = submission(runs[1], kaggle, tmp_path / "run.csv")
    pd.testing.assert_frame_equal(submission(shared / FOLDS[1], kaggle, tmp_path / "shared.csv"), expected)
    assert (shared / FOLDS[1] / "predictions" / "test" / "manifest.json").is_file()
    submission(shared / FOLDS[1], kaggle, tmp_path / "again.csv")  # its own predictions beside it change nothing


def refused(capsys: pytest.CaptureFixture[str], command: object, *words: object) -> str:
    with pytest.raises(SystemExit) as stop:
        command([str(word) for word in words])  # type: ignore[operator]
    assert stop.value.code == 1
    return capsys.readouterr().err


@pytest.mark.parametrize("file", ["config.json", f"{FOLDS[0]}/model.safetensors", f"{FOLDS[1]}/emulator.pt2"])
def test_a_flipped_byte_is_refused_by_name(
    shared: Path, kaggle: Path, file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    content = bytearray((shared / file).read_bytes())
    content[len(content) // 2] ^= 1
    (shared / file).write_bytes(content)
    said = refused(capsys, predict, "--run", shared / FOLDS[0], "--input", kaggle / "test.csv")
    assert f"{shared / file} is not the file that was shared" in said


def test_what_cannot_be_is_refused_in_a_sentence(
    runs: list[Path], shared: Path, kaggle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(capsys, predict, "--run", shared, "--input", kaggle / "test.csv")
    assert f"holds 2 models; name one: {shared}/{FOLDS[0]}, {shared}/{FOLDS[1]}" in said
    assert "is there already" in refused(capsys, share, "--run", runs[0], "--to", shared)
    assert "is given twice" in refused(capsys, share, "--run", runs[0], runs[0], "--to", tmp_path / "twice")
    assert not (tmp_path / "twice").exists()
    assert "is no name on the Hub" in refused(capsys, share, "--run", runs[0], "--to", "hf://nobody")
    (shared / FOLDS[0] / "model.safetensors").unlink()
    said = refused(capsys, predict, "--run", f"{shared}/", "--input", kaggle / "test.csv")
    assert "holds 2 models" in said


def test_torch_and_safetensors_are_enough(runs: list[Path], shared: Path, rows: dict[str, Tensor]) -> None:
    torch.save({name: rows[name] for name in ("profiles", "scalars")}, shared / "rows.pt")
    (shared / "user.py").write_text(
        """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("experiments", "datamodules", "lit_modules", "blend", "lightning", "torchmetrics"):
            raise ImportError("not here: " + name)
sys.meta_path.insert(0, Refuse())
import torch
from safetensors.torch import load_file
state = load_file("seed1325-fold0/model.safetensors")
assert state["targets.target_std"].shape == (368,)
rows = torch.load("rows.pt")
with torch.no_grad():
    torch.save(torch.export.load("seed1325-fold0/emulator.pt2").module()(rows["profiles"], rows["scalars"]), "out.pt")
"""
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "user.py"], cwd=shared, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    scale = load_task(runs[0]).task.bank_scale
    assert torch.equal((torch.load(shared / "out.pt") / scale).float(), answer(runs[0], rows))


def test_a_hub_takes_it_and_gives_it_back(
    runs: list[Path], kaggle: Path, rows: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    with hub_server.serve(hub_server.Hub({})) as hub:
        patched = {  # what HF_ENDPOINT and HF_HUB_CACHE set where the library is imported after them
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
        }
        for name, value in patched.items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", value)
        monkeypatch.setenv("HF_TOKEN", "hf_someone")
        share(["--run", *map(str, runs), "--to", "hf://someone/columns"])
        assert {f"{name}/model.safetensors" for name in FOLDS} <= set(hub.files)
        trained = load_pretrained(f"hf://someone/columns/{FOLDS[1]}")
        with torch.no_grad():
            assert torch.equal(trained.task.predict_step(rows)["predictions"], answer(runs[1], rows))
        assert f"{FOLDS[0]}/model.safetensors" not in hub.downloads()
        mine = submission(f"hf://someone/columns/{FOLDS[0]}", kaggle, tmp_path / "hub.csv")
        pd.testing.assert_frame_equal(mine, submission(runs[0], kaggle, tmp_path / "run.csv"))
        assert (tmp_path / "runs/hub/someone/columns" / FOLDS[0] / "predictions/test/manifest.json").is_file()
        hub.files[f"{FOLDS[0]}/model.safetensors"] += b"0"
        hub.commit = "d" * 40
        said = refused(capsys, predict, "--run", f"hf://someone/columns/{FOLDS[0]}", "--input", kaggle / "test.csv")
        assert "model.safetensors is not the file that was shared" in said
        said = refused(capsys, predict, "--run", "hf://someone/columns/fold7", "--input", kaggle / "test.csv")
        assert "has no model 'fold7'" in said
        hub.files.clear()
        said = refused(capsys, predict, "--run", "hf://someone/nothing", "--input", kaggle / "test.csv")
        assert "config.json cannot be fetched" in said
