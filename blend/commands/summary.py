"""What a search tells: tables, figures, and the contents of its weights file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from blend.commands import report
from blend.commands.page import Block, Picture, Section, Table, Text
from blend.commands.session import describe_models, table_record, versions
from blend.judging import inspect
from blend.judging.nested import Difference, Fitted, difference, error_correlations
from blend.judging.shrink import Shrunk
from blend.problem import Problem
from blend.settings import Inputs, Method
from blend.weights import write_weights
from datamodules.banks.bank import hash_ids
from datamodules.banks.sources import Source

Rows = list[list[Any]]
SCORE_HEADER = ("method", "in-sample", "nested", "gap to the optimum", "time to fit")
STEP_HEADER = ("step", "before", "after", "gain")
MODEL_HEADER = ("model", "weight", "over the folds", "alone", "adds")
_MOST_MODELS, _MOST_TARGETS = 20, 2000  # that a figure shows


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
        warnings: What is odd about the models.
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
    warnings: list[str] = field(default_factory=list)
    step_scores: list[tuple[str, float]] = field(default_factory=list)

    @classmethod
    def of(
        cls, problem: Problem, result: Fitted, single: Fitted, equal: Fitted, adds: tuple[dict[str, float], str]
    ) -> Found:
        """With what the fits themselves tell: their differences, and the models' correlations."""
        to_single, to_equal = (difference(result.honest, other.honest) for other in (single, equal))
        return cls(problem, result, single, equal, to_single, to_equal, *adds, error_correlations(problem))


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
    low, high = inspect.weight_spread(found.result)
    singles = found.problem.objective().singles()
    metric = found.problem.metric
    rows = []
    for k in np.argsort(-weights, kind="stable"):
        name = found.problem.names[k]
        adds = f"{found.adds[name]:+.2e}" if name in found.adds else ""
        spread = f"{low[k]:.4f} to {high[k]:.4f}"
        rows.append([name, f"{weights[k]:.4f}", spread, f"{metric.score_of_loss(float(singles[k])):.6f}", adds])
    return rows


def step_rows(found: Found) -> Rows:
    """Score before and after every step of the post-processing, and what it gains (positive = better)."""
    sign = found.problem.metric.sign
    pairs = zip(found.step_scores, found.step_scores[1:], strict=False)
    return [
        [label, f"{before:.6f}", f"{after:.6f}", f"{sign * (before - after):+.6f}"]
        for (_, before), (label, after) in pairs
    ]


def sections(found: Found, folder: Path, draw: bool, methods: Sequence[Section] = ()) -> list[Section]:
    """The report of one blend.

    Args:
        found: What it holds.
        folder: Where figures go.
        draw: Draw them.
        methods: Sections that stand first, such as a comparison.
    """
    problem, result = found.problem, found.result
    looked_at = problem.in_memory
    order = np.argsort(-np.abs(result.weights.mean()), kind="stable")

    def picture(path: Path | None, caption: str) -> list[Block]:
        return [] if path is None else [Picture(path, caption)]

    drawn = figures(found, folder) if draw else {}
    held = methods or [
        Section("Result", [Text(_inputs(problem)), Table(SCORE_HEADER, score_rows(found)), Text(_against(found))])
    ]
    models: list[Block] = [
        *picture(
            drawn.get("weights"),
            "Weights of the fit on all rows" + (", and their range over the nested folds." if result.nested else "."),
        ),
        Table(MODEL_HEADER, model_rows(found)),
        Text(
            f"adds: {f'loss of {found.adds_how} (positive = it helps)' if found.adds else found.adds_how}; {_correlation(found)}."
        ),
    ]
    folds: list[Block] = [Table(("fold", "rows", *_sides(found)), fold_rows(found))] if len(problem.folds) > 1 else []
    classes = inspect.class_scores(problem, result)
    if classes:
        rows = [[c.name, c.rows, f"{c.loss:.5f}", f"{c.recall:.1%}"] for c in classes]
        folds.append(Table(("class", "rows", "mean log loss of its rows", "decided rightly"), rows))
    notes = [problem.stack.nested_note if result.nested else "", *result.weights.notes]
    if result.weights.gap is not None:
        notes.append(
            f"certificate: no other weights of this kind are better in-sample by more than {result.weights.gap:.2e}"
        )
    seconds = f"{found.seconds:.1f} s in all"
    seconds += f", {result.nested_seconds:.1f} s of them for nested weights." if result.nested else "."
    honest = "nested" if result.nested else "in-sample"
    warnings: list[Block] = [Text(text, warning=True) for text in found.warnings]
    ranks = "Rank correlations of the predictions" if looked_at else "Correlations of the errors"
    which = f" of the {_MOST_MODELS} heaviest models" if len(order) > _MOST_MODELS else ""
    return [
        *held,
        Section("Warnings", warnings),
        Section("Weights", models),
        Section("Folds and classes", folds),
        Section(
            "Predictions",
            [
                *picture(drawn.get("correlations"), f"{ranks}{which}, those alike side by side."),
                *picture(
                    drawn.get("calibration"),
                    f"Calibration of the {honest} predictions: points above the line were predicted too low.",
                ),
            ],
        ),
        Section("Path", picture(drawn.get("path"), "How the method came to its weights.")),
        Section(
            "Targets",
            picture(drawn.get("gains"), f"What the blend gains over the best single model, {honest}, by target."),
        ),
        Section(
            "Post-processing",
            [
                *([] if found.shrunk is None else shrink_blocks(found.shrunk)),
                *([Table(STEP_HEADER, step_rows(found))] if found.step_scores else []),
            ],
        ),
        Section("How it was found", [Text("\n".join(f"- {note}" for note in notes if note)), Text(seconds)]),
    ]


def _inputs(problem: Problem) -> str:
    better = "higher" if problem.metric.higher_is_better else "lower"
    return (
        f"{problem.models} models, {len(problem.stack.rows)} rows x {problem.width} targets, metric {problem.metric.name} "
        f"({better} is better)."
    )


def _against(found: Found) -> str:
    interval = "{0.value:+.3e} (95 % {0.low:+.3e} to {0.high:+.3e})"
    return (
        f"Against the best single model: {interval.format(found.against_single)}; the equal blend: "
        f"{interval.format(found.against_equal)}."
    )


def _correlation(found: Found) -> str:
    upper = found.correlations[np.triu_indices(found.problem.models, 1)]
    if not len(upper):
        return "one model"
    return f"error correlations: mean {upper.mean():.3f}, from {upper.min():.3f} to {upper.max():.3f}"


def _sides(found: Found) -> dict[str, Fitted]:
    """The blend, the best single model and the plain mean; one of them may be the blend itself."""
    sides = {found.result.weights.method: found.result}
    return sides | {
        label: side
        for label, side in (("best single", found.single), ("equal", found.equal))
        if side.weights.method != found.result.weights.method
    }


def fold_rows(found: Found) -> Rows:
    """Score of every nested fold."""
    problem = found.problem
    scores = {label: inspect.fold_scores(problem, side) for label, side in _sides(found).items()}
    counts = problem.stack.rows["nested"].value_counts()
    shared = [fold for fold in problem.folds if all(fold in own for own in scores.values())]
    return [[fold, int(counts[fold]), *(f"{own[fold]:.6f}" for own in scores.values())] for fold in shared]


def shrink_blocks(shrunk: Shrunk) -> list[Block]:
    """The scores of a blend without and with its shrink."""
    rows = [
        [label, c, f"{shrunk.in_sample[i]:.8f}", "" if shrunk.nested is None else f"{shrunk.nested[i]:.8f}"]
        for i, (label, c) in enumerate((("without", "0"), ("with", f"{shrunk.c:.2e}")))
    ]
    folds = ", ".join(f"{c:.1e}" for c in shrunk.fold_c.values())
    note = f"; the nested score takes the c of the other folds ({folds})" if shrunk.fold_c else ""
    return [
        Text(f"Shrink p (1 - 2 c) + c of the finished blend{note}:"),
        Table(("shrink", "c", "in-sample", "nested"), rows),
    ]


def figures(found: Found, folder: Path) -> dict[str, Path]:
    """Draw weights, path, correlations, calibration and gains per target, where there is something to see."""
    problem, weights = found.problem, found.result.weights
    drawn = {"weights": report.draw_weights(weights, inspect.weight_spread(found.result), folder)}
    if len(weights.path) > 1:
        drawn["path"] = report.draw_path(weights, problem.metric, folder)
    looked_at = problem.in_memory
    if problem.models > 1:
        values = inspect.rank_correlations(problem) if looked_at else found.correlations
        heaviest = np.argsort(-np.abs(weights.mean()), kind="stable")[:_MOST_MODELS]
        values = values[np.ix_(heaviest, heaviest)]
        order = inspect.side_by_side(values)
        names = [problem.names[heaviest[k]] for k in order]
        what = "rank correlation of predictions" if looked_at else "correlation of errors"
        drawn["correlations"] = report.draw_correlations(values[np.ix_(order, order)], names, what, folder)
    if looked_at and (problem.width == 1 or problem.metric.probabilities or problem.metric.labels == "binary"):
        curves = {
            label: inspect.calibration(*inspect.held_out_rows(problem, side), problem.holds_probabilities)
            for label, side in _sides(found).items()
        }
        curves.pop("equal", None)
        drawn["calibration"] = report.draw_calibration(curves, folder)
    ours, theirs = found.result.honest.per_target(), found.single.honest.per_target()
    gains = problem.metric.sign * (theirs - ours)
    if 1 < len(gains) <= _MOST_TARGETS:
        drawn["gains"] = report.draw_gains(
            gains, problem.stack.manifest.targets, problem.target_groups, problem.metric.name, folder
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


def write_blend(
    found: Found,
    sources: Sequence[Source],
    folder: Path,
    inputs: Inputs,
    options: Method,
    steps: Sequence[dict[str, Any]] = (),
) -> Path:
    """Write ``weights.json`` with everything that ``apply`` and a reader need."""
    path = folder / "weights.json"
    content = {
        **identity(found.problem, inputs),
        **({} if found.result.nested else {"nested_folds": ""}),
        "scores": scores(found),
        "inputs": describe_models(sources, folder),
        "tables": table_record(sources),
        "post_processing": list(steps),
        "options": {name: value for name, value in asdict(options).items() if value is not None},
        "versions": versions(),
    }
    write_weights(path, found.result.weights, content)
    return path
