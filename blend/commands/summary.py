"""What a search tells: tables, figures, and the contents of its weights file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blend.commands import report
from blend.judging.nested import Difference, Fitted
from blend.judging.shrink import Shrunk
from blend.problem import Problem
from blend.settings import Inputs
from datamodules.banks.bank import hash_ids

Rows = list[list[Any]]
SCORE_HEADER = ("method", "in-sample", "nested", "gap to the optimum", "time to fit")
STEP_HEADER = ("step", "before", "after", "gain")
MODEL_HEADER = ("model", "weight", "alone", "adds")
_MOST_MODELS, _MOST_TARGETS = 100, 2000  # that a figure shows


@dataclass
class Found:
    """Everything a search reports.

    Attributes:
        problem: What was blended.
        result, single, equal: The method, the best single model, the plain mean.
        against_single, against_equal: Nested differences with their bootstrap intervals.
        adds: What each model adds, and how that was measured.
        correlations: Correlations of the models' errors.
        seconds: Seconds of the whole search.
        shrunk: What a shrink of the finished blend is worth, where that was asked for.
        step_scores: Score before any post-processing, then after each step.
    """

    problem: Problem
    result: Fitted
    single: Fitted
    equal: Fitted
    against_single: Difference
    against_equal: Difference
    adds: dict[str, float]
    adds_how: str
    correlations: np.ndarray
    seconds: float = 0.0
    shrunk: Shrunk | None = None
    step_scores: list[tuple[str, float]] = field(default_factory=list)


def score_rows(found: Found) -> Rows:
    """In-sample and nested scores of the method, the best single model and the equal blend."""
    rows = []
    # the method last, so that it stands once where it is the equal mean itself
    named = {"best single": found.single, "equal": found.equal} | {found.result.weights.method: found.result}
    for label, fitted in sorted(named.items(), key=lambda item: item[1] is not found.result):
        assert fitted.in_sample is not None
        nested = f"{fitted.held_out.score():.8f}" if fitted.held_out else "not asked for"
        gap = "" if fitted.weights.gap is None else f"{fitted.weights.gap:.1e}"
        rows.append([label, f"{fitted.in_sample.score():.8f}", nested, gap, f"{fitted.seconds:.2f} s"])
    return rows


def model_rows(found: Found) -> Rows:
    """Weight, own score and contribution of every model, heaviest first."""
    weights = found.result.weights.mean()
    singles = found.problem.objective().singles()
    metric = found.problem.metric
    rows = []
    for k in np.argsort(-weights, kind="stable"):
        name = found.problem.names[k]
        adds = f"{found.adds[name]:+.2e}" if name in found.adds else ""
        rows.append([name, f"{weights[k]:.4f}", f"{metric.score_of_loss(float(singles[k])):.6f}", adds])
    return rows


def step_rows(found: Found) -> Rows:
    """Score before and after every step of the post-processing, and what it gains (positive = better)."""
    sign = found.problem.metric.sign
    pairs = zip(found.step_scores, found.step_scores[1:], strict=False)
    return [
        [label, f"{before:.6f}", f"{after:.6f}", f"{sign * (before - after):+.6f}"]
        for (_, before), (label, after) in pairs
    ]


def paragraphs(found: Found) -> list[str]:
    """The report's text."""
    problem, weights = found.problem, found.result.weights
    better = "higher" if problem.metric.higher_is_better else "lower"
    interval = "the best single model: {0.value:+.3e} (95 % {0.low:+.3e} to {0.high:+.3e}); the equal blend: {1.value:+.3e} (95 % {1.low:+.3e} to {1.high:+.3e})"
    upper = found.correlations[np.triu_indices(problem.models, 1)]
    mean = (
        f"error correlations: mean {upper.mean():.3f}, from {upper.min():.3f} to {upper.max():.3f}"
        if len(upper)
        else "one model"
    )
    notes = [problem.stack.nested_note, *weights.notes]
    if weights.gap is not None:
        notes.append(f"certificate: no other weights of this kind are better in-sample by more than {weights.gap:.2e}")
    return [
        f"{problem.models} models, {len(problem.stack.rows)} rows x {problem.width} targets, metric {problem.metric.name} ({better} is better).",
        report.table(SCORE_HEADER, score_rows(found)),
        f"Against {interval.format(found.against_single, found.against_equal)}.",
        *([] if found.shrunk is None else [shrink_text(found.shrunk)]),
        report.table(MODEL_HEADER, model_rows(found)),
        f"adds: {f'loss of {found.adds_how} (positive = it helps)' if found.adds else found.adds_how}; {mean}.",
        *([report.table(STEP_HEADER, step_rows(found))] if found.step_scores else []),
        "\n".join(f"- {note}" for note in notes if note),
        f"{found.seconds:.1f} s in all, {found.result.nested_seconds:.1f} s of them for nested weights.",
    ]


def shrink_text(shrunk: Shrunk) -> str:
    """The scores of a blend without and with its shrink."""
    rows = [["without", "0", f"{shrunk.in_sample[0]:.8f}", "" if shrunk.nested is None else f"{shrunk.nested[0]:.8f}"]]
    rows.append(
        [
            "with",
            f"{shrunk.c:.2e}",
            f"{shrunk.in_sample[1]:.8f}",
            "" if shrunk.nested is None else f"{shrunk.nested[1]:.8f}",
        ]
    )
    folds = ", ".join(f"{c:.1e}" for c in shrunk.fold_c.values())
    note = f"; the nested score takes the c of the other folds ({folds})" if shrunk.fold_c else ""
    return f"Shrink p (1 - 2 c) + c of the finished blend{note}:\n\n" + report.table(
        ("shrink", "c", "in-sample", "nested"), rows
    )


def figures(found: Found, folder: Path) -> list[Path]:
    """Draw weights, path, error correlations and gains per target, where there is something to see."""
    problem, weights = found.problem, found.result.weights
    gains = problem.metric.sign * (found.single.honest.per_target() - found.result.honest.per_target())
    drawn = [report.draw_weights(weights, folder)]
    if len(weights.path) > 1:
        drawn.append(report.draw_path(weights, problem.metric, folder))
    if 1 < problem.models <= _MOST_MODELS:
        drawn.append(report.draw_correlations(found.correlations, problem.names, folder))
    if 1 < len(gains) <= _MOST_TARGETS:
        drawn.append(
            report.draw_gains(gains, problem.stack.manifest.targets, problem.target_groups, problem.metric.name, folder)
        )
    return drawn


def identity(problem: Problem, inputs: Inputs) -> dict[str, Any]:
    """What a weights file says of the predictions it was fitted on."""
    manifest = problem.stack.manifest
    return {
        "metric": problem.metric.name,
        "direction": "maximize" if problem.metric.higher_is_better else "minimize",
        "domain": manifest.domain,
        "convention": manifest.convention,
        "targets": manifest.targets,
        "shape": list(problem.stack.shape),
        "rows": len(problem.stack.rows),
        "rows_hash": hash_ids(problem.stack.rows["row_id"]),
        "folds_hash": manifest.hashes.get("folds"),
        "nested_folds": problem.stack.nested_note,
        "clip_predictions": inputs.clip_predictions,
    }


def scores(found: Found) -> dict[str, Any]:
    """The scores of a weights file."""
    result, single, equal = found.result, found.single, found.equal
    assert result.in_sample is not None
    assert single.in_sample is not None
    assert equal.in_sample is not None
    return {
        "in_sample": result.in_sample.score(),
        "nested": result.held_out.score() if result.held_out else None,
        "best_single": single.in_sample.score(),
        "best_single_nested": single.held_out.score() if single.held_out else None,
        "equal": equal.in_sample.score(),
        "against_best_single": asdict(found.against_single),
        "against_equal": asdict(found.against_equal),
        "shrink": None if found.shrunk is None else asdict(found.shrunk),
        "seconds_fit": result.seconds,
        "seconds_all": found.seconds,
    }
