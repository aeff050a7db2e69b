"""Where jobs run: SLURM through submitit, or processes of this machine."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

from datamodules.errors import DataError
from experiments.engine.launch import job as jobs
from experiments.engine.launch.job import Job, Record, Status
from experiments.engine.launch.settings import Launch

_MOST_OF_AN_ARRAY = 1000  # SLURM's MaxArraySize is 1001 unless raised
_BIRTH_SECONDS = 20.0


class Seen(NamedTuple):
    """A job that an engine knows of.

    Args:
        phase: ``queued`` or ``running``.
        id: SLURM's id, or a process id.
        why: Why it waits, where the engine says so.
    """

    phase: Literal["queued", "running"]
    id: str
    why: str = ""


class Engine(Protocol):
    """What the launcher asks of an engine."""

    def see(self, records: Mapping[str, Record], statuses: Mapping[str, Status]) -> dict[str, Seen] | None:
        """The jobs that wait or run, by token; None where the engine does not answer."""
        ...

    def room(self, running: int, records: Sequence[Record]) -> int:
        """How many more jobs may be submitted now."""
        ...

    def submit(self, folders: Sequence[tuple[Job, Path]], after: Sequence[str], running: Sequence[Record]) -> None:
        """Submit jobs of one kind.

        Args:
            folders: Jobs and their folders.
            after: Ids of the jobs that must be done before.
            running: Records of the jobs that run now.
        """
        ...

    def cancel(self, id: str) -> None:
        """End a job."""
        ...


class Slurm:
    """``sbatch`` through submitit: job arrays, dependencies, requeues.

    States come from one ``squeue`` for all jobs, not from submitit's watcher: that asks ``sacct``, which small clusters do
    not have, and forgets jobs of another process.

    Args:
        settings: The ``--launch.*`` flags.
        folder: Folder of the batch scripts.

    Raises:
        DataError: there is no SLURM here, or no submitit.
    """

    def __init__(self, settings: Launch, folder: Path) -> None:
        if shutil.which("sbatch") is None:
            raise DataError(
                "--launch slurm: there is no sbatch on this machine; log in to the cluster, or give --launch local"
            )
        try:
            import submitit  # noqa: F401
        except ImportError:
            raise DataError('--launch slurm needs submitit: pip install "podium[cluster]"') from None
        self._settings = settings
        self._folder = folder

    def see(self, records: Mapping[str, Record], statuses: Mapping[str, Status]) -> dict[str, Seen] | None:
        """One ``squeue``: a job's name and array index are its token."""
        asked = ["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--format=%i|%j|%T|%r"]
        result = subprocess.run(asked, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            return None
        seen = {}
        for line in result.stdout.splitlines():
            id, name, state, why = line.split("|", 3)
            phase: Literal["queued", "running"] = "running" if state in ("RUNNING", "COMPLETING") else "queued"
            if why == "DependencyNeverSatisfied":
                self.cancel(id)
                continue
            seen[f"{name}/{id.partition('_')[2] or 0}"] = Seen(phase, id, "" if why == "None" else why)
        return seen

    def room(self, running: int, records: Sequence[Record]) -> int:
        """SLURM queues."""
        return sys.maxsize

    def submit(self, folders: Sequence[tuple[Job, Path]], after: Sequence[str], running: Sequence[Record]) -> None:
        """One array of jobs."""
        for start in range(0, len(folders), _MOST_OF_AN_ARRAY):
            self._submit(folders[start : start + _MOST_OF_AN_ARRAY], after)

    def _submit(self, folders: Sequence[tuple[Job, Path]], after: Sequence[str]) -> None:
        import submitit

        job, settings = folders[0][0], self._settings
        name = f"{job.key.split('/')[0]}-{uuid.uuid4().hex[:8]}"
        for index, (member, folder) in enumerate(folders):
            jobs.write(folder, _record(member, "slurm", f"{name}/{index}", settings))
        executor = submitit.SlurmExecutor(folder=self._folder, max_num_timeout=0)
        executor.update_parameters(
            job_name=name,
            time=None,
            wckey=None,
            nodes=job.nodes,
            ntasks_per_node=job.devices if job.nodes > 1 else 1,
            array_parallelism=settings.parallel or 256,
            stderr_to_stdout=True,
            setup=settings.setup or None,
            dependency=f"afterok:{':'.join(after)}" if after else None,
            additional_parameters=self._flags(),
        )
        try:
            with executor.batch():
                for _, folder in folders:
                    executor.submit(jobs.run, str(folder))
        except submitit.core.utils.FailedJobError as error:
            for _, folder in folders:
                (folder / "job.json").unlink()
            raise DataError(f"sbatch refused the jobs: {str(error).strip().splitlines()[-1]}") from None

    def _flags(self) -> dict[str, Any]:
        settings = self._settings
        named = {
            "partition": settings.partition, "account": settings.account, "time": settings.time, "mem": settings.memory,
            "cpus-per-task": settings.cpus, "gpus-per-node": settings.gpus or None,
        }  # fmt: skip
        flags: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
        flags |= {"requeue": True, "signal": f"USR1@{settings.signal_seconds}"}
        if shutil.which("scontrol"):
            flags["kill-on-invalid-dep"] = "yes"
        for line in settings.sbatch:
            key, _, value = line.lstrip("-").partition("=")
            flags[key] = value or True
        return flags

    def cancel(self, id: str) -> None:
        """``scancel``."""
        subprocess.run(["scancel", id], check=False, capture_output=True)


class Local:
    """Processes of this machine, so many at a time; what waits is started by whichever command watches the jobs.

    Not submitit's local executor: it starts all jobs at once, ends them with the terminal, and cannot say of a job that another
    process started whether it still runs.

    Args:
        settings: The ``--launch.*`` flags.
        folder: Folder of the jobs' folders.
        gpus: CUDA devices that jobs may use.
        gpus_per_job: How many of them each gets.
    """

    def __init__(self, settings: Launch, folder: Path, gpus: Sequence[str], gpus_per_job: int) -> None:
        self._settings, self._folder = settings, folder
        self._gpus, self._each = list(gpus), gpus_per_job
        if gpus_per_job > len(gpus):
            raise DataError(f"a job is to have {gpus_per_job} GPUs, but {len(gpus)} are visible; give --launch.gpus")
        most = len(gpus) // gpus_per_job if gpus_per_job else settings.parallel or 1
        self._parallel = min(settings.parallel or most, most)
        self._children: list[subprocess.Popen[bytes]] = []

    def see(self, records: Mapping[str, Record], statuses: Mapping[str, Status]) -> dict[str, Seen] | None:
        """The processes that live, and those that are just being born."""
        for child in self._children:
            child.poll()  # or it stays a zombie
        seen = {}
        for key, record in records.items():
            status = statuses.get(key)
            begun = status is not None and status.token == record.token
            newborn = not begun and time.time() - record.submitted < _BIRTH_SECONDS
            if newborn or jobs.is_alive(self._folder / key):
                seen[record.token] = Seen("running", status.id if status is not None and begun else "")
        return seen

    def room(self, running: int, records: Sequence[Record]) -> int:
        """Free places."""
        return max(0, self._parallel - running)

    def submit(self, folders: Sequence[tuple[Job, Path]], after: Sequence[str], running: Sequence[Record]) -> None:
        """Start a process of its own session for each, which outlives this one."""
        taken = {gpu for record in running for gpu in record.gpus}
        for job, folder in folders:
            free = [gpu for gpu in self._gpus if gpu not in taken][: self._each]
            taken |= set(free)
            environment = dict(os.environ)
            if self._gpus:
                environment["CUDA_VISIBLE_DEVICES"] = ",".join(free)
            record = _record(job, "local", uuid.uuid4().hex, self._settings)
            record.gpus = free
            jobs.write(folder, record)
            command = [sys.executable, "-m", jobs.__name__, str(folder)]
            if self._settings.setup:
                command = ["bash", "-c", " && ".join([*self._settings.setup, 'exec "$0" "$@"']), *command]
            with (folder / "launcher.log").open("ab") as log:
                self._children.append(
                    subprocess.Popen(
                        command,
                        env=environment,
                        start_new_session=True,
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                    )
                )

    def cancel(self, id: str) -> None:
        """SIGTERM to the job's process, which hands it on."""
        with suppress(ProcessLookupError):
            os.kill(int(id), signal.SIGTERM)


def _record(job: Job, engine: str, token: str, settings: Launch) -> Record:
    return Record(list(job.command), str(Path.cwd()), engine, token, settings.requeues)


def by_kind(ready: Sequence[Job], dependencies: Mapping[str, tuple[str, ...]]) -> list[list[Job]]:
    """Jobs that one array can hold: the same dependencies and the same resources, in order."""

    def kind(job: Job) -> tuple[Any, ...]:
        return dependencies[job.key], job.devices, job.nodes, job.key.split("/")[0]

    return [list(group) for _, group in groupby(ready, kind)]


def make_engine(settings: Launch, folder: Path, uses_gpus: bool, devices: int) -> Engine:
    """The engine of the flags.

    Args:
        settings: The ``--launch.*`` flags.
        folder: Folder of the launcher's own files.
        uses_gpus: Whether the jobs use GPUs where there are any.
        devices: GPUs of a job, where ``--launch.gpus`` does not say.
    """
    if settings.engine == "slurm":
        return Slurm(settings, folder / "batches")
    gpus = visible_gpus() if uses_gpus else []
    return Local(settings, folder, gpus, (devices if settings.gpus is None else settings.gpus) if gpus else 0)


def visible_gpus() -> list[str]:
    """CUDA devices of this machine by the names that ``CUDA_VISIBLE_DEVICES`` takes."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(i) for i in range(count)]
