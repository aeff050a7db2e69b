"""What ``search``, ``compare`` and ``apply`` share: opening banks, and recording what went in."""

from __future__ import annotations

import contextlib
import hashlib
import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from blend.aligned.align import align
from blend.aligned.nesting import Nesting
from blend.metrics.registry import NAMES, given_metric, named_metric
from blend.metrics.scores import ClippedR2, Metric
from blend.metrics.tables import TableMetric
from blend.problem import Problem
from blend.settings import Inputs
from blend.solvers import Solver
from datamodules.banks.bank import BankError, PredictionBank
from datamodules.banks.roles import TableFlags, test_twins
from datamodules.banks.sources import Source, resolve
from datamodules.banks.table_set import form_of
from datamodules.banks.tables import TableBank
from datamodules.errors import DataError, UsageError

_WINDOWS, _WINDOW_BYTES = 64, 2**16
_LONG, _TRIED = 60.0, 0.5  # seconds
_MOST_NEW_ROWS = 50_000
_MOST_ROW_GROUPS = 64  # families, not the thousands of drugs that fold tables group by


def open_sources(banks: Sequence[str], inputs: Inputs) -> list[Source]:
    """The models of BANK arguments, tables read as the flags say.

    Args:
        banks: See :mod:`datamodules.banks.sources`.
        inputs: Flags.

    Raises:
        DataError: a bank or table cannot be used.
    """
    return resolve(banks, flags=table_flags(inputs))


def new_rows(sources: Sequence[Source], inputs: Inputs) -> dict[str, npt.NDArray[np.floating[Any]]]:
    """Test predictions that lie beside the models, by name: of one net each, as every known row was predicted by one."""
    found: dict[str, npt.NDArray[np.floating[Any]]] = {}
    tables = [Path(source.path) for source in sources if Path(source.path).is_file()]
    if tables and not any(map(test_twins, {tables[0], tables[-1]})):  # every search reads whole folders
        return {}
    for source in sources:
        path = Path(source.path)
        twins = test_twins(path) if path.is_file() else [path]
        if len(twins) != 1:
            continue
        form = form_of(source.banks[0]) if isinstance(source.banks[0], TableBank) else None
        flags = TableFlags(prefer=form.identity) if form else table_flags(inputs)
        try:
            with contextlib.redirect_stdout(None):  # notes on tables belong to apply
                beside = resolve([str(twins[0])], "predictions/test", flags, form)
        except DataError:  # no test predictions, or none that can be used: apply will say so
            continue
        for other in beside:
            if other.name == source.name or (len(beside) == 1 and path.is_dir()):
                values = other.banks[0].predictions
                found[source.name] = np.asarray(values[:: max(1, len(values) // _MOST_NEW_ROWS)])
    return found


def table_flags(inputs: Inputs) -> TableFlags:
    """What the flags say of tables."""
    metric = None if inputs.metric is None else given_metric(inputs.metric, inputs.direction)
    return TableFlags(
        inputs.id,
        _names(inputs.target),
        _names(inputs.prediction),
        inputs.fold,
        inputs.ids,
        inputs.folds,
        inputs.truth,
        inputs.rows,
        inputs.wide,
        "any" if metric is None else metric.labels,
        group=inputs.group or "group",
    )


def _names(given: Sequence[str] | str | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


def open_problem(sources: Sequence[Source], inputs: Inputs, row_groups: bool, time: bool = False) -> Problem:
    """Align models with their truth and choose the judge's metric.

    Args:
        sources: The models.
        inputs: Flags.
        row_groups: Weights per row group are wanted.
        time: Nested weights come from earlier rows alone.

    Raises:
        BankError: inputs do not fit together, or nobody names a metric.
    """
    named = [bank.manifest.metric for source in sources for bank in source.banks if bank.manifest.metric]
    if inputs.metric is None and not named:
        raise BankError(
            f"tables name no metric; give --metric: {NAMES}, or package.module:function with --direction; "
            f"{_fitting(sources)}"
        )
    grouped = inputs.group is not None and Path(inputs.group).is_file()
    if inputs.group not in (None, "group") and not grouped and "group" not in sources[0].banks[0].index:
        raise UsageError(f"--group {inputs.group}: no table has a column of that name, and there is no such file")
    own_truth = all(isinstance(bank, TableBank) and bank.true_values for source in sources for bank in source.banks)
    stack = align(
        sources,
        truth=None if own_truth else inputs.truth,
        row_groups=row_groups,
        groups=inputs.groups or (Path(str(inputs.group)) if grouped else None),
        clip_predictions=inputs.clip_predictions,
        allow_fold_mismatch=inputs.allow_fold_mismatch,
        nesting=Nesting(inputs.nested_folds, inputs.nested_seed, time, inputs.group is not None),
    )
    if inputs.metric is None:
        metric = named_metric(named[0], f"the manifest of {sources[0].banks[0].path}")
        if metric.name == "r2":
            metric = steady_r2(metric, sources)
    else:
        metric = given_metric(inputs.metric, inputs.direction, stack.shape)
    return Problem(stack, metric, int(inputs.memory * 2**30))


def _fitting(sources: Sequence[Source]) -> str:
    """Metrics that suit the true values of tables, for a hint."""
    record = table_record(sources) or {"kind": "values", "classes": []}
    if record["kind"] == "classes":
        return f"for {len(record['classes'])} classes take multiclass_log_loss or accuracy"
    if record["kind"] == "binary" or record["classes"] == ["0", "1"]:
        return "for labels of two values take auc or column_log_loss"
    return "for numbers take rmse or mae"


def say_long(problem: Problem, solvers: Sequence[Solver], nested: bool) -> None:
    """Say how long searches take that evaluate a metric of whole columns again and again, where that is over a minute.

    Args:
        problem: What to blend.
        solvers: What will be fitted.
        nested: Also without each fold.
    """
    if not isinstance(problem.metric, TableMetric):
        return
    objective = problem.objective()
    each = _TRIED
    for _ in range(2):  # the first, of one, says of how many at once the second, which searches are like, may be
        candidates = np.eye(problem.models)[: max(1, int(_TRIED / each))]
        start = time.perf_counter()
        objective.losses(candidates)
        each = (time.perf_counter() - start) / len(candidates)
    folds = len(problem.folds) if nested else 0
    fits = 1 + (folds - 1 if folds > 1 else 0)  # each of the nested fits sees the rows of all folds but one
    count = fits * sum(solver.evaluations(problem.models) for solver in solvers) + 3 * problem.metric.samples
    if each * count > _LONG:
        print(
            f"note: this will take about {each * count / 60:.0f} minutes: {count:,} evaluations of {problem.metric.name}, "
            f"{1000 * each:.3g} ms each; fewer --steps or --trials or --nested false take less",
            flush=True,
        )


def steady_r2(metric: Metric, sources: Sequence[Source]) -> Metric:
    """R2 held to [-1, 1] where the banks say that few rows carry the spread of some targets; else the metric itself.

    Args:
        metric: R2.
        sources: The models; out-of-fold banks of ClimSim tell the effective rows of every target.
    """
    notes = [bank.manifest.extra for source in sources for bank in source.banks]
    known = [note["effective_rows"] for note in notes if "effective_rows" in note]
    if not known:
        return metric
    fewest = max(float(note["fewest_effective_rows"]) for note in notes if "fewest_effective_rows" in note)
    counted = np.min(known, axis=0) >= fewest
    if counted.all():
        return metric
    print(
        f"{int((~counted).sum())} of {len(counted)} targets rest on fewer than {fewest:g} effective rows: weights are found "
        "without them, and judged by the mean with every target's R2 held to [-1, 1] (--metric r2 insists on the judge's)",
        flush=True,
    )
    return ClippedR2(counted)


def wants_row_groups(sources: Sequence[Source], inputs: Inputs, by: str) -> bool:
    """Whether weights per group mean groups of rows: asked for, given by a file, or the only ones there are."""
    if by != "auto":
        return by == "rows"
    bank = sources[0].banks[0]
    named = "group" in bank.index and not bank.manifest.groups
    return inputs.groups is not None or (named and bank.index["group"].nunique() <= _MOST_ROW_GROUPS)


def fingerprint(bank: PredictionBank) -> str:
    """SHA-256 of a bank's manifest, shape and evenly spaced windows of its predictions.

    Any retrained or repredicted bank differs; reading gigabytes once more only to hash them is not worth its time.
    """
    digest = hashlib.sha256()
    manifest = bank.path / "manifest.json"
    digest.update(manifest.read_bytes() if manifest.is_file() else str(bank.path.name).encode())
    digest.update(repr(bank.predictions.shape).encode())
    flat = bank.predictions.reshape(-1)
    window = _WINDOW_BYTES // flat.itemsize
    for start in range(0, max(1, len(flat)), max(window, len(flat) // _WINDOWS)):
        digest.update(flat[start : start + window].tobytes())
    return digest.hexdigest()


def describe_models(sources: Sequence[Source], folder: Path) -> list[dict[str, Any]]:
    """What a weights file keeps of every model, paths relative to its folder."""
    models = []
    for source in sources:
        experiment, variant, seeds = source.identity
        models.append(
            {
                "name": source.name,
                "experiment": experiment,
                "variant": variant,
                "seeds": list(seeds),
                "path": os.path.relpath(source.path, folder),
                "folds": folds(source),
                "configs": configs(source),
                "checkpoints": checkpoints(source),
                "banks": [fingerprint(bank) for bank in source.banks],
            }
        )
    return models


def table_record(sources: Sequence[Source]) -> dict[str, Any] | None:
    """What the tables among the models held, so that test tables are read alike; None where there are none."""
    tables = (bank for source in sources for bank in source.banks if isinstance(bank, TableBank))
    first = next(tables, None)
    return None if first is None else asdict(form_of(first))


def checkpoints(source: Source) -> dict[str, str]:
    """Hash of the checkpoint behind each seed and fold, where banks tell."""
    found = {}
    for bank in source.banks:
        if "checkpoint" in bank.manifest.hashes:
            folds = "+".join(map(str, bank.manifest.folds))
            found[f"seed{bank.manifest.seed}/fold{folds}"] = bank.manifest.hashes["checkpoint"]
    return found


def folds(source: Source) -> list[int]:
    """Folds whose nets predicted; empty for a fit on all rows and for tables."""
    found: set[int] = set()
    for bank in source.banks:
        trained_on = bank.manifest.extra.get("trained_on_fold")  # rows of a test set are in no fold
        found |= set(bank.manifest.folds or ([trained_on] if isinstance(trained_on, int) else []))
    return sorted(found)


def configs(source: Source) -> list[str]:
    """Hashes of the settings behind the banks, where they tell."""
    return sorted({bank.manifest.hashes["config"] for bank in source.banks if "config" in bank.manifest.hashes})


def versions() -> dict[str, str]:
    """Versions of what weights depend on."""
    return {name: version(name) for name in ("numpy", "scipy", "optuna", "pandas")}
