"""Which checkpoint of a run predicts, and where its predictions belong: the best one's in the run, any other's in a twin of it.

The twin of ``<experiment>/<variant>/seed<S>/fold<F>`` is ``<experiment>/<variant>-last/seed<S>/fold<F>`` (or ``-epoch7``), so that
blends tell checkpoints apart and average folds and seeds of each.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datamodules.errors import DataError
from datamodules.files import sha256_of
from experiments.engine.run_directory import RunDirectory

if TYPE_CHECKING:
    from datamodules.banks.bank import Manifest
    from experiments.engine.declare import Experiment
    from lit_modules.base import BaseTask

_OTHER = re.compile(r"last|epoch\d+")


def find_checkpoint(run: RunDirectory, which: str) -> Path:
    """The file of a checkpoint.

    Args:
        run: Its run directory.
        which: ``best`` (``last`` where there was no validation), ``last``, or ``epoch<N>`` of ``--train.keep_epochs``.

    Raises:
        DataError: there is no such checkpoint.
    """
    if which == "best":
        return run.inference_checkpoint()
    path = run.checkpoints / f"{which}.ckpt"
    if not _OTHER.fullmatch(which) or not path.is_file():
        there = ", ".join(sorted(file.stem for file in run.checkpoints.glob("*.ckpt"))) or "none"
        raise DataError(
            f"{run.path} has no checkpoint {which!r}; it has {there} (epochs only with --train.keep_epochs true)"
        )
    return path


def variant_of(identity: dict[str, Any]) -> str:
    """Name of what a checkpoint predicts: the run's variant, with ``-last`` or ``-epoch<N>`` where it is not the best one.

    Args:
        identity: As :func:`experiments.engine.inference.load_task` gives it.
    """
    stem = Path(identity["checkpoint"]).stem
    other = _OTHER.fullmatch(stem) and not (stem == "last" and identity["fold"] == "full")
    return str(identity.get("variant", "")) + (f"-{stem}" if other else "")


def directory_of(run: Path, variant: str) -> Path:
    """Where predictions of a run under a variant's name belong: the run itself, or its twin in that variant's folder.

    Args:
        run: Run directory, or a checkpoint file.
        variant: As :func:`variant_of` gives it.
    """
    run = run.absolute()
    run = run if run.is_dir() else run.parent
    run = run.parent if run.name == "checkpoints" else run
    own = run.parent.parent
    if run.name.startswith("fold") and _OTHER.fullmatch(variant.removeprefix(f"{own.name}-")):
        return own.with_name(variant) / run.parent.name / run.name
    return run


def predictions_folder(run: Path, identity: dict[str, Any]) -> Path:
    """Where banks of predicted files lie, ``<run or twin>/predictions``."""
    return directory_of(run, variant_of(identity)) / "predictions"


def prediction_manifest(task: BaseTask, experiment: Experiment, identity: dict[str, Any], **more: Any) -> Manifest:
    """Manifest of predictions of rows that nobody held out.

    Args:
        task: For the names of the targets.
        experiment: For the domain.
        identity: What the checkpoint says of itself.
        more: Other entries, such as ``convention``.
    """
    from datamodules.banks.bank import Manifest

    return Manifest(
        **{
            "kind": "test",
            "domain": experiment.domain.name,
            "metric": experiment.domain.metric,
            "experiment": experiment.name,
            "variant": variant_of(identity),
            "seed": identity["seed"],
            "targets": list(task.target_names),
            "groups": {name: [where.start, where.stop] for name, where in task.target_groups.items()},
            "hashes": {
                **{name: identity[f"{name}_hash"] for name in ("data", "folds", "config")},
                "checkpoint": sha256_of(Path(identity["checkpoint"])),
            },
            "extra": {"trained_on_fold": identity["fold"]},
            **more,
        }
    )
