"""What a confidence head is worth: R2 of the rows that are kept when those of the largest expected error are dropped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from blend.bank import PredictionBank
from datamodules.leap.schema import N_TARGETS
from lit_modules.leap.losses import learnable_target_mask
from lit_modules.metrics import StreamingR2

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.training import FinishedRun

SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)
_CHUNK = 16_384
_FEWEST_ROWS = 2


def report_confidence(run: FinishedRun) -> None:
    """Print the risk-coverage curve of a run whose bank holds confidences, record it and draw it; else do nothing."""
    if run.bank is None or not (run.bank.path / "confidence.npy").is_file():
        return
    curve = risk_coverage(run.bank)
    run.directory.update_record(risk_coverage=curve)
    text = ", ".join(f"{100 * share:.0f} % {r2:.4f}" for share, r2 in zip(curve["kept"], curve["r2"], strict=True))
    print(f"R2 of the rows with the smallest expected error: {text}")
    if run.settings.train.figures:
        figure = draw_risk_coverage(curve)
        run.directory.figures.mkdir(parents=True, exist_ok=True)
        figure.savefig(run.directory.figures / "risk_coverage.png", dpi=110)
        run.log_image("risk_coverage", figure)


def risk_coverage(bank: PredictionBank, shares: tuple[float, ...] = SHARES) -> dict[str, list[float]]:
    """R2 against the share of rows kept, those of the smallest expected error first.

    A row's expected error is the mean of its ``confidence`` over the targets (0 where a target cannot be learnt, which
    does not change the order). R2 is taken on the kept rows alone, their own spread included.

    Args:
        bank: out-of-fold predictions with ``confidence.npy``, expected absolute errors in bank units.
        shares: of rows to keep, each in (0, 1].

    Returns:
        Lists of equal length: ``kept`` (share of rows), ``rows``, ``r2`` (mean over all targets), ``clipped`` (the mean
        with every target's R2 held to [-1, 1]) and ``error`` (mean absolute error of the targets that can be learnt, in
        bank units, which are about one standard deviation of each).
    """
    rank = np.argsort(np.argsort(expected_errors(bank), kind="stable"))
    counts = np.unique([max(_FEWEST_ROWS, round(share * len(rank))) for share in shares])[::-1]
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
        "error": [float(row_errors[rank < count].mean()) for count in counts],
    }


def expected_errors(bank: PredictionBank) -> npt.NDArray[np.float64]:
    """Mean confidence of every row over its targets, ``(rows,)``."""
    confidence = bank.extra("confidence")
    starts = range(0, len(confidence), _CHUNK)
    return np.concatenate([confidence[i : i + _CHUNK].mean(axis=1, dtype=np.float64) for i in starts])


def draw_risk_coverage(curve: dict[str, list[Any]]) -> Figure:
    """R2 and mean absolute error against the share of rows kept.

    Args:
        curve: as :func:`risk_coverage` gives it.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (axis, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    kept = [100 * share for share in curve["kept"]]
    right.plot(kept, curve["error"], marker="o", color="tab:red")
    right.invert_xaxis()
    right.set(xlabel="rows kept [%]", ylabel="mean absolute error [standard deviations]", title="learnable targets")
    axis.plot(kept, curve["r2"], marker="o", label="mean R2")
    axis.plot(kept, curve["clipped"], marker="s", label="mean R2, targets held to [-1, 1]")
    axis.axhline(curve["r2"][0], color="grey", linewidth=0.8, linestyle="--", label="all rows")
    axis.invert_xaxis()
    axis.set(xlabel="rows kept, smallest expected error first [%]", ylabel="R2", title="risk and coverage")
    axis.legend()
    return figure
