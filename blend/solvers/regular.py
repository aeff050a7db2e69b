"""Methods for few rows, many models, or metrics that are not convex: shrunk, bagged and coordinate weights, a stacker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blend.metrics.scores import R2, ColumnLogLoss, MeanSquaredError, RootMeanSquaredError
from blend.problem import BlendProblem, Problem
from blend.solvers.base import MeanSolver, Solver, register
from blend.solvers.exact import exact_minimum
from blend.solvers.greedy import select
from blend.weights import LOGIT_CLIP, Weights

Array = npt.NDArray[np.float64]
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)
_STEPS = (0.3, 0.1, 0.03, 0.01)
_MOST_ROUNDS = 60  # of one step size
_PENALTIES = (1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0)  # in units of the normal equations' mean diagonal
_MOST_VALUES = 2**26
_NEWTON_STEPS = 30


@register
@dataclass
class Shrunk(MeanSolver):
    """The exact (or greedy) weights, pulled towards equal weights or the best single model by a share of inner folds."""

    name = "shrunk"
    complexity = 3
    quick = False
    summary = "exact or greedy weights, pulled towards equal ones or the best model by a share that inner folds choose"

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
            fitted = exact_minimum(objective)[0]
        else:
            counts, _ = select(objective, 30)
            fitted = counts / counts.sum()
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

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Mean of the bags' weights."""
        objective = problem.objective(folds, self.kind, self.clip)
        rng, total = np.random.default_rng(self.seed), np.zeros(objective.size)
        for _ in range(self.bags):
            allowed = rng.permutation(objective.size)[: max(1, (objective.size + 1) // 2)]
            counts, _ = select(objective, 20, allowed=np.sort(allowed))
            total += counts / counts.sum() / self.bags
        return self.weights(problem, total)


@register
@dataclass
class Coordinate(MeanSolver):
    """Coordinate search on the simplex: move weight to or from one model, in ever smaller steps, while the loss falls."""

    name = "coordinate"
    complexity = 3
    quick = False
    summary = "coordinate search on the simplex from the best of equal, single and greedy, for metrics without an exact solution"

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights that no step of a hundredth improves."""
        objective = problem.objective(folds, self.kind, self.clip)
        models = objective.size
        counts, _ = select(objective, 20)
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

    Ridge regression for squared errors; logistic regression on logits for 0/1 labels. The penalty is chosen by
    leave-one-fold-out cross-validation. scikit-learn's models pull towards zero, which with ten good models is far from any
    sensible blend; towards equal weights it is a blend at any penalty, so these few lines of normal equations and Newton
    steps are our own.
    """

    name = "stacker"
    complexity = 4
    quick = False
    summary = (
        "ridge (squared errors) or logistic regression on logits (labels), any sign, intercept, penalty by inner folds"
    )

    def refusal(self, problem: BlendProblem) -> str | None:
        """Squared errors or labels, in plain units, in memory."""
        if not isinstance(problem, Problem) or not (problem.stack.target_scale == 1.0).all():
            return "method stacker needs predictions in the judge's own units"
        if not isinstance(problem.metric, (R2, MeanSquaredError, RootMeanSquaredError)) and not self._logistic(problem):
            return f"method stacker is for squared errors and 0/1 labels, not for {problem.metric.name}"
        if len(problem.names) * len(problem.stack.rows) * problem.width > _MOST_VALUES:
            return "method stacker needs the predictions in memory as float64; these are too many: take convex"
        return None

    def _logistic(self, problem: BlendProblem) -> bool:
        return isinstance(problem.metric, ColumnLogLoss) or (problem.metric.labels == "binary" and problem.width == 1)

    def fit(self, problem: BlendProblem, folds: Sequence[int] | None = None) -> Weights:
        """Weights and intercepts.

        Raises:
            BankError: the metric has no such model, or the predictions are no probabilities.
        """
        self.check(problem)
        assert isinstance(problem, Problem)
        chosen = problem.folds if folds is None else list(folds)
        logistic = self._logistic(problem)
        data = {fold: self._inputs(problem, fold, logistic) for fold in chosen}
        scores = np.zeros(len(_PENALTIES))
        for held in chosen if len(chosen) > 1 else []:
            rest = [data[fold] for fold in chosen if fold != held]
            for i, penalty in enumerate(_PENALTIES):
                scores[i] += _loss(data[held], *_fit(rest, penalty, logistic), logistic)
        penalty = _PENALTIES[int(np.argmin(scores))] if len(chosen) > 1 else _PENALTIES[-1]
        w, b = _fit(list(data.values()), penalty, logistic)
        return Weights(
            self.name,
            list(problem.names),
            w,
            kind="logit" if logistic else "arithmetic",
            clip=LOGIT_CLIP if logistic else 0.0,
            intercept=[float(value) for value in b],
            notes=[f"penalty {penalty:g} towards equal weights, intercept {b.mean():+.3g}"],
        )

    def _inputs(self, problem: Problem, fold: int, logistic: bool) -> tuple[Array, Array]:
        """Inputs ``(models, rows, targets)`` and truth ``(rows, targets)`` of one fold."""
        predictions, truth = problem.rows_of([fold])
        P = predictions.astype(np.float64)
        if logistic:
            P = np.clip(P, LOGIT_CLIP, 1 - LOGIT_CLIP)
            P = np.log(P / (1 - P))
        return P, truth.astype(np.float64)


def _fit(data: list[tuple[Array, Array]], penalty: float, logistic: bool) -> tuple[Array, Array]:
    """Weights ``(models,)`` and intercepts: one per target for squared errors, one for logits."""
    P, y = np.concatenate([p for p, _ in data], axis=1), np.concatenate([t for _, t in data])
    models, start = len(P), np.full(len(P), 1.0 / len(P))
    if not logistic:
        means, mean = P.mean(axis=1), y.mean(axis=0)
        spread = y.var(axis=0)
        factor = np.sqrt(np.divide(1.0, spread, out=np.zeros_like(spread), where=spread > 0))
        X = ((P - means[:, None]) * factor).reshape(models, -1)
        A, c = X @ X.T, X @ ((y - mean) * factor).reshape(-1)
        ridge = penalty * np.trace(A) / models + 1e-12
        w = np.linalg.solve(A + ridge * np.eye(models), c + ridge * start)
        return w, mean - w @ means
    X, label = np.vstack([P.reshape(models, -1), np.ones(y.size)]), y.reshape(-1)
    w = np.append(start, 0.0)
    ridge = penalty * float((X[:-1] ** 2).sum()) / models * 0.05
    pull = np.append(np.full(models, ridge), 0.0)
    goal = np.append(start, 0.0)
    for _ in range(_NEWTON_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(w @ X, -50, 50)))
        gradient = X @ (p - label) + pull * (w - goal)
        H = (X * (p * (1 - p))) @ X.T + np.diag(pull + 1e-9)
        step = np.linalg.solve(H, gradient)
        w = w - step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return w[:-1], w[-1:]


def _loss(data: tuple[Array, Array], w: Array, b: Array, logistic: bool) -> float:
    P, y = data
    z = np.tensordot(w, P, axes=1) + b
    if logistic:
        return float((np.logaddexp(0.0, z) - y * z).sum())
    spread = y.var(axis=0)
    return float((((z - y) ** 2).sum(axis=0) / np.maximum(spread, 1e-300))[spread > 0].sum())
