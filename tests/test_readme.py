"""The README's commands: all of them parse, and the flow from training to a submission runs at a small size."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blend.__main__ import build_parser as blend_parser
from blend.__main__ import main as blend
from datamodules.leap.demo import write_kaggle_files
from datamodules.leap.schema import TARGET_NAMES, zero_weight_mask
from experiments.engine.cli import build_parser, parse
from experiments.engine.declare import load_experiment
from experiments.engine.training import train
from experiments.predict import main as predict
from tests.experiments.tiny import COLUMNS, flags, write_raw

ROOT = Path(__file__).parents[1]
EXPERIMENTS = {path.stem for path in (ROOT / "experiments").glob("*.py") if "EXPERIMENT" in path.read_text()}
NETS = ("leap_bilstm", "leap_bigru", "leap_bilstm_cnn")


def commands(document: str) -> list[str]:
    """Command lines of the bash blocks; a ``for net in ...`` loop is unrolled."""
    lines: list[str] = []
    for block in re.findall(r"```bash\n(.*?)```", (ROOT / document).read_text(), flags=re.DOTALL):
        for raw in block.replace("\\\n", " ").splitlines():
            line = raw.split(" #")[0].strip()
            loop = re.fullmatch(r"for net in (.*?); do (.*); done", line)
            for part in [loop[2].replace("$net", net) for net in loop[1].split()] if loop else [line]:
                lines += [command.strip() for command in part.split("&&")]
    return lines


@pytest.mark.parametrize("document", ["README.md", "docs/distributed.md"])
def test_every_experiment_command_parses(document: str) -> None:
    found = 0
    for line in commands(document):
        words = shlex.split(line)
        if words[:1] == ["python"] and len(words) > 1 and Path(words[1]).stem in EXPERIMENTS:
            parser = build_parser(load_experiment(Path(words[1]).stem))
            parser.parse_args([word.replace("$SCRATCH", "scratch") for word in words[2:]])
            found += 1
        if words[:3] == ["python", "-m", "blend"]:
            blend_parser().parse_args(words[3:])
            found += 1
    assert found >= 2


def test_the_install_and_test_commands_are_those_that_ci_calls() -> None:
    lines = commands("README.md")
    assert 'pip install -e ".[test]"' in lines
    assert "pytest" in lines
    script = (ROOT / ".ci" / "run").read_text()
    assert re.search(r'pip install .*-e "\.\[test\]"', script)
    assert re.search(r"^pytest$", script, flags=re.MULTILINE)


def test_train_search_apply_submit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The five commands of "Predict, blend, submit", on a data set of 128 rows."""
    raw = write_raw(tmp_path / "raw")
    monkeypatch.chdir(tmp_path)
    runs = []
    for name in NETS:
        settings = parse(load_experiment(name), flags(raw, tmp_path / "runs", "--epochs", "2", "--model.layers", "1"))
        runs.append(train(settings).path)
    kaggle = write_kaggle_files(raw, tmp_path / "kaggle", train_steps=4, test_rows=40, columns=COLUMNS)
    for run in runs:
        predict(["--run", str(run), "--input", str(kaggle / "test.csv"), "--accelerator", "cpu"])
    banks = [f"runs/{name}" for name in NETS]
    assert blend(["search", *banks, "--method", "optuna", "--trials", "20", "--out", "blends/first"]) == 0
    arguments = ["apply", "blends/first", "--predictions", "test", "--submission", "submission.csv"]
    assert blend([*arguments, "--template", str(kaggle / "sample_submission.csv")]) == 0
    submission = pd.read_csv("submission.csv", float_precision="round_trip")
    solution = pd.read_csv(kaggle / "solution.csv", float_precision="round_trip")
    assert list(submission) == ["sample_id", *TARGET_NAMES]
    assert (submission["sample_id"] == solution["sample_id"]).all()
    values = submission[list(TARGET_NAMES)].to_numpy()
    assert np.isfinite(values).all()
    assert (values[:, zero_weight_mask()] == 0).all()
    assert (tmp_path / "blends" / "first" / "report.md").is_file()
