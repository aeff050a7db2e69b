from __future__ import annotations

from pathlib import Path

import pytest

from tests.experiments.tiny import write_raw


@pytest.fixture(scope="session")
def raw_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random raw files, written once."""
    return write_raw(tmp_path_factory.mktemp("tiny") / "raw")
