"""Systems of several stages: the experiment before is trained first, then this one takes its predictions or its weights.

Out-of-fold ``predictions`` of every fold and seed become inputs (``--data.meta``), so all stages share one fold table;
``weights`` of the same fold and seed are where training starts (``--init_from``). What is finished is not trained again, so the
same command goes on between stages as it does within one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.errors import DataError
from experiments.engine.cli import Settings, resolve
from experiments.engine.declare import load_experiment
from experiments.engine.grid import run_grid
from experiments.engine.processes import is_first_process, launcher
from experiments.engine.run_directory import RunDirectory

if TYPE_CHECKING:
    pass

_HANDED_ON = (
    "data_dir",
    "devices",
    "num_nodes",
    "accelerator",
    "precision",
    "wandb",
    "wandb_project",
    "wandb_entity",
    "wandb_tags",
    "wandb_artifacts",
    "logger",
    "out",
)


def train_previous(settings: Settings, arguments: Sequence[str]) -> tuple[Settings, list[str]]:
    """Train the stage before where it is not finished, and add what it gives to the settings.

    Args:
        settings: Settings of this stage.
        arguments: Arguments of its command line.

    Returns:
        The settings and arguments with ``data.meta`` or ``init_from``; unchanged where there is no stage before, or where the
        user names its runs.

    Raises:
        DataError: the stage before failed, or a launcher would have to start it.
    """
    experiment, daily = settings.experiment, settings.daily
    if not awaits_previous(settings):
        return settings, list(arguments)
    if experiment.takes == "weights" and (daily.fold == "all" or daily.seeds):
        return settings, list(arguments)  # each fold of each seed sees to its own
    before, flags = settings_before(settings)
    _train(before, flags)
    settings = take(settings, before.directory().path)
    if experiment.takes == "predictions":
        return settings, [*arguments, "--data.meta", str(settings.data.meta)]
    return settings, [*arguments, "--init_from", str(settings.daily.init_from)]


def awaits_previous(settings: Settings) -> bool:
    """Whether there is a stage before whose runs the user does not name, nor does without."""
    experiment = settings.experiment
    if not experiment.previous:
        return False
    named = settings.data.meta if experiment.takes == "predictions" else settings.daily.init_from
    return named is None


def take(settings: Settings, run: Path) -> Settings:
    """Settings that take what a run of the stage before gives.

    Args:
        settings: Settings of this stage.
        run: The run directory to start from, or any of those whose predictions become inputs.
    """
    if settings.experiment.takes == "predictions":
        return replace(settings, data=replace(settings.data, meta=run.parent.parent))
    return replace(settings, daily=replace(settings.daily, init_from=run))


def settings_before(settings: Settings) -> tuple[Settings, list[str]]:
    """Settings and arguments of the stage before: the same data, hardware and output, and the data flags that both declare alike.

    Where its weights are taken, the flags of the net too.
    """
    daily, experiment = settings.daily, load_experiment(settings.experiment.previous)
    flags: dict[str, Any] = {name: getattr(daily, name) for name in _HANDED_ON}
    flags["fold"] = "all" if settings.experiment.takes == "predictions" else daily.fold
    flags["seed"] = daily.seed
    if daily.seeds and flags["fold"] == "all":
        flags["seeds"] = daily.seeds
    flags |= {f"train.{name}": getattr(settings.train, name) for name in ("progress", "figures", "compile")}
    ours, theirs = (resolve(e, [], settings.demo) for e in (settings.experiment, experiment))
    for group in ("data", "model") if settings.experiment.takes == "weights" else ("data",):
        flags |= _changed(group, *(asdict(getattr(s, group)) for s in (settings, ours, theirs)))
    arguments = [part for name, value in flags.items() if value is not None for part in (f"--{name}", flag_text(value))]
    return resolve(experiment, arguments, settings.demo), arguments


def _changed(group: str, own: dict[str, Any], ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """Flags that the user changed, of those that both stages declare alike."""
    alike = [name for name in own if name in theirs and ours[name] == theirs[name]]
    return {f"{group}.{name}": own[name] for name in alike if own[name] != ours[name]}


def flag_text(value: Any) -> str:
    """A value as the command line writes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _train(before: Settings, flags: list[str]) -> None:
    """Train the stage before in processes of its own; of several processes of one run only the first does."""
    if not is_first_process():
        return
    if launcher():
        if not _is_finished(before):
            raise DataError(
                f"this stage needs {before.experiment.name}, which a launcher cannot start in between; train it first: "
                f"{before.experiment.shown_command} {' '.join(flags)}"
            )
        return
    print(f"stage before: {before.experiment.name} ({before.variant})", flush=True)
    run_grid(*train_previous(before, flags))


def _is_finished(before: Settings) -> bool:
    """Whether the runs that a launcher's process can see are all there."""
    if before.daily.fold != "all":
        return before.directory().is_finished
    seed = before.directory(fold=0).path.parent
    folds = [path for path in seed.glob("fold*") if path.is_dir()]
    return bool(folds) and all(RunDirectory(path).is_finished for path in folds)
