"""Where scores go: always a CSV file that a resumed run continues, and W&B where it is asked for."""

from __future__ import annotations

import csv
import os
import shutil
from argparse import Namespace
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from datamodules.errors import DataError
from datamodules.files import atomic_path, read_json, write_json
from experiments.engine.processes import is_first_process


class MetricsCsv(Logger):
    """``metrics.csv``: one row a logged step, appended; columns are added as new names come.

    A run that goes on from a checkpoint drops the rows after that step (they will be logged again) and keeps the rest. Only
    then, and for a new column, is the file written anew.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = Path(path)
        self._names: list[str] = []
        self._row: dict[str, Any] = {}
        self._row_at = 0  # where the row that may still grow begins in the file

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
        self._rewrite([row for row in self.rows() if int(row["step"]) <= step], [])

    def rows(self) -> list[dict[str, str]]:
        """All rows, without the empty cells; a last line that a killed process left half written is none."""
        if not self.path.is_file():
            return []
        with self.path.open(newline="", errors="replace") as file:
            lines = list(csv.reader(line for line in file if line.endswith("\n")))
        names = lines[0] if lines else []
        whole = [line for line in lines[1:] if len(line) == len(names) and line[0].isdecimal()]
        return [{name: value for name, value in zip(names, line, strict=True) if value != ""} for line in whole]

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Write a row, or more of the last one."""
        if not is_first_process():
            return
        values = {name: float(value) for name, value in metrics.items()}
        step = int(step or 0)
        if self._row.get("step") != step:
            if not self._names:  # first row of this start: nobody may have said where to go on
                self._rewrite(self.rows(), list(values))
            self._row, self._row_at = {"step": step}, self.path.stat().st_size
        self._row |= values
        if new := [name for name in self._row if name not in self._names]:
            before = self.rows()
            self._rewrite(before[:-1] if before and before[-1].get("step") == str(step) else before, new)
            self._row_at = self.path.stat().st_size
        with self.path.open("r+", newline="") as file:
            file.seek(self._row_at)
            file.truncate()
            csv.DictWriter(file, self._names, lineterminator="\n").writerow(self._row)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Settings are in ``config.yaml``."""

    def _rewrite(self, rows: list[dict[str, str]], new: list[str]) -> None:
        self._names = list(dict.fromkeys(["step", *(name for row in rows for name in row), *self._names, *new]))
        with atomic_path(self.path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.DictWriter(file, self._names, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


class OneWandbRun(WandbLogger):
    """One W&B run with one history, however often its training is broken off.

    Its id is kept in ``wandb.json`` in the run directory. Online, W&B joins the starts by it. Offline, every start would leave
    a file of its own that begins at step 0; so a start takes the history before it from ``metrics.csv``, and the files of the
    starts before go. Steps are optimiser steps.

    Args:
        folder: Run directory.
        history: The run's CSV log.
        offline: Keep the run on disk, without a key.
        options: Project, name, group, tags and config of :class:`WandbLogger`.
    """

    def __init__(self, folder: Path, history: MetricsCsv, offline: bool, **options: Any) -> None:
        import wandb
        from wandb.sdk.lib.runid import generate_id

        self._folder, self._history = folder, history
        self._id_file = folder / "wandb.json"
        saved = read_json(self._id_file) if self._id_file.is_file() else {"id": generate_id()}
        if not isinstance(saved, dict) or not isinstance(saved.get("id"), str):
            raise DataError(f'{self._id_file} does not hold the W&B run\'s "id"; delete it, and a new W&B run begins')
        super().__init__(
            id=saved["id"], save_dir=folder, offline=offline, resume=None if offline else "allow",
            settings=wandb.Settings(silent=True), mode="offline" if offline else "online", **options,
        )  # fmt: skip
        self._wandb_init.pop("anonymous", None)  # Lightning passes what W&B has deprecated

    @cached_property
    def _begun(self) -> bool:
        """Whether the run was begun by this start; the first look begins it."""
        for before in (self._folder / "wandb").glob("offline-run-*") if self._offline else ():
            shutil.rmtree(before, ignore_errors=True)  # metrics.csv holds what they hold
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._id_file, {"id": self._id})
        run = WandbLogger.experiment.fget(self)  # type: ignore[attr-defined]
        run.define_metric("*", summary="min,max,last")
        if self._offline:
            for row in self._history.rows():
                step = int(row.pop("step"))
                scores = {name: float(value) for name, value in row.items()}
                run.log({**scores, "trainer/global_step": step}, step=step)
        return True

    @property
    def experiment(self) -> Any:
        """The W&B run, with its history; a stand-in on other processes than the first."""
        if is_first_process():
            assert self._begun
        return WandbLogger.experiment.fget(self)  # type: ignore[attr-defined]

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Log scores at an optimiser step."""
        if is_first_process():
            axis = {} if step is None else {"trainer/global_step": step}
            self.experiment.log({**metrics, **axis}, step=step)


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

    def options(self, group: str) -> dict[str, Any]:
        """Options of :class:`WandbLogger`; ``group`` is that of a run to which nobody gave one (a search does)."""
        tags = [tag.strip() for text in (self.tags, os.environ.get("WANDB_TAGS", "")) for tag in text.split(",")]
        return {
            "project": self.project or os.environ.get("WANDB_PROJECT") or "podium",
            "entity": self.entity or os.environ.get("WANDB_ENTITY") or None,
            "group": self.group or os.environ.get("WANDB_RUN_GROUP") or group,
            "tags": [*dict.fromkeys(tag for tag in tags if tag)],
        }


def wandb_logger(
    mode: str, folder: Path, history: MetricsCsv, name: str, place: dict[str, Any], config: dict[str, Any]
) -> OneWandbRun | None:
    """A W&B run that a resumed training continues, or None when disabled.

    Args:
        mode: ``online``, ``offline`` or ``disabled``.
        folder: Run directory.
        history: The run's CSV log.
        name: Name of the run.
        place: Options of :class:`WandbPlace`.
        config: Plain settings, logged as its config.
    """
    if mode == "disabled" or not is_first_process():
        return None
    return OneWandbRun(folder, history, mode == "offline", name=name, config=config, **place)


def tensorboard_logger(folder: Path, config: dict[str, Any]) -> Logger:
    """Event files below ``folder``, with the settings as hyper-parameters.

    Raises:
        DataError: TensorBoard is not installed.
    """
    if find_spec("tensorboard") is None:
        raise DataError('--logger tensorboard needs TensorBoard: pip install "podium[tensorboard]"')
    from lightning.pytorch.loggers import TensorBoardLogger

    logger = TensorBoardLogger(folder, name=None, version="tensorboard", default_hp_metric=False)
    logger.log_hyperparams(config)
    return logger
