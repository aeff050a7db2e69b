"""The ``--launch.*`` group: where the jobs of a command run (nothing heavy here: ``--help`` reads this file)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

ENGINES = ("none", "local", "slurm")


@dataclass
class Launch:
    """Jobs of their own for what a command would do one after the other: ``--launch slurm``, ``--launch local``, or ``--launch FILE.yaml`` with these settings.

    Args:
        engine: Where jobs run; none = one after the other in this process, local = several processes of this machine, slurm =
            sbatch through submitit (pip install "podium[cluster]").
        partition: SLURM partition.
        account: SLURM account.
        time: Time limit of a job as sbatch takes it, such as 8:00:00; default: the partition's.
        gpus: GPUs of a job (on each node); default: as many as --devices where GPUs are used.
        cpus: CPU cores of a task.
        memory: Memory of a job on each node, such as 32G.
        parallel: Jobs at a time; default: 256 array tasks, or locally one for every set of GPUs (one without GPUs).
        requeues: How often a job that failed, was pre-empted or ran out of time is started again from its checkpoint.
        sbatch: Further lines of sbatch without their dashes, such as [constraint=a100, qos=long].
        setup: Shell commands before a job, such as [module load cuda].
        signal_seconds: So long before the time limit a job is asked to write its checkpoint.
        wait: Show the table until all jobs have ended; false = submit and leave.
        poll_seconds: Seconds between looks at the jobs.
    """

    engine: Literal["none", "local", "slurm"] = "none"
    partition: str | None = None
    account: str | None = None
    time: str | None = None
    gpus: int | None = None
    cpus: int | None = None
    memory: str | None = None
    parallel: int | None = None
    requeues: int = 3
    sbatch: list[str] = field(default_factory=list)
    setup: list[str] = field(default_factory=list)
    signal_seconds: int = 120
    wait: bool = True
    poll_seconds: float = 5.0

    def __post_init__(self) -> None:
        for name, least in (("parallel", 1), ("cpus", 1), ("gpus", 0), ("requeues", 0), ("signal_seconds", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"--launch.{name} must be at least {least}, got {value}")
        if self.poll_seconds <= 0:
            raise ValueError(f"--launch.poll_seconds must be above 0, got {self.poll_seconds}")

    @property
    def active(self) -> bool:
        """Whether there are jobs at all."""
        return self.engine != "none"


def spell_out(arguments: Sequence[str]) -> list[str]:
    """``--launch slurm`` as ``--launch.engine slurm``; a file name after ``--launch`` stays the group's own YAML file.

    Raises:
        ValueError: It is neither.
    """
    spelt: list[str] = []
    for word in arguments:
        if spelt and spelt[-1] == "--launch":
            if word in ENGINES:
                spelt[-1] = "--launch.engine"
            elif not Path(word).is_file():
                raise ValueError(
                    f"--launch takes {', '.join(ENGINES)} or a YAML file of --launch.* flags, got {word!r}"
                )
        elif word.startswith("--launch=") and word.removeprefix("--launch=") in ENGINES:
            word = f"--launch.engine={word.removeprefix('--launch=')}"
        spelt.append(word)
    return spelt
