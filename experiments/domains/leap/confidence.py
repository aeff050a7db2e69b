"""What a confidence head is worth: R2 of the rows that are kept when those of the largest expected error are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from datamodules.banks.bank import PredictionBank
from datamodules.figures import SECOND, subplots
from datamodules.leap.schema import N_TARGETS
from experiments.engine.risk_coverage import report_risk_coverage
from lit_modules.leap.losses import learnable_target_mask
from lit_modules.metrics import StreamingR2

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.engine.training import FinishedRun

SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
_CHUNK = 16_384
_FEWEST_ROWS = 2


def report_confidence(run: FinishedRun) -> None:
    """Print the risk-coverage curve of a run whose bank holds confidences, record it and draw it; else do nothing."""
    report_risk_coverage(run, risk_coverage, _print, draw_risk_coverage)


def _print(curve: dict[str, list[Any]]) -> None:
    print("rows kept, smallest expected error first:")
    lines = {"R2": "r2", "R2 against the spread of all rows": "skill", "mean absolute error / std": "error"}
    for label, name in {"rows kept [%]": "kept", **lines}.items():
        values = (f"{100 * value:.0f}" if name == "kept" else f"{value:.4f}" for value in curve[name])
        print(f"{label:>34}" + "".join(f"{value:>8}" for value in values))


def risk_coverage(bank: PredictionBank, shares: tuple[float, ...] = SHARES) -> dict[str, list[float]]:
    """R2 against the share of rows kept, those of the smallest expected error first.

    A row's expected error is the mean of its ``confidence`` over the targets (0 where a target cannot be learnt, which
    does not change the order). R2 divides by the spread of the kept rows themselves, which are the calmer ones, so that it
    may fall while their errors fall; ``skill`` divides by the spread of all rows.

    Args:
        bank: out-of-fold predictions with ``confidence.npy``, expected absolute errors in bank units.
        shares: Shares of rows to keep, each in (0, 1]; all rows are added to them.

    Returns:
        Lists of equal length: ``kept`` (share of rows), ``rows``, ``r2`` (mean over all targets), ``clipped`` (the mean
        with every target's R2 held to [-1, 1]), ``skill`` and ``error`` (mean absolute error of the targets that can be
        learnt, in bank units, which are about one standard deviation of each).
    """
    rank = np.argsort(np.argsort(expected_errors(bank), kind="stable"))
    counts = np.unique([len(rank), *(max(_FEWEST_ROWS, round(share * len(rank))) for share in shares)])[::-1]
    metrics = [StreamingR2(N_TARGETS) for _ in counts]
    truth = bank.truth()
    learnable = learnable_target_mask().numpy()
    errors = []
    for start in range(0, len(rank), _CHUNK):
        rows = slice(start, start + _CHUNK)
        predicted, true = (torch.from_numpy(b.in_judge_units(rows)) for b in (bank, truth))
        for count, metric in zip(counts, metrics, strict=True):
            kept = torch.from_numpy(rank[rows] < count)
            metric.update(predicted[kept], true[kept])
        errors.append(np.abs((predicted - true).numpy() / bank.scale)[:, learnable].mean(axis=1))
    row_errors = np.concatenate(errors)
    per_target = [metric.per_target() for metric in metrics]
    return {
        "kept": [float(count / len(rank)) for count in counts],
        "rows": [int(count) for count in counts],
        "r2": [float(r2.mean()) for r2 in per_target],
        "clipped": [float(r2.clamp(-1, 1).mean()) for r2 in per_target],
        "skill": [float(_skill(metric, metrics[0])) for metric in metrics],
        "error": [float(row_errors[rank < count].mean()) for count in counts],
    }


def _skill(kept: StreamingR2, everything: StreamingR2) -> torch.Tensor:
    """Mean over the targets of 1 - squared error of the kept rows / variance of all rows."""
    variance = everything.m2 / everything.count
    ratio = kept.rss / kept.count / torch.where(variance > 0, variance, 1.0)
    return torch.where(variance > 0, 1.0 - ratio, everything.per_target()).mean()


def expected_errors(bank: PredictionBank) -> npt.NDArray[np.float64]:
    """Mean confidence of every row over its targets, ``(rows,)``."""
    confidence = bank.extra("confidence")
    starts = range(0, len(confidence), _CHUNK)
    return np.concatenate([confidence[i : i + _CHUNK].mean(axis=1, dtype=np.float64) for i in starts])


def draw_risk_coverage(curve: dict[str, list[Any]]) -> Figure:
    """R2 and mean absolute error against the share of rows kept.

    Args:
        curve: As :func:`risk_coverage` gives it.
    """
    figure, (axis, right) = subplots(1, 2, (11, 4))
    kept = [100 * share for share in curve["kept"]]
    right.plot(kept, curve["error"], marker="o", color=SECOND)
    right.invert_xaxis()
    right.set(xlabel="rows kept [%]", ylabel="mean absolute error [standard deviations]", title="learnable targets")
    axis.plot(kept, curve["r2"], marker="o", label="mean R2")
    axis.plot(kept, curve["skill"], marker="s", label="mean R2 against the spread of all rows")
    axis.axhline(curve["r2"][0], color="grey", linewidth=0.8, linestyle="--", label="all rows")
    axis.invert_xaxis()
    axis.set(xlabel="rows kept, smallest expected error first [%]", ylabel="R2", title="risk and coverage")
    axis.legend(fontsize=8)
    return figure
