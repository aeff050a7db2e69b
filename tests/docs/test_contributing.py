"""The experiment that CONTRIBUTING.md adds, added as it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.shell import ROOT
from tests.experiments.tiny import flags, write_raw


def test_the_new_experiment_trains(tmp_path: Path) -> None:
    (source,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    (name,) = re.findall(r'column_net\("(\w+)"', source)
    file = tmp_path / f"{name}.py"
    file.write_text(source)
    raw = write_raw(tmp_path / "raw")
    done = subprocess.run(
        [sys.executable, str(file), *flags(raw, tmp_path / "runs", "--epochs", "1", net=("--model.hidden", "4"))],
        capture_output=True, text=True, cwd=ROOT, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(list((tmp_path / "runs" / name).glob("*/seed1325/fold0/bank/predictions.npy"))) == 1
