"""What training and blending share of Weights & Biases: where runs lie, and predictions as artifacts (imported only where it is on)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.files import read_json

KEPT = "wandb.json"
"""File of a run directory: the W&B run's id, where it lies, and which artifacts it has."""


@dataclass(frozen=True)
class WandbPlace:
    """Where a W&B run lies; what is empty comes from the environment that W&B's users know.

    Args:
        project: W&B project.
        entity: User or team.
        group: Group of runs that belong together.
        tags: Tags with commas between them.
    """

    project: str = ""
    entity: str = ""
    group: str = ""
    tags: str = ""

    def options(self, group: str | None = None) -> dict[str, Any]:
        """Options of ``wandb.init``; ``group`` is that of a run to which nobody gave one (a search does)."""
        tags = [tag.strip() for text in (self.tags, os.environ.get("WANDB_TAGS", "")) for tag in text.split(",")]
        return {
            "project": self.project or os.environ.get("WANDB_PROJECT") or "podium",
            "entity": self.entity or os.environ.get("WANDB_ENTITY") or None,
            "group": self.group or os.environ.get("WANDB_RUN_GROUP") or group,
            "tags": [*dict.fromkeys(tag for tag in tags if tag)],
        }


def group_name(experiment: str, variant: str) -> str:
    """The W&B group that holds all seeds and folds of some settings."""
    return f"{experiment}-{variant}"


def run_name(experiment: str, variant: str, seed: object, fold: object) -> str:
    """Name of a W&B run."""
    return f"{group_name(experiment, variant)}-s{seed}-f{fold}"


def kept_run(folder: Path) -> dict[str, Any]:
    """The W&B run of a run directory, empty where there is none.

    Args:
        folder: Run directory.

    Raises:
        DataError: ``wandb.json`` holds something else.
    """
    path = folder / KEPT
    if not path.is_file():
        return {}
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get("id"), str):
        raise DataError(f'{path} does not hold the W&B run\'s "id"; delete it, and a new W&B run begins')
    return content


def bank_artifact(bank: PredictionBank) -> Any:
    """A bank as an artifact. Its name and content are its identity: whoever makes it of the same bank makes the same version."""
    of = bank.manifest
    return folder_artifact(
        "bank", run_name(of.experiment, of.variant, of.seed, "-".join(map(str, of.folds))), bank.path
    )


def folder_artifact(kind: str, name: str, *paths: Path) -> Any:
    """Files, and the files of folders, as an artifact; they are read where they lie, not copied.

    Args:
        kind: Type of the artifact, and the first word of its name.
        name: The rest of its name.
        paths: Files and folders.
    """
    import wandb

    artifact = wandb.Artifact(re.sub(r"[^\w.-]", "_", f"{kind}-{name}")[:128], type=kind)
    for path in paths:
        if path.is_dir():
            artifact.add_dir(str(path), policy="immutable")
        elif path.is_file():
            artifact.add_file(str(path), policy="immutable")
    return artifact


def use(run: Any, artifact: Any) -> None:
    """Say that a W&B run takes an artifact, which joins it to the run that made it.

    Args:
        run: W&B run.
        artifact: Of :func:`bank_artifact` or :func:`folder_artifact`.
    """
    if run.settings._offline:  # use_artifact refuses; what it would do is written down for `wandb sync`
        run._log_artifact(artifact, is_user_created=True, use_after_commit=True)
    else:
        run.use_artifact(artifact)
