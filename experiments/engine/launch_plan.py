"""From experiments and commands to jobs: every fold and seed a job, after those of the stage that it reads; a command in parts."""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from datamodules.errors import DataError
from experiments.engine.launch.engines import make_engine
from experiments.engine.launch.job import Job
from experiments.engine.launch.launcher import Launcher
from experiments.engine.launch.settings import Launch

if TYPE_CHECKING:
    from experiments.engine.cli import Settings

NOT_AGAIN = ("--launch", "none")


def make_launcher(settings: Settings, launch: Launch) -> Launcher:
    """The launcher of an experiment's runs.

    Args:
        settings: Any of them, for hardware and ``--out``.
        launch: The ``--launch.*`` flags.
    """
    daily = settings.daily
    devices = daily.devices if isinstance(daily.devices, int) else 1
    if launch.gpus is None and daily.accelerator == "gpu":
        launch = replace(launch, gpus=devices)
    folder = daily.out.absolute() / "launch"
    return Launcher(daily.out, launch, make_engine(launch, folder, daily.accelerator != "cpu", devices))


def launch_runs(wanted: Sequence[tuple[Settings, Sequence[str]]]) -> bool:
    """Train experiments, each with all its folds, seeds and earlier stages, as jobs of one plan, and print their scores.

    Args:
        wanted: Settings and arguments of each, as from its command line; the first one's ``--launch.*`` hold for all.

    Returns:
        Whether all runs are finished; false where the command leaves before.

    Raises:
        DataError: Jobs that failed for good, or flags that jobs cannot have.
    """
    from experiments.engine.grid import conclude

    plan: dict[str, Job] = {}
    folds = []
    for settings, arguments in wanted:
        own, numbers = plan_runs(settings, arguments)
        plan |= {job.key: job for job in own}
        folds.append(numbers)
    settings = wanted[0][0]
    if plan and not make_launcher(settings, settings.launch).run(list(plan.values())):
        return False
    for (settings, _), numbers in zip(wanted, folds, strict=True):
        if settings.daily.fold == "all" or settings.daily.seeds:
            conclude(settings, numbers)
    return True


def plan_runs(settings: Settings, arguments: Sequence[str]) -> tuple[list[Job], list[int | str]]:
    """Jobs of an experiment: those of the stage before first, and of its own runs those that are not finished; and its folds.

    Args:
        settings: As from the command line.
        arguments: The command line.

    Raises:
        DataError: A finished run is of other data, or ``--resume`` would start a requeued job anew.
    """
    from experiments.engine.grid import one_run, survey
    from experiments.engine.stages import awaits_previous, settings_before

    if settings.daily.resume != "auto":
        raise DataError(
            f"--resume {settings.daily.resume} cannot be launched: a job that is requeued would start there again; move the old "
            "run away or give another --variant"
        )
    first: list[Job] = []
    arguments = list(arguments)
    later = awaits_previous(settings)
    if later and settings.experiment.takes == "predictions":
        before, flags = settings_before(settings)
        first, folds = plan_runs(before, flags)
        meta = before.directory().path.parent.parent
        arguments += ["--data.meta", str(meta)]
        settings = replace(settings, data=replace(settings.data, meta=meta))
    finished: set[tuple[int, int | str]] = set()
    if first:  # what reads predictions that are not there yet is compared with its data by its own process
        folds = folds if settings.daily.fold == "all" else [settings.daily.fold]
    else:
        folds, finished = survey(_anywhere(settings))
    plan = list(first)
    for seed in settings.daily.seed_list:
        for fold in folds:
            if (seed, fold) in finished:
                print(f"{settings.experiment.name}, seed {seed}, fold {fold}: finished before")
                continue
            one = one_run(settings, seed, fold)
            earlier = plan_runs(*settings_before(one))[0] if later and settings.experiment.takes == "weights" else first
            plan += [job for job in earlier if job not in plan]
            reads = [job.key for job in earlier if job.key.startswith(f"{settings.experiment.previous}/")]
            plan.append(_job(one, arguments, reads))
    return plan, folds


def _anywhere(settings: Settings) -> Settings:
    """The settings without their hardware, which the machine that submits need not have; it names no run."""
    daily = replace(settings.daily, accelerator="cpu", devices=1, num_nodes=1, precision="32-true")
    return replace(settings, daily=daily)


def _job(settings: Settings, arguments: Sequence[str], after: Sequence[str]) -> Job:
    daily, run = settings.daily, settings.directory().path
    flags = ["--fold", str(daily.fold), "--seed", str(daily.seed), "--seeds", "", *NOT_AGAIN]
    return Job(
        "/".join(run.parts[-4:]),
        (*settings.experiment.command, *arguments, *flags),
        tuple(after),
        run,
        daily.devices if isinstance(daily.devices, int) else 1,
        daily.num_nodes,
    )


def launch_command(command: Sequence[str], launch: Launch, out: Path, extra: Sequence[Sequence[str]] = ((),)) -> None:
    """Run a command as jobs.

    Args:
        command: Program and arguments.
        launch: The ``--launch.*`` flags.
        out: Folder whose ``launch/`` keeps the jobs' records.
        extra: Further arguments of each job, such as ``("--part", "1/3")``.

    Raises:
        DataError: Jobs that failed for good.
    """
    digest = hashlib.sha256(shlex.join(command).encode()).hexdigest()[:8]
    name = next((Path(word).stem for word in command[1:] if not word.startswith("-")), "command")
    plan = [Job(f"{name}/{digest}/{number}", (*command, *more)) for number, more in enumerate(extra, start=1)]
    folder = out.absolute() / "launch"
    Launcher(out, launch, make_engine(launch, folder, launch.gpus != 0, launch.gpus or 0)).run(plan)
