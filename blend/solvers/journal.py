"""An Optuna journal that stays in memory during a search and reaches its file now and then.

Every record of a file journal costs a lock and an fsync, several per trial: about 50 ms, ten times what sampler and
objective take. A single process needs neither until it stops; the file stays an ordinary journal that Optuna, its
dashboard and a later search read.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from optuna.storages import (
    BaseStorage,
    InMemoryStorage,
    JournalStorage,
    RDBStorage,
    RetryHeartbeatStaleTrialCallback,
)
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.study import Study
from optuna.trial import FrozenTrial

from datamodules.banks.bank import BankError

FLUSH_SECONDS = 10.0
HEARTBEAT_SECONDS = 15  # a worker that was silent for twice as long is dead
RETRIES = 3


@contextmanager
def intact(path: Path) -> Iterator[None]:
    """Inside, a study is read: Optuna trusts its file, and raises whatever it stumbles over.

    Raises:
        BankError: the file is damaged.
    """
    try:
        yield
    except (BankError, OSError):
        raise
    except Exception as error:
        raise BankError(
            f"{path} is a damaged study ({type(error).__name__}: {error}); delete it or give another --storage"
        ) from None


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
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._timer = threading.Thread(target=self._flush_now_and_then, daemon=True)
        self._timer.start()

    def read_logs(self, log_number_from: int) -> Iterator[dict[str, Any]]:
        """Records from a number on."""
        yield from self._logs[log_number_from:]

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Take records; a thread writes them, however long a trial takes."""
        with self._lock:
            self._logs += [json.loads(json.dumps(log)) for log in logs]  # as they will be read back

    def _flush_now_and_then(self) -> None:
        while not self._closed.wait(FLUSH_SECONDS):
            self.flush()

    def flush(self) -> None:
        """Write what is not yet in the file."""
        with self._lock:
            if self._written < len(self._logs):
                self._file.append_logs(self._logs[self._written :])
                self._written = len(self._logs)

    def close(self) -> None:
        """Write the rest and stop."""
        self._closed.set()
        self.flush()


@contextmanager
def open_storage(location: str | None, shared: bool) -> Iterator[BaseStorage]:
    """Memory, a journal file (buffered unless several processes share it), or a database.

    Raises:
        BankError: the database does not answer, its driver is missing, or the journal is damaged.
    """
    if location is None:
        yield InMemoryStorage()
    elif is_database(location):
        database = _open_database(location)
        try:
            yield database
        finally:
            database.remove_session()
            database.engine.dispose()
    elif shared:
        Path(location).parent.mkdir(parents=True, exist_ok=True)
        with intact(Path(location)):
            storage = JournalStorage(JournalFileBackend(location))
        yield storage
    else:
        with intact(Path(location)):
            journal = BufferedJournal(Path(location))
        try:
            with intact(Path(location)):
                storage = JournalStorage(journal)
            yield storage
        finally:
            journal.close()


def is_database(location: str | None) -> bool:
    """Whether a storage is the URL of a database, which workers on several machines can share."""
    return location is not None and "://" in location


def retry_trial(study: Study, trial: FrozenTrial) -> None:
    """Give the parameters of a trial whose worker died to the next worker, a few times at most."""
    RetryHeartbeatStaleTrialCallback(max_retry=RETRIES)(study, trial)


def _open_database(url: str) -> RDBStorage:
    # SQLAlchemy takes psycopg2 for a bare postgresql://, the extra brings its successor
    named = url.replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        from sqlalchemy.exc import ArgumentError, OperationalError

        return RDBStorage(
            named,
            engine_kwargs={"pool_pre_ping": True},
            heartbeat_interval=HEARTBEAT_SECONDS,
            heartbeat_stale_trial_callback=retry_trial,
        )
    except ImportError:
        raise BankError(
            f'--storage {without_password(url)} needs a database driver: pip install "podium[database]"'
        ) from None
    except (ArgumentError, OperationalError) as error:
        reason = str(error.orig if isinstance(error, OperationalError) else error).strip().splitlines()[0]
        raise BankError(f"--storage {without_password(url)} cannot be opened: {reason}") from None


def without_password(url: str) -> str:
    """A storage as it may be printed."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)
