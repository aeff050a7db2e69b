"""Search an experiment's hyper-parameters: every trial is a run of its own, and its bank is ready for ``python -m blend``.

The space is a YAML file of flags of the experiment::

    lr: {low: 1.0e-4, high: 1.0e-2, log: true}
    model.dropout: {low: 0.0, high: 0.5}
    model.layers: {low: 2, high: 8}                # whole numbers
    optim.schedule: [one_cycle, cosine]            # one of these

Flags after the search's own are those of every trial, such as --data_dir or --epochs. A trial whose best validation score so far is
worse than the median of the others at the same epoch is stopped. Killed or left and started again, the search goes on with the
trials that it had begun. The best of many trials flatters on the fold that chose it: judge it on other folds.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.engine.launch.settings import Launch, spell_out

if TYPE_CHECKING:
    import optuna

    from experiments.engine.cli import Settings
    from experiments.engine.declare import Experiment
    from experiments.engine.launch.launcher import Launcher
    from experiments.engine.launch.table import Watched

PROGRAM = "python experiments/search.py"
_Sampler = Literal["tpe", "random"]


@dataclass
class Request:
    """What to search.

    Args:
        space: YAML file of the space.
        trials: Trials in all, stopped ones too; a search that goes on only runs what is missing.
        study: Name of the search, and of its trials' variants, such as search-7.
        storage: Journal file or database of the study; default: search/<experiment>/<study>.journal in --out.
        sampler: TPE learns from the trials before; random does not.
        startup_trials: Trials before TPE learns and before any trial is stopped.
        warmup_epochs: Epochs of every trial before it may be stopped.
        seed_of_study: Seed of the sampler.
        wandb_sweep: Write a W&B sweep file that does the same, and do nothing else.
        poll: Seconds between looks at the trials.
    """

    space: Path
    trials: int = 50
    study: str = "search"
    storage: str | None = None
    sampler: _Sampler = "tpe"
    startup_trials: int = 5
    warmup_epochs: int = 1
    seed_of_study: int = 0
    wandb_sweep: Path | None = None
    poll: float = 2.0

    def __post_init__(self) -> None:
        for name, least in (("trials", 1), ("startup_trials", 1), ("warmup_epochs", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"--{name} must be at least {least}, got {getattr(self, name)}")


@dataclass(frozen=True)
class Dimension:
    """What a flag may be.

    Args:
        flag: Name of the flag without dashes.
        low, high: Bounds, both included.
        log: Even in the logarithm.
        step: Distance between values.
        choices: The values, in place of bounds, as JSON.
    """

    flag: str
    low: float | int = 0
    high: float | int = 0
    log: bool = False
    step: float | int | None = None
    choices: tuple[str, ...] = ()

    @classmethod
    def read(cls, flag: str, content: Any) -> Dimension:
        """One entry of a space file.

        Raises:
            ValueError: It is neither a list nor bounds.
        """
        if isinstance(content, list) and content:
            return cls(flag, choices=tuple(json.dumps(value) for value in content))
        known = {item.name for item in fields(cls)} - {"flag", "choices"}
        if not isinstance(content, dict) or not {"low", "high"} <= set(content) <= known:
            raise ValueError(f"{flag}: give a list of values, or low and high (and log, step), got {content!r}")
        one = cls(flag, **content)
        if not all(isinstance(value, int | float) for value in (one.low, one.high)) or one.low >= one.high:
            raise ValueError(f"{flag}: low must be a number below high, got {one.low!r} and {one.high!r}")
        if one.log and (one.low <= 0 or one.step is not None):
            raise ValueError(f"{flag}: log needs low above 0 and no step")
        return one

    @property
    def is_whole(self) -> bool:
        """Whether values are whole numbers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def example(self) -> str:
        """A value as the flag takes it."""
        return self.choices[0] if self.choices else str(self.low)

    def suggest(self, trial: optuna.Trial) -> str:
        """The trial's value, as the flag takes it."""
        if self.choices:
            return str(trial.suggest_categorical(self.flag, self.choices))
        if self.is_whole:
            step = int(self.step or 1)
            return str(trial.suggest_int(self.flag, int(self.low), int(self.high), step=step, log=self.log))
        return repr(trial.suggest_float(self.flag, self.low, self.high, step=self.step, log=self.log))

    def sweep(self) -> dict[str, Any]:
        """As a W&B sweep writes it."""
        if self.choices:
            return {"values": [json.loads(value) for value in self.choices]}
        kind = ("log_uniform_values" if self.log else "uniform") if not self.step else "q_uniform"
        kind = f"int_{kind}" if self.is_whole and kind == "uniform" else kind
        kind = "q_log_uniform_values" if self.is_whole and self.log else kind
        return {"distribution": kind, "min": self.low, "max": self.high, **({"q": self.step} if self.step else {})}


def read_space(path: Path) -> list[Dimension]:
    """The dimensions of a space file.

    Raises:
        DataError: The file is missing, no YAML, or holds something else.
    """
    import yaml

    from datamodules.errors import DataError

    try:
        content = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise DataError(f"--space: {path} does not exist; give a YAML file of flags, see --help") from None
    except yaml.YAMLError as error:
        raise DataError(f"--space: {path} is not valid YAML: {str(error).splitlines()[0]}") from None
    if not isinstance(content, dict) or not content:
        raise DataError(f"--space: {path} holds no flags; see --help for an example")
    try:
        return [Dimension.read(str(flag), one) for flag, one in content.items()]
    except (ValueError, TypeError) as error:
        raise DataError(f"--space: {path}: {error}") from None


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/search.py NAME --space FILE [flags of the experiment ...]``."""
    from jsonargparse import ArgumentParser

    from datamodules.commands import plain_help, refusals_as_sentences
    from experiments.engine.launch.words import split_words

    parser = ArgumentParser(prog=PROGRAM, description=__doc__, allow_abbrev=False)
    parser.add_argument("experiment", type=str, help="name of an experiment, such as leap_bilstm_tcn")
    parser.add_class_arguments(Request, as_group=False)
    parser.add_class_arguments(Launch, "launch")
    plain_help(parser)
    try:
        words = spell_out(sys.argv[1:] if argv is None else argv)
        name, words = (words[:1], words[1:]) if words and not words[0].startswith("-") else ([], words)
        own, rest = split_words(parser, words)
        parsed = parser.parse_args([*name, *own])
        request = Request(**{item.name: parsed[item.name] for item in fields(Request)})
        settings = Launch(**{item.name: parsed.launch[item.name] for item in fields(Launch)})
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    with refusals_as_sentences("the same command goes on with the trials that it had begun"):
        search(parsed.experiment, request, settings, rest)


def search(name: str, request: Request, launch: Launch, flags: Sequence[str]) -> None:
    """Run the trials that are missing, and say what was found.

    Args:
        name: Name of the experiment.
        request: What to search.
        launch: Where trials run; without ``--launch`` one at a time on this machine.
        flags: Flags of every trial.

    Raises:
        DataError: Flags that the experiment does not know, a study of another space, or trials that all fail.
    """
    from experiments.engine.cli import parse
    from experiments.engine.declare import load_experiment

    experiment = load_experiment(name)
    space = read_space(request.space)
    examples = [word for one in space for word in (f"--{one.flag}", one.example)]
    settings = parse(experiment, [*flags, *examples])  # ends with a sentence where a flag is unknown
    _check(settings, space)
    if request.wandb_sweep is not None:
        _write_sweep(request, experiment, space, flags)
        return
    Search(experiment, settings, request, launch, space, list(flags)).run()


def _check(settings: Settings, space: Sequence[Dimension]) -> None:
    from datamodules.errors import DataError

    if settings.daily.fold in ("all", "full") or settings.daily.seeds:
        raise DataError("a search judges trials on one fold and one seed; give --fold with a number and no --seeds")
    known = set(settings.plain()) | {one.flag for one in space if "." in one.flag}
    for one in space:
        if one.flag in ("fold", "seed", "seeds", "out", "variant", "resume") or one.flag not in known:
            raise DataError(f"--space: {one.flag} cannot be searched")


class Search:
    """A study whose trials are runs.

    Args:
        experiment: The declaration.
        settings: Of any trial, for what all have in common.
        request: What to search.
        launch: Where trials run.
        space: The dimensions.
        flags: Flags of every trial.
    """

    def __init__(
        self,
        experiment: Experiment,
        settings: Settings,
        request: Request,
        launch: Launch,
        space: Sequence[Dimension],
        flags: list[str],
    ) -> None:
        from dataclasses import replace

        from experiments.engine.declare import load

        self._experiment, self._settings, self._request = experiment, settings, request
        self._launch = launch if launch.active else replace(launch, engine="local", parallel=1)
        self._space, self._flags = list(space), flags
        task = load(experiment.task)
        self._monitor = str(task.monitor)
        self._direction: Literal["maximize", "minimize"] = "maximize" if task.mode == "max" else "minimize"
        self._trials: dict[int, optuna.Trial] = {}
        self._watched: dict[int, Watched] = {}

    def run(self) -> None:
        """Ask, submit, watch, stop, tell."""
        from blend.solvers.journal import open_storage
        from experiments.engine.launch.table import LiveTable
        from experiments.engine.launch_plan import make_launcher

        request, daily = self._request, self._settings.daily
        storage = request.storage or str(daily.out / "search" / self._experiment.name / f"{request.study}.journal")
        launcher = make_launcher(self._settings, self._launch)
        shown: list[Watched] = []
        with open_storage(storage, shared=True) as opened, LiveTable(shown) as table:
            study = self._open(opened)
            for trial in study.get_trials(deepcopy=False):
                if trial.state.name == "RUNNING":
                    self._begin(study, trial.number, trial._trial_id)
            while True:
                self._ask(study)
                if not self._watched:
                    break
                launcher.step(list(self._watched.values()))
                shown[:] = self._watched.values()
                table.show()
                for number in list(self._watched):
                    self._look(study, launcher, number)
                self._refuse_hopeless(study)
                if self._watched:
                    time.sleep(request.poll)
            self._report(study)

    def _open(self, storage: Any) -> optuna.Study:
        import optuna

        from datamodules.errors import DataError

        request = self._request
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler: optuna.samplers.BaseSampler
        if request.sampler == "tpe":
            sampler = optuna.samplers.TPESampler(
                seed=request.seed_of_study, n_startup_trials=request.startup_trials, constant_liar=True
            )
        else:
            sampler = optuna.samplers.RandomSampler(seed=request.seed_of_study)
        name = f"{self._experiment.name}/{request.study}"
        study = optuna.create_study(
            study_name=name,
            storage=storage,
            direction=self._direction,
            sampler=sampler,
            pruner=optuna.pruners.MedianPruner(request.startup_trials, request.warmup_epochs),
            load_if_exists=True,
        )
        searched = {one.flag for one in self._space}
        fixed = {k: v for k, v in _flat(self._settings.plain()).items() if k not in searched | {"variant", "resume"}}
        mark = json.dumps({"space": [repr(one) for one in self._space], "settings": fixed}, sort_keys=True)
        known = study.user_attrs.get("search")
        if known is not None and known != mark:
            raise DataError(
                f"the study {name!r} is of another space or other flags; give another --study, or the same ones"
            )
        study.set_user_attr("search", mark)
        return study

    def _ask(self, study: optuna.Study) -> None:
        """Begin trials as long as there is room; a queue takes as many as may run at once."""
        room = self._launch.parallel or (8 if self._launch.engine == "slurm" else 1)
        if self._launch.engine == "local" and self._launch.parallel is None:
            from experiments.engine.launch.engines import visible_gpus

            room = max(1, len(visible_gpus()) // max(1, self._launch.gpus or 1))
        while len(self._watched) < room and len(study.get_trials(deepcopy=False)) < self._request.trials:
            trial = study.ask()
            for one in self._space:
                one.suggest(trial)
            self._begin(study, trial.number, trial._trial_id)

    def _begin(self, study: optuna.Study, number: int, trial_id: int) -> None:
        """Watch the job of a trial, which may be one of an earlier start of this command."""
        import optuna

        from datamodules.tracking import group_name
        from experiments.engine.launch.job import Job
        from experiments.engine.launch.table import Watched

        trial = optuna.Trial(study, trial_id)
        values = [word for one in self._space for word in (f"--{one.flag}", one.suggest(trial))]
        variant = f"{self._request.study}-{number}"
        run = self._run_directory(number)
        words = [*self._flags, *values, "--variant", variant]
        command = (*self._experiment.command, *words)
        env = ("env", f"WANDB_RUN_GROUP={group_name(self._experiment.name, self._request.study)}")
        daily = self._settings.daily
        devices = daily.devices if isinstance(daily.devices, int) else 1
        key = "/".join(run.parts[-4:])
        job = Job(key, (*env, *command), run=run, devices=devices, nodes=daily.num_nodes)
        self._trials[number] = trial
        self._watched[number] = Watched(job, (daily.out / "launch" / key).absolute())

    def _run_directory(self, number: int) -> Path:
        from experiments.engine.run_directory import RunDirectory

        daily = self._settings.daily
        variant = f"{self._request.study}-{number}"
        return RunDirectory.of(daily.out, self._experiment.name, variant, daily.seed, daily.fold).path

    def _look(self, study: optuna.Study, launcher: Launcher, number: int) -> None:
        """Report what a trial has scored since; end it where it is finished, failed or hopeless."""
        from optuna.trial import TrialState

        from experiments.engine.run_directory import RunDirectory

        trial, one = self._trials[number], self._watched[number]
        assert one.job.run is not None
        if one.state == "done":
            score = RunDirectory(one.job.run).record()["best"]["score"]
            self._report_scores(trial, one.job.run)
            study.tell(number, score)
        elif one.state == "failed":
            trial.set_user_attr("error", f"{one.note} ({one.folder / 'log'})")
            study.tell(number, state=TrialState.FAIL)
        elif one.state == "running" and self._report_scores(trial, one.job.run) and trial.should_prune():
            launcher.cancel(one, "worse than the median")
            study.tell(number, state=TrialState.PRUNED)
        else:
            return
        del self._watched[number], self._trials[number]

    def _report_scores(self, trial: optuna.Trial, run: Path) -> bool:
        """Tell the study the best score up to every epoch; whether there was a new one."""
        from experiments.engine.launch.table import read_metrics

        better = max if self._direction == "maximize" else min
        known = trial.storage.get_trial(trial._trial_id).intermediate_values
        best: float | None = None
        news = False
        for row in read_metrics(run, most_bytes=2**24):
            name = self._monitor if self._monitor in row else f"{self._monitor}_trained"
            if not row.get(name) or not row.get("epoch"):
                continue
            epoch, score = int(float(row["epoch"])), float(row[name])
            best = score if best is None else better(best, score)
            if epoch not in known:
                trial.report(best, epoch)
                known = {**known, epoch: best}
                news = True
        return news

    def _refuse_hopeless(self, study: optuna.Study) -> None:
        from datamodules.errors import DataError

        trials = study.get_trials(deepcopy=False)
        failed = [trial for trial in trials if trial.state.name == "FAIL"]
        if len(failed) >= self._request.startup_trials and len(failed) == sum(t.state.is_finished() for t in trials):
            raise DataError(f"the first {len(failed)} trials all failed: {failed[0].user_attrs.get('error', '')}")

    def _report(self, study: optuna.Study) -> None:
        from rich.console import Console
        from rich.table import Table

        from datamodules.errors import DataError

        trials = study.get_trials(deepcopy=False)
        done = [trial for trial in trials if trial.value is not None and trial.state.name == "COMPLETE"]
        if not done:
            raise DataError("no trial has finished; their logs lie in the launch folder of --out")
        ranked = sorted(done, key=lambda trial: trial.value or 0.0, reverse=self._direction == "maximize")
        states = [trial.state.name for trial in trials]
        title = f"{study.study_name}: {len(done)} trials finished, {states.count('PRUNED')} stopped early, {states.count('FAIL')} failed"
        table = Table(title=title)
        for name in ("trial", self._monitor, *(one.flag for one in self._space)):
            table.add_column(name, justify="right")
        for trial in ranked[:10]:
            values = (trial.params[one.flag] for one in self._space)
            shown = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in values)
            table.add_row(str(trial.number), f"{trial.value:.5f}", *shown)
        Console(width=max(80, 14 * (len(self._space) + 2))).print(table)
        best = " ".join(f"--{one.flag} {_text(ranked[0].params[one.flag])}" for one in self._space)
        print(f"best of {len(done)} on the fold that chose it; on all folds: {' '.join(['--fold all', best])}")
        banks = [self._run_directory(trial.number) for trial in ranked]
        print("to blend: python -m blend search " + " ".join(str(run) for run in banks if (run / "bank").is_dir()))


def _write_sweep(request: Request, experiment: Experiment, space: Sequence[Dimension], flags: Sequence[str]) -> None:
    """A sweep file for ``wandb sweep`` and ``wandb agent``: the same space, metric and flags."""
    import yaml

    from datamodules.files import atomic_path
    from experiments.engine.declare import load

    task = load(experiment.task)
    assert request.wandb_sweep is not None
    content = {
        "name": f"{experiment.name}-{request.study}",
        "method": "bayes" if request.sampler == "tpe" else "random",
        "run_cap": request.trials,
        "metric": {"name": "best_score", "goal": "maximize" if task.mode == "max" else "minimize"},
        "parameters": {one.flag: one.sweep() for one in space},
        "early_terminate": {"type": "hyperband", "min_iter": max(1, request.warmup_epochs)},
        "program": f"experiments/{experiment.name}.py",
        "command": ["${env}", "${interpreter}", "${program}", *flags, "--wandb", "online", "${args}"],
    }
    with atomic_path(request.wandb_sweep) as temporary:
        temporary.write_text(yaml.safe_dump(content, sort_keys=False))
    print(f"wandb sweep {request.wandb_sweep}   # then, on every machine: wandb agent SWEEP_ID")


def _text(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else f"{value}"


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


if __name__ == "__main__":
    main()
