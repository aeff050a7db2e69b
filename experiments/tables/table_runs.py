"""The runs behind a table: every fold of every row's experiment, earlier stages first, and what they add up to."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from datamodules.errors import DataError
from experiments.engine.cli import Settings, parse
from experiments.engine.declare import Experiment, load_experiment
from experiments.engine.launch.settings import Launch
from experiments.engine.run_directory import RunDirectory
from experiments.engine.stages import awaits_previous, flag_text, take


@dataclass(frozen=True)
class Entry:
    """One row of a table.

    Args:
        name: Name of the experiment.
        flags: Flags of this row alone, such as a preset's ``--config FILE``.
    """

    name: str
    flags: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Entry:
        """From ``name --flag value ...`` in one string."""
        name, *flags = shlex.split(text)
        return cls(name, tuple(flags))

    def label(self, variant: str) -> str:
        """What the table calls it: a row with flags of its own is told from the plain one by them."""
        if not self.flags:
            return self.name
        return f"{self.name} {variant if '--variant' in self.flags else shlex.join(self.flags)}"


@dataclass(frozen=True)
class Summary:
    """Runs of one row, joined over the folds.

    Args:
        label: Label of the row.
        scores: ``{predictor: {group: score}}``, means over the folds weighted by their rows, of references too.
        own: Name of the row's own predictor in ``scores``.
        banks: What a blend takes: the run of a fold, or the folder of all folds.
        records: ``run.json`` of each fold.
    """

    label: str
    scores: dict[str, dict[str, float]]
    own: str
    banks: Path
    records: list[dict[str, Any]]

    @property
    def seconds(self) -> float:
        """Training time of all folds."""
        return float(sum(record["seconds_of_last_start"] for record in self.records))

    @property
    def rows_per_second(self) -> float | None:
        """Mean over the folds."""
        known = [record["rows_per_second"] for record in self.records if record.get("rows_per_second")]
        return sum(known) / len(known) if known else None


def train_entry(entry: Entry, common: Sequence[str], fold: int | Literal["all"], size: str) -> Summary:
    """Train what is not trained yet, in this process.

    Args:
        entry: The row.
        common: Flags of all rows.
        fold: One fold, or all.
        size: ``demo`` takes each experiment's demo settings, on real files too.
    """
    runs = _train(load_experiment(entry.name), [*common, *entry.flags], common, fold, size)
    records = [run.record() for run in runs]
    banks = runs[0].path if fold != "all" else runs[0].path.parent
    return Summary(entry.label(records[0]["variant"]), _mean_scores(records), entry.name, banks, records)


def launch_entries(
    entries: Sequence[Entry], common: Sequence[str], fold: int | Literal["all"], size: str, launch: Launch
) -> None:
    """Train the runs of all rows as jobs of one plan, earlier stages first.

    Args:
        entries: The rows.
        common: Flags of all rows.
        fold: One fold, or all.
        size: As of :func:`train_entry`.
        launch: Where the jobs run.

    Raises:
        DataError: Jobs that failed, or that are left to run.
    """
    from experiments.engine.launch_plan import launch_runs

    wanted = []
    for entry in entries:
        experiment = load_experiment(entry.name)
        words = [*demo_words(experiment, size), *common, *entry.flags, "--fold", str(fold)]
        wanted.append((replace(parse(experiment, words), launch=launch), words))
    if not launch_runs(wanted):
        raise DataError("the jobs go on; give the same command again to make the table once they are done")


def _train(
    experiment: Experiment, flags: Sequence[str], common: Sequence[str], fold: int | Literal["all"], size: str
) -> list[RunDirectory]:
    from experiments.engine.data import prepare_data
    from experiments.engine.training import train

    settings = _settings(experiment, flags, size)
    before: list[RunDirectory] = []
    if awaits_previous(settings):
        # predictions of all folds are needed to train even one
        wanted: int | Literal["all"] = "all" if experiment.takes == "predictions" else fold
        # weights fit only a net that was made by the same flags
        handed_on = common if experiment.takes == "predictions" else flags
        before = _train(load_experiment(experiment.previous), handed_on, common, wanted, size)
    folds: Iterable[int] = [fold] if fold != "all" else range(prepare_data(_of_fold(settings, 0)).folds.n_folds)
    runs = []
    for i, number in enumerate(folds):
        own = _of_fold(settings, number)
        if before:
            own = take(own, before[i].path)
        print(f"== {experiment.name}, fold {number}", flush=True)
        runs.append(train(own))
    return runs


def _settings(experiment: Experiment, flags: Sequence[str], size: str) -> Settings:
    return parse(experiment, [*demo_words(experiment, size), *flags])


def demo_words(experiment: Experiment, size: str) -> list[str]:
    """The flags that a size stands for."""
    demo = experiment.demo if size == "demo" else {}
    return [part for name, value in demo.items() for part in (f"--{name}", flag_text(value))]


def _of_fold(settings: Settings, fold: int) -> Settings:
    return replace(settings, daily=replace(settings.daily, fold=fold))


def _mean_scores(records: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Scores of every predictor in every group, weighted by the rows of the folds; groups that a fold lacks are left out."""
    rows = [record["rows"]["valid"] for record in records]
    first, total = records[0]["scores"], sum(rows)
    return {
        predictor: {
            group: sum(n * record["scores"][predictor][group] for n, record in zip(rows, records, strict=True)) / total
            for group, value in groups.items()
            if value is not None and all(record["scores"][predictor].get(group) is not None for record in records)
        }
        for predictor, groups in first.items()
    }


def blend_scores(
    banks: Sequence[Path],
    methods: Sequence[str],
    trials: int,
    mean: Literal["arithmetic", "logit", "rank"] = "arithmetic",
) -> dict[str, float]:
    """Score of each method's blend on folds that did not choose its weights.

    Args:
        banks: Run or seed directories of the rows.
        methods: Names of blend methods.
        trials: Trials of Optuna.
        mean: Mean of predictions, of logits or of ranks.

    Raises:
        BankError: the banks cannot be blended, such as those of row folds and of drug folds.
    """
    from blend.commands.compare import run, solvers_for
    from blend.commands.session import open_problem
    from blend.settings import Inputs, Method
    from datamodules.banks.sources import resolve

    problem = open_problem(resolve([str(bank) for bank in banks]), Inputs(), row_groups=False)
    fits = run(problem, solvers_for(problem, list(methods), Method(trials=trials, kind=mean)))
    return {method: float(fitted.honest.score()) for method, fitted in fits.items()}
