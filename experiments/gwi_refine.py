"""GWI: full-waveform inversion, until the exact simulator gives the recorded gathers. Of a bank's maps, or of one survey from a plain start.

With --bank: a map that explains its gathers no better than the net's is left as it was. Killed and started again it goes on where it stood; several
machines share the work with --part 1/3, 2/3, 3/3 and the same other flags, and whoever finishes last writes the bank.

With --gathers: one line of any survey (--acquisition) from a gradient, a constant or a map of one's own (--start), low frequencies first.
"""

from __future__ import annotations

from collections.abc import Sequence

from datamodules.parts import parse_part
from experiments.domains.gwi.refine_request import Request
from experiments.engine.command import run_command
from experiments.engine.run_directory import must_exist

_ON_A_GPU = 64  # maps at once: 0.2 GB of wavefields each


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/gwi_refine.py``."""
    run_command(Request, refine, "python experiments/gwi_refine.py", __doc__, argv)


def refine(request: Request) -> None:
    """Refine what is missing, then write the bank and say what it is worth."""
    must_exist(request.bank, request.data_dir, request.gathers, request.acquisition, request.truth, request.groups)
    import torch

    from datamodules.gwi.refinement.descent import Descent
    from experiments.domains.gwi.refined_bank import Plan, report, work, write
    from experiments.domains.gwi.survey import invert_survey

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
        slowest=request.slowest,
        fastest=request.fastest,
    )
    if request.gathers is not None:
        invert_survey(request, settings, device, at_once)
        return
    assert request.bank is not None
    assert request.data_dir is not None
    plan = Plan.of(
        request.bank, request.out, request.groups, request.most_per_family, settings, request.method == "gauss_newton"
    )
    work(plan, request.data_dir, part, parts, device, at_once)
    if missing := plan.missing():
        print(f"part {part} of {parts} is done; {missing:,} maps are left to the other parts")
        return
    print(report(write(plan), plan))


if __name__ == "__main__":
    main()
