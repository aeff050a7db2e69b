"""What a GWI run ends with: errors by family beside the median map's, and pictures of the out-of-fold maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from datamodules.batches import Rows
from datamodules.folds import VALID
from datamodules.gwi.datamodule import GwiDataModule
from experiments.domains.gwi.confidence import report_confidence
from lit_modules.gwi.figures import gathers_and_maps
from lit_modules.gwi.metrics import FamilyMAE

if TYPE_CHECKING:
    from experiments.engine.training import FinishedRun

_CHUNK, _SHOWN = 500, 6


def report(run: FinishedRun) -> None:
    """Print and record errors of the net and of the median map; draw some maps from the bank."""
    if run.bank is None:
        return
    assert isinstance(run.data, GwiDataModule)
    rows = run.data.rows(VALID)
    net, median = FamilyMAE(), FamilyMAE()
    # not the task's own, which it may have taken over from another run's data with the weights
    constant = torch.from_numpy(run.data.statistics()["median_map"])
    for start in range(0, len(rows), _CHUNK):
        chunk = rows[start : start + _CHUNK]
        truth = torch.from_numpy(run.data.truth(chunk))
        family = torch.from_numpy(run.data.family(chunk))
        predicted = torch.from_numpy(run.bank.in_judge_units(slice(start, start + len(chunk))))
        net.update(predicted, truth, family)
        median.update(constant.expand_as(truth), truth, family)
    table = {"median": median.table(), run.settings.experiment.name: net.table()}
    run.directory.update_record(scores=table)
    if run.settings.train.figures:
        _draw(run, run.data, rows)
    _print(run, table)
    report_confidence(run)


def _draw(run: FinishedRun, data: GwiDataModule, rows: Rows) -> None:
    assert run.bank is not None
    positions = np.linspace(0, len(rows) - 1, min(_SHOWN, len(rows))).astype(np.int64)
    batch = data.read(rows[positions])
    predicted = torch.from_numpy(run.bank.in_judge_units(positions)).float()
    figure = gathers_and_maps(list(zip(batch["gathers"], batch["velocity"], predicted, strict=True)))
    run.keep_figure("out_of_fold_maps", figure)


def _print(run: FinishedRun, table: dict[str, dict[str, float]]) -> None:
    kind = "generated demo data, not comparable with any leaderboard" if run.settings.demo else "held-out files"
    out = Table(title=f"Mean absolute error in m/s on {kind} ({len(run.bank.index) if run.bank else 0:,} maps)")
    for name in ("rows", *table, "gain"):
        out.add_column(name, justify="left" if name == "rows" else "right")
    reference, ours = table.values()
    for name, value in ours.items():
        label = name.removeprefix("mae_odd").removeprefix("mae").lstrip("_") or "all"
        columns = "odd columns" if name.startswith("mae_odd") else "all columns"
        gain = 1 - value / reference[name]
        out.add_row(f"{label}, {columns}", f"{reference[name]:.1f}", f"{value:.1f}", f"{gain:.0%}")
    Console(width=100).print(out)
