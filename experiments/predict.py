"""Predict a file with a trained run, and write a submission: needs the run directory and the file, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from experiments.engine.command import run_command
from experiments.engine.request import Request


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/predict.py``."""
    run_command(Request, predict, "python experiments/predict.py", __doc__, argv, aliases={"--weights": "--template"})


def predict(request: Request) -> None:
    """Rebuild the task and hand over to its domain."""
    from dataclasses import replace

    from datamodules.kaggle import open_competition
    from experiments.engine.run_directory import must_exist

    must_exist(request.run, request.input, request.template)  # before torch is imported
    competition = open_competition(request, request.template)
    if competition is not None:
        request = replace(request, submission=request.submission or Path("submission.csv"))
    from experiments.engine.inference import load_task
    from experiments.engine.trainer import quiet_libraries, resolve_hardware

    quiet_libraries()
    kind, _, _ = resolve_hardware(request.accelerator, 1, "32-true")
    trained = load_task(request.run, request.checkpoint, request.experiment)
    if request.checkpoint != "best" or request.run.is_file():
        print(f"predicting with {trained.checkpoint.name}, epoch {trained.epoch}")
    task = trained.task.to("cuda" if kind == "gpu" else "cpu")
    trained.experiment.domain.part("predict")(request, replace(trained, task=task))
    if competition is not None and request.submission is not None and request.template is not None:
        competition.send(request.submission, request.template)


if __name__ == "__main__":
    main()
