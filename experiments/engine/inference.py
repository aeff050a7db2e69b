"""A trained task from its checkpoint alone."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from experiments.engine.checkpoints import find_checkpoint
from experiments.engine.declare import Experiment, load, load_experiment
from experiments.engine.run_directory import RunDirectory
from lit_modules.base import IDENTITY_KEY, BaseTask, load_weights, read_checkpoint
from lit_modules.settings import Optim


def load_task(run: Path, which: str = "best") -> tuple[BaseTask, Experiment, dict[str, Any]]:
    """Rebuild a task with its weights and statistics.

    Args:
        run: Run directory, or a checkpoint file.
        which: ``best``, ``last`` or ``epoch<N>`` of a run directory.

    Returns:
        The task in eval mode on the CPU, the experiment's declaration, and what the checkpoint says of itself.

    Raises:
        DataError: no checkpoint there, or one that this program cannot rebuild.
    """
    run = Path(run)
    if not run.exists():
        raise DataError(f"{run} does not exist; give a run directory (…/seed<S>/fold<F>) or a checkpoint file")
    path = run if run.is_file() else find_checkpoint(RunDirectory(run), which)
    checkpoint = read_checkpoint(path)
    identity = checkpoint[IDENTITY_KEY]
    experiment = load_experiment(identity["experiment"])
    kind = load(experiment.task)
    task: BaseTask = kind(
        _restore(type(experiment.model), identity["model"], path),
        _restore(Optim, identity["optim"], path),
        identity["lr"],
        kind.statistics_in(checkpoint["state_dict"]),
    )
    load_weights(task, checkpoint)
    return task.eval(), experiment, {**identity, "checkpoint": str(path)}


def _restore(kind: type, values: dict[str, Any], path: Path) -> Any:
    known = {field.name for field in fields(kind)}
    unknown = set(values) - known
    if unknown:
        raise DataError(
            f"{path} has the setting {sorted(unknown)[0]!r}, which {kind.__name__} does not know; it was made by another version"
        )
    return kind(**values)
