"""Signals: what a scheduler, a shell or Ctrl-C says, at any moment of any command.

Outside of the training loop a signal ends the work where it stands, which nothing here minds: files appear whole or not at
all, and conversions go on from their journal. Inside of it, all processes agree to stop after the same optimiser step and
write a checkpoint first. The exit status is the shell's own (128 + signal: 143 for SIGTERM, 130 for Ctrl-C), so that grids,
shells and SLURM see that the work is not done. ``SIGUSR1`` under SLURM (``#SBATCH --signal=USR1@90``) requeues the job.
"""

from __future__ import annotations

import atexit
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

PARENT = "PODIUM_PARENT"
"""Process (``pid@node``) that started this one and without which it must not go on."""

_HEARD = [signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else [])]


_SAME, _GRACE = 1.0, 20.0  # seconds


class Stopped(BaseException):
    """The command was told to stop; no ``Exception``, so that nothing takes it for a fault.

    Args:
        signum: The signal.
        words: What was kept and how to go on.
    """

    def __init__(self, signum: int, words: str = "") -> None:
        super().__init__(signum, words)
        self.signum, self.words = signum, words


class _State:
    """What was heard, and whether the training loop will see to it."""

    signum = 0
    patient = False
    heard = (0, 0.0)


def pending() -> int:
    """The signal that waits for the training loop, or 0."""
    return _State.signum


def install() -> None:
    """Hear signals from now on; called again after a library took the handlers."""
    if threading.current_thread() is threading.main_thread():
        for signum in _HEARD:
            signal.signal(signum, _hear)


@contextmanager
def patient() -> Iterator[None]:
    """Inside, the first signal waits for :func:`pending` to be read; a second one ends the work at once."""
    _State.patient = True
    try:
        yield
    finally:
        _State.patient = False


def _hear(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001
    before, at = _State.heard
    _State.heard = signum, time.monotonic()
    if signum == before and time.monotonic() - at < _SAME:
        return  # a scheduler tells all processes of a job, and the one that started this one told it too
    if _State.patient and not _State.signum:
        _State.signum = signum
        return
    _State.signum = 0
    raise Stopped(signum)


@contextmanager
def _told_again() -> Iterator[None]:
    """Tell the signal once more where Python swallowed it: in a finaliser, or a callback of its import locks."""
    before = sys.unraisablehook

    def hook(lost: Any) -> None:
        if not isinstance(lost.exc_value, Stopped):
            before(lost)
            return
        _State.heard = (0, 0.0)
        timer = threading.Timer(0.05, os.kill, (os.getpid(), lost.exc_value.signum))
        timer.daemon = True
        timer.start()

    sys.unraisablehook = hook
    try:
        yield
    finally:
        sys.unraisablehook = before


@contextmanager
def ending_with_status(again: str = "the same command goes on from what is done") -> Iterator[None]:
    """Run a command; a signal ends it with one line and the shell's status for it.

    Args:
        again: How to go on, for the line.

    Raises:
        SystemExit: With 128 + signal, or 0 once a SLURM job is requeued.
    """
    before = {signum: signal.getsignal(signum) for signum in _HEARD}
    _State.signum, _State.patient, _State.heard = 0, False, (0, 0.0)
    install()
    _follow_parent()
    try:
        with _told_again():
            yield
    except (Stopped, KeyboardInterrupt) as stop:
        signum = stop.signum if isinstance(stop, Stopped) else signal.SIGINT
        words = stop.words if isinstance(stop, Stopped) else ""
        name = signal.Signals(signum).name
        print(f"stopped by {name}: {words or again}", file=sys.stderr, flush=True)
        # told twice, by a terminal and by who started it, it ends in peace
        atexit.register(signal.signal, signum, signal.SIG_IGN)
        raise SystemExit(0 if name == "SIGUSR1" and _requeue() else 128 + signum) from None
    finally:
        if threading.current_thread() is threading.main_thread():
            for signum, handler in before.items():
                signal.signal(signum, handler)


def run_child(command: list[str], **options: Any) -> int:
    """Run a command of ours to its end and pass signals on to it; it ends with this process, even if that is killed.

    Args:
        command: Program and arguments.
        options: Of :class:`subprocess.Popen`.

    Returns:
        Its exit status.

    Raises:
        Stopped: A signal came; the child has been told and has ended.
    """
    environment = {**os.environ, **options.pop("env", {}), **as_parent()}
    # a group of its own: Ctrl-C in a terminal reaches this process, which passes it on once
    with subprocess.Popen(command, env=environment, process_group=0, **options) as child:
        try:
            status = child.wait()
        except (Stopped, KeyboardInterrupt) as stop:
            signum = stop.signum if isinstance(stop, Stopped) else signal.SIGINT
            child.send_signal(signum)
            child.wait()
            raise Stopped(signum) from None
    for signum in _HEARD:
        if status in (128 + signum, -signum):
            raise Stopped(signum)
    return status


def as_parent() -> dict[str, str]:
    """The environment variable with which a process that this one starts ends with it."""
    return {PARENT: f"{os.getpid()}@{platform.node()}"}


def _follow_parent() -> None:
    """End this process as SIGTERM does once the one that started it is gone, were it before this one could look."""
    parent, _, node = os.environ.get(PARENT, "").partition("@")
    if not parent.isdecimal() or node != platform.node():
        return
    if int(parent) != os.getppid() and _is_alive(int(parent)):
        return  # it started the one that started this one

    def watch() -> None:
        while os.getppid() == int(parent):
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(_GRACE)
        os._exit(128 + signal.SIGTERM)  # it waits for processes that are gone

    threading.Thread(target=watch, name="follow-parent", daemon=True).start()


def _is_alive(process: int) -> bool:
    import psutil

    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE  # killed, and nobody asked for its status yet
    except psutil.NoSuchProcess:
        return False


def _requeue() -> bool:
    """Give the SLURM job back to the queue, once for all its tasks; whether that was to be done and went well."""
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        return False
    if os.environ.get("SLURM_PROCID", "0") != "0":
        return True
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    job = f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else job
    try:
        done = subprocess.run(["scontrol", "requeue", job], check=False, capture_output=True, text=True)
    except OSError as error:
        print(f"scontrol requeue {job} could not be run: {error}", file=sys.stderr)
        return False
    print(f"requeued job {job}" if done.returncode == 0 else done.stderr.strip(), file=sys.stderr, flush=True)
    return done.returncode == 0
