"""Blend weights by an Optuna study: any metric, any kind of mean, model subsets.

The study starts from equal weights, the best single model and the exact solution (where there is one), so it is never
worse than these; what it may find beyond them is another kind of mean, clip or subset.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from blend.bank import BankError
from blend.objectives import Objective
from blend.problem import BlendProblem
from blend.simplex import frank_wolfe_gap
from blend.solvers.base import MeanSolver, register
from blend.solvers.exact import exact_minimum
from blend.weights import LOGIT_CLIP, Kind, Weights

if TYPE_CHECKING:
    import optuna

Array = npt.NDArray[np.float64]
TrialLog = Callable[[int, float, float, dict[str, float]], None]
"""Called after every trial with its number, score, the best score and the weights."""
STUDY = "blend"
_SMOOTH = ("r2", "column_log_loss")
_EXACT = (*_SMOOTH, "mae")


@register
@dataclass
class OptunaSearch(MeanSolver):
    """Search weights with Optuna.

    Attributes:
        trials: trials in all; a resumed study only runs what is missing.
        sampler: ``tpe`` or ``cmaes``.
        kinds: kinds of mean to choose among; None for ``kind`` alone.
        clips: clips to choose among; None for ``clip`` alone.
        subsets: search also which models take part.
        workers: processes on one study (needs a journal file or a database).
        storage: journal file, or the URL of a database; None for memory.
        seed: of the sampler.
        log_trial: called after every trial.
        progress: print the best score now and then.
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
    seed: int = 0
    log_trial: TrialLog | None = field(default=None, repr=False)
    progress: bool = False

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """The best trial's blend.

        Raises:
            BankError: the storage holds a study of other predictions, or several workers have none to share.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = _Space(self, problem, folds)
        if self.workers > 1 and self.storage is None:
            raise BankError("several workers share a study through a file: give --storage FILE.journal")
        with _storage(self.storage, shared=self.workers > 1) as storage:
            study = optuna.create_study(
                study_name=STUDY,
                storage=storage,
                direction="maximize" if problem.metric.higher_is_better else "minimize",
                sampler=self._sampler(0),
                load_if_exists=True,
            )
            self._begin(study, space)
            finished = sum(trial.state.is_finished() for trial in study.get_trials(deepcopy=False))
            missing = max(0, self.trials - finished)
            if self.workers > 1:
                self._run_workers(space, missing)
            elif missing:
                study.optimize(space.evaluate, n_trials=missing, callbacks=[_Watch(self, space)])
            return self._result(problem, study, space)

    def _sampler(self, worker: int) -> optuna.samplers.BaseSampler:
        import optuna

        seed = self.seed + 1000 * worker
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is experimental in one release is the default of the next
            if self.sampler == "cmaes":
                return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
            return optuna.samplers.TPESampler(seed=seed, multivariate=True, constant_liar=self.workers > 1)

    def _begin(self, study: optuna.Study, space: _Space) -> None:
        """Enqueue the starting points of a new study; refuse a study of other predictions."""
        mark = space.mark()
        known = study.user_attrs.get("inputs")
        if known is not None and known != mark:
            raise BankError(
                f"{self.storage} holds a study of other predictions; give another --storage file or delete it"
            )
        if known is None:
            study.set_user_attr("inputs", mark)
            study.set_user_attr("models", space.names)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                study.set_metric_names([space.problem.metric.name])
            for origin, parameters in space.starts():
                study.enqueue_trial(parameters, user_attrs={"origin": origin})

    def _run_workers(self, space: _Space, missing: int) -> None:
        methods = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
        shares = [missing // self.workers + (i < missing % self.workers) for i in range(self.workers)]
        processes = [
            context.Process(target=_work, args=(self, space, i, share)) for i, share in enumerate(shares) if share
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        if any(process.exitcode for process in processes):
            raise RuntimeError("a worker of the study failed; its error stands above")

    def _result(self, problem: BlendProblem, study: optuna.Study, space: _Space) -> Weights:
        best = study.best_trial
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


class _Space:
    """The search space: parameters to a blend, and its score."""

    def __init__(self, search: OptunaSearch, problem: BlendProblem, folds: Sequence[int] | None) -> None:
        self.names, self.problem = list(problem.names), problem
        self.subsets = search.subsets and len(self.names) > 1
        self.kinds: list[Kind] = list(search.kinds or [search.kind])
        self.clips = list(search.clips or [search.clip])
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
        return kind, clip or (LOGIT_CLIP if kind == "logit" else 0.0), values

    def objective(self, parameters: dict[str, Any]) -> Objective:
        """Loss of the kind and clip that a trial drew."""
        return self.objectives[parameters.get("kind", self.kinds[0]), parameters.get("clip", self.clips[0])]

    def gap(self, parameters: dict[str, Any]) -> float | None:
        """Certificate of a trial's weights among all of its kind, where the loss is smooth and convex."""
        objective = self.objective(parameters)
        if not objective.convex or self.problem.metric.name not in _SMOOTH:
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
        drawn = self.suggest(trial)
        _, _, values = self.blend(drawn)
        return self.problem.metric.score_of_loss(self.objective(drawn).loss(values))

    def starts(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Equal weights, the best single model, and the exact solution of every kind and clip that has one."""
        first = self.objectives[self.kinds[0], self.clips[0]]
        yield "equal", self._parameters(first.equal(), self.kinds[0], self.clips[0])
        single = np.eye(first.size)[int(np.argmin(first.singles()))]
        yield "best single", self._parameters(single, self.kinds[0], self.clips[0])
        for (kind, clip), objective in self.objectives.items():
            if objective.convex and self.problem.metric.name in _EXACT:
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


class _Watch:
    """Callback that reports trials."""

    def __init__(self, search: OptunaSearch, space: _Space) -> None:
        self._search, self._space, self._last = search, space, time.monotonic()
        self._best: float | None = None

    def __call__(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        assert trial.value is not None
        better = max if self._space.problem.metric.higher_is_better else min
        self._best = trial.value if self._best is None else better(self._best, trial.value)
        if self._search.log_trial is not None:
            _, _, values = self._space.blend(trial.params)
            weights = dict(zip(self._space.names, map(float, values), strict=True))
            self._search.log_trial(trial.number, trial.value, self._best, weights)
        if self._search.progress and time.monotonic() - self._last > 5:
            self._last = time.monotonic()
            print(f"trial {trial.number + 1} of {self._search.trials}: best {self._best:.8f}", flush=True)


@contextmanager
def _storage(location: str | None, shared: bool) -> Iterator[optuna.storages.BaseStorage]:
    """Memory, a journal file (buffered unless several processes share it), or a database."""
    import optuna

    if location is None:
        yield optuna.storages.InMemoryStorage()
    elif "://" in location:
        yield optuna.storages.RDBStorage(location)
    elif shared:
        Path(location).parent.mkdir(parents=True, exist_ok=True)
        yield optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(location))
    else:
        from blend.journal import BufferedJournal

        journal = BufferedJournal(Path(location))
        try:
            yield optuna.storages.JournalStorage(journal)
        finally:
            journal.flush()


def _work(search: OptunaSearch, space: _Space, worker: int, trials: int) -> None:
    """One process of a shared study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _storage(search.storage, shared=True) as storage:
        study = optuna.load_study(study_name=STUDY, storage=storage, sampler=search._sampler(worker + 1))
        watch = _Watch(search, space) if worker == 0 else None
        study.optimize(space.evaluate, n_trials=trials, callbacks=[watch] if watch else None)
