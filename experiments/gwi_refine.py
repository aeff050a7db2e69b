"""GWI: refine a bank's maps by full-waveform inversion, until the exact simulator gives the recorded gathers.

A map that explains its gathers no better than the net's is left as it was. Killed and started again it goes on where it stood; several
machines share the work with --part 1/3, 2/3, 3/3 and the same other flags, and whoever finishes last writes the bank.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.engine.command import run_command
from experiments.gwi_generate import parse_part

_ON_A_GPU = 64  # maps at once: 0.2 GB of wavefields each


@dataclass
class Request:
    """What to refine.

    Args:
        bank: Bank folder of the net's maps, or a fold directory that holds one.
        data_dir: Folder of the data that were predicted; real maps without gathers are shot exactly.
        out: Bank folder to write; default: beside the bank, with the ending _refined.
        groups: CSV with the columns row_id and group (the family), for banks of test files, such as the classifier's labels.
        max_iterations: For each map, if it does not stop before; one costs about four simulations.
        tolerance: Stop when ten iterations lower the residual by less than this share, once the prior has let go.
        prior_weight: Prior weight of the family's prior against the misfit that is left while the gathers speak first; default: the prior's own.
        late_prior_weight: The same when it then sharpens edges, halved every ten iterations; default: the prior's own.
        most_per_family: Refine only the first maps of each family.
        part: K/N = only every N-th map, beginning with the K-th.
        at_once: Maps that are refined side by side, their simulations in one batch; 0 = one a thread, 64 on a GPU.
        threads: Threads of the simulator; 0 = all cores.
        device: auto takes a CUDA GPU where there is one.
    """

    bank: Path
    data_dir: Path
    out: Path | None = None
    groups: Path | None = None
    max_iterations: int = 60
    tolerance: float = 0.05
    prior_weight: float | None = None
    late_prior_weight: float | None = None
    most_per_family: int | None = None
    part: str = "1/1"
    at_once: int = 0
    threads: int = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"

    def __post_init__(self) -> None:
        if self.max_iterations < 1:
            raise ValueError(f"--max_iterations must be at least 1, got {self.max_iterations}")
        if self.at_once < 0:
            raise ValueError(f"--at_once must not be negative, got {self.at_once}")
        if self.most_per_family is not None and self.most_per_family < 1:
            raise ValueError(f"--most_per_family must be at least 1, got {self.most_per_family}")
        parse_part(self.part)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/gwi_refine.py``."""
    run_command(Request, refine, "python experiments/gwi_refine.py", __doc__, argv)


def refine(request: Request) -> None:
    """Refine what is missing, then write the bank and say what it is worth."""
    import torch

    from datamodules.gwi.refinement.descent import Descent
    from experiments.domains.gwi.refined_bank import Plan, report, work, write

    part, parts = parse_part(request.part)
    torch.set_num_threads(request.threads or torch.get_num_threads())
    device: str = request.device
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    at_once = request.at_once or (_ON_A_GPU if device == "cuda" else torch.get_num_threads())
    settings = Descent(
        max_iterations=request.max_iterations,
        tolerance=request.tolerance,
        prior_weight=request.prior_weight,
        late_prior_weight=request.late_prior_weight,
    )
    plan = Plan.of(request.bank, request.out, request.groups, request.most_per_family, settings)
    work(plan, request.data_dir, part, parts, device, at_once)
    if missing := plan.missing():
        print(f"part {part} of {parts} is done; {missing:,} maps are left to the other parts")
        return
    print(report(write(plan), plan))


if __name__ == "__main__":
    main()
