"""Predict a file with a trained run, and write a submission: needs the run directory and the file, nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.command import run_command


@dataclass
class Request:
    """What to predict.

    Args:
        run: run directory (``runs/<experiment>/<variant>/seed<S>/fold<F>``) or a checkpoint file.
        input: what to predict, such as ``test.csv`` or a parquet file.
        submission: CSV file to write.
        weights: the judge's sample submission, which gives the column weights, ids and order.
        checkpoint: best, last, or epoch<N> of a run with --train.keep_epochs.
        bank: keep the predictions as a bank in the run directory too, for blending.
        batch_size: rows that are predicted at a time.
        accelerator: auto takes a CUDA GPU where there is one.
    """

    run: Path
    input: Path
    submission: Path | None = None
    weights: Path | None = None
    checkpoint: str = "best"
    bank: bool = True
    batch_size: int = 4096
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/predict.py``."""
    run_command(Request, predict, "python experiments/predict.py", __doc__, argv)


def predict(request: Request) -> None:
    """Rebuild the task and hand over to its domain."""
    from experiments.inference import load_task
    from experiments.training import quiet_libraries, resolve_hardware

    quiet_libraries()
    task, experiment, identity = load_task(request.run, request.checkpoint)
    kind, _, _ = resolve_hardware(request.accelerator, 1, "32-true")
    experiment.domain.part("predict")(request, task.to("cuda" if kind == "gpu" else "cpu"), experiment, identity)


if __name__ == "__main__":
    main()
