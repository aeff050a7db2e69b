"""``python -m blend search``: find weights, say honestly what they are worth, and write them down."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from blend.commands import summary
from blend.commands.page import pictures, terminal, write_report
from blend.commands.session import new_rows, open_problem, open_sources, say_long, table_flags, wants_row_groups
from blend.commands.summary import Found
from blend.commands.tracking import Tracker
from blend.judging.judge import judge
from blend.judging.nested import Fitted, fit, judge_all, what_each_adds
from blend.judging.shrink import best_shrink
from blend.judging.steps import label_of, make_steps
from blend.judging.warnings import warnings_of
from blend.problem import Problem
from blend.recipe import read_recipe
from blend.settings import Inputs, Method, Output
from blend.solvers import Solver, make_solver
from blend.solvers.optuna import OptunaSearch
from datamodules.banks.sources import Source
from datamodules.errors import UsageError


def search(banks: list[str], method: str, recipe: Path | None, inputs: Inputs, options: Method, output: Output) -> Path:
    """Find weights and write ``weights.json``, a report and the study.

    Args:
        banks: Models, see :mod:`datamodules.banks.sources`.
        method: Name of a solver.
        recipe: YAML file of a stack, in place of banks and method.
        inputs: What is blended, and how it is judged.
        options: Options of the methods.
        output: Where results go.

    Returns:
        The weights file.

    Raises:
        BankError: the inputs do not fit, or the method cannot work on them.
    """
    start = time.perf_counter()
    if recipe is not None and banks:
        raise UsageError("a recipe names its own banks; give BANK arguments or --recipe, not both")
    plan = read_recipe(recipe, table_flags(inputs)) if recipe is not None else None
    method = "stack" if plan else method
    sources = plan.sources if plan else open_sources(banks, inputs)
    folder = output.out or Path("blends") / method
    by_group = method == "per_group" or plan is not None
    problem = open_problem(
        sources, inputs, by_group and wants_row_groups(sources, inputs, options.by), output.nested == "time"
    )
    tracker = Tracker(output, {"method": method, "models": problem.names, **asdict(options)}, folder, sources)
    try:
        solver, nested_solver = _solvers(method, plan, options, folder, output.name, tracker)
        solver.check(problem)
        say_long(problem, [solver], bool(output.nested))
        steps = plan.steps if plan else []
        found = run(problem, solver, nested_solver, steps, bool(output.nested))
        found.warnings = warnings_of(problem, found.result.weights, new_rows(sources, inputs))
        if options.post_shrink != "off":
            found.shrunk = best_shrink(
                problem, found.result.weights, found.result.nested, make_steps(steps, problem.stack.manifest.domain)
            )
            if options.post_shrink == "apply":
                steps = [*steps, {"shrink": found.shrunk.c}]
        found.seconds = time.perf_counter() - start
        return _write(found, sources, folder, tracker, inputs, options, steps, output.figures)
    except BaseException:
        tracker.abandon()
        raise


def _solvers(
    method: str, plan: Any, options: Method, folder: Path, study: str | None, tracker: Tracker
) -> tuple[Solver, Solver]:
    given: dict[str, Any] = asdict(options)
    if plan is not None:
        given |= {"recipe": plan, "kind": plan.kind, "clip": plan.clip}
    solver = make_solver(method, given)
    if not isinstance(solver, OptunaSearch):
        return solver, solver
    storage = options.storage or str(folder / "study.journal")
    inner = replace(solver, storage=None, workers=1, trials=options.nested_trials or options.trials)
    logs = tracker.trial if tracker.active else None
    storage_or_memory = None if storage == "memory" else storage
    name = study or folder.as_posix()
    return replace(solver, storage=storage_or_memory, study=name, log_trial=logs, progress=True), inner


def run(
    problem: Problem, solver: Solver, nested_solver: Solver, steps: list[dict[str, Any]], nested: bool = True
) -> Found:
    """Fit a method beside the best single model and the plain mean, and judge them."""
    result = fit(solver, problem, nested, nested_solver)
    mean = {"kind": result.weights.kind, "clip": result.weights.clip}
    single, equal = (fit(make_solver(name, mean), problem, nested) for name in ("single", "equal"))  # clipped alike
    judge_all(problem, [result, single, equal], make_steps(steps, problem.stack.manifest.domain))
    adds = what_each_adds(problem, nested_solver, result) if not steps else ({}, "not measured through post-processing")
    found = Found.of(problem, result, single, equal, adds)
    found.step_scores = scores_by_step(problem, result, steps)
    return found


def scores_by_step(problem: Problem, fitted: Fitted, steps: list[dict[str, Any]]) -> list[tuple[str, float]]:
    """Score of a blend before any step, then after each one on top of those before it.

    Nested weights where there are some, so that the scores are those of :attr:`Fitted.honest`.
    """
    if not steps:
        return []
    assignment = fitted.nested or fitted.weights
    scores = []
    for many in range(len(steps)):
        label = label_of(steps[many - 1]) if many else "no step"
        scores.append(
            (label, judge(problem, [assignment], make_steps(steps[:many], problem.stack.manifest.domain))[0].score())
        )
    return [*scores, (label_of(steps[-1]), fitted.honest.score())]


def _write(
    found: Found,
    sources: list[Source],
    folder: Path,
    tracker: Tracker,
    inputs: Inputs,
    options: Method,
    steps: list[dict[str, Any]],
    draw: bool,
) -> Path:
    title = f"Blend: {found.result.weights.method}"
    sections = summary.sections(found, folder, draw)
    print(terminal(sections))
    written = write_report(folder, title, sections)
    path, scores = summary.write_blend(found, sources, folder, inputs, options, steps), summary.scores(found)
    print(f"\nweights: {path}\nreport:  {written[-1]} and {written[0].name}")
    tables = {
        "scores": (summary.SCORE_HEADER, summary.score_rows(found)),
        "models": (summary.MODEL_HEADER, summary.model_rows(found)),
    }
    tracker.finish(scores, tables, pictures(sections), [path, *written, folder / "study.journal"])
    return path
