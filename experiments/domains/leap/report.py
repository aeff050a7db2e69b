"""What a LEAP run ends with: a table beside the baselines, and pictures of the out-of-fold predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from datamodules.banks.bank import PredictionBank
from datamodules.files import read_json
from datamodules.leap.datamodule import LeapDataModule
from datamodules.leap.schema import TARGET_GROUPS
from experiments.domains.leap.baselines import baseline_scores, group_means
from experiments.domains.leap.confidence import report_confidence
from lit_modules.leap.figures import predicted_against_true, r2_by_level
from lit_modules.metrics import StreamingR2

if TYPE_CHECKING:
    from experiments.engine.training import FinishedRun

_CHUNK = 16_384
_PANEL_ROWS = 20_000


def make_demo(cache: Path) -> Path:
    """Generate the demo data set below ``cache``, or find it there."""
    from datamodules.leap.demo import DemoSpec, generate

    return generate(Path(cache) / "demo", DemoSpec())


def bank_r2(bank: PredictionBank) -> np.ndarray:
    """R2 of every target of an out-of-fold bank, from the files alone."""
    import torch

    truth = bank.truth()
    metric = StreamingR2(int(np.prod(bank.shape)))
    for start in range(0, len(bank.index), _CHUNK):
        rows = slice(start, start + _CHUNK)
        metric.update(torch.from_numpy(bank.in_judge_units(rows)), torch.from_numpy(truth.in_judge_units(rows)))
    return metric.per_target().numpy()


def report(run: FinishedRun) -> None:
    """Print R2 per variable group beside the baselines; write scores and figures into the run directory."""
    if run.bank is None:
        return
    assert isinstance(run.data, LeapDataModule)
    per_target = bank_r2(run.bank)
    scores = baseline_scores(run.data, run.settings.model.clamp_water)
    table = {name: group_means(values) for name, values in scores.items()}
    table[run.settings.experiment.name] = group_means(per_target)
    ceiling = _noise_ceiling(run)
    if ceiling:
        table["noise ceiling"] = ceiling
    run.directory.update_record(scores=table, per_target=[float(value) for value in per_target])
    if run.settings.train.figures:
        _draw(run, per_target)
    _print(run, table)
    report_confidence(run)


def _noise_ceiling(run: FinishedRun) -> dict[str, float] | None:
    """What the best possible predictor of the demo data would score; the generator wrote it down."""
    path = Path(run.data.data_dir) / "demo.json"
    return dict(read_json(path)["ceiling"]) if run.settings.demo and path.is_file() else None


def _draw(run: FinishedRun, per_target: np.ndarray) -> None:
    assert run.bank is not None
    rows = np.linspace(0, len(run.bank.index) - 1, min(_PANEL_ROWS, len(run.bank.index))).astype(np.int64)
    figures = {
        "r2_by_level": r2_by_level(per_target),
        "predicted_against_true": predicted_against_true(
            run.bank.in_judge_units(rows), run.bank.truth().in_judge_units(rows), per_target
        ),
    }
    run.directory.figures.mkdir(parents=True, exist_ok=True)
    for name, figure in figures.items():
        figure.savefig(run.directory.figures / f"{name}.png", dpi=110)
        run.log_image(name, figure)


def _print(run: FinishedRun, table: dict[str, dict[str, float]]) -> None:
    kind = "synthetic demo data, not comparable with any leaderboard" if run.settings.demo else "held-out rows"
    out = Table(title=f"R2 on {kind} ({len(run.bank.index) if run.bank else 0:,} rows)")
    out.add_column("predictor")
    columns = ("all", "clipped", *TARGET_GROUPS)
    for name in columns:
        out.add_column(name, justify="right")
    for predictor, scores in table.items():
        out.add_row(predictor, *(_cell(scores[name]) if name in scores else "" for name in columns))
    out.caption = "clipped: mean with every target's R2 held to [-1, 1], which few rows do not upset"
    Console(width=120).print(out)


def _cell(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1e}"
