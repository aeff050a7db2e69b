"""A tiny data set and finished runs on it, for what is broken on purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from experiments.engine.cli import parse
from experiments.engine.run_directory import RunDirectory
from experiments.engine.training import train
from experiments.leap_bilstm import EXPERIMENT
from tests.experiments.tiny import flags, write_raw


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random raw files, written once."""
    return write_raw(tmp_path_factory.mktemp("faults") / "raw")


@pytest.fixture(scope="session")
def finished(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A finished run that tests copy before they break it."""
    out = tmp_path_factory.mktemp("finished") / "runs"
    return train(parse(EXPERIMENT, flags(raw, out, "--epochs", "1", "--train.figures", "false")))
