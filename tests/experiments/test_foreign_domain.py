"""A domain of one's own, in a package of one's own outside of the repository: trained, resumed, predicted, blended, submitted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from datamodules.files import read_json

DATAMODULE = '''
from pathlib import Path
import hashlib, numpy as np, pandas as pd, torch
from datamodules.base import BaseDataModule
from datamodules.errors import DataError
from datamodules.folds import TRAIN, FoldTable

class LineData(BaseDataModule):
    """Rows of line.csv: id, x, y."""
    def read_data(self):
        file = Path(self.data_dir) / "line.csv"
        if not file.is_file():
            raise DataError(f"{file} does not exist")
        self.table = pd.read_csv(file)
        self.data_hash = hashlib.sha256(file.read_bytes()).hexdigest()
        self.folds = FoldTable.from_assignment(self.table["id"].to_numpy(dtype=str), np.arange(len(self.table)) % self.settings.n_folds)
    def rows(self, role):
        return np.arange(len(self.table)) if not self.has_validation else self.folds.where(self.role_fold, role)
    def read(self, rows):
        t = self.table.iloc[rows]
        return {"row_id": torch.from_numpy(rows), "x": torch.tensor(t["x"].to_numpy(), dtype=torch.float32)[:, None],
                "y": torch.tensor(t["y"].to_numpy(), dtype=torch.float32)[:, None]}
    def index(self, rows):
        return pd.DataFrame({"row_id": self.table["id"].to_numpy(dtype=str)[rows]})
    def truth(self, rows):
        return self.table["y"].to_numpy(dtype=np.float64)[rows][:, None]
    def statistics(self):
        return {"mean": np.asarray(self.table["x"].to_numpy()[self.rows(TRAIN)].mean())}
'''
TASK = """
import numpy as np, torch
from torch import nn
from lit_modules.base import BaseTask
from toylab.settings import LineModel

class LineTask(BaseTask):
    monitor, mode = "val_mae", "min"
    model_settings: LineModel
    target_names = ("y",)
    def configure_models(self, statistics):
        self.register_buffer("mean", torch.as_tensor(0.0 if statistics is None else statistics["mean"]).float())
        self.net = nn.Sequential(nn.Linear(1, self.model_settings.hidden), nn.Tanh(), nn.Linear(self.model_settings.hidden, 1))
    def configure_metrics(self):
        self.reset_metrics()
    def reset_metrics(self):
        self._error, self._rows = 0.0, 0
    def forward(self, x):
        return self.net(x - self.mean)
    def compute_loss(self, batch):
        return (self(batch["x"]) - batch["y"]).abs().mean()
    def update_metrics(self, batch):
        error = (self(batch["x"]) - batch["y"]).abs()
        self._error += float(error.sum()); self._rows += len(error)
        return error.mean()
    def metric_table(self):
        return {"mae": self._error / max(1, self._rows)}
    def predict_step(self, batch, batch_idx=0):
        return {"row_id": batch["row_id"], "predictions": self(batch["x"])}
"""
SETTINGS = '''
from dataclasses import dataclass
from typing import ClassVar
from datamodules.settings import Checked, setting

@dataclass
class LineData(Checked):
    """Lines.

    Args:
        n_folds: Number of folds.
    """

    group: ClassVar[str] = "data"
    n_folds: int = setting(2, low=2)

@dataclass
class LineModel(Checked):
    """A small net.

    Args:
        hidden: Width of the hidden layer.
    """

    group: ClassVar[str] = "model"
    hidden: int = setting(4, low=1)
'''
DOMAIN = """
import numpy as np, pandas as pd, torch
from experiments.engine.declare import Domain
from experiments.engine.prediction import PredictionInput, predict_input

LINES = Domain(name="lines", datamodule="toylab.data:LineData", demo="toylab.domain:demo", report="toylab.domain:report",
               predict="toylab.domain:predict", metric="mae", demo_announcement="a line is drawn")

def demo(cache):
    rng = np.random.default_rng(0)
    folder = cache / "lines"
    folder.mkdir(parents=True, exist_ok=True)
    x = rng.normal(size=60)
    pd.DataFrame({"id": [f"r{i}" for i in range(60)], "x": x, "y": 2 * x + 1}).to_csv(folder / "line.csv", index=False)
    return folder

def report(run):
    print("reported", run.settings.experiment.name)

class Rows(PredictionInput):
    def __init__(self, path):
        self.table = pd.read_csv(path)
        super().__init__(path.stem, len(self.table))
    def batches(self, size):
        for start in range(0, self.rows, size):
            t = self.table.iloc[start : start + size]
            yield t["id"].to_numpy(dtype=str), {"row_id": torch.arange(len(t)), "x": torch.tensor(t["x"].to_numpy(), dtype=torch.float32)[:, None]}

def predict(request, trained):
    predict_input(request, trained, Rows(request.input))
"""
EXPERIMENT = '''
"""Lines, a toy: a net of its own package."""
from experiments.engine.declare import Experiment
from experiments.engine.runner import main
from toylab.domain import LINES
from toylab.settings import LineData, LineModel

EXPERIMENT = Experiment(name="{name}", domain=LINES, task="toylab.task:LineTask", model=LineModel({hidden}), data=LineData(), epochs=3, batch_size=8, lr=1e-2)

if __name__ == "__main__":
    main(EXPERIMENT)
'''


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package ``toylab`` and two experiment files."""
    folder = tmp_path_factory.mktemp("lab")
    package = folder / "toylab"
    package.mkdir()
    files = {"__init__": "", "data": DATAMODULE, "task": TASK, "settings": SETTINGS, "domain": DOMAIN}
    for name, text in files.items():
        (package / f"{name}.py").write_text(text)
    for name, hidden in (("lines_small", 4), ("lines_large", 16)):
        (folder / f"{name}.py").write_text(EXPERIMENT.format(name=name, hidden=hidden))
    return folder


def run(lab: Path, *words: str, code: int = 0, config: str = "config") -> str:
    """Run a command in the lab's folder; what it printed."""
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "XDG_CONFIG_HOME": str(lab / config), "WANDB_MODE": "disabled"}
    done = subprocess.run(
        [sys.executable, *words], cwd=lab, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_domain_from_outside_goes_the_whole_way(lab: Path) -> None:
    quiet = ["--wandb", "disabled", "--train.progress", "false", "--accelerator", "cpu"]
    for name in ("lines_small", "lines_large"):
        printed = run(lab, f"{name}.py", "--fold", "all", *quiet)
        assert f"reported {name}" in printed
        assert printed.count("DEMO: a line is drawn") == 1  # once for all folds
    assert "finished before" in run(lab, "lines_small.py", "--fold", "all", *quiet)
    fold = lab / "runs" / "lines_small" / "demo" / "seed0" / "fold0"
    assert read_json(fold / "run.json")["status"] == "finished"
    test = lab / "test.csv"
    pd.DataFrame({"id": ["a", "b", "c"], "x": [0.0, 1.0, -1.0]}).to_csv(test, index=False)
    predict = str(Path(__file__).parents[2] / "experiments" / "predict.py")
    for name in ("lines_small", "lines_large"):
        for number in (0, 1):
            where = f"runs/{name}/demo/seed0/fold{number}"
            run(lab, predict, "--run", where, "--input", "test.csv", "--submission", f"{name}{number}.csv")
    assert list(pd.read_csv(lab / "lines_small0.csv")["row_id"]) == ["a", "b", "c"]
    run(lab, "-m", "blend", "search", "runs/lines_small", "runs/lines_large", "--method", "convex", "--out", "blends/b")
    run(lab, "-m", "blend", "apply", "blends/b", "--predictions", "test", "--submission", "blended.csv")
    blended = pd.read_csv(lab / "blended.csv")
    assert list(blended["row_id"]) == ["a", "b", "c"]
    assert np.isfinite(blended.iloc[:, 1]).all()


def test_a_stopped_run_goes_on(lab: Path) -> None:
    words = [
        "lines_small.py",
        "--wandb",
        "disabled",
        "--train.progress",
        "false",
        "--accelerator",
        "cpu",
        "--out",
        "stopped",
    ]
    words += ["--train.checkpoint_every", "1", "--epochs", "2000"]
    last = lab / "stopped" / "lines_small"
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, "PYTHONPATH": root, "XDG_CONFIG_HOME": str(lab / "config")}
    with subprocess.Popen(
        [sys.executable, *words], cwd=lab, env=environment, stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(last.glob("*/seed0/fold0/checkpoints/last.ckpt")):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        error = process.communicate(timeout=60)[1]
    assert process.returncode == 143
    assert "stopped by SIGTERM" in error
    assert "the same command goes on from " in error
    (run_json,) = last.glob("*/seed0/fold0/run.json")
    assert read_json(run_json)["status"] == "stopped"
    printed = run(
        lab,
        str(Path(root) / "experiments" / "predict.py"),
        "--run",
        str(run_json.parent),
        "--input",
        "test.csv",
        code=1,
    )
    assert "is not finished" in printed


def test_code_that_a_checkpoint_names_is_not_run_unasked(lab: Path) -> None:
    predict = str(Path(__file__).parents[2] / "experiments" / "predict.py")
    words = [predict, "--run", "runs/lines_small/demo/seed0/fold0", "--input", "test.csv"]
    printed = run(lab, *words, code=1, config="another")
    assert "never run by you here" in printed
    assert "--experiment FILE" in printed
    run(lab, *words, "--experiment", "lines_small.py", config="another")
