"""Out-of-fold predictions of a run's last checkpoint, or of any epoch's, as a run of its own beside that of the best one.

A run predicts its held-out fold with the best checkpoint, which was chosen on that very fold; GWI's 4th place gave the last
checkpoints more weight than the best (0.6 to 0.4). The bank lies in ``<experiment>/<variant>-last/seed<S>/fold<F>``, so that
blends tell both apart and average folds and seeds of each; ``predict.py --checkpoint last`` puts test predictions there too. With
``--train.keep_epochs`` every epoch can have a bank, and blends choose the best epoch of each target (docs/blending.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from experiments.engine.command import run_command
from experiments.engine.run_directory import RunDirectory, must_exist


@dataclass
class Request:
    """Which run.

    Args:
        run: Run directory (``runs/<experiment>/<variant>/seed<S>/fold<F>``) of a finished fold.
        checkpoint: last, epoch<N> of a run with --train.keep_epochs, or epochs = each of them.
        accelerator: auto takes a CUDA GPU where there is one.
    """

    run: Path
    checkpoint: str = "last"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/checkpoint_bank.py``."""
    run_command(Request, checkpoint_banks, "python experiments/checkpoint_bank.py", __doc__, argv)


def checkpoint_banks(request: Request) -> list[RunDirectory]:
    """Predict with the wanted checkpoints; those that were predicted before are left as they are.

    Raises:
        DataError: as :func:`checkpoint_bank` does.
    """
    must_exist(request.run)
    run = RunDirectory(request.run.absolute())
    wanted = [request.checkpoint]
    if request.checkpoint == "epochs":
        kept = run.checkpoints.glob("epoch*.ckpt")
        wanted = [path.stem for path in sorted(kept, key=lambda path: (len(path.stem), path.stem))] or ["epoch0"]
    from experiments.engine.checkpoint_banks import checkpoint_bank

    return [checkpoint_bank(run, which, request.accelerator) for which in wanted]


if __name__ == "__main__":
    main()
