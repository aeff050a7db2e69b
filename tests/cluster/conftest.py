"""Real engines for the tests marked ``slurm`` and ``postgres``; they skip where the Debian packages cannot be had."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster import engines


@pytest.fixture(scope="session")
def _slurm_engine() -> Iterator[dict[str, str]]:
    try:
        with engines.slurm() as environment:
            yield environment
    except engines.Missing as reason:
        pytest.skip(str(reason))


@pytest.fixture
def slurm(_slurm_engine: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A one-node SLURM of the session's own, to which ``sbatch`` and its sisters speak."""
    for name, value in _slurm_engine.items():
        monkeypatch.setenv(name, value)
    return _slurm_engine


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a PostgreSQL server of the session's own."""
    try:
        with engines.postgres() as url:
            yield url
    except engines.Missing as reason:
        pytest.skip(str(reason))
