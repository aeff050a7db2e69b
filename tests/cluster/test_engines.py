"""The engines themselves: what the other tests rely on."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest


@pytest.mark.slurm
def test_a_job_runs(slurm: dict[str, str], tmp_path: Path) -> None:
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/bash\n#SBATCH --output={tmp_path}/log\nsrun echo ran $SLURM_JOB_ID\n")
    job = subprocess.run(
        ["sbatch", "--parsable", str(script)], check=True, capture_output=True, text=True
    ).stdout.strip()
    deadline = time.monotonic() + 60
    while not (tmp_path / "log").is_file() or not (tmp_path / "log").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.2)
    assert (tmp_path / "log").read_text() == f"ran {job}\n"


@pytest.mark.postgres
def test_the_database_answers(postgres_url: str) -> None:
    sqlalchemy = pytest.importorskip("sqlalchemy")
    with sqlalchemy.create_engine(postgres_url).connect() as connection:
        assert connection.execute(sqlalchemy.text("select 6 * 7")).scalar() == 42
