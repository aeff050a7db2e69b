"""``python -m blend compare``: all methods side by side, and the one to take."""

from __future__ import annotations

import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from blend.commands import report, summary
from blend.commands.page import Picture, Section, Table, Text, pictures, terminal, write_report
from blend.commands.session import new_rows, open_problem, open_sources, say_long, wants_row_groups
from blend.commands.summary import Found
from blend.commands.tracking import Tracker
from blend.judging.nested import Difference, Fitted, difference, fit, judge_all, what_each_adds
from blend.judging.warnings import warnings_of
from blend.metrics.tables import TableMetric
from blend.problem import Problem
from blend.settings import Inputs, Method, Output
from blend.solvers import Solver, list_solvers, make_solver
from blend.solvers.committee import Committee
from blend.solvers.optuna import OptunaSearch
from blend.solvers.regular import Stacker
from datamodules.banks.bank import BankError
from datamodules.errors import UsageError
from datamodules.files import write_json

_HOME = "committee"
_BETTER = 1.0  # standard errors
_ADDS_SECONDS = 2.0
_CORE = ("single", "equal", "greedy", "bagged", "bagged_logit", "stacker", "committee")
_MOST_VALUES = 20_000_000  # that one fit of another search may look at, evaluation by evaluation
_TOP = 4  # models per target, as the 8th place of LEAP
_HEADER = ("method", "nested", "to the best", "95 %", "in-sample", "models", "gap", "fit", "nested fits")


def compare(banks: list[str], methods: list[str] | None, inputs: Inputs, options: Method, output: Output) -> str:
    """Fit every method, print one table, recommend one.

    Args:
        banks: Models, see :mod:`datamodules.banks.sources`.
        methods: Names of solvers; None for all that can work on these inputs.
        inputs: What is blended, and how it is judged.
        options: Options of the methods.
        output: Where results go.

    Returns:
        The recommended method.

    Raises:
        BankError: the inputs do not fit, or a named method cannot work on them.
    """
    if options.post_shrink != "off":
        raise UsageError("--post_shrink belongs to a finished blend: give it to `python -m blend search`")
    start = time.perf_counter()
    sources = open_sources(banks, inputs)
    problem = open_problem(sources, inputs, wants_row_groups(sources, inputs, options.by), output.nested == "time")
    folder = output.out or Path("blends") / "compare"
    tracker = Tracker(
        output, {"methods": methods or "all", "models": problem.names, **asdict(options)}, folder, sources
    )
    try:
        solvers = solvers_for(problem, methods, options)
        say_long(problem, list(solvers.values()), bool(output.nested))
        fits = run(problem, solvers, bool(output.nested), strict=methods is not None)
        chosen, against = recommend(fits, problem)
        found = _found(problem, fits, chosen, solvers[chosen])
        found.warnings = warnings_of(problem, found.result.weights, new_rows(sources, inputs))
        found.seconds = time.perf_counter() - start
        sections, rows = _write(found, fits, against, chosen, folder, output.figures)
        print("\n" + terminal(sections[:2]))
        written = write_report(folder, "Blending methods compared", sections)
        own = {name: value for name, value in asdict(solvers[chosen]).items() if name in asdict(options)}
        weights = summary.write_blend(found, sources, folder, inputs, replace(options, **own))
        print(f"\nweights: {weights}\nreport:  {written[-1]} and {written[0].name}")
        files = [folder / "compare.json", weights, *written]
        tracker.finish({"recommended": chosen}, {"methods": (_HEADER, rows)}, pictures(sections), files)
        return chosen
    except BaseException:
        tracker.abandon()
        raise


def _found(problem: Problem, fits: dict[str, Fitted], chosen: str, solver: Solver) -> Found:
    """What a search would report of the chosen method."""
    result, nested = fits[chosen], bool(fits[chosen].nested)
    single, equal = (fits.get(name) or fit(make_solver(name, {}), problem, nested) for name in ("single", "equal"))
    judge_all(problem, [side for side in (single, equal) if side.in_sample is None])
    return Found.of(problem, result, single, equal, what_each_adds(problem, solver, result, budget=_ADDS_SECONDS))


def solvers_for(problem: Problem, methods: list[str] | None, options: Method) -> dict[str, Solver]:
    """Solvers to compare, by label."""
    given = asdict(options)
    made: dict[str, Solver] = {}
    for name in methods or [name for name in list_solvers() if name != "stack"]:
        solver = make_solver(name, given)
        if isinstance(solver, OptunaSearch):
            solver = replace(solver, storage=None, workers=1)
        if methods is None and (solver.refusal(problem) is not None or _hopeless(name, problem)):
            continue
        solver.check(problem)
        made[name] = solver
    if methods is None and "per_target" in made and problem.models > _TOP:
        made[f"per_target_top{_TOP}"] = make_solver("per_target", given | {"top": _TOP})
    if methods is None and options.kind == "arithmetic" and problem.holds_probabilities:
        for name in ("convex" if problem.metric.convex else "greedy", "shrunk", "bagged"):
            made[f"{name}_logit"] = make_solver(name, given | {"kind": "logit", "clip": 0.0})
    if methods is None:
        made = _affordable(made, problem)
    committee, stacker = made.get("committee"), made.get("stacker")
    if isinstance(committee, Committee) and isinstance(stacker, Stacker):
        committee.stacker = stacker
    return made


def _affordable(made: dict[str, Solver], problem: Problem) -> dict[str, Solver]:
    """Without the searches that would take the longest where every evaluation of the metric looks at all rows."""
    if not isinstance(problem.metric, TableMetric):
        return made
    rows = len(problem.stack.rows) * problem.width
    long = [name for name in made if name not in _CORE and made[name].evaluations(problem.models) * rows > _MOST_VALUES]
    if long:
        print(
            f"{', '.join(long)}: left out, as they take the longest on {rows:,} values; --methods asks for them",
            flush=True,
        )
    return {name: solver for name, solver in made.items() if name not in long}


def _hopeless(name: str, problem: Problem) -> bool:
    """Searches that cannot beat an exact solution: Optuna equalled it on every bank, at 20 to 1,000 times the time."""
    return name == "optuna" or (problem.metric.convex and name == "coordinate")


def run(problem: Problem, solvers: dict[str, Solver], nested: bool = True, strict: bool = True) -> dict[str, Fitted]:
    """Fit and judge all.

    Args:
        problem: What to blend.
        solvers: By label.
        nested: Also fit the weights of the nested scores.
        strict: A method that cannot work on these inputs is an error; without it, it is left out.

    Raises:
        BankError: see ``strict``.
    """
    fits = {}
    for label, solver in solvers.items():
        inner = solver
        if isinstance(solver, OptunaSearch):
            inner = replace(solver, progress=False)
        try:
            fits[label] = fit(solver, problem, nested, inner)
        except BankError as error:
            if strict:
                raise
            print(f"{label}: left out, {error}", flush=True)
            continue
        print(
            f"{label}: fitted in {fits[label].seconds:.2f} s, nested in {fits[label].nested_seconds:.2f} s", flush=True
        )
    judge_all(problem, list(fits.values()))
    return fits


def recommend(fits: dict[str, Fitted], problem: Problem) -> tuple[str, dict[str, Difference]]:
    """The committee, unless another method's nested score is better by more than one standard error; and all differences.

    The best nested score of a dozen methods is mostly the luckiest one's, so it does not decide alone. The standard error is
    that of the difference, over the same bootstrap samples of rows for both. What is nested-worse than the best single model
    is never recommended. Both constants (which method is at home, and how much better another must be) come from
    ``benchmarks/advice.py``.
    """
    if not fits:
        raise BankError("no method can work on these inputs")
    sign = problem.metric.sign
    best = min(fits, key=lambda label: sign * fits[label].honest.score())
    against = {label: difference(fitted.honest, fits[best].honest) for label, fitted in fits.items()}
    home = against.get(_HOME)
    if home is None or sign * home.value > _BETTER * home.error:
        return best, against
    single = fits.get("single")
    worse = single is not None and sign * fits[_HOME].honest.score() > sign * single.honest.score()
    return (best if worse else _HOME), against


def _write(
    found: Found,
    fits: dict[str, Fitted],
    against: dict[str, Difference],
    chosen: str,
    folder: Path,
    draw: bool,
) -> tuple[list[Section], list[list[Any]]]:
    """The report's sections and the rows of its first table; ``compare.json`` is written."""
    problem = found.problem
    labels = sorted(fits, key=lambda label: problem.metric.sign * fits[label].honest.score())
    rows = [_row(label, fits[label], against[label], label == chosen) for label in labels]
    better = "higher" if problem.metric.higher_is_better else "lower"
    nested = np.array([fits[label].honest.score() for label in labels])
    in_sample = np.array([fits[label].in_sample.score() for label in labels])  # type: ignore[union-attr]
    half = np.array([max(0.0, (against[label].high - against[label].low) / 2) for label in labels])
    picture = (
        [
            Picture(
                report.draw_comparison(labels, in_sample, nested, half, problem.metric.name, folder),
                "Nested and in-sample scores of all methods.",
            )
        ]
        if draw
        else []
    )
    methods = Section(
        "Methods",
        [
            Text(
                f"{problem.models} models, {len(problem.stack.rows)} rows x {problem.width} targets, metric {problem.metric.name} "
                f"({better} is better); {problem.stack.nested_note}."
            ),
            Table(_HEADER, rows),
            *picture,
            Text(
                f"Recommended: **{chosen}**{_reason(chosen, fits, against)}. Its weights are in `{folder / 'weights.json'}`, ready for `python -m blend apply {folder}`."
            ),
        ],
    )
    content = {
        label: {
            "in_sample": float(in_sample[i]),
            "nested": float(nested[i]),
            "to_the_best": asdict(against[label]),
            "weights": fits[label].weights.mean().tolist(),
            "seconds": fits[label].seconds,
        }
        for i, label in enumerate(labels)
    }
    write_json(folder / "compare.json", {"recommended": chosen, "models": problem.names, "methods": content})
    return summary.sections(found, folder, draw, [methods]), rows


def _reason(chosen: str, fits: dict[str, Fitted], against: dict[str, Difference]) -> str:
    if not fits[chosen].nested:
        return ", by scores on the rows that weights were fitted on, which flatter; nested scores are better advice"
    if chosen == _HOME:
        return f": no other method's nested score is better by more than {_BETTER:g} standard error"
    if _HOME not in fits:
        return (
            ", the best nested score" if fits[chosen].nested else ", the best score on the rows that it was fitted on"
        )
    home = against[_HOME]
    return f", the best nested score; that of {_HOME} is {abs(home.value) / max(home.error, 1e-300):.1f} standard errors worse"


def _row(label: str, fitted: Fitted, against: Difference, chosen: bool) -> list[Any]:
    assert fitted.in_sample is not None
    used = int((np.abs(np.atleast_2d(fitted.weights.values)) > 1e-3).any(axis=0).sum())
    return [
        f"**{label}**" if chosen else label,
        f"{fitted.held_out.score():.8f}" if fitted.held_out else "",
        f"{against.value:+.2e}",
        f"{against.low:+.1e} to {against.high:+.1e}",
        f"{fitted.in_sample.score():.8f}",
        used,
        "" if fitted.weights.gap is None else f"{fitted.weights.gap:.1e}",
        f"{fitted.seconds:.2f} s",
        f"{fitted.nested_seconds:.2f} s",
    ]
