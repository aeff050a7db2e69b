"""``python -m blend search``: find weights, say honestly what they are worth, and write them down."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from blend import report
from blend.bank import BankError, hash_ids
from blend.honest import Difference, Fitted, difference, error_correlations, fit, judge_all, what_each_adds
from blend.problem import Problem
from blend.recipe import read_recipe
from blend.session import describe_models, open_problem, versions, wants_row_groups
from blend.settings import Inputs, Method, Output
from blend.solvers import Solver, make_solver
from blend.solvers.search import OptunaSearch
from blend.sources import Source, resolve
from blend.steps import make_steps
from blend.tracking import Tracker
from blend.weights import write_weights

Rows = list[list[Any]]


@dataclass
class Found:
    """Everything a search reports.

    Attributes:
        problem: what was blended.
        result, single, equal: the method, the best single model, the plain mean.
        against_single, against_equal: nested differences with their bootstrap intervals.
        adds: what each model adds, and how that was measured.
        correlations: of the models' errors.
        seconds: of the whole search.
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


def search(banks: list[str], method: str, recipe: Path | None, inputs: Inputs, options: Method, output: Output) -> Path:
    """Find weights and write ``weights.json``, a report and the study.

    Args:
        banks: models, see :mod:`blend.sources`.
        method: name of a solver.
        recipe: YAML file of a stack, in place of banks and method.
        inputs: what is blended, and how it is judged.
        options: of the methods.
        output: where results go.

    Returns:
        The weights file.

    Raises:
        BankError: the inputs do not fit, or the method cannot work on them.
    """
    start = time.perf_counter()
    if recipe is not None and banks:
        raise BankError("a recipe names its own banks; give BANK arguments or --recipe, not both")
    plan = read_recipe(recipe) if recipe is not None else None
    method = "stack" if plan else method
    sources = plan.sources if plan else resolve(banks)
    folder = output.out or Path("blends") / method
    by_group = method == "per_group" or plan is not None
    problem = open_problem(sources, inputs, by_group and wants_row_groups(sources, inputs, options.by))
    tracker = Tracker(output, {"method": method, "models": problem.names, **asdict(options)}, folder)
    try:
        solver, nested_solver = _solvers(method, plan, options, folder, tracker)
        solver.check(problem)
        steps = plan.steps if plan else []
        found = run(problem, solver, nested_solver, steps, output.nested)
        found.seconds = time.perf_counter() - start
        return _write(found, sources, folder, tracker, inputs, options, steps)
    except BaseException:
        tracker.abandon()
        raise


def _solvers(method: str, plan: Any, options: Method, folder: Path, tracker: Tracker) -> tuple[Solver, Solver]:
    given: dict[str, Any] = asdict(options)
    if plan is not None:
        given |= {"recipe": plan, "kind": plan.kind, "clip": plan.clip}
    solver = make_solver(method, given)
    if not isinstance(solver, OptunaSearch):
        return solver, solver
    storage = options.storage or str(folder / "study.journal")
    inner = replace(solver, storage=None, workers=1, trials=options.nested_trials or options.trials)
    logs = tracker.trial if tracker.active else None
    return replace(solver, storage=None if storage == "memory" else storage, log_trial=logs, progress=True), inner


def run(
    problem: Problem, solver: Solver, nested_solver: Solver, steps: list[dict[str, Any]], nested: bool = True
) -> Found:
    """Fit a method beside the best single model and the plain mean, and judge them."""
    result = fit(solver, problem, nested, nested_solver)
    mean = {"kind": result.weights.kind, "clip": result.weights.clip}
    single, equal = fit(make_solver("single", {}), problem, nested), fit(make_solver("equal", mean), problem, nested)
    judge_all(problem, [result, single, equal], make_steps(steps))
    adds, how = (
        what_each_adds(problem, nested_solver, result) if not steps else ({}, "not measured through post-processing")
    )
    return Found(
        problem,
        result,
        single,
        equal,
        difference(result.honest, single.honest),
        difference(result.honest, equal.honest),
        adds,
        how,
        error_correlations(problem),
    )


def _score_rows(found: Found) -> Rows:
    rows = []
    for label, fitted in (
        (found.result.weights.method, found.result),
        ("best single", found.single),
        ("equal", found.equal),
    ):
        assert fitted.in_sample is not None
        nested = f"{fitted.held_out.score():.8f}" if fitted.held_out else "not asked for"
        gap = "" if fitted.weights.gap is None else f"{fitted.weights.gap:.1e}"
        rows.append([label, f"{fitted.in_sample.score():.8f}", nested, gap, f"{fitted.seconds:.2f} s"])
    return rows


_SCORE_HEADER = ("method", "in-sample", "nested", "gap to the optimum", "time to fit")


def _model_rows(found: Found) -> Rows:
    weights = found.result.weights.mean()
    singles = found.problem.objective().singles()
    metric = found.problem.metric
    rows = []
    for k in np.argsort(-weights, kind="stable"):
        name = found.problem.names[k]
        adds = f"{found.adds[name]:+.2e}" if name in found.adds else ""
        rows.append([name, f"{weights[k]:.4f}", f"{metric.score_of_loss(float(singles[k])):.6f}", adds])
    return rows


_MODEL_HEADER = ("model", "weight", "alone", "adds")


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
        report.table(_SCORE_HEADER, _score_rows(found)),
        f"Against {interval.format(found.against_single, found.against_equal)}.",
        report.table(_MODEL_HEADER, _model_rows(found)),
        f"adds: loss of {found.adds_how} (positive = it helps); {mean}.",
        "\n".join(f"- {note}" for note in notes if note),
        f"{found.seconds:.1f} s in all, {found.result.nested_seconds:.1f} s of them for nested weights.",
    ]


def _write(
    found: Found,
    sources: list[Source],
    folder: Path,
    tracker: Tracker,
    inputs: Inputs,
    options: Method,
    steps: list[dict[str, Any]],
) -> Path:
    problem, weights = found.problem, found.result.weights
    text = paragraphs(found)
    print("\n\n".join(text))
    gains = problem.metric.sign * (found.single.honest.per_target() - found.result.honest.per_target())
    figures = [
        report.draw_weights(weights, folder),
        report.draw_path(weights, problem.metric.name, folder),
        report.draw_correlations(found.correlations, problem.names, folder) if problem.models <= 100 else None,
        report.draw_gains(gains, problem.target_groups, problem.metric.name, folder)
        if 1 < len(gains) <= 2000
        else None,
    ]
    report.write_markdown(folder / "report.md", f"Blend: {weights.method}", text, figures)
    scores = _scores(found)
    path = folder / "weights.json"
    write_weights(
        path,
        weights,
        {
            **_identity(problem, inputs),
            "scores": scores,
            "inputs": describe_models(sources, folder),
            "post_processing": steps,
            "options": {name: value for name, value in asdict(options).items() if value is not None},
            "versions": versions(),
        },
    )
    print(f"\nweights: {path}\nreport:  {folder / 'report.md'}")
    tables = {"scores": (_SCORE_HEADER, _score_rows(found)), "models": (_MODEL_HEADER, _model_rows(found))}
    tracker.finish(scores, tables, figures, [path, folder / "report.md", folder / "study.journal"])
    return path


def _identity(problem: Problem, inputs: Inputs) -> dict[str, Any]:
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


def _scores(found: Found) -> dict[str, Any]:
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
        "seconds_fit": result.seconds,
        "seconds_all": found.seconds,
    }
