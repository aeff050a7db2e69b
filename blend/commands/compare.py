"""``python -m blend compare``: all methods side by side, and the simplest that is as good as the best."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from blend.commands import report
from blend.commands.session import open_problem, open_sources, wants_row_groups
from blend.commands.tracking import Tracker
from blend.judging.nested import Difference, Fitted, difference, fit, judge_all
from blend.problem import Problem
from blend.settings import Inputs, Method, Output
from blend.solvers import Solver, list_solvers, make_solver
from blend.solvers.optuna import OptunaSearch
from datamodules.banks.bank import BankError
from datamodules.errors import UsageError
from datamodules.files import write_json

_NEAR = 0.25  # standard errors
_TOP = 4  # models per target, as the 8th place of LEAP
_HEADER = ("method", "in-sample", "nested", "to the best", "std. error", "models", "gap", "fit", "nested fits")


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
    sources = open_sources(banks, inputs)
    problem = open_problem(sources, inputs, wants_row_groups(sources, inputs, options.by), output.nested == "time")
    folder = output.out or Path("blends") / "compare"
    tracker = Tracker(output, {"methods": methods or "all", "models": problem.names, **asdict(options)}, folder)
    try:
        fits = run(problem, solvers_for(problem, methods, options), bool(output.nested), strict=methods is not None)
        chosen, against = recommend(fits, problem)
        _write(problem, fits, against, chosen, folder, tracker, output.figures)
        return chosen
    except BaseException:
        tracker.abandon()
        raise


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
    probabilities = problem.metric.probabilities or problem.metric.labels == "binary"
    if methods is None and probabilities and options.kind == "arithmetic":
        for name in ("convex", "shrunk") if problem.metric.convex else ("greedy", "shrunk"):
            made[f"{name}_logit"] = make_solver(name, given | {"kind": "logit", "clip": 0.0})
    return made


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
    """The simplest method within a quarter of a standard error of the best nested score, and all differences to the best.

    The standard error is that of the difference, over the same bootstrap samples of rows for both. A method that is
    nested-worse than the best single model is never recommended, and the single model is no simpler than a greedy blend: it
    is the choice that one model's luck decides.
    """
    if not fits:
        raise BankError("no method can work on these inputs")
    sign = problem.metric.sign
    best = min(fits, key=lambda label: sign * fits[label].honest.score())
    against = {label: difference(fitted.honest, fits[best].honest) for label, fitted in fits.items()}
    complexity = {label: list_solvers()[fitted.weights.method].complexity for label, fitted in fits.items()}
    bound = sign * fits["single"].honest.score() if "single" in fits else np.inf
    allowed = [label for label in fits if sign * fits[label].honest.score() <= bound + 1e-12 * abs(bound)]
    near = [label for label in allowed or fits if sign * against[label].value <= _NEAR * against[label].error]
    near = near or [best]
    complexity |= {label: 2 for label in fits if fits[label].weights.method == "single"}
    return min(near, key=lambda label: (complexity[label], sign * against[label].value)), against


def _write(
    problem: Problem,
    fits: dict[str, Fitted],
    against: dict[str, Difference],
    chosen: str,
    folder: Path,
    tracker: Tracker,
    draw: bool,
) -> None:
    rows = []
    for label, fitted in fits.items():
        assert fitted.in_sample is not None
        used = int((np.atleast_2d(fitted.weights.values) > 1e-3).any(axis=0).sum())
        gap = "" if fitted.weights.gap is None else f"{fitted.weights.gap:.1e}"
        rows.append(
            [
                f"**{label}**" if label == chosen else label,
                f"{fitted.in_sample.score():.8f}",
                f"{fitted.held_out.score():.8f}" if fitted.held_out else "",
                f"{against[label].value:+.2e}",
                f"{against[label].error:.1e}",
                used,
                gap,
                f"{fitted.seconds:.2f} s",
                f"{fitted.nested_seconds:.2f} s",
            ]
        )
    logit = " --kind logit" if chosen.endswith("_logit") else ""
    better = "higher" if problem.metric.higher_is_better else "lower"
    text = [
        f"{problem.models} models, {len(problem.stack.rows)} rows x {problem.width} targets, metric {problem.metric.name} "
        f"({better} is better); {problem.stack.nested_note}.",
        report.table(_HEADER, rows),
        f"Recommended: **{chosen}**, the simplest method within a quarter of a standard error of the best nested score. "
        f"Write its weights with `python -m blend search ... --method {fits[chosen].weights.method}{logit}`.",
    ]
    print("\n" + "\n\n".join(text))
    labels = list(fits)
    nested = np.array([fits[label].honest.score() for label in labels])
    in_sample = np.array([fits[label].in_sample.score() for label in labels])  # type: ignore[union-attr]
    errors = np.array([against[label].error for label in labels])
    figures = [report.draw_comparison(labels, in_sample, nested, errors, problem.metric.name, folder)] if draw else []
    report.write_markdown(folder / "report.md", "Blending methods compared", text, figures)
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
    tracker.finish({"recommended": chosen}, {"methods": (_HEADER, rows)}, figures, [folder / "compare.json"])
