"""Blend weights by an Optuna study: any metric, any kind of mean, model subsets.

The study starts from equal weights, the best single model and the exact solution (where there is one), so it is never
worse than these; what it may find beyond them is another kind of mean, clip or subset.
"""

from __future__ import annotations

import multiprocessing
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from blend.problem import BlendProblem
from blend.solvers.base import MeanSolver, register
from blend.solvers.space import Space
from blend.weights import Kind, Weights
from datamodules.banks.bank import BankError

if TYPE_CHECKING:
    import optuna

Array = npt.NDArray[np.float64]
TrialLog = Callable[[int, float, float, dict[str, float]], None]
"""Called after every trial with its number, score, the best score and the weights."""
STUDY = "blend"


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
    seed: int = 0
    log_trial: TrialLog | None = field(default=None, repr=False)
    progress: bool = False

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

    def _begin(self, study: optuna.Study, space: Space) -> None:
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

    def _run_workers(self, space: Space, missing: int) -> None:
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

    def _result(self, problem: BlendProblem, study: optuna.Study, space: Space) -> Weights:
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


class _Watch:
    """Callback that reports trials."""

    def __init__(self, search: OptunaSearch, space: Space) -> None:
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


def _work(search: OptunaSearch, space: Space, worker: int, trials: int) -> None:
    """One process of a shared study."""
    import optuna

    from blend.solvers.journal import open_storage

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with open_storage(search.storage, shared=True) as storage:
        study = optuna.load_study(study_name=STUDY, storage=storage, sampler=search._sampler(worker + 1))
        watch = _Watch(search, space) if worker == 0 else None
        study.optimize(space.evaluate, n_trials=trials, callbacks=[watch] if watch else None)
