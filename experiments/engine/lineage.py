"""The runs that a later stage learnt from: remembered by its checkpoint, followed back by inference."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.files import sha256_of
from experiments.engine.inference import load_task
from experiments.engine.run_directory import RunDirectory
from lit_modules.base import BaseTask


def previous_checkpoints(runs: Sequence[Path], run: Path) -> list[dict[str, str]]:
    """What a checkpoint remembers of the runs whose predictions are its inputs.

    Args:
        runs: Their run directories.
        run: The run directory that the paths are relative to, so that the whole tree of runs can be moved.
    """
    return [
        {"run": os.path.relpath(path, run), "sha256": sha256_of(RunDirectory(path).inference_checkpoint())}
        for path in runs
    ]


def previous_tasks(run: Path, identity: dict[str, Any]) -> Iterator[tuple[BaseTask, Path, dict[str, Any]]]:
    """The trained tasks of the stage before, one at a time: their mean prediction is what this stage's net is fed.

    Args:
        run: Run directory or checkpoint file of this stage.
        identity: What its checkpoint says of itself.

    Yields:
        Each task with its run directory and identity, because it may have a stage before it.

    Raises:
        DataError: a run is gone, or was trained again since.
    """
    base = Path(run) if Path(run).is_dir() else Path(run).parent.parent
    for entry in identity.get("previous", []):
        path = Path(os.path.normpath(base / entry["run"]))
        if not path.is_dir():
            raise DataError(
                f"{run} was trained on predictions of {path}, which is gone; keep the runs of all stages together"
            )
        if sha256_of(RunDirectory(path).inference_checkpoint()) != entry["sha256"]:
            raise DataError(f"{path} was trained again after {run} learnt from its predictions; train {run} again too")
        task, _, own = load_task(path)
        yield task, path, own
