"""An Optuna journal that stays in memory during a search and reaches its file now and then.

Every record of a file journal costs a lock and an fsync, several per trial: about 50 ms, ten times what sampler and
objective take. A single process needs neither until it stops; the file stays an ordinary journal that Optuna, its
dashboard and a later search read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import BaseStorage, InMemoryStorage, JournalStorage, RDBStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend

FLUSH_SECONDS = 15.0


class BufferedJournal(BaseJournalBackend):
    """Journal backend of one process.

    Args:
        path: The journal file; what it already holds is read once.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = JournalFileBackend(str(path))
        self._logs: list[dict[str, Any]] = list(self._file.read_logs(0))
        self._written = len(self._logs)
        self._last = time.monotonic()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Records from a number on."""
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Take records; write them when the last time is long enough ago."""
        self._logs += [json.loads(json.dumps(log)) for log in logs]  # as they will be read back
        if time.monotonic() - self._last > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what is not yet in the file."""
        if self._written < len(self._logs):
            self._file.append_logs(self._logs[self._written :])
            self._written = len(self._logs)
        self._last = time.monotonic()


@contextmanager
def open_storage(location: str | None, shared: bool) -> Iterator[BaseStorage]:
    """Memory, a journal file (buffered unless several processes share it), or a database."""
    if location is None:
        yield InMemoryStorage()
    elif "://" in location:
        yield RDBStorage(location)
    elif shared:
        Path(location).parent.mkdir(parents=True, exist_ok=True)
        yield JournalStorage(JournalFileBackend(location))
    else:
        journal = BufferedJournal(Path(location))
        try:
            yield JournalStorage(journal)
        finally:
            journal.flush()
