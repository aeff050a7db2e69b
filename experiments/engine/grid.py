"""All folds and seeds of an experiment: one process each, because a script that fits in a loop breaks under DDP."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from rich.console import Console
from rich.table import Table

from datamodules.errors import DataError
from experiments.engine.cli import Settings

_LAUNCHERS = ("TORCHELASTIC_RUN_ID",)


def run_grid(settings: Settings, arguments: list[str]) -> None:
    """Train every fold of every seed that is not finished yet, then print the scores of all.

    Args:
        settings: With ``fold`` = ``all``, or with ``seeds``.
        arguments: Arguments of the command line, handed on with another ``--fold`` and ``--seed``.

    Raises:
        DataError: a run failed; the others that finished are kept, and the same command goes on from there.
    """
    if any(name in os.environ for name in _LAUNCHERS):
        raise DataError(
            "--fold all and --seeds start a process for each run; under torchrun give one --fold and one --seed"
        )
    seeds = settings.daily.seed_list
    folds = _folds(settings)
    for seed in seeds:
        for fold in folds:
            if settings.directory(seed, fold).is_finished:
                print(f"seed {seed}, fold {fold}: finished before")
                continue
            _run(settings, arguments, seed, fold)
    if settings.daily.fold != "full":
        _print_scores(settings, seeds, folds)


def _folds(settings: Settings) -> list[int | str]:
    if settings.daily.fold != "all":
        return [settings.daily.fold]
    from experiments.engine.data import prepare_data

    count = prepare_data(replace(settings, daily=replace(settings.daily, fold=0))).folds.n_folds
    return list(range(count))


def _run(settings: Settings, arguments: list[str], seed: int, fold: int | str) -> None:
    flags = ["--fold", str(fold), "--seed", str(seed), "--seeds", ""]
    command = [sys.executable, "-m", f"experiments.{settings.experiment.name}", *arguments, *flags]
    print(f"seed {seed}, fold {fold}: {settings.experiment.name} ({settings.variant})", flush=True)
    status = subprocess.run(command, check=False).returncode
    if status != 0:
        raise DataError(
            f"{settings.experiment.name}, seed {seed}, fold {fold} ended with exit status {status}; mend the cause above and run "
            "the same command again, finished runs are skipped"
        )


def _print_scores(settings: Settings, seeds: list[int], folds: list[int | str]) -> None:
    records = {seed: [settings.directory(seed, fold).record() for fold in folds] for seed in seeds}
    first = records[seeds[0]][0]
    table = Table(title=f"{settings.experiment.name} ({settings.variant}): {first['best']['metric'] or 'score'}")
    for name in ("fold", "rows", *(f"seed {seed}" for seed in seeds)):
        table.add_column(name, justify="right")
    scores = {seed: [record["best"]["score"] for record in records[seed]] for seed in seeds}
    for i, fold in enumerate(folds):
        rows = records[seeds[0]][i]["rows"]["valid"]
        table.add_row(str(fold), f"{rows:,}", *(_score(scores[seed][i]) for seed in seeds))
    means = [_score(None if None in scores[seed] else sum(scores[seed]) / len(scores[seed])) for seed in seeds]
    table.add_row("mean", "", *means)
    Console(width=110).print(table)
    if first.get("bank"):
        several = f", of which blends take the mean of {len(seeds)} seeds" if len(seeds) > 1 else ""
        print(f"out-of-fold predictions: {settings.directory(seeds[0], folds[0]).path.parent.parent}{several}")


def _score(value: float | None) -> str:
    return "" if value is None else f"{value:.5f}"
