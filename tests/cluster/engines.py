"""A one-node SLURM and a PostgreSQL server of our own: real ones, on free loopback ports, in a folder that goes with them."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_START_SECONDS = 60.0
_REVOKED_SECONDS = 3.0


class Missing(Exception):
    """Why an engine cannot be started here."""


@contextmanager
def slurm(cpus: int = 2) -> Iterator[dict[str, str]]:
    """A SLURM controller, node daemon and munge.

    Args:
        cpus: Cores that it believes to have.

    Yields:
        Environment variables with which ``sbatch``, ``srun`` and ``squeue`` speak to it.
    """
    _need("slurmctld", "slurmd", "sbatch", "munged", package="slurm-wlm munge")
    if os.geteuid() != 0:
        raise Missing("slurmd starts jobs as their users, which only root may")
    folder = Path(tempfile.mkdtemp(prefix="slurm-"))
    daemons: list[subprocess.Popen[bytes]] = []
    ended = threading.Event()
    try:
        folder.chmod(0o755)
        socket_file = _start_munge(folder / "munge", daemons)
        config = _configure(folder, socket_file, cpus)
        environment = {"SLURM_CONF": str(config)}
        for program in ("slurmctld", "slurmd"):
            command = [program, "-D", "-f", str(config)]
            log = (folder / f"{program}.out").open("wb")
            daemons.append(subprocess.Popen(command, env={**os.environ, **environment}, stdout=log, stderr=log))
        _wait(lambda: _node_is_idle(environment), "SLURM", folder)
        threading.Thread(target=_hasten, args=(environment, ended), daemon=True).start()
        yield environment
        subprocess.run(["scancel", "--me", "-f"], env={**os.environ, **environment}, check=False, capture_output=True)
        _wait(lambda: not _squeue(environment), "the end of SLURM's jobs", folder)
    finally:
        ended.set()
        _stop(daemons)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def postgres() -> Iterator[str]:
    """A PostgreSQL server.

    Yields:
        Its URL, such as ``postgresql://podium@127.0.0.1:45431/studies``, for SQLAlchemy with psycopg.
    """
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs:
        raise Missing("there is no PostgreSQL server (Debian package postgresql)")
    programs_folder = programs[-1]
    user = "postgres" if os.geteuid() == 0 else None  # the server refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    daemons: list[subprocess.Popen[bytes]] = []
    try:
        if user:
            shutil.chown(folder, user)
        data, port = folder / "data", free_port()
        initdb = [str(programs_folder / "initdb"), "-D", str(data), "-U", "podium", "--auth=trust", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, user=user, cwd=folder)
        command = [
            str(programs_folder / "postgres"), "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(folder),
            "-c", "fsync=off",
        ]  # fmt: skip
        log = (folder / "log").open("wb")
        daemons.append(subprocess.Popen(command, stdout=log, stderr=log, user=user, cwd=folder))
        ask = [str(programs_folder / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
        _wait(lambda: subprocess.run(ask, check=False, capture_output=True).returncode == 0, "PostgreSQL", folder)
        make = [str(programs_folder / "createdb"), "-h", "127.0.0.1", "-p", str(port), "-U", "podium", "studies"]
        subprocess.run(make, check=True, capture_output=True)
        yield f"postgresql+psycopg://podium@127.0.0.1:{port}/studies"
    finally:
        _stop(daemons, signal.SIGINT)  # PostgreSQL's fast shutdown
        shutil.rmtree(folder, ignore_errors=True)


def _start_munge(folder: Path, daemons: list[subprocess.Popen[bytes]]) -> Path:
    """Its own munge with its own key: the machine's may have neither."""
    folder.mkdir()
    folder.chmod(0o755)
    socket_file, key = folder / "socket", folder / "key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    owner = "munge" if "munge" in {entry.pw_name for entry in pwd.getpwall()} else "root"
    for path in (folder, key):
        shutil.chown(path, owner)
    names = {"socket": socket_file, "key-file": key, "log-file": folder / "log", "pid-file": folder / "pid"}
    flags = [f"--{name}={path}" for name, path in names.items()]
    command = ["munged", "--foreground", "--force", f"--seed-file={folder / 'seed'}", *flags]
    daemons.append(subprocess.Popen(command, user=owner, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
    _wait(socket_file.exists, "munge", folder)
    return socket_file


def _configure(folder: Path, socket_file: Path, cpus: int) -> Path:
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().split(".")[0]
    config = folder / "slurm.conf"
    config.write_text(
        f"""ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={free_port()}
SlurmdPort={free_port()}
AuthType=auth/munge
AuthInfo=socket={socket_file}
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/ctld.pid
SlurmdPidFile={folder}/d.pid
SlurmctldLogFile={folder}/ctld.log
SlurmdLogFile={folder}/d.log
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=1,sched_interval=2,bf_interval=2
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
KillWait=15
PreemptMode=REQUEUE
PreemptType=preempt/partition_prio
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=8000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
    )
    return config


def _node_is_idle(environment: dict[str, str]) -> bool:
    asked = ["sinfo", "-h", "-o", "%T"]
    result = subprocess.run(asked, env={**os.environ, **environment}, check=False, capture_output=True, text=True)
    return "idle" in result.stdout


def _hasten(environment: dict[str, str], ended: threading.Event) -> None:
    """Let requeued jobs begin after three seconds; SLURM keeps them waiting for two minutes, a constant of its source.

    A job that begins in the very second in which its last start was called off is killed for a revoked credential.
    """
    environment = {**os.environ, **environment}
    seen: dict[str, float] = {}
    while not ended.wait(0.5):
        asked = ["squeue", "-h", "-r", "-t", "PENDING", "-o", "%i|%r"]
        waiting = subprocess.run(asked, env=environment, check=False, capture_output=True, text=True).stdout
        jobs = {job for job, why in (line.split("|") for line in waiting.splitlines()) if why == "BeginTime"}
        seen = {job: seen.get(job, time.monotonic()) for job in jobs}
        for job in [job for job, since in seen.items() if time.monotonic() - since > _REVOKED_SECONDS]:
            update = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
            subprocess.run(update, env=environment, check=False, capture_output=True)


def _squeue(environment: dict[str, str]) -> str:
    asked = ["squeue", "-h"]
    return subprocess.run(
        asked, env={**os.environ, **environment}, check=False, capture_output=True, text=True
    ).stdout.strip()


def _need(*programs: str, package: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        raise Missing(f"there is no {missing[0]} (Debian packages {package})")


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(ready: object, what: str, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not ready():  # type: ignore[operator]
        if time.monotonic() > deadline:
            logs = "\n".join(
                p.read_text(errors="replace")[-2000:] for p in folder.glob("*") if p.suffix in (".log", ".out")
            )
            raise RuntimeError(f"{what} did not come within {_START_SECONDS:.0f} s\n{logs}")
        time.sleep(0.2)


def _stop(daemons: list[subprocess.Popen[bytes]], number: int = signal.SIGTERM) -> None:
    for daemon in reversed(daemons):
        daemon.send_signal(number)
    for daemon in reversed(daemons):
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()
