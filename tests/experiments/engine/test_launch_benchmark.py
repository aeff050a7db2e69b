"""The benchmark of the launcher runs as its documentation says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_benchmark_of_the_launcher_prints_its_three_figures() -> None:
    words = [sys.executable, "benchmarks/launch.py", "--runs", "4", "--finished", "5"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^.*\d s? ?.*$", done.stdout, re.MULTILINE)) == 3, done.stdout
