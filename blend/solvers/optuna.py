"""Blend weights by an Optuna study: any metric, any kind of mean, model subsets.

The study starts from equal weights, the best single model and the exact solution (where there is one), so it is never
worse than these; what it may find beyond them is another kind of mean, clip or subset.
"""

from __future__ import annotations

import math
import multiprocessing
import multiprocessing.connection
import os
import socket
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from blend.objectives import Objective
from blend.objectives.simplex import frank_wolfe_gap
from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, register
from blend.solvers.exact import exact_minimum
from blend.weights import LOGIT_CLIP, Kind, Weights
from datamodules.banks.bank import BankError
from datamodules.workers import end_with_parent

if TYPE_CHECKING:
    import optuna

Array = npt.NDArray[np.float64]
TrialLog = Callable[[int, float, float, dict[str, float]], None]
"""Called after every trial with its number, score, the best score and the weights."""
STUDY = "blend"
_BEGIN_SECONDS = 30.0


@register
@dataclass
class OptunaSearch(MeanSolver):
    """Search weights with Optuna.

    Attributes:
        trials: Trials in all; a resumed study only runs what is missing.
        sampler: ``tpe`` or ``cmaes``.
        kinds: Kinds of mean to choose among; None for ``kind`` alone.
        clips: Clips to choose among; None for ``clip`` alone.
        subsets: Search also which models take part.
        workers: Processes on one study (needs a journal file or a database).
        storage: Journal file, or the URL of a database; None for memory.
        study: Name of the study in a database, which can hold those of many blends; a journal file holds one.
        seed: Seed of the sampler.
        log_trial: Called after every trial.
        progress: Print the best score now and then.
    """

    name = "optuna"
    complexity = 4
    quick = False
    summary = "an Optuna study (TPE or CMA-ES) that starts from the exact solution"
    trials: int = 500
    sampler: Literal["tpe", "cmaes"] = "tpe"
    kinds: Sequence[Kind] | None = None
    clips: Sequence[float] | None = None
    subsets: bool = False
    workers: int = 1
    storage: str | None = None
    study: str = STUDY
    seed: int = 0
    log_trial: TrialLog | None = field(default=None, repr=False)
    progress: bool = False

    def evaluations(self, models: int) -> int:
        """One for each trial."""
        return self.trials

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """The best trial's blend.

        Raises:
            BankError: the storage holds a study of other predictions, or several workers have none to share.
        """
        import optuna

        from blend.solvers.journal import open_storage

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = Space(problem, folds, self.kinds or [self.kind], self.clips or [self.clip], self.subsets)
        if self.workers > 1 and self.storage is None:
            raise BankError("several workers share a study through a file: give --storage FILE.journal")
        with open_storage(self.storage, shared=self.workers > 1) as storage:
            study = self._open(storage, space)
            watch = _Watch(self, space, study)
            if self.workers > 1:
                self._run_workers(space, study, watch)
            # all of them, or what workers that were killed have left
            while missing := self._missing(study):
                study.optimize(space.evaluate, n_trials=missing, callbacks=[watch, *self._stop_together()])
            return self._result(problem, study, space)

    def _missing(self, study: optuna.Study) -> int:
        from optuna.trial import TrialState

        return max(0, self.trials - len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))))

    def _stop_together(self) -> list[Any]:
        """In a database other machines' workers add trials too."""
        from optuna.study import MaxTrialsCallback

        from blend.solvers.journal import is_database

        return [MaxTrialsCallback(self.trials)] if is_database(self.storage) else []

    def _open(self, storage: Any, space: Space) -> optuna.Study:
        """The study, begun if it is new; of several commands that come at once, one begins it."""
        import optuna

        from blend.solvers.journal import is_database

        name = STUDY
        if is_database(self.storage):
            summaries = {s.study_name: s for s in optuna.get_all_study_summaries(storage, include_best_trial=False)}
            old = summaries.get(STUDY)  # as every study was named once
            ours = old is not None and old.user_attrs.get("inputs") == space.mark()
            name = STUDY if ours and self.study not in summaries else self.study
        direction: Literal["minimize", "maximize"] = "maximize" if space.problem.metric.higher_is_better else "minimize"
        try:
            study = optuna.create_study(study_name=name, storage=storage, direction=direction, sampler=self._sampler(0))
        except optuna.exceptions.DuplicatedStudyError:
            own = zlib.crc32(f"{socket.gethostname()} {os.getpid()}".encode()) if is_database(self.storage) else 0
            study = optuna.load_study(study_name=name, storage=storage, sampler=self._sampler(own))
            deadline = time.monotonic() + (_BEGIN_SECONDS if is_database(self.storage) else 0)
            while "inputs" not in study.user_attrs and time.monotonic() < deadline:
                time.sleep(0.2)
        self._begin(study, space)
        return study

    def _sampler(self, worker: int) -> optuna.samplers.BaseSampler:
        import optuna

        from blend.solvers.journal import is_database

        seed = (self.seed + 1000 * worker) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is experimental in one release is the default of the next
            if self.sampler == "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            return optuna.samplers.TPESampler(
                seed=seed, multivariate=True, constant_liar=self.workers > 1 or is_database(self.storage)
            )

    def _begin(self, study: optuna.Study, space: Space) -> None:
        """Enqueue the starting points of a new study; refuse a study of other predictions."""
        mark = space.mark()
        known = study.user_attrs.get("inputs")
        if known is not None and known != mark:
            from blend.solvers.journal import without_password

            raise BankError(
                f"{without_password(str(self.storage))} holds a study of other predictions ({study.study_name!r}); give another --storage file or "
                "delete it (in a database: another --out or --name)"
            )
        if known is None:
            study.set_user_attr("models", space.names)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                study.set_metric_names([space.problem.metric.name])
            for origin, parameters in space.starts():
                study.enqueue_trial(parameters, user_attrs={"origin": origin})
            study.set_user_attr("inputs", mark)  # last: others wait for it

    def _run_workers(self, space: Space, study: optuna.Study, watch: _Watch) -> None:
        """Processes that share the trials out among them; those of a worker that died are retried."""
        from optuna.trial import TrialState

        from blend.solvers.journal import retry_trial

        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
        left = context.Semaphore(self._missing(study))  # no lock that a killed worker could hold
        doing = context.RawArray("q", [-1] * self.workers)
        processes = [
            context.Process(target=_work, args=(self, study.study_name, space, i, left, doing))
            for i in range(self.workers)
        ]
        for process in processes:
            process.start()
        try:
            while alive := [process.sentinel for process in processes if process.exitcode is None]:
                multiprocessing.connection.wait(alive, timeout=1.0)
                watch.look(study)
        finally:  # a signal: they end too, and the journal holds what they did
            for process in processes:
                if process.exitcode is None:
                    process.terminate()
        for number, process in zip(doing, processes, strict=True):
            if process.exitcode == 0:
                continue
            print(f"a worker of the study ended with exit status {process.exitcode}; the others do its trials")
            trial = study.get_trials(deepcopy=False)[number] if number >= 0 else None
            if trial is not None and trial.state == TrialState.RUNNING:
                study.tell(trial.number, state=TrialState.FAIL)
                retry_trial(study, trial)

    def _check(self, trial: optuna.trial.FrozenTrial, space: Space) -> None:
        """Score a trial of a stored study again, in which a bit may have flipped."""
        from blend.solvers.journal import without_password

        try:
            score = space.score(trial.params)
        except KeyError:
            score = math.nan
        if not math.isclose(score, trial.value or 0.0, rel_tol=1e-6, abs_tol=1e-12):
            raise BankError(
                f"trial {trial.number} of the study in {without_password(str(self.storage))} holds a score of {trial.value}, and its "
                f"weights score {score}: the study is damaged; delete it or give another --storage"
            )

    def _result(self, problem: BlendProblem, study: optuna.Study, space: Space) -> Weights:
        best = study.best_trial
        if self.storage is not None:
            self._check(best, space)
        kind, clip, values = space.blend(best.params)
        origin = best.user_attrs.get("origin")
        finished = [trial for trial in study.get_trials(deepcopy=False) if trial.value is not None]
        path = [{"trial": trial.number, "score": float(trial.value)} for trial in finished]  # type: ignore[arg-type]
        note = f"{len(finished)} trials; the best is number {best.number}" + (f", the {origin} start" if origin else "")
        return Weights(
            self.name,
            list(problem.names),
            values,
            kind=kind,
            clip=clip,
            gap=space.gap(best.params),
            path=path,
            notes=[note],
        )


class _Watch:
    """Reports trials: as a callback those of this process, by looking at the study those of all workers.

    Args:
        search: Whose ``log_trial`` and ``progress`` are served.
        space: What turns parameters into weights.
        study: Its finished trials were reported before.
    """

    def __init__(self, search: OptunaSearch, space: Space, study: optuna.Study) -> None:
        self._search, self._space, self._last = search, space, time.monotonic()
        self._best: float | None = None
        self._reported = {trial.number for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()}

    def look(self, study: optuna.Study) -> None:
        """Report what any worker has finished since."""
        for trial in study.get_trials(deepcopy=False):
            if trial.value is not None and trial.number not in self._reported:
                self(study, trial)

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        assert trial.value is not None
        self._reported.add(trial.number)
        better = max if self._space.problem.metric.higher_is_better else min
        self._best = trial.value if self._best is None else better(self._best, trial.value)
        if self._search.log_trial is not None:
            _, _, values = self._space.blend(trial.params)
            weights = dict(zip(self._space.names, map(float, values), strict=True))
            self._search.log_trial(trial.number, trial.value, self._best, weights)
        if self._search.progress and time.monotonic() - self._last > 5:
            self._last = time.monotonic()
            print(f"trial {trial.number + 1} of {self._search.trials}: best {self._best:.8f}", flush=True)


def _work(search: OptunaSearch, name: str, space: Space, worker: int, left: Any, doing: Any) -> None:
    """One process of a shared study: trials one at a time, as long as some are left."""
    import optuna

    from blend.solvers.journal import open_storage

    end_with_parent()
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    def evaluate(trial: optuna.Trial) -> float:
        doing[worker] = trial.number
        return space.evaluate(trial)

    with open_storage(search.storage, shared=True) as storage:
        study = optuna.load_study(study_name=name, storage=storage, sampler=search._sampler(worker + 1))
        while left.acquire(block=False):
            study.optimize(evaluate, n_trials=1)
            doing[worker] = -1


class Space:
    """Parameters to a blend, and its score.

    Args:
        problem: What is blended.
        folds: Nested folds whose rows count, None for all.
        kinds: Kinds of mean to choose among.
        clips: Clips to choose among.
        subsets: Search also which models take part.
    """

    def __init__(
        self,
        problem: BlendProblem,
        folds: Sequence[int] | None,
        kinds: Sequence[Kind],
        clips: Sequence[float],
        subsets: bool,
    ) -> None:
        self.names, self.problem = list(problem.names), problem
        self.subsets = subsets and len(self.names) > 1
        self.kinds, self.clips = list(kinds), list(clips)
        self.objectives = {
            (kind, clip): problem.objective(folds, kind, clip) for kind in self.kinds for clip in self.clips
        }

    def blend(self, parameters: dict[str, Any]) -> tuple[Kind, float, Array]:
        """Kind, clip and weights of a trial: shares in [0, 1], divided by their sum."""
        shares = np.array([parameters[f"weight/{name}"] for name in self.names])
        if self.subsets:
            shares = shares * np.array([parameters[f"use/{name}"] for name in self.names], dtype=np.float64)
        total = shares.sum()
        values = shares / total if total > 0 else np.full(len(shares), 1.0 / len(shares))
        kind = parameters.get("kind", self.kinds[0])
        clip = parameters.get("clip", self.clips[0])
        kind = self.problem.mean_kind(kind)
        return kind, clip or (LOGIT_CLIP if kind in ("logit", "softmax") else 0.0), values

    def objective(self, parameters: dict[str, Any]) -> Objective:
        """Loss of the kind and clip that a trial drew."""
        return self.objectives[parameters.get("kind", self.kinds[0]), parameters.get("clip", self.clips[0])]

    def gap(self, parameters: dict[str, Any]) -> float | None:
        """Certificate of a trial's weights among all of its kind, where the loss is smooth and convex."""
        objective = self.objective(parameters)
        if not objective.smooth:
            return None
        _, _, values = self.blend(parameters)
        return frank_wolfe_gap(values, objective.derivatives(values)[1])

    def suggest(self, trial: optuna.Trial) -> dict[str, Any]:
        """Draw a trial's parameters."""
        drawn: dict[str, Any] = {
            f"weight/{name}": trial.suggest_float(f"weight/{name}", 0.0, 1.0) for name in self.names
        }
        if self.subsets:
            drawn |= {f"use/{name}": trial.suggest_categorical(f"use/{name}", [True, False]) for name in self.names}
        if len(self.kinds) > 1:
            drawn["kind"] = trial.suggest_categorical("kind", self.kinds)
        if len(self.clips) > 1:
            drawn["clip"] = trial.suggest_categorical("clip", self.clips)
        return drawn

    def evaluate(self, trial: optuna.Trial) -> float:
        """Score of a trial."""
        return self.score(self.suggest(trial))

    def score(self, parameters: dict[str, Any]) -> float:
        """Score of the blend of some parameters."""
        _, _, values = self.blend(parameters)
        return self.problem.metric.score_of_loss(self.objective(parameters).loss(values))

    def starts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Equal weights, the best single model, and the exact solution of every kind and clip that has one."""
        first = self.objectives[self.kinds[0], self.clips[0]]
        yield "equal", self._parameters(first.equal(), self.kinds[0], self.clips[0])
        single = np.eye(first.size)[int(np.argmin(first.singles()))]
        yield "best single", self._parameters(single, self.kinds[0], self.clips[0])
        for (kind, clip), objective in self.objectives.items():
            if objective.convex:
                yield f"exact {kind}", self._parameters(exact_minimum(objective)[0], kind, clip)

    def _parameters(self, values: Array, kind: Kind, clip: float) -> dict[str, Any]:
        shares = values / values.max()
        out: dict[str, Any] = {f"weight/{name}": float(share) for name, share in zip(self.names, shares, strict=True)}
        if self.subsets:
            out |= {f"use/{name}": bool(share > 0) for name, share in zip(self.names, shares, strict=True)}
        if len(self.kinds) > 1:
            out["kind"] = kind
        if len(self.clips) > 1:
            out["clip"] = clip
        return out

    def mark(self) -> str:
        """What tells a study of other predictions or choices apart."""
        objective: Objective = self.objectives[self.kinds[0], self.clips[0]]
        equal = objective.loss(objective.equal())
        return f"{self.problem.metric.name} {self.kinds} {self.clips} {self.subsets} {self.names} {equal:.10g}"
