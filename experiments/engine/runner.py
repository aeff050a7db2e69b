"""From a declaration and a command line to a finished run; torch is imported only after the arguments are right."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from experiments.engine.cli import Settings, parse
from experiments.engine.declare import Experiment


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> None:
    """Run an experiment file: what ``python experiments/<name>.py ...`` does.

    Args:
        experiment: The declaration.
        argv: Arguments instead of the command line's.
    """
    settings = parse(experiment, argv)
    from datamodules.commands import refusals_as_sentences
    from datamodules.signals import PARENT

    with refusals_as_sentences("the same command goes on from the newest checkpoint"):
        settings.check_words()
        from experiments.engine.processes import is_first_process

        if settings.demo and is_first_process() and PARENT not in os.environ:  # the grid has said it for all its runs
            print(f"DEMO: {experiment.demo_announcement}", flush=True)
        execute(settings, list(sys.argv[1:] if argv is None else argv))


def execute(settings: Settings, arguments: list[str]) -> None:
    """Train the stage before, if there is one, then the one run, or one process for each fold and seed, or launch all as jobs."""
    if settings.launch.active:
        from experiments.engine.launch_plan import launch_runs

        launch_runs([(settings, arguments)])
        return
    if settings.experiment.previous:
        from experiments.engine.stages import train_previous

        settings, arguments = train_previous(settings, arguments)
    if settings.daily.fold == "all" or settings.daily.seeds:
        from experiments.engine.grid import run_grid

        run_grid(settings, arguments)
    else:
        from experiments.engine.training import train

        train(settings)
