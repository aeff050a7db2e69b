"""Evaluate trained runs as climate people do: skill and bias by latitude, pressure and place, several runs side by side.

Reads the out-of-fold predictions of the runs and their truth; writes figures (PNG, and into each run's W&B run) and the numbers
behind them. With --column_model, single columns are integrated under the emulator instead, a test of stability. See
docs/evaluate.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.engine.command import run_command


@dataclass
class Request:
    """What to evaluate.

    Args:
        run: Run directories (``runs/<experiment>/<variant>/seed<S>/fold<F>``) with out-of-fold predictions of the same rows.
        output: Folder of figures and numbers; default: ``evaluation`` in the first run directory.
        flux: Which surface flux the maps show.
        grid_file: ClimSim grid-info file with latitude, longitude and area; the low-resolution grid is known.
        column_model: Steps of 1200 s to integrate single columns for; 0 = no integration.
        input: Raw file pairs (a folder) that the integrations start from; default: the run's own data.
        columns: Grid columns of these files; default: as the run's data.
        checkpoint: best or last, for the integrations.
        wandb: offline or online adds the figures to the W&B run of every run directory that has one; disabled.
    """

    run: list[Path]
    output: Path | None = None
    flux: str = "cam_out_PRECC"
    grid_file: Path | None = None
    column_model: int = 0
    input: Path | None = None
    columns: int | None = None
    checkpoint: Literal["best", "last"] = "best"
    wandb: Literal["online", "offline", "disabled"] = "disabled"

    def __post_init__(self) -> None:
        if self.column_model < 0:
            raise ValueError(f"--column_model is a number of steps, got {self.column_model}")


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/evaluate.py``."""
    run_command(Request, evaluate, "python experiments/evaluate.py", __doc__, one_list(argv))


def one_list(argv: Sequence[str] | None) -> list[str]:
    """The command line with the words after ``--run`` as one list, so that several runs need no brackets."""
    words = list(sys.argv[1:] if argv is None else argv)
    if "--run" not in words:
        return words
    start = words.index("--run") + 1
    stop = next((i for i in range(start, len(words)) if words[i].startswith("--")), len(words))
    runs = words[start:stop]
    return words if len(runs) == 1 and runs[0].startswith("[") else [*words[:start], json.dumps(runs), *words[stop:]]


def evaluate(request: Request) -> None:
    """Hand over to the domain of the runs."""
    from datamodules.commands import announced
    from datamodules.errors import DataError
    from experiments.engine.declare import load_experiment
    from experiments.engine.run_directory import RunDirectory, must_exist

    must_exist(*request.run, request.grid_file, request.input)
    records = {path: RunDirectory(path).record() for path in request.run}
    for path, record in records.items():
        if not record:
            raise DataError(f"{path} is no run directory: it has no run.json")
    from experiments.engine.trainer import quiet_libraries  # imports torch

    quiet_libraries()
    domains = {name: load_experiment(name).domain for name in (record["experiment"] for record in records.values())}
    domain = next(iter(domains.values()))
    if any(other.name != domain.name for other in domains.values()):
        raise DataError(f"the runs are of several domains: {', '.join(sorted({d.name for d in domains.values()}))}")
    if domain.evaluate is None:
        raise DataError(f"the domain {domain.name!r} declares no evaluation; python -m blend report compares its runs")
    with announced("reading the held-out predictions and their truth"):
        domain.part("evaluate")(request)


if __name__ == "__main__":
    main()
