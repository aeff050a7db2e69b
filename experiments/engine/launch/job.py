"""One job: what it is, what is recorded of it, and the process that runs it, ``python -m experiments.engine.launch.job FOLDER``.

A job's folder holds ``job.json``, written by the launcher before it submits, ``status.json``, written by the job itself, and ``log``.
The command that a job runs sees no SLURM, so that a single task trains on all its GPUs as it would on a machine of its own.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import FrameType
from typing import Any, Literal

from filelock import FileLock, Timeout

from datamodules.errors import DataError
from datamodules.files import read_json
from datamodules.signals import as_parent

Phase = Literal["running", "done", "failed", "stopped", "requeued"]
_ERROR = re.compile(r"^(?:error: .*|[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*)$")
_SENTENCE = "error: "
_TAIL_BYTES = 65_536


@dataclass(frozen=True)
class Job:
    """A command to run once.

    Args:
        key: Name of the job, a relative path such as ``moa_simple_nn/demo/seed0/fold1``.
        command: Program and arguments; given again it goes on where it stood.
        after: Keys of the jobs that must be done before.
        run: Run directory that it fills: the job is done when the run is finished too, and its epoch and score are shown.
        devices: GPUs or processes on each node.
        nodes: Machines; with several, every process is a task of SLURM's own.
    """

    key: str
    command: tuple[str, ...]
    after: tuple[str, ...] = ()
    run: Path | None = None
    devices: int = 1
    nodes: int = 1


@dataclass
class Record:
    """``job.json``: a submission.

    Args:
        command: Program and arguments.
        cwd: Where it runs.
        engine: ``local`` or ``slurm``.
        token: Names this submission: SLURM's job name and array index, or a random name.
        requeues: How often it may be started again.
        host: Machine that submitted it.
        submitted: Seconds since 1970.
        gpus: CUDA devices of a local job.
    """

    command: list[str]
    cwd: str
    engine: str
    token: str
    requeues: int
    host: str = field(default_factory=socket.gethostname)
    submitted: float = field(default_factory=time.time)
    gpus: list[str] = field(default_factory=list)


@dataclass
class Status:
    """``status.json``: what the job says of itself.

    Args:
        token: The submission that it belongs to.
        starts: How often the job began, over all submissions since the last success or final failure.
        phase: What it does.
        exit_status: Of the command, where it has ended.
        error: First line of the error.
        id: Job id of SLURM, or process id.
        host: Machine that it runs on.
    """

    token: str
    starts: int = 0
    phase: Phase = "running"
    exit_status: int | None = None
    error: str = ""
    id: str = ""
    host: str = field(default_factory=socket.gethostname)


def write(folder: Path, content: Record | Status) -> None:
    """Write ``job.json`` or ``status.json``, whole or not at all.

    Not flushed to the disk, which takes 14 ms of a launcher's 20 ms a run: what a power cut loses is submitted again.
    """
    path = folder / _name(type(content))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(asdict(content), indent=1))
    temporary.replace(path)


def read(folder: Path, kind: type[Any]) -> Any:
    """Read a :class:`Record` or :class:`Status`, None where there is none.

    Raises:
        DataError: the file holds something else.
    """
    path = folder / _name(kind)
    if not path.is_file():
        return None
    known = [item.name for item in fields(kind)]
    try:
        return kind(**{name: value for name, value in read_json(path).items() if name in known})
    except (TypeError, AttributeError):
        raise DataError(
            f"{path} does not hold {', '.join(known)}; delete it, the job is then submitted again"
        ) from None


def _name(kind: type[Any]) -> str:
    return "job.json" if kind is Record else "status.json"


def run(path: str) -> None:
    """Run the command of a job's folder; where it fails or is told to stop, start it again within its bound.

    Args:
        path: Folder of the job.

    Raises:
        SystemExit: with the command's exit status, where it is not 0.
    """
    folder = Path(path)
    record: Record = read(folder, Record)
    if int(os.environ.get("SLURM_PROCID", "0")) > 0:  # one of many processes of a run on several nodes
        raise SystemExit(_execute(record, folder / f"log.{os.environ['SLURM_PROCID']}").wait())
    with _life(folder):  # one that was submitted twice waits, and then finds its work done
        _run(folder, record)


def _run(folder: Path, record: Record) -> None:
    before: Status | None = read(folder, Status)
    starts = before.starts if before and before.phase != "done" else 0
    status = Status(record.token, starts=starts, id=_own_id())
    while True:
        status.starts += 1
        status.phase, status.exit_status, status.error = "running", None, ""
        if status.starts > record.requeues + 1:
            _end(folder, status, "failed", f"was started {status.starts - 1} times and did not finish", 1)
        write(folder, status)
        log = folder / "log"
        begin = log.stat().st_size if log.is_file() else 0
        told = _Signals()
        child = _execute(record, log)
        told.forward_to(child, record.engine)
        status.exit_status = child.wait()
        if status.exit_status == 0 and not (
            told.warned and _several_tasks()
        ):  # which requeue themselves and end with 0
            _end(folder, status, "done", "", 0)
        status.error = first_error(log, begin) or f"exit status {status.exit_status}"
        if told.terminated:  # cancelled or pre-empted: whoever did that decides what comes next
            _end(folder, status, "stopped", status.error, 143)
        hopeless = not told.warned and (status.error.startswith(_SENTENCE) or status.exit_status == 2)
        if hopeless or status.starts > record.requeues:
            _end(folder, status, "failed", status.error, status.exit_status)
        if record.engine == "slurm":
            status.phase = "requeued"
            write(folder, status)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # by which SLURM ends this process
            subprocess.run(["scontrol", "requeue", _own_id()], check=True)
            time.sleep(600)


def first_error(log: Path, begin: int = 0) -> str:
    """The first line of the last error in a log: a sentence of ours, or the last line of a traceback.

    Args:
        log: The file.
        begin: Byte to begin at.
    """
    lines = _tail(log, begin)
    for line in reversed(lines):
        if _ERROR.match(line):
            return line.strip()
    return lines[-1].strip() if lines else ""


def _tail(path: Path, begin: int) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(begin, size - _TAIL_BYTES))
            return [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return []


class _Signals:
    """SIGTERM and SIGUSR1 while the command runs: remembered, and handed on where nobody else does."""

    def __init__(self) -> None:
        self.terminated = self.warned = False
        self._child: subprocess.Popen[bytes] | None = None
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._handle)

    def forward_to(self, child: subprocess.Popen[bytes], engine: str) -> None:
        """SLURM signals all processes of a job; on one machine only this one is known by its id."""
        if engine == "local":
            self._child = child
            if self.terminated:
                child.terminate()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.terminated = self.terminated or number == signal.SIGTERM
        self.warned = self.warned or number == signal.SIGUSR1
        if self._child is not None:
            self._child.send_signal(number)


def _execute(record: Record, log: Path) -> subprocess.Popen[bytes]:
    environment = {
        name: value for name, value in os.environ.items() if _several_tasks() or not name.startswith("SLURM_")
    }
    environment |= as_parent()  # or the command would go on if this process were killed
    with log.open("ab") as file:
        return subprocess.Popen(record.command, cwd=record.cwd, env=environment, stdout=file, stderr=file)


def _several_tasks() -> bool:
    return int(os.environ.get("SLURM_NTASKS", "1")) > 1


def _end(folder: Path, status: Status, phase: Phase, error: str, exit_status: int) -> None:
    status.phase, status.error = phase, error
    write(folder, status)
    raise SystemExit(exit_status if exit_status >= 0 else 128 - exit_status)


def _own_id() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array else os.environ.get("SLURM_JOB_ID", str(os.getpid()))


def _life(folder: Path) -> FileLock:
    """A lock that a job holds as long as it lives: clocks may be set, and process ids are used again."""
    return FileLock(folder / ".alive")


def is_alive(folder: Path) -> bool:
    """Whether the job of a folder runs on this machine."""
    try:
        with _life(folder).acquire(timeout=0):
            return False
    except Timeout:
        return True


if __name__ == "__main__":
    run(sys.argv[1])
