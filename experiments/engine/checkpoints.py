"""The checkpoints of a run by name, and where the predictions of each belong.

The best one's belong in the run, any other's in a twin of it: that of ``<experiment>/<variant>/seed<S>/fold<F>`` is
``<experiment>/<variant>-last/seed<S>/fold<F>`` (or ``-epoch7``), so that blends keep checkpoints apart and average folds and
seeds of each.
"""

from __future__ import annotations

import re
from pathlib import Path

from datamodules.errors import DataError
from experiments.engine.run_directory import RunDirectory

_OTHER = re.compile(r"last|epoch\d+")


def find_checkpoint(run: RunDirectory, which: str) -> Path:
    """The file of a checkpoint.

    Args:
        run: Its run directory.
        which: ``best`` (``last`` where there was no validation), ``last``, or ``epoch<N>`` of ``--train.keep_epochs``.

    Raises:
        DataError: There is no such checkpoint, or the run broke off before its best one was chosen.
    """
    if which == "best":
        path = run.inference_checkpoint()
        if not run.is_finished and run.record():
            raise DataError(
                f"{run.path} is not finished (its status is {run.record().get('status')!r}); give the command that trains it "
                f"again, or name the checkpoint to use as it is: --checkpoint last"
            )
        return path
    path = run.checkpoints / f"{which}.ckpt"
    if not _OTHER.fullmatch(which) or not path.is_file():
        there = ", ".join(sorted(file.stem for file in run.checkpoints.glob("*.ckpt"))) or "none"
        raise DataError(
            f"{run.path} has no checkpoint {which!r}; it has {there} (epochs only with --train.keep_epochs true)"
        )
    return path


def variant_of(variant: str, fold: int | str, checkpoint: Path) -> str:
    """Name of what a checkpoint predicts: the run's variant, with ``-last`` or ``-epoch<N>`` where it is not the best one.

    Args:
        variant: The run's.
        fold: The run's; a fit on all rows has no best checkpoint, so its last one is its own.
        checkpoint: The file.
    """
    other = _OTHER.fullmatch(checkpoint.stem) and not (checkpoint.stem == "last" and fold == "full")
    return variant + (f"-{checkpoint.stem}" if other else "")


def directory_of(run: Path, variant: str) -> Path:
    """Where predictions of a run under a variant's name belong: the run itself, or its twin in that variant's folder.

    Args:
        run: Run directory.
        variant: As :func:`variant_of` gives it.
    """
    run = run.absolute()
    own = run.parent.parent
    if run.name.startswith("fold") and _OTHER.fullmatch(variant.removeprefix(f"{own.name}-")):
        return own.with_name(variant) / run.parent.name / run.name
    return run
