"""Where scores go: always a CSV file that a resumed run continues, and W&B where it is asked for."""

from __future__ import annotations

import csv
import os
import shutil
from argparse import Namespace
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import Logger, WandbLogger

from datamodules.banks.bank import PredictionBank
from datamodules.errors import DataError
from datamodules.files import atomic_path, write_json
from datamodules.signals import PARENT
from datamodules.tracking import KEPT, bank_artifact, folder_artifact, kept_run, run_name, use
from experiments.engine.processes import is_first_process
from experiments.engine.run_directory import RunDirectory
from lit_modules.frozen import PATTERN

_PLACE = ("project", "entity", "group", "tags")


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

    Its id and its place are kept in ``wandb.json`` in the run directory, and win over flags and environment of later starts.
    Online, W&B joins the starts by the id. Offline, every start would leave a file of its own that begins at step 0; so a start
    takes the history before it from ``metrics.csv``, and the files of the starts before go. Steps are optimiser steps.

    Beside the scores it logs ``best_score``, the best so far of the score that chooses checkpoints: one number for sweeps.

    Args:
        folder: Run directory.
        history: The run's CSV log.
        offline: Keep the run on disk, without a key.
        monitor: Score that chooses checkpoints.
        mode: ``max`` or ``min``, which is better.
        options: Name, config and the options of :class:`datamodules.tracking.WandbPlace`.
    """

    def __init__(
        self, folder: Path, history: MetricsCsv, offline: bool, monitor: str, mode: str, **options: Any
    ) -> None:
        import wandb
        from wandb.sdk.lib.runid import generate_id

        self._folder, self._history, self._monitor = folder, history, monitor
        self._better = max if mode == "max" else min
        self._best: float | None = None
        saved = kept_run(folder) or {"id": _sweep_id() or generate_id()}
        for name in _PLACE:
            options[name] = saved.get(name, options.get(name))
        self._kept = {**saved, **{name: options[name] for name in _PLACE}}
        super().__init__(
            id=saved["id"], save_dir=folder, offline=offline, resume=None if offline else "allow",
            settings=wandb.Settings(silent=True), mode="offline" if offline else "online", **options,
        )  # fmt: skip
        self._wandb_init.pop("anonymous", None)  # Lightning passes what W&B has deprecated

    @cached_property
    def _begun(self) -> bool:
        """Whether the run was begun by this start; the first look begins it."""
        for before in (self._folder / "wandb").glob("offline-run-*") if self._offline else ():
            shutil.rmtree(before, ignore_errors=True)  # metrics.csv and the figures' folder hold what they hold
        self._folder.mkdir(parents=True, exist_ok=True)
        write_json(self._folder / KEPT, self._kept)
        run = WandbLogger.experiment.fget(self)  # type: ignore[attr-defined]
        for name in ("val_*", "train_*"):
            run.define_metric(name, summary="min,max,last")
        run.define_metric(self._monitor, summary=f"{self._better.__name__},last")
        for row in self._history.rows():
            step = int(row.pop("step"))
            scores = self._with_best({name: float(value) for name, value in row.items()})
            if self._offline:
                run.log({**scores, "trainer/global_step": step}, step=step)
        return True

    def _with_best(self, metrics: dict[str, Any]) -> dict[str, Any]:
        if self._monitor not in metrics:
            return metrics
        score = float(metrics[self._monitor])
        self._best = score if self._best is None else self._better(self._best, score)
        return {**metrics, "best_score": self._best}

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
            self.experiment.log({**self._with_best(dict(metrics)), **axis}, step=step)

    def keep(self, directory: RunDirectory, which: str) -> None:
        """Log what a finished run made as artifacts, joined to what it was made of.

        Args:
            directory: The run.
            which: ``none``, ``bank`` (its out-of-fold predictions) or ``all``: the checkpoint too, with its settings and folds.
        """
        if which == "none" or not is_first_process():
            return
        record, run = directory.record(), self.experiment
        for entry in record.get("previous") or []:
            before = PredictionBank(Path(os.path.normpath(directory.path / entry["run"])) / "bank")
            use(run, bank_artifact(before))
        kept = []
        if directory.bank.is_dir():
            run.log_artifact(bank_artifact(PredictionBank(directory.bank)))
            kept.append("bank")
        if which == "all":
            name = run_name(*(record[key] for key in ("experiment", "variant", "seed", "fold")))
            shared = directory.checkpoints.glob(PATTERN)
            files = (directory.inference_checkpoint(), *shared, directory.config, directory.path / "folds.csv")
            run.log_artifact(folder_artifact("model", name, *files))
            kept.append("model")
        write_json(self._folder / KEPT, {**self._kept, "artifacts": kept})


def _sweep_id() -> str | None:
    """The id that a sweep's agent gave this run; the runs that it starts in turn take others."""
    given = os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None
    return None if PARENT in os.environ else given


def wandb_logger(
    mode: str, folder: Path, history: MetricsCsv, monitor: tuple[str, str], **options: Any
) -> OneWandbRun | None:
    """A W&B run that a resumed training continues, or None when disabled.

    Args:
        mode: ``online``, ``offline`` or ``disabled``.
        folder: Run directory.
        history: The run's CSV log.
        monitor: Score that chooses checkpoints, and ``max`` or ``min``.
        options: Name, config and the options of :class:`datamodules.tracking.WandbPlace`.
    """
    if mode == "disabled" or not is_first_process():
        return None
    return OneWandbRun(folder, history, mode == "offline", *monitor, **options)


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
