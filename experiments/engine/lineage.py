"""The runs that a later stage learnt from: remembered by its checkpoint, followed back by inference."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from datamodules.errors import DataError
from datamodules.files import sha256_of
from experiments.engine.inference import Trained, load_task
from experiments.engine.run_directory import RunDirectory


def previous_checkpoints(runs: Sequence[Path], run: Path) -> list[dict[str, str]]:
    """What a checkpoint remembers of the runs whose predictions are its inputs.

    Args:
        runs: Their run directories.
        run: Run directory that the paths are relative to, so that the whole tree of runs can be moved.
    """
    return [
        {"run": os.path.relpath(path, run), "sha256": sha256_of(RunDirectory(path).inference_checkpoint())}
        for path in runs
    ]


def previous_tasks(trained: Trained) -> Iterator[Trained]:
    """The trained tasks of the stage before, one at a time: their mean prediction is what this stage's net is fed.

    Args:
        trained: A task of this stage.

    Yields:
        Each task, which may have a stage before it too.

    Raises:
        DataError: A run is gone, or was trained again since.
    """
    run = trained.run
    for entry in trained.saved.get("previous", []):
        path = Path(os.path.normpath(run / entry["run"]))
        if not path.is_dir():
            raise DataError(
                f"{run} was trained on predictions of {path}, which is gone; keep the runs of all stages together"
            )
        before = load_task(path)
        if before.identity.checkpoint != entry["sha256"]:
            raise DataError(f"{path} was trained again after {run} learnt from its predictions; train {run} again too")
        yield before
