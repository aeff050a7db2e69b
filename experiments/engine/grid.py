"""All folds and seeds of an experiment: one process each, because a script that fits in a loop breaks under DDP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from datamodules.base import BaseDataModule
from datamodules.errors import DataError
from datamodules.signals import run_child
from experiments.engine.cli import Settings
from experiments.engine.data import prepare_data
from experiments.engine.processes import launcher


def run_grid(settings: Settings, arguments: list[str]) -> None:
    """Train every fold of every seed that is not finished yet, then print the scores of all.

    Args:
        settings: With ``fold`` = ``all``, or with ``seeds``.
        arguments: Arguments of the command line, handed on with another ``--fold`` and ``--seed``.

    Raises:
        DataError: A run failed, or one that is finished is of other data, folds or settings; those that finished are kept,
            and the same command goes on from there.
        Stopped: A signal came; the run that was going on has ended with it.
    """
    if launcher() == "torchrun":
        raise DataError(
            "--fold all and --seeds start a process for each run; under torchrun give one --fold and one --seed"
        )
    folds, finished = survey(settings)
    for seed in settings.daily.seed_list:
        for fold in folds:
            if (seed, fold) in finished:
                print(f"seed {seed}, fold {fold}: finished before")
            else:
                _run(settings, arguments, seed, fold)
    conclude(settings, folds)


def survey(settings: Settings) -> tuple[list[int | str], set[tuple[int, int | str]]]:
    """The folds that are asked for, and seed and fold of the runs that are finished, each sure to be the one that is meant.

    Args:
        settings: Of the grid.

    Raises:
        DataError: Settings or data that cannot be used, or a run of other data, folds or settings.
    """
    from experiments.engine.check import check

    check(_first(settings))
    data = prepare_data(_first(settings))
    folds: list[int | str] = list(range(data.folds.n_folds)) if settings.daily.fold == "all" else [settings.daily.fold]
    runs = [(seed, fold) for seed in settings.daily.seed_list for fold in folds]
    return folds, {run for run in runs if _is_finished(one_run(settings, *run), data)}


def _first(settings: Settings) -> Settings:
    """Settings of the first run."""
    daily = settings.daily
    return one_run(settings, daily.seed_list[0], 0 if daily.fold == "all" else daily.fold)


def one_run(settings: Settings, seed: int, fold: int | str) -> Settings:
    """Settings of one run of the grid."""
    return replace(settings, daily=replace(settings.daily, seed=seed, fold=fold, seeds=""))  # type: ignore[arg-type]


def _is_finished(settings: Settings, data: BaseDataModule) -> bool:
    """Whether a run is finished, and is the one that the grid means: its data, its folds, its settings."""
    from experiments.engine.training import check_finished, identity_of

    directory = settings.directory()
    record = directory.record()
    if settings.daily.resume == "never" or not record:
        return False
    # what a fold trains on is that fold's own; the run itself compares it
    identity = replace(identity_of(settings, data), training=record.get("hashes", {}).get("training", ""))
    return check_finished(directory, settings, identity)


def _run(settings: Settings, arguments: list[str], seed: int, fold: int | str) -> None:
    experiment = settings.experiment
    print(f"seed {seed}, fold {fold}: {experiment.name} ({settings.variant})", flush=True)
    flags = ["--fold", str(fold), "--seed", str(seed), "--seeds", ""]
    status = run_child([*experiment.command, *arguments, *flags])
    if status != 0:
        raise DataError(
            f"{experiment.name}, seed {seed}, fold {fold} ended with exit status {status}; mend the cause above and run "
            "the same command again, finished runs are skipped"
        )


def conclude(settings: Settings, folds: Sequence[int | str]) -> None:
    """Print the scores of all runs, and write the board of every run below ``--out``."""
    print_scores(settings, folds)
    if settings.train.figures:
        _write_board(settings.daily.out)


def _write_board(out: Path) -> None:
    """The board beside the runs; it is no part of a result, so nothing about it fails a grid."""
    from experiments.engine.board.command import board

    try:
        board([out], out / "board", [folder for folder in [Path("blends")] if folder.is_dir()])
    except Exception as error:
        print(f"no board of runs was written: {error}")


def print_scores(settings: Settings, folds: Sequence[int | str]) -> None:
    """The scores of all runs in one table, where rows were held out."""
    if settings.daily.fold == "full":
        return
    seeds = settings.daily.seed_list
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
