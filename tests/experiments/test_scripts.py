"""Files of ``experiments/`` run as scripts: from any folder, beside any other, without an installation."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPT = str(ROOT / "experiments" / "leap_bilstm.py")


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.run(
        [sys.executable, *words], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )


def test_a_script_finds_its_own_checkout(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()  # a folder of the same name is not taken for the package
    (tmp_path / "experiments" / "__init__.py").write_text("raise RuntimeError('another package')")
    done = run(SCRIPT, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "--data.train_months" in done.stdout


def test_without_the_libraries_it_says_how_to_install(tmp_path: Path) -> None:
    done = run("-S", SCRIPT, "--help", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("error: podium's libraries are not installed")
    assert f"pip install -e {ROOT}" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_list_names_every_declaration(tmp_path: Path) -> None:
    done = run("-m", "experiments", "leap_*", cwd=ROOT)
    assert done.returncode == 0, done.stderr
    names = {path.stem for path in (ROOT / "experiments").glob("leap_*.py")}
    assert {line.split()[0] for line in done.stdout.splitlines()[1:] if line.strip()} >= names
    assert "leap_bilstm_tcn" in done.stdout
    assert "11.8 M" in done.stdout
    assert "0.7855" in done.stdout
    assert run("-m", "experiments", "nothing_like_it", cwd=ROOT).returncode == 2
