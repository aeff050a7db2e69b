"""Write a trained run as one self-contained file that other programs load with torch alone.

The file takes raw physical state in SI units and gives raw physical output; scaling and post-processing are inside. See
docs/export.md for how to load it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.engine.command import run_command
from experiments.engine.settings import FileFormat


@dataclass
class Request:
    """What to export.

    Args:
        run: Run directory (``runs/<experiment>/<variant>/seed<S>/fold<F>``) or a checkpoint file.
        output: File to write, such as ``emulator.pt2`` (``.pt`` for TorchScript).
        format: torch_export is torch's current format; torchscript is the older one, which LibTorch and FTorch couplers
            read; aotinductor is a library compiled for this machine, for C++ without Python.
        layout: What a LEAP file takes: columns = profiles and scalars, two float64 tensors; flat = one float64 tensor of
            557 values a column; e3sm = the same in float32 with relative humidity, as E3SM-MMF's FTorch interface hands it.
        device: Where the file will run.
        checkpoint: Which checkpoint of the run.
    """

    run: Path
    output: Path
    format: FileFormat = "torch_export"
    layout: Literal["columns", "flat", "e3sm"] = "columns"
    device: Literal["cpu", "cuda"] = "cpu"
    checkpoint: Literal["best", "last"] = "best"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/export.py``."""
    run_command(Request, export, "python experiments/export.py", __doc__, argv)


def export(request: Request) -> None:
    """Rebuild the task on the CPU, let its domain wrap it, and write the file.

    Raises:
        DataError: no usable checkpoint, a domain or a net that cannot be exported, or an output that cannot be written.
    """
    from datamodules.commands import announced
    from datamodules.errors import DataError
    from experiments.__main__ import names
    from experiments.engine.declare import load_experiment
    from experiments.engine.run_directory import RunDirectory, must_exist

    must_exist(request.run)  # before torch is imported, and so is what the run itself tells
    name = str(RunDirectory(request.run).record().get("experiment", ""))
    if name in names() and (domain := load_experiment(name).domain).export is None:
        raise DataError(f"{name} cannot be exported: the domain {domain.name!r} declares no export function")
    import torch

    from experiments.engine.export import origin_of, write
    from experiments.engine.inference import load_task
    from experiments.engine.trainer import quiet_libraries

    quiet_libraries()
    trained = load_task(request.run, request.checkpoint)
    domain, name = trained.experiment.domain, trained.experiment.name
    if domain.export is None:
        raise DataError(f"{name} cannot be exported: the domain {domain.name!r} declares no export function")
    if trained.task.cannot_predict:
        raise DataError(f"{trained.checkpoint} cannot be exported: {trained.task.cannot_predict}")
    if request.device == "cuda" and not torch.cuda.is_available():
        raise DataError("--device cuda needs a CUDA GPU here: the file is checked on the device that it is written for")
    with announced("exporting, and checking the file against the net's own predictions"):
        deployable = domain.part("export")(trained.task, request.layout)
        write(deployable, request.output, request.format, origin_of(trained), request.device)
    print(f"{request.output}: {name}, checked against its own predictions on {deployable.rows} example rows")


if __name__ == "__main__":
    main()
