"""What the confidence head is worth: the error of the maps that are kept when those of the largest expected error are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from datamodules.banks.bank import PredictionBank
from datamodules.figures import subplots
from experiments.engine.risk_coverage import report_risk_coverage

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.engine.training import FinishedRun

SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
_CHUNK = 2000


def report_confidence(run: FinishedRun) -> None:
    """Print the risk-coverage curve of a run whose bank holds confidences, record it and draw it; else do nothing."""
    report_risk_coverage(run, risk_coverage, _print, draw_risk_coverage)


def _print(curve: dict[str, Any]) -> None:
    print(
        f"maps kept, smallest expected error first (rank correlation with the true error {curve['correlation']:.2f}):"
    )
    print(f"{'maps kept [%]':>28}" + "".join(f"{100 * share:>7.0f}" for share in curve["kept"]))
    print(f"{'mean absolute error [m/s]':>28}" + "".join(f"{error:>7.1f}" for error in curve["mae"]))
    print(f"{'expected by the net [m/s]':>28}" + "".join(f"{error:>7.1f}" for error in curve["expected"]))


def risk_coverage(bank: PredictionBank, shares: tuple[float, ...] = SHARES) -> dict[str, Any]:
    """Mean absolute error against the share of maps kept, those of the smallest expected error first.

    Args:
        bank: out-of-fold maps with ``confidence.npy``, the expected absolute error of every cell in m/s.
        shares: Shares of maps to keep, each in (0, 1].

    Returns:
        Lists of equal length: ``kept`` (share of maps), ``mae`` (m/s), ``best`` (of the same number of maps with the smallest
        true errors, which no estimate beats) and ``expected`` (by the net); and their rank ``correlation`` over maps.
    """
    expected, errors = map_errors(bank)
    order, ideal = np.argsort(expected, kind="stable"), np.sort(errors)
    counts = np.unique([max(1, round(share * len(errors))) for share in shares])[::-1]
    varies = len(errors) > 1 and np.ptp(expected) > 0 and np.ptp(errors) > 0
    return {
        "kept": [float(count / len(errors)) for count in counts],
        "mae": [float(errors[order[:count]].mean()) for count in counts],
        "best": [float(ideal[:count].mean()) for count in counts],
        "expected": [float(expected[order[:count]].mean()) for count in counts],
        "correlation": float(spearmanr(expected, errors).statistic) if varies else 0.0,
    }


def map_errors(bank: PredictionBank) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Expected and true mean absolute error of every map in m/s, each ``(maps,)``."""
    confidence, truth = bank.extra("confidence"), bank.truth()
    expected, errors = [], []
    for start in range(0, len(confidence), _CHUNK):
        rows = slice(start, start + _CHUNK)
        expected.append(confidence[rows].mean(axis=(1, 2), dtype=np.float64))
        errors.append(np.abs(bank.in_judge_units(rows) - truth.in_judge_units(rows)).mean(axis=(1, 2)))
    return np.concatenate(expected), np.concatenate(errors)


def draw_risk_coverage(curve: dict[str, Any]) -> Figure:
    """Mean absolute error against the share of maps kept, by the net's order and by the best one.

    Args:
        curve: As :func:`risk_coverage` gives it.
    """
    figure, axis = subplots(size=(6, 4))
    kept = [100 * share for share in curve["kept"]]
    axis.plot(kept, curve["mae"], marker="o", label="in the order of the net's confidence")
    axis.plot(kept, curve["best"], color="grey", linestyle="--", label="in the order of the true errors")
    axis.axhline(curve["mae"][0], color="grey", linewidth=0.8)
    axis.invert_xaxis()
    axis.set(xlabel="maps kept, smallest expected error first [%]", ylabel="mean absolute error [m/s]", ylim=(0, None))
    axis.legend(fontsize=8)
    return figure
