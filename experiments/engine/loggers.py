"""Where scores go: always a CSV file that a resumed run continues, and W&B where it is asked for."""

from __future__ import annotations

import csv
import json
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger

from datamodules.files import atomic_path
from experiments.engine.processes import is_first_process


class MetricsCsv(Logger):
    """``metrics.csv``: one row a logged step, columns added as new names come.

    A run that goes on from a checkpoint drops the rows after that step (they will be logged again) and keeps the rest.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._rows: list[dict[str, Any]] = self._read()

    @property
    def name(self) -> str:
        """Lightning wants one."""
        return "csv"

    @property
    def version(self) -> str:
        """Lightning wants one."""
        return ""

    def resume_at(self, step: int) -> None:
        """Forget what was logged after optimiser step ``step``."""
        self._rows = [row for row in self._rows if int(row["step"]) <= step]

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Keep a row; it is written by :meth:`save`."""
        if not is_first_process():
            return
        row = {name: float(value) for name, value in metrics.items()}
        step = int(step or 0)
        if self._rows and int(self._rows[-1]["step"]) == step:
            self._rows[-1] |= row
        else:
            self._rows.append({"step": step, **row})

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Settings are in ``config.yaml``."""

    def save(self) -> None:
        """Write the file, whole."""
        if not self._rows or not is_first_process():
            return
        names = list(dict.fromkeys(name for row in self._rows for name in row))
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(self._rows)

    def finalize(self, status: str) -> None:
        """Write what is left."""
        self.save()

    def _read(self) -> list[dict[str, Any]]:
        if not self.path.is_file():
            return []
        with self.path.open(newline="") as file:
            return [{name: value for name, value in row.items() if value != ""} for row in csv.DictReader(file)]


def wandb_logger(mode: str, folder: Path, project: str, name: str, group: str, config: dict[str, Any]) -> Logger | None:
    """A W&B run that a resumed training continues, or None when disabled.

    The run's id is kept in ``wandb.json`` in the run directory, so that a restart goes on in the same W&B run; the
    resolved settings are logged as its config.

    Args:
        mode: ``online``, ``offline`` or ``disabled``.
        folder: Run directory.
        project: W&B project.
        name: Name of the run.
        group: Group of runs that belong together (folds and seeds).
        config: Plain settings.
    """
    if mode == "disabled" or not is_first_process():
        return None
    import wandb
    from lightning.pytorch.loggers import WandbLogger
    from wandb.sdk.lib.runid import generate_id

    id_file = folder / "wandb.json"
    run_id = json.loads(id_file.read_text())["id"] if id_file.is_file() else generate_id()
    id_file.write_text(json.dumps({"id": run_id}))
    return WandbLogger(
        project=project, name=name, group=group, id=run_id, save_dir=folder, offline=mode == "offline", config=config,
        resume="allow" if mode == "online" else None, settings=wandb.Settings(silent=True),
    )  # fmt: skip
