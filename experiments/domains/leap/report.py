"""What a LEAP run ends with: a table beside the baselines, and pictures of the out-of-fold predictions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from datamodules.files import read_json
from datamodules.folds import VALID
from datamodules.leap.datamodule import LeapDataModule
from datamodules.leap.effective_rows import FEWEST_EFFECTIVE_ROWS, estimable
from datamodules.leap.schema import TARGET_GROUPS
from experiments.domains.leap.baselines import baseline_scores
from experiments.domains.leap.confidence import report_confidence
from experiments.domains.leap.scores import block_sums, intervals, score_means, worst_targets
from lit_modules.leap.figures import predicted_against_true, r2_by_level

if TYPE_CHECKING:
    from experiments.engine.training import FinishedRun

MEANS = ("all", "clipped", "estimable")
_PANEL_ROWS = 20_000


def make_demo(cache: Path) -> Path:
    """Generate the demo data set below ``cache``, or find it there."""
    from datamodules.leap.demo import DemoSpec, generate

    return generate(Path(cache) / "demo", DemoSpec())


def report(run: FinishedRun) -> None:
    """Print R2 per variable group beside the baselines; write scores and figures into the run directory."""
    if run.bank is None:
        return
    assert isinstance(run.data, LeapDataModule)
    effective = run.data.effective_rows
    sums = block_sums(run.bank, run.data.times(run.data.rows(VALID)))
    per_target = sums.r2()[0]
    scores = baseline_scores(run.data, run.settings.model.clamp_water) | {run.settings.experiment.name: per_target}
    table = {name: score_means(values, effective) for name, values in scores.items()}
    ceiling = _noise_ceiling(run)
    if ceiling:
        table["noise ceiling"] = ceiling
    limits, worst = intervals(sums, effective), worst_targets(per_target)
    run.directory.update_record(
        scores=table,
        intervals=limits,
        worst_targets=worst,
        per_target=per_target.tolist(),
        effective_rows=effective.tolist(),
    )
    if run.settings.train.figures:
        _draw(run, per_target)
    _print(run, table)
    own = table[run.settings.experiment.name]
    means = (f"{name} {_cell(own[name])} [{_cell(low)}, {_cell(high)}]" for name, (low, high) in limits.items())
    print(f"95 % of bootstraps over {len(sums.rows)} blocks of time: {', '.join(means)}")
    print("worst targets: " + ", ".join(f"{name} {_cell(value)}" for name, value in worst.items()))
    few = int((~estimable(effective)).sum())
    if few:
        print(f"{few} targets rest on fewer than {FEWEST_EFFECTIVE_ROWS:g} effective rows and are not estimable here")
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
    for name, figure in figures.items():
        run.keep_figure(name, figure)


def _print(run: FinishedRun, table: dict[str, dict[str, float]]) -> None:
    kind = "synthetic demo data, not comparable with any leaderboard" if run.settings.demo else "held-out rows"
    out = Table(title=f"R2 on {kind} ({len(run.bank.index) if run.bank else 0:,} rows)")
    out.add_column("predictor")
    columns = (*(name for name in MEANS if any(name in scores for scores in table.values())), *TARGET_GROUPS)
    for name in columns:
        out.add_column(name, justify="right")
    for predictor, scores in table.items():
        out.add_row(predictor, *(_cell(scores[name]) if name in scores else "" for name in columns))
        held = {name: scores.get(f"{name}_clipped", scores.get(name, 0.0)) for name in TARGET_GROUPS}
        if any(_cell(value) != _cell(scores.get(name, value)) for name, value in held.items()):
            out.add_row("  clipped", *("" for _ in columns[: -len(held)]), *(_cell(value) for value in held.values()))
    out.caption = "all: the judge's; clipped: with every target's R2 held to [-1, 1]; estimable: over targets that these rows can tell"
    Console(width=130).print(out)


def _cell(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 100 else f"{value:.1e}"
