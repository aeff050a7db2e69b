"""Methods for few rows, many models, or metrics that are not convex: shrunk, bagged and coordinate weights, a stacker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import Pinball
from blend.objectives import Objective
from blend.problem import BlendProblem, Problem
from blend.solvers.base import MeanSolver, Solver, register
from blend.solvers.exact import simplex_minimum
from blend.solvers.greedy import chosen_counts, select, selected
from blend.solvers.linear import Data, Fit, Linear
from blend.weights import LOGIT_CLIP, Kind, Weights

Array = npt.NDArray[np.float64]
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_STEPS = (0.3, 0.1, 0.03, 0.01)
_MOST_ROUNDS = 60  # of one step size
_PENALTIES = (100.0, 10.0, 3.0, 1.0, 0.3, 0.1, 0.03, 0.01, 1e-3, 1e-4)  # in units of the mean curvature per model
_MOST_VALUES = 2**26
_WITHIN = 0.5  # standard errors
_CHOICE, _FEWEST_ROWS = 1e7, 200  # products in a Newton step while the penalty is chosen; rows of a fold


@register
@dataclass
class Shrunk(MeanSolver):
    """The exact (or greedy) weights, pulled towards equal weights or the best single model by a share of inner folds."""

    name = "shrunk"
    complexity = 3
    quick = False
    summary = "exact or greedy weights, pulled towards equal ones or the best model by a share that inner folds choose"

    def evaluations(self, models: int) -> int:
        """A greedy selection on all folds, and one without each."""
        return 6 * 30 * models

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights on the simplex."""
        chosen = problem.folds if folds is None else list(folds)
        losses = np.zeros(2 * len(_SHARES))
        for held in chosen if len(chosen) > 1 else []:
            candidates = self._candidates(problem, [fold for fold in chosen if fold != held])
            losses += problem.objective([held], self.kind, self.clip).losses(candidates)
        place = int(np.argmin(losses)) if len(chosen) > 1 else _SHARES.index(0.5)
        towards = "the best model" if place >= len(_SHARES) else "equal weights"
        note = f"pulled towards {towards} by {_SHARES[place % len(_SHARES)]:g}"
        return self.weights(problem, self._candidates(problem, chosen)[place], notes=[note])

    def _candidates(self, problem: BlendProblem, folds: list[int]) -> Array:
        objective = problem.objective(folds, self.kind, self.clip)
        if objective.convex:
            fitted = simplex_minimum(problem, folds, self.kind, self.clip)[0]
        else:
            fitted = chosen_counts(selected(problem, folds, self.kind, self.clip, 30), objective.size)
            fitted /= fitted.sum()
        single = np.eye(objective.size)[int(np.argmin(objective.singles()))]
        return np.array([(1 - s) * fitted + s * goal for goal in (objective.equal(), single) for s in _SHARES])


@register
@dataclass
class Bagged(MeanSolver):
    """Greedy selection from random halves of the models, averaged (Caruana et al. 2004, section 2.3).

    Attributes:
        bags: Number of selections.
        seed: Seed of the halves.
    """

    name = "bagged"
    complexity = 3
    quick = False
    summary = "greedy selections from random halves of the models, averaged"
    bags: int = 10
    seed: int = 0

    def evaluations(self, models: int) -> int:
        """Half of the models in each of twenty steps."""
        return self.bags * 20 * (models + 1) // 2

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Mean of the bags' weights."""
        found = self.weights(problem, np.zeros(len(problem.names)))
        key = (
            "bagged",
            frozenset(problem.folds if folds is None else folds),
            found.kind,
            found.clip,
            self.bags,
            self.seed,
        )
        if key not in problem.remembered:
            problem.remembered[key] = self._mean(problem.objective(folds, self.kind, self.clip))
        return found.with_values(problem.remembered[key].copy())

    def _mean(self, objective: Objective) -> Array:
        rng, total = np.random.default_rng(self.seed), np.zeros(objective.size)
        for _ in range(self.bags):
            allowed = rng.permutation(objective.size)[: max(1, (objective.size + 1) // 2)]
            counts = chosen_counts(select(objective, 20, np.sort(allowed)), objective.size)
            total += counts / counts.sum() / self.bags
        return total


@register
@dataclass
class Coordinate(MeanSolver):
    """Coordinate search on the simplex: move weight to or from one model, in ever smaller steps, while the loss falls."""

    name = "coordinate"
    complexity = 3
    quick = False
    summary = "coordinate search on the simplex from the best of equal, single and greedy, for metrics without an exact solution"

    def evaluations(self, models: int) -> int:
        """A short greedy selection, then both ways of every model in a dozen rounds."""
        return (20 + 2 * 12) * models

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights that no step of a hundredth improves."""
        objective = problem.objective(folds, self.kind, self.clip)
        models = objective.size
        counts = chosen_counts(selected(problem, folds, self.kind, self.clip, 20), models)
        starts = np.vstack([objective.equal(), np.eye(models), counts / counts.sum()])
        losses = objective.losses(starts)
        w, best = starts[int(np.argmin(losses))], float(losses.min())
        for step in _STEPS:
            for _ in range(_MOST_ROUNDS):
                moves = np.vstack([w + step * np.eye(models), np.maximum(w - step * np.eye(models), 0.0)])
                sums = moves.sum(axis=1)
                moves = moves[sums > 0] / sums[sums > 0, None]
                losses = objective.losses(moves)
                if losses.min() >= best - 1e-12 * abs(best):
                    break
                w, best = moves[int(np.argmin(losses))], float(losses.min())
        return self.weights(problem, w)


@register
@dataclass
class Stacker(Solver):
    """A linear model on the predictions: weights of any sign and an intercept, pulled towards equal weights.

    Ridge regression for squared errors (and metrics of values that are not convex), median or quantile regression for
    absolute errors, logistic regression on logits for 0/1 labels, multinomial regression on logarithms of probabilities with
    an intercept per class for classes. The penalty is chosen by leave-one-fold-out cross-validation. scikit-learn's models pull
    towards zero, which with ten good models is far from any sensible blend; towards equal weights it is a blend at any penalty,
    so these few lines of normal equations and Newton steps are our own.

    Attributes:
        sparse: Share of an absolute (lasso) penalty beside the squared one, 0 for ridge: the elastic net.
    """

    name = "stacker"
    complexity = 4
    quick = False
    summary = "ridge, median, logistic or multinomial regression, any sign, intercept, penalty by inner folds"
    sparse: float = 0.0
    _problem: object = field(default=None, repr=False)
    _data: dict[int, Data] = field(default_factory=dict, repr=False)
    _paths: dict[frozenset[int], list[Fit]] = field(default_factory=dict, repr=False)

    def refusal(self, problem: BlendProblem) -> str | None:
        """In plain units, in memory."""
        if not isinstance(problem, Problem) or not (problem.stack.target_scale == 1.0).all():
            return "method stacker needs predictions in the judge's own units"
        if len(problem.names) * len(problem.stack.rows) * problem.width > _MOST_VALUES:
            return "method stacker needs the predictions in memory as float64; these are too many: take convex"
        return None

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights and intercepts.

        Raises:
            BankError: the predictions are not what the metric judges.
        """
        self.check(problem)
        assert isinstance(problem, Problem)
        if self._problem is not problem:
            self._paths, self._data, self._problem = {}, {}, problem
        chosen = problem.folds if folds is None else list(folds)
        linear = self._linear(problem)
        place = self._choose(problem, linear, chosen) if len(chosen) > 1 else 0
        rows = {fold: len(self._rows(problem, linear, fold, None).truth) for fold in chosen}
        share = sum(min(n, self._most(problem)) for n in rows.values()) / sum(rows.values())
        data = self._join([self._rows(problem, linear, fold, None) for fold in chosen])
        w, b = linear.fit(data, _PENALTIES[place] * share)
        kinds: dict[str, Kind] = {"logistic": "logit", "softmax": "softmax"}
        kind: Kind = kinds.get(linear.form, "arithmetic")
        note = (
            f"{linear.form} regression, penalty {_PENALTIES[place]:g} towards equal weights, intercept {b.mean():+.3g}"
        )
        return Weights(
            self.name,
            list(problem.names),
            w,
            kind=kind,
            clip=LOGIT_CLIP if kind != "arithmetic" else 0.0,
            intercept=[float(value) for value in b],
            notes=[note],
        )

    def _linear(self, problem: Problem) -> Linear:
        """The family that fits the metric."""
        metric = problem.metric
        if isinstance(metric, Pinball):
            return Linear("absolute", metric.slopes, self.sparse)
        if problem.holds_probabilities:
            return Linear("softmax" if problem.one_hot else "logistic", sparse=self.sparse)
        return Linear("squared", sparse=self.sparse)

    def _choose(self, problem: Problem, linear: Linear, folds: list[int]) -> int:
        """Place of the strongest penalty that is as good on each fold, by fits to the others, as the best, within its error."""
        most = self._most(problem)
        held = []
        for fold in folds:
            fits = self._path(problem, linear, frozenset(folds) - {fold}, most)
            data = self._rows(problem, linear, fold, most)
            held.append([linear.losses(data, fitted) for fitted in fits])
        losses = np.concatenate(held, axis=1)
        worse = losses - losses[int(np.argmin(losses.sum(axis=1)))]
        error = worse.std(axis=1) / np.sqrt(worse.shape[1])
        return int(np.argmax(worse.mean(axis=1) <= _WITHIN * error))

    def _path(self, problem: Problem, linear: Linear, folds: frozenset[int], most: int) -> list[Fit]:
        """Fits of all penalties, the strongest first, each begun at the one before."""
        if folds not in self._paths:
            data = self._join([self._rows(problem, linear, fold, most) for fold in sorted(folds)])
            fits: list[Fit] = []
            for penalty in _PENALTIES:
                fits.append(linear.fit(data, penalty, fits[-1] if fits else None))
            self._paths[folds] = fits
        return self._paths[folds]

    def _most(self, problem: Problem) -> int:
        """Rows of a fold that choose the penalty: with many more of them than models it hardly matters."""
        return max(_FEWEST_ROWS, int(_CHOICE / (len(problem.names) ** 2 * problem.width * len(problem.folds))))

    def _rows(self, problem: Problem, linear: Linear, fold: int, most: int | None) -> Data:
        """One fold, or an even sample of its rows."""
        if fold not in self._data:
            predictions, truth = problem.rows_of([fold])
            self._data[fold] = Data(np.ascontiguousarray(linear.inputs(predictions)), truth.astype(np.float64))
        data = self._data[fold]
        if most is None or len(data.truth) <= most:
            return data
        rows = np.random.default_rng(fold).permutation(len(data.truth))[:most]
        return Data(
            np.ascontiguousarray(data.inputs[:, rows]), data.truth[rows]
        )  # models last in memory are ten times slower

    def _join(self, data: list[Data]) -> Data:
        inputs = np.concatenate([x for x, _ in data], axis=1)
        return Data(np.ascontiguousarray(inputs), np.concatenate([y for _, y in data]))
