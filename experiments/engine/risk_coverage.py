"""What every report of a confidence head does with its risk-coverage curve; the domains compute, print and draw their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from datamodules.banks.bank import PredictionBank

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.engine.training import FinishedRun

Curve = dict[str, Any]


def report_risk_coverage(
    run: FinishedRun,
    compute: Callable[[PredictionBank], Curve],
    show: Callable[[Curve], None],
    draw: Callable[[Curve], Figure],
) -> None:
    """Print, record and draw the curve of a run whose bank holds confidences; else do nothing.

    Args:
        run: With its bank.
        compute: The curve from the bank.
        show: Prints it.
        draw: Its picture.
    """
    if run.bank is None or not (run.bank.path / "confidence.npy").is_file():
        return
    curve = compute(run.bank)
    run.directory.update_record(risk_coverage=curve)
    show(curve)
    if run.settings.train.figures:
        figure = draw(curve)
        run.keep_figure("risk_coverage", figure)
