"""``python -m blend show``: what a weights file, a study or a bank holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from blend.commands.report import table
from blend.commands.session import open_problem, open_sources
from blend.metrics.registry import KNOWN, named_metric
from blend.settings import Inputs
from blend.solvers import list_solvers
from blend.weights import read_weights
from datamodules.banks.bank import BankError


def show(paths: list[str], inputs: Inputs) -> None:
    """Print a weights file, the best trials of a journal, or the scores of banks; without paths the methods.

    Args:
        paths: ``weights.json`` (or its folder), ``study.journal``, BANK arguments, or the word ``metrics``.
        inputs: Flags for banks.
    """
    if not paths:
        print(table(("method", "what it does"), [[name, solver.summary] for name, solver in list_solvers().items()]))
        return
    first = Path(paths[0])
    if paths == ["metrics"] and not first.exists():
        print(table(("metric", "better", "truth", "exact weights", "what it is"), metric_rows()))
        print("\n--metric package.module:function takes any function of (truth, predictions), with --direction.")
        return
    if first.suffix == ".json" or (first / "weights.json").is_file():
        _show_weights(first)
    elif first.suffix == ".journal":
        _show_study(first)
    else:
        _show_banks(paths, inputs)


def metric_rows() -> list[list[str]]:
    """All metrics by name, with those that have a parameter."""
    labels = {
        "values": "numbers",
        "binary": "0/1 labels, classes",
        "classes": "one class a row",
        "any": "numbers or classes",
    }
    metrics = [*KNOWN.values(), named_metric("map@3", ""), named_metric("pinball@0.9", "")]
    return [
        [
            metric.name,
            "higher" if metric.higher_is_better else "lower",
            labels[metric.labels],
            "yes" if metric.convex else "no",
            (type(metric).__doc__ or "").strip().splitlines()[0].replace("``", ""),
        ]
        for metric in metrics
    ]


def _show_weights(path: Path) -> None:
    weights, content = read_weights(path)
    print(f"{weights.method}, {weights.kind} mean, {weights.level} weights; metric {content['metric']}")
    mean = weights.mean()
    order = np.argsort(-mean, kind="stable")
    print(
        table(
            ("model", "weight", "fitted from"),
            [[weights.models[k], f"{mean[k]:.6f}", content["inputs"][k]["path"]] for k in order],
        )
    )
    print(
        table(
            ("score", "value"),
            [[name, value] for name, value in content["scores"].items() if not isinstance(value, dict)],
        )
    )
    for note in filter(None, [*weights.notes, content["nested_folds"]]):
        print(f"- {note}")


def _show_study(path: Path) -> None:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    from blend.solvers.journal import intact

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if not path.is_file():
        raise BankError(f"there is no study {path}")
    with intact(path):
        storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    for name in optuna.study.get_all_study_names(storage):
        study = optuna.load_study(study_name=name, storage=storage)
        higher = study.direction == optuna.study.StudyDirection.MAXIMIZE
        trials = [trial for trial in study.get_trials(deepcopy=False) if trial.value is not None]
        trials.sort(key=lambda trial: trial.value or 0.0, reverse=higher)
        print(f"study {name}: {len(trials)} trials")
        print(
            table(
                ("trial", "score", "start"),
                [[t.number, f"{t.value:.8f}", t.user_attrs.get("origin", "")] for t in trials[:10]],
            )
        )


def _show_banks(paths: list[str], inputs: Inputs) -> None:
    sources = open_sources(paths, inputs)
    problem = open_problem(sources, inputs, row_groups=False)
    scores = [problem.metric.score_of_loss(float(loss)) for loss in problem.objective().singles()]
    rows = [
        [s.name, len(s.seeds), len(s.banks), f"{score:.8f}", s.path] for s, score in zip(sources, scores, strict=True)
    ]
    print(f"{len(problem.stack.rows)} rows, shape {problem.stack.shape}; {problem.stack.nested_note}")
    print(table(("model", "seeds", "banks", problem.metric.name, "path"), rows))
