"""The chain of docs/gwi.md, from gathers to a submission: its commands as they are written, on a data set of a few maps."""

from __future__ import annotations

import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from datamodules.gwi.generate.families import generate_maps
from datamodules.gwi.generate.produce import produce, shard_keys
from datamodules.gwi.simulator import Simulator

ROOT = Path(__file__).parents[2]
FAMILIES = ("FlatVel_A", "Style_B")
TINY_NET = "epochs: 1\nbatch_size: 2\nmodel: {dim: 16, blocks: 1, head_dim: 8}\n"
# what makes a command small without changing what it does; the nets' sizes come from their presets
SMALLER = {"gwi_refine.py": ("--max_iterations", "1"), "gwi_": ("--train.progress", "false", "--accelerator", "cpu")}


def expanded(document: Path, folder: Path) -> list[list[str]]:
    """Arguments of every ``python`` call in the document's bash blocks, as bash itself expands variables and loops."""
    blocks = re.findall(r"```bash\n(.*?)```", document.read_text(), flags=re.DOTALL)
    script = 'python() { printf "%q " "$@"; echo; }\n' + "\n".join(blocks)
    done = subprocess.run(["bash", "-eu", "-c", script], cwd=folder, capture_output=True, text=True, check=True)
    return [shlex.split(line) for line in done.stdout.splitlines()]


def call(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``python WORDS`` does, in this process, where torch is imported already."""
    module = words[0] == "-m"
    target, arguments = (words[1], words[2:]) if module else (words[0], words[1:])
    name = Path(target).name
    smaller = next((flags for prefix, flags in SMALLER.items() if name.startswith(prefix)), ())
    monkeypatch.setattr(sys, "argv", [target, *arguments, *smaller])
    ended = 0
    try:
        if module:
            runpy.run_module(target, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(target, run_name="__main__")
    except SystemExit as end:
        ended = end.code or 0
    assert not ended, f"{shlex.join(words)} ended with {ended}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with this repository's experiments, tiny presets of the same names, ``maps`` and ``test``."""
    shown = tmp_path / "experiments"
    shown.mkdir()
    for path in (ROOT / "experiments").glob("*.py"):
        (shown / path.name).symlink_to(path)
    for preset in (ROOT / "experiments" / "presets").glob("gwi_*/*.yaml"):
        (variant,) = re.findall(r"^variant: (\w+)", preset.read_text(), flags=re.MULTILINE)
        target = shown / "presets" / preset.parent.name / preset.name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(f"variant: {variant}\n{TINY_NET}")
    (tmp_path / "blend").symlink_to(ROOT / "blend")
    produce(tmp_path / "maps", [k for f in FAMILIES for k in shard_keys(f, 0, 4, 2, gathers="compact")], progress=False)
    (tmp_path / "test").mkdir()
    with torch.no_grad():
        gathers = Simulator()(torch.from_numpy(generate_maps("FlatVel_A", 1, range(2)))).numpy()
    for oid, one in zip(("00a", "00b"), gathers, strict=True):
        np.save(tmp_path / "test" / f"{oid}.npy", one)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_chain_runs_as_it_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = expanded(ROOT / "docs" / "gwi.md", folder)
    assert len(commands) >= 15
    for words in commands:
        call(words, monkeypatch)
    printed = capsys.readouterr().out
    assert "clip: 1500 to 4500" in printed
    assert "loss of not measured" not in printed
    submission = pd.read_csv(folder / "submission.csv")
    assert len(submission) == 140
    assert submission.iloc[:, 1:].to_numpy().min() >= 1500
    refined = folder / "runs/gwi_inversion_exact/full/seed0/fold0/bank_refined/manifest.json"
    assert refined.stat().st_size > 0
