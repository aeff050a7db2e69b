"""A blending problem: aligned models, the truth and the judge's metric, behind one interface for all solvers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blend.aligned.view import Stack
from blend.metrics.cells import CellForm, Cells, LogitCells, LogLossCells, ResidualCells, TrueClassCells, gather_cells
from blend.metrics.gram import ResidualMoments, residual_moments
from blend.metrics.ranks import RankTable, rank_table
from blend.metrics.scores import (
    R2,
    Metric,
    MulticlassLogLoss,
    Pinball,
    SquaredMetric,
    SumMetric,
    TruthSums,
)
from blend.metrics.tables import FunctionMetric, TableMetric, is_one_hot
from blend.objectives import (
    AbsoluteLoss,
    Composed,
    LogitLoss,
    LogLoss,
    Objective,
    QuadraticLoss,
    RootQuadraticLoss,
    SoftmaxLoss,
    TableLoss,
)
from blend.weights import LOGIT_CLIP, Kind, Weights, blend_rows
from datamodules.banks.bank import BankError
from datamodules.files import usable_cores

Array = npt.NDArray[np.float64]
DEFAULT_MEMORY = 2 * 2**30
MOST_TARGET_PARTS = 1024  # of log loss and MAE; squared errors have Gram matrices of any number of targets
_MOST_VALUES = 2**26  # predictions of all models beyond which rows are not looked at one by one
_ROUNDING = 1e-6  # of float32, and of text files
_CANDIDATE_VALUES = 2**22  # blended at once for metrics of whole columns
_FEWEST_VALUES, _MOST_THREADS = 2**17, 8  # blended values that are worth a thread


class BlendProblem(Protocol):
    """What a solver may ask."""

    names: list[str]
    folds: list[int]
    metric: Metric
    width: int
    target_groups: dict[str, list[int]]
    row_groups: list[str]
    remembered: dict[tuple[Any, ...], Any]

    def objective(
        self,
        folds: Sequence[int] | None = None,
        kind: Kind = "arithmetic",
        clip: float = 0.0,
        group: int | None = None,
        targets: tuple[int, int] | None = None,
        reduce: bool = True,
    ) -> Objective:
        """Loss over some rows and targets."""
        ...

    def mean_kind(self, kind: Kind) -> Kind:
        """The kind of mean that ``kind`` stands for here."""
        ...

    def count(self, folds: Sequence[int] | None, group: int) -> int:
        """Rows of a group in some folds."""
        ...

    def rows_of(self, folds: Sequence[int] | None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Predictions ``(models, rows, targets)`` and truth ``(rows, targets)`` of some folds, in memory."""
        ...


class Problem:
    """Aligned out-of-fold predictions with their truth.

    Args:
        stack: The models.
        metric: The judge's.
        memory: Bytes that kept predictions may take; larger problems go through scratch files.

    Raises:
        BankError: the metric needs probabilities or 0/1 labels and the banks hold others.
    """

    def __init__(self, stack: Stack, metric: Metric, memory: int = DEFAULT_MEMORY) -> None:
        if stack.truth is None:
            raise BankError("weights are searched on out-of-fold predictions; these are test predictions without truth")
        self.stack, self.metric, self.memory = stack, metric, memory
        self.names, self.folds, self.width = stack.names, stack.folds, stack.width
        self.target_groups = stack.manifest.groups
        self.row_groups = stack.group_names
        stack.probabilities, stack.labels = metric.probabilities, metric.labels
        if metric.labels == "classes" and self.width < 2:
            raise BankError(
                f"metric {metric.name} needs a column per class, these predictions have one; use column_log_loss"
            )
        self.remembered: dict[tuple[Any, ...], Any] = {}  # what several methods ask for, by kind, folds and mean
        self._moments: ResidualMoments | None = None
        self._pools: dict[tuple[tuple[int, ...], int | None], tuple[Array, Array, float]] = {}
        self._cells: dict[tuple[CellForm, bool], Cells] = {}
        self._ranks: dict[int, RankTable] = {}
        self._truth_sums: TruthSums | None = None
        self._everything: tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None = None

    @property
    def models(self) -> int:
        """Number of models."""
        return len(self.names)

    def objective(
        self,
        folds: Sequence[int] | None = None,
        kind: Kind = "arithmetic",
        clip: float = 0.0,
        group: int | None = None,
        targets: tuple[int, int] | None = None,
        reduce: bool = True,
    ) -> Objective:
        """Loss of weights over some rows and targets.

        Args:
            folds: Nested folds whose rows count, None for all.
            kind: Kind of the mean.
            clip: Probabilities are clipped to ``[clip, 1 - clip]`` before they are averaged.
            group: Code of a row group, None for all.
            targets: Range of targets, None for all.
            reduce: Allow sums over agreeing cells (see :mod:`blend.metrics.cells`).

        Raises:
            BankError: the metric has no such mean.
        """
        chosen = self.folds if folds is None else list(folds)
        metric, kind = self.metric, self.mean_kind(kind)
        self.check_mean(kind, clip)
        if isinstance(metric, TableMetric) or kind == "rank":
            if group is not None or targets is not None:
                raise BankError(
                    f"weights per group or target need a metric that is a sum over rows, and another mean than {kind}"
                )
            return self._table_loss(chosen, kind, clip)
        if isinstance(metric, SquaredMetric):
            return self._quadratic(metric, chosen, group, targets)
        if kind == "softmax":
            return self._softmax(chosen, clip or LOGIT_CLIP, group)
        if kind == "logit":
            return LogitLoss(self._parts(LogitCells(clip or LOGIT_CLIP), chosen, group, targets), self.models)
        if isinstance(metric, Pinball):
            parts = self._parts(ResidualCells(slopes=metric.slopes), chosen, group, targets)
            return AbsoluteLoss(parts, self.models, metric.slopes)
        form = (TrueClassCells if isinstance(metric, MulticlassLogLoss) else LogLossCells)(clip, reduce)
        return LogLoss(self._parts(form, chosen, group, None if metric.labels == "classes" else targets), self.models)

    def mean_kind(self, kind: Kind) -> Kind:
        """Logits of classes are normalised over them."""
        return "softmax" if kind == "logit" and self.metric.labels == "classes" else kind

    def check_mean(self, kind: Kind, clip: float) -> None:
        """Refuse a mean that these predictions do not have.

        Raises:
            BankError: logits or clips of what is not a probability.
        """
        if self.metric.probabilities or self.metric.labels == "binary":
            return
        if kind == "logit":
            raise BankError(
                f"a mean of logits needs probabilities; metric {self.metric.name} has none: use the arithmetic mean"
            )
        if clip > 0:
            raise BankError(f"--clip clips probabilities; metric {self.metric.name} has none")

    def count(self, folds: Sequence[int] | None, group: int) -> int:
        """Rows of a row group in some folds."""
        blocks = self.stack.blocks
        held = np.isin(blocks.fold, self.folds if folds is None else list(folds)) & (blocks.group == group)
        return int(blocks.counts[held].sum())

    def _quadratic(
        self, metric: SquaredMetric, folds: list[int], group: int | None, targets: tuple[int, int] | None
    ) -> Objective:
        pooled, total, rows = self._pooled(tuple(sorted(folds)), group)
        span = slice(None) if targets is None else slice(*targets)
        gram, shift = pooled[span], self.moments().shift[span]
        factors = metric.weights(total[span], rows, self.stack.target_scale[span])
        dead = factors == 0  # without variance: no weights change its score, unless all models match it
        if metric.counted is not None:
            factors = np.where(metric.counted[span], factors, 0.0)
        # v = [w, s, s c]: fold the last two together
        folded = gram[:, :-1, :-1].copy()
        folded[:, :, -1] += shift[:, None] * gram[:, :-1, -1]
        folded[:, -1, :] += shift[:, None] * gram[:, -1, :-1]
        folded[:, -1, -1] += shift**2 * gram[:, -1, -1]
        if metric.root:
            return RootQuadraticLoss(folded * factors[:, None, None])
        form = np.einsum("tkl,t->kl", folded, factors) / len(factors)
        inexact = (np.einsum("tkk->tk", gram[dead])[:, : self.models] > 0).any(axis=1)
        return QuadraticLoss(form, float(inexact.sum()) / len(factors))

    def _pooled(self, folds: tuple[int, ...], group: int | None) -> tuple[Array, Array, float]:
        """Residual moments of some rows ``(targets, ...)``; total squares and rows of all groups of these folds."""
        if (folds, group) not in self._pools:
            moments, blocks = self.moments(), self.stack.blocks
            in_folds = np.isin(blocks.fold, folds)
            chosen = in_folds if group is None else in_folds & (blocks.group == group)
            total = moments.truth_sums().pooled(in_folds[None, :].astype(np.float64)).total_squares()[0]
            rows = float(blocks.counts[in_folds].sum())
            self._pools[folds, group] = moments.gram[chosen].sum(axis=0), total, rows
        return self._pools[folds, group]

    def _parts(self, form: CellForm, folds: list[int], group: int | None, targets: tuple[int, int] | None) -> list[Any]:
        cells = self.cells(form, targets is not None)
        return [
            part
            for (fold, row_group, target), part in cells.parts.items()
            if fold in folds
            and (group is None or row_group == group)
            and (targets is None or targets[0] <= target < targets[1])
        ]

    def _softmax(self, folds: list[int], clip: float, group: int | None) -> SoftmaxLoss:
        predictions, truth = self.rows_of(folds)
        if group is not None:
            raise BankError("weights per group of classes take the arithmetic mean")
        logs = np.log(np.clip(predictions, clip, 1 - clip))
        return SoftmaxLoss(logs, truth.argmax(axis=1))

    def _table_loss(self, folds: list[int], kind: Kind, clip: float) -> TableLoss:
        """For metrics and means of whole columns."""
        truth, scale = self.rows_of(folds)[1], self.stack.target_scale
        metric, judged = self.metric, truth.astype(np.float64) * scale
        score = metric.evaluator(judged) if isinstance(metric, TableMetric) else self._sum_score(truth)
        lower = -1.0 if metric.higher_is_better else 1.0
        unit = scale if isinstance(metric, TableMetric) else np.ones_like(scale)
        one = 1.0 if isinstance(metric, R2) else 0.0  # its loss is 1 - R2
        if kind == "rank":

            def blend(w: Array) -> Array:
                weights = Weights("", self.names, w, kind="rank")
                return np.concatenate([self.blend_fold(weights, fold) for fold in self.folds if fold in folds])

            return TableLoss(lambda W: np.array([one + lower * score(blend(w) * unit) for w in W]), self.models)
        values = self._transformed(folds, kind, clip)
        models, width = len(values), values.shape[2]
        plain = bool((unit == 1.0).all())
        flat, step = values.reshape(models, -1), max(1, _CANDIDATE_VALUES // max(1, values[0].size))

        many = metric.many(judged) if isinstance(metric, TableMetric) else lambda b: np.array([score(x) for x in b])

        bounds = metric.bounds(judged) if isinstance(metric, TableMetric) else None
        by_order = isinstance(metric, TableMetric) and metric.by_order

        def losses(blends: Array, least: bool = False) -> Array:
            blends = blends.reshape(-1, len(truth), width)
            if kind == "logit" and not by_order:
                blends = 1.0 / (1.0 + np.exp(-blends))
            blends = blends if plain else blends * unit
            if not least or bounds is None:
                return np.asarray(lower * many(blends))
            one, other = (lower * side for side in bounds(blends))
            least_of, result = np.minimum(one, other), np.maximum(one, other)
            able = least_of <= result.min()
            result[able] = lower * many(blends[able])
            return result

        threads = (
            1 if isinstance(metric, FunctionMetric) else min(_MOST_THREADS, usable_cores())
        )  # numpy sorts without Python's lock

        def in_parts(
            candidates: npt.NDArray[Any], blend: Callable[[npt.NDArray[Any]], Array], least: bool = False
        ) -> Array:
            small = threads == 1 or len(candidates) * flat.shape[1] < _FEWEST_VALUES
            share = max(1, min(step, len(candidates) if small else -(-len(candidates) // threads)))
            parts = [candidates[start : start + share] for start in range(0, len(candidates), share)]
            if small or len(parts) < 2:
                return np.concatenate([np.zeros(0), *(losses(blend(part), least) for part in parts)])
            with ThreadPoolExecutor(threads) as pool:
                return np.concatenate(list(pool.map(lambda part: losses(blend(part), least), parts)))

        def additions(counts: Array, among: npt.NDArray[np.intp]) -> Array:
            total, number = counts @ flat, counts.sum() + 1

            def blend(part: npt.NDArray[np.intp]) -> Array:
                sums = flat[part]
                sums += total
                sums /= number
                return sums

            return in_parts(among, blend, least=True)

        return TableLoss(lambda W: in_parts(W, lambda part: part @ flat), self.models, additions)

    def _transformed(self, folds: list[int], kind: Kind, clip: float) -> Array:
        """Predictions of some folds as they are averaged."""
        values = self.rows_of(folds)[0].astype(np.float64)
        clip = clip or (LOGIT_CLIP if kind == "logit" else 0.0)
        if clip > 0:
            values = np.clip(values, clip, 1 - clip)
        return np.log(values / (1 - values)) if kind == "logit" else values

    def _sum_score(self, truth: npt.NDArray[np.float32]) -> Any:
        """Score of blended rows (stored units) under a metric of sums."""
        metric = self.metric
        assert isinstance(metric, SumMetric)
        constant = truth.min(axis=0) == truth.max(axis=0)
        shifted = truth - np.where(constant, truth[0], truth.mean(axis=0, dtype=np.float64))
        counts = np.array([len(truth)], dtype=np.float64)
        sums = TruthSums(counts, shifted.sum(axis=0)[None], (shifted**2).sum(axis=0)[None])

        def score(blended: Array) -> float:
            errors = metric.error_sums(truth, blended, self.stack.target_scale)[None]
            return float(metric.per_target(errors, sums).mean())

        return score

    def moments(self) -> ResidualMoments:
        """Residual moments (squared errors)."""
        if self._moments is None:
            self._moments = residual_moments(self.stack)
        return self._moments

    def cells(self, form: CellForm, by_target: bool) -> Cells:
        """Reduced cells (log losses, absolute errors)."""
        if by_target and self.width > MOST_TARGET_PARTS:
            raise BankError(
                f"{self.width} targets are too many for weights per target; use --method per_group or a global one"
            )
        if (form, by_target) not in self._cells:
            self._cells[form, by_target] = gather_cells(self.stack, form, by_target, self.memory)
        return self._cells[form, by_target]

    def everything(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """All predictions and the truth in memory, for metrics of whole columns and for ranks."""
        if self._everything is None:
            size = 4 * (self.models + 1) * len(self.stack.rows) * self.width
            if size > self.memory:
                raise BankError(
                    f"ranks and metrics of whole columns need all predictions in memory ({size / 2**30:.1f} GiB); raise --memory"
                )
            chunks = list(self.stack.chunks())
            self._everything = (
                np.concatenate([chunk.predictions for chunk in chunks], axis=1),
                np.concatenate([chunk.truth for chunk in chunks]),
            )
        return self._everything

    def rows_of(self, folds: Sequence[int] | None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """See :class:`BlendProblem`."""
        predictions, truth = self.everything()
        if folds is None or set(folds) == set(self.folds):
            return predictions, truth
        held = np.isin(self.stack.rows["nested"].to_numpy(), list(folds))
        return predictions[:, held], truth[held]

    @property
    def holds_probabilities(self) -> bool:
        """Whether the predictions are probabilities: the metric says so, or it judges labels and all lie in [0, 1]."""
        if self.metric.probabilities or self.metric.labels != "binary":
            return self.metric.probabilities
        predictions = self.everything()[0]
        return bool(predictions.min() >= 0 and predictions.max() <= 1)

    @property
    def one_hot(self) -> bool:
        """Whether the targets are classes of which every row has exactly one."""
        return self.metric.labels == "classes" or (self.width > 1 and is_one_hot(self.everything()[1]))

    def blend_fold(self, weights: Weights, fold: int) -> Array:
        """Blended rows of one fold in aligned order, from memory."""
        held = self.stack.rows["nested"].to_numpy() == fold
        predictions = self.everything()[0][:, held]
        if weights.kind != "rank":
            groups = self.stack.rows["group"].to_numpy()[held] if weights.level == "rows" else None
            return blend_rows(weights, predictions, groups)
        if fold not in self._ranks:
            self._ranks[fold] = rank_table(predictions)
        return self._ranks[fold].blend(weights.values)

    @property
    def in_memory(self) -> bool:
        """Whether rows can be looked at one by one."""
        values = (self.models + 1) * len(self.stack.rows) * self.width
        return values <= _MOST_VALUES and 4 * values <= self.memory

    def twins(self) -> list[list[int]]:
        """Groups of models with the same predictions, up to the rounding of a text file; none where memory is too small."""
        if ("twins",) not in self.remembered:
            self.remembered["twins",] = self._twins() if self.in_memory else []
        found: list[list[int]] = self.remembered["twins",]
        return found

    def _twins(self) -> list[list[int]]:
        flat = self.everything()[0].reshape(self.models, -1)
        size, some = np.abs(flat).max(axis=1), flat[:, :: max(1, flat.shape[1] // 64)]
        groups: list[list[int]] = []
        for k in range(self.models):
            for group in groups:
                near = _ROUNDING * max(float(size[group[0]]), 1e-30)
                if all(np.abs(values[k] - values[group[0]]).max() <= near for values in (some, flat)):
                    group.append(k)
                    break
            else:
                groups.append([k])
        return [group for group in groups if len(group) > 1]

    def score_of(self, weights: Weights) -> float:
        """The judge's score of one blend of all rows, from memory."""
        truth, scale = self.everything()[1], self.stack.target_scale
        blended = np.concatenate([self.blend_fold(weights, fold) for fold in self.folds])
        if isinstance(self.metric, TableMetric):
            decided = (blended >= weights.thresholds).astype(np.float64) if weights.thresholds else blended
            return self.metric.score(truth.astype(np.float64) * scale, decided * scale)
        return float(self._sum_score(truth)(blended))

    def truth_sums(self) -> TruthSums:
        """Sums of the truth per block; only R2 needs more than the number of rows."""
        if self._truth_sums is None:
            counts = self.stack.blocks.counts.astype(np.float64)
            nothing = np.zeros((len(counts), 1))
            r2 = isinstance(self.metric, R2)
            self._truth_sums = self.moments().truth_sums() if r2 else TruthSums(counts, nothing, nothing)
        return self._truth_sums


class Projected:
    """A problem whose models are blends of another's models, sharing its passes.

    Args:
        problem: The whole.
        basis: ``(new models, models)`` weights of each new model.
        names: Names of the new models.
    """

    def __init__(self, problem: BlendProblem, basis: Array, names: Sequence[str]) -> None:
        self._problem, self._basis, self.names = problem, basis, list(names)
        self.folds, self.metric, self.width = problem.folds, problem.metric, problem.width
        self.target_groups, self.row_groups = problem.target_groups, problem.row_groups
        self.remembered: dict[tuple[Any, ...], Any] = {}

    def objective(self, *args: Any, **kwargs: Any) -> Objective:
        """As :meth:`Problem.objective`, over the new models."""
        return Composed(self._problem.objective(*args, **kwargs), self._basis)

    def mean_kind(self, kind: Kind) -> Kind:
        """As :meth:`Problem.mean_kind`."""
        return self._problem.mean_kind(kind)

    def count(self, folds: Sequence[int] | None, group: int) -> int:
        """As :meth:`Problem.count`."""
        return self._problem.count(folds, group)

    def rows_of(self, folds: Sequence[int] | None) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """As :meth:`Problem.rows_of`, of the new models."""
        predictions, truth = self._problem.rows_of(folds)
        return np.tensordot(self._basis, predictions, axes=1).astype(np.float32), truth


def subset(problem: BlendProblem, keep: Sequence[int]) -> Projected:
    """A problem of some of the models."""
    return Projected(problem, np.eye(len(problem.names))[list(keep)], [problem.names[k] for k in keep])
