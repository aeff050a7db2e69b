"""All folds of an experiment: one process each, because a script that fits in a loop breaks under DDP."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from datamodules.errors import DataError
from experiments.cli import Settings
from experiments.run_directory import RunDirectory
from experiments.training import FINISHED, prepare_data


def run_folds(settings: Settings, arguments: list[str]) -> None:
    """Train every fold that is not finished yet, then print the scores of all.

    Args:
        settings: with ``fold`` = ``all``.
        arguments: of the command line, handed on with another ``--fold``.

    Raises:
        DataError: a fold failed; the others that finished are kept, and the same command goes on from there.
    """
    n_folds = prepare_data(replace(settings, daily=replace(settings.daily, fold=0))).folds.n_folds
    for fold in range(n_folds):
        if _directory(settings, fold).record().get("status") == FINISHED:
            print(f"fold {fold}: finished before")
            continue
        command = [sys.executable, "-m", f"experiments.{settings.experiment.name}", *arguments, "--fold", str(fold)]
        print(f"fold {fold} of {n_folds}: {' '.join(command[1:])}", flush=True)
        status = subprocess.run(command, check=False).returncode
        if status != 0:
            raise DataError(
                f"fold {fold} ended with exit status {status}; mend the cause above and run the same command again"
            )
    _print_scores(settings, n_folds)


def _directory(settings: Settings, fold: int) -> RunDirectory:
    daily = settings.daily
    return RunDirectory.of(daily.out, settings.experiment.name, settings.variant, daily.seed, fold)


def _print_scores(settings: Settings, n_folds: int) -> None:
    records = [_directory(settings, fold).record() for fold in range(n_folds)]
    table = Table(title=f"{settings.experiment.name} ({settings.variant}), seed {settings.daily.seed}")
    for name in ("fold", "rows", records[0]["best"]["metric"] or "score"):
        table.add_column(name, justify="right")
    for fold, record in enumerate(records):
        table.add_row(str(fold), f"{record['rows']['valid']:,}", f"{record['best']['score']:.5f}")
    scores = [record["best"]["score"] for record in records]
    table.add_row("mean", "", f"{sum(scores) / len(scores):.5f}")
    Console(width=110).print(table)
    print(f"out-of-fold predictions: {_directory(settings, 0).path.parent}")
