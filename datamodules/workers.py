"""Worker processes that end with the process that started them, however that ends: one home for all pools."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any

from datamodules.errors import DataError
from datamodules.files import usable_cores

_CLEANING_SECONDS = 3.0
_END = signal.SIGABRT  # which nobody else sends


@contextmanager
def worker_pool(
    processes: int | None = None, start: Callable[..., object] | None = None, arguments: tuple[Any, ...] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Spawned workers; where the block is left by an error or a signal they drop what they do and clean up after themselves.

    Args:
        processes: Number of workers; None for one a core.
        start: Called once in every worker.
        arguments: Of ``start``.

    Raises:
        DataError: A worker died, of too little memory most likely.
    """
    context = get_context("spawn")
    reader, writer = context.Pipe(duplex=False)  # its end reaches the workers also when this process is killed
    pool = ProcessPoolExecutor(
        processes or usable_cores(), context, initializer=_begin, initargs=(reader, start, arguments)
    )
    try:
        yield pool
        pool.shutdown()
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process died: start again with fewer processes (what is finished is kept) if memory ran out; a "
            "script of your own needs an 'if __name__ == \"__main__\":' guard"
        ) from error
    finally:
        writer.close()
        pool.shutdown(cancel_futures=True)
        reader.close()


def end_with_parent() -> None:
    """From now on this forked worker leaves signals to its parent and ends when that is gone."""
    parent = parent_process()
    assert parent is not None
    sentinel = parent.sentinel
    for signum in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def watch() -> None:
        wait([sentinel])
        os._exit(1)

    threading.Thread(target=watch, name="end-with-parent", daemon=True).start()


def _begin(told: Connection, start: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    # a scheduler and Ctrl-C reach all processes; what is to be done, the parent decides
    for signum in (signal.SIGINT, signal.SIGUSR1, signal.SIGTERM):
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(_END, _end)
    threading.Thread(target=_listen, args=(told,), name="end-with-parent", daemon=True).start()
    if start is not None:
        start(*arguments)


def _listen(told: Connection) -> None:
    wait([told])
    for _ in range(2):  # the first ends a task, which cleans up; the second the wait for another
        os.kill(os.getpid(), _END)
        time.sleep(_CLEANING_SECONDS)
    os._exit(1)


def _end(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    raise SystemExit(1)
