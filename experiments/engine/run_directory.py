"""A run's folder: a function of experiment, variant, seed and fold, the same on every process and after a restart."""

from __future__ import annotations

import platform
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from datamodules.errors import DataError
from datamodules.files import read_json, read_yaml, write_json

FINISHED = "finished"
_PATHS = ("init_from", "data.predicted", "data.folds_csv", "model.weights")
_PACKAGES = ("podium", "torch", "lightning", "torchmetrics", "timm", "numpy", "pandas", "optuna", "wandb")


@dataclass(frozen=True)
class RunDirectory:
    """Paths of one run and its record ``run.json``.

    Args:
        path: ``<out>/<experiment>/<variant>/seed<S>/fold<F>``.
    """

    path: Path

    @classmethod
    def of(cls, out: Path, experiment: str, variant: str, seed: int, fold: int | str) -> RunDirectory:
        """The folder of a run."""
        return cls(Path(out) / experiment / variant / f"seed{seed}" / f"fold{fold}")

    @property
    def config(self) -> Path:
        """Resolved settings."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """Folder of ``last.ckpt`` and ``best.ckpt``."""
        return self.path / "checkpoints"

    @property
    def last(self) -> Path:
        """Newest checkpoint."""
        return self.checkpoints / "last.ckpt"

    @property
    def best(self) -> Path:
        """Best checkpoint by the monitored score."""
        return self.checkpoints / "best.ckpt"

    @property
    def bank(self) -> Path:
        """Out-of-fold predictions."""
        return self.path / "bank"

    @property
    def figures(self) -> Path:
        """Folder of PNG files."""
        return self.path / "figures"

    @property
    def lock(self) -> Path:
        """Lock of whoever trains this run; it lies outside of the run, which may never begin."""
        return self.path.parents[3] / ".locks" / f"{'-'.join(self.path.parts[-4:])}.lock"

    def inference_checkpoint(self) -> Path:
        """The best checkpoint, or the newest where there was no validation.

        Raises:
            DataError: the run has none.
        """
        for path in (self.best, self.last):
            if path.is_file():
                return path
        inside = sorted(path.parents[1] for path in self.path.glob("**/checkpoints/last.ckpt"))
        if inside:
            raise DataError(f"{self.path} is a folder of runs; give one of them, such as {inside[0]}")
        raise DataError(f"{self.path} has no checkpoint yet; train it first")

    @property
    def is_finished(self) -> bool:
        """Whether training, predicting and reporting are done."""
        return bool(self.record().get("status") == FINISHED)

    def record(self) -> dict[str, Any]:
        """``run.json``, empty before the run began."""
        path = self.path / "run.json"
        if not path.is_file():
            return {}
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("status"), str):
            raise DataError(
                f'{path} does not say the run\'s "status"; restore it, or start the run anew with --resume never'
            )
        return content

    def settings(self) -> dict[str, Any]:
        """``config.yaml``, empty before the run began.

        Raises:
            DataError: The file is no YAML mapping.
        """
        return read_yaml(self.config) if self.config.is_file() else {}

    def flat_settings(self) -> dict[str, Any]:
        """The settings of ``config.yaml`` by dotted name, without paths, which say nothing of what they pointed to."""
        flat: dict[str, Any] = {}
        for name, value in self.settings().items():
            flat |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        return {name: value for name, value in flat.items() if name not in _PATHS}

    def update_record(self, **values: Any) -> None:
        """Change some entries of ``run.json``, atomically."""
        write_json(self.path / "run.json", {**self.record(), **values}, sealed=True)

    def set_aside(self) -> None:
        """Rename the folder to the next free ``<name>.replaced-N``; nothing is deleted."""
        if self.path.exists():
            number = 1
            while (target := self.path.with_name(f"{self.path.name}.replaced-{number}")).exists():
                number += 1
            self.path.rename(target)


def must_exist(*paths: Path | None) -> None:
    """Refuse paths that a command was given and that are not there; None and patterns are let through.

    Raises:
        DataError: The first of them.
    """
    for path in paths:
        if path is not None and not any(sign in str(path) for sign in "*?[:") and not path.exists():
            raise DataError(f"{path} does not exist")


def provenance() -> dict[str, Any]:
    """What made this run: commit, versions, machine, time."""
    return {
        "commit": _git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in _PACKAGES}},
        "machine": platform.platform(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _git(*arguments: str) -> str | None:
    try:
        result = subprocess.run(
            ["git", *arguments], cwd=Path(__file__).parent, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
