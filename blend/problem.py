"""A blending problem: aligned models, the truth and the judge's metric, behind one interface for all solvers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from blend.aligned.view import Stack
from blend.metrics.cells import Cells, gather_cells
from blend.metrics.cells import Kind as CellKind
from blend.metrics.gram import ResidualMoments, residual_moments
from blend.metrics.ranks import RankTable, rank_table
from blend.metrics.scores import Metric, TruthSums
from blend.objectives import AbsoluteLoss, Composed, FunctionLoss, LogitLoss, LogLoss, Objective, QuadraticLoss
from blend.weights import LOGIT_CLIP, Kind, Weights, blend_rows
from datamodules.banks.bank import BankError

Array = npt.NDArray[np.float64]
DEFAULT_MEMORY = 2 * 2**30
MOST_TARGET_PARTS = 1024  # of log loss and MAE; R2 has Gram matrices of any number of targets


class BlendProblem(Protocol):
    """What a solver may ask."""

    names: list[str]
    folds: list[int]
    metric: Metric
    width: int
    target_groups: dict[str, list[int]]
    row_groups: list[str]

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

    def count(self, folds: Sequence[int] | None, group: int) -> int:
        """Rows of a group in some folds."""
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
        stack.probabilities = metric.name == "column_log_loss"
        self._moments: ResidualMoments | None = None
        self._pools: dict[tuple[tuple[int, ...], int | None], tuple[Array, Array]] = {}
        self._cells: dict[tuple[CellKind, float, bool, bool], Cells] = {}
        self._ranks: dict[int, RankTable] | None = None
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
        name = self.metric.name
        if kind == "logit" and name in ("r2", "mae"):
            raise BankError(f"a mean of logits needs probabilities; metric {name} has none: use the arithmetic mean")
        if clip > 0 and name != "column_log_loss":
            raise BankError(f"--clip clips probabilities; metric {name} has none")
        if self.metric.function is not None or kind == "rank":
            if group is not None or targets is not None:
                raise BankError(
                    f"weights per group or target need r2, column_log_loss or mae with another mean than {kind}"
                )
            return self._function_objective(chosen, kind, clip)
        if name == "r2":
            return self._quadratic(chosen, group, targets)
        return self._cell_objective(chosen, kind, clip, group, targets, reduce)

    def count(self, folds: Sequence[int] | None, group: int) -> int:
        """Rows of a row group in some folds."""
        blocks = self.stack.blocks
        held = np.isin(blocks.fold, self.folds if folds is None else list(folds)) & (blocks.group == group)
        return int(blocks.counts[held].sum())

    def _quadratic(self, folds: list[int], group: int | None, targets: tuple[int, int] | None) -> QuadraticLoss:
        pooled, total = self._pooled(tuple(sorted(folds)), group)
        span = slice(None) if targets is None else slice(*targets)
        gram, sst, shift = pooled[span], total[span], self.moments().shift[span]
        live = sst > 0
        # v = [w, s, s c]: fold the last two together
        folded = gram[:, :-1, :-1].copy()
        folded[:, :, -1] += shift[:, None] * gram[:, :-1, -1]
        folded[:, -1, :] += shift[:, None] * gram[:, -1, :-1]
        folded[:, -1, -1] += shift**2 * gram[:, -1, -1]
        form = np.einsum("tkl,t->kl", folded[live], 1.0 / sst[live]) / len(sst)
        inexact = (np.einsum("tkk->tk", gram[~live])[:, : self.models] > 0).any(axis=1)
        return QuadraticLoss(form, float(inexact.sum()) / len(sst))

    def _pooled(self, folds: tuple[int, ...], group: int | None) -> tuple[Array, Array]:
        """Residual moments of some rows ``(targets, ...)``, and the total squares of all groups of these folds."""
        if (folds, group) not in self._pools:
            moments, blocks = self.moments(), self.stack.blocks
            in_folds = np.isin(blocks.fold, folds)
            chosen = in_folds if group is None else in_folds & (blocks.group == group)
            total = moments.truth_sums().pooled(in_folds[None, :].astype(np.float64)).total_squares()[0]
            self._pools[folds, group] = moments.gram[chosen].sum(axis=0), total
        return self._pools[folds, group]

    def _cell_objective(
        self,
        folds: list[int],
        kind: Kind,
        clip: float,
        group: int | None,
        targets: tuple[int, int] | None,
        reduce: bool,
    ) -> Objective:
        cell_kind: CellKind = "mae" if self.metric.name == "mae" else "logit" if kind == "logit" else "log_loss"
        clip = clip or LOGIT_CLIP if cell_kind == "logit" else clip
        cells = self.cells(cell_kind, clip, targets is not None, reduce)
        parts = [
            part
            for (fold, row_group, target), part in cells.parts.items()
            if fold in folds
            and (group is None or row_group == group)
            and (targets is None or targets[0] <= target < targets[1])
        ]
        if cell_kind == "mae":
            return AbsoluteLoss(parts, self.models)
        return (LogitLoss if cell_kind == "logit" else LogLoss)(parts, self.models)

    def _function_objective(self, folds: list[int], kind: Kind, clip: float) -> FunctionLoss:
        held = np.isin(self.stack.rows["nested"].to_numpy(), folds)
        self.everything()

        def evaluate(w: Array) -> float:
            weights = Weights("", self.names, w, kind=kind, clip=clip or (LOGIT_CLIP if kind == "logit" else 0.0))
            blended = np.concatenate([self.blend_fold(weights, fold) for fold in self.folds if fold in folds])
            return self._loss_of(blended, held)

        return FunctionLoss(evaluate, self.models)

    def _loss_of(self, blended: Array, held: npt.NDArray[np.bool_]) -> float:
        """Loss of blended rows against the truth, for metrics of any kind."""
        truth = self.everything()[1][held]
        if self.metric.function is not None:
            shape, scale = (-1, *self.stack.shape), self.stack.target_scale
            value = self.metric.function((truth * scale).reshape(shape), (blended * scale).reshape(shape))
            return self.metric.sign * float(value)
        mean = truth.mean(axis=0, dtype=np.float64)
        constant = truth.min(axis=0) == truth.max(axis=0)
        shifted = truth - np.where(constant, truth[0], mean)
        sums = TruthSums(
            np.array([len(truth)], dtype=np.float64), shifted.sum(axis=0)[None], (shifted**2).sum(axis=0)[None]
        )
        errors = self.metric.error_sums(truth, blended, self.stack.target_scale)[None]
        score = float(self.metric.per_target(errors, sums).mean())
        return 1.0 - score if self.metric.name == "r2" else score

    def moments(self) -> ResidualMoments:
        """Residual moments (R2)."""
        if self._moments is None:
            self._moments = residual_moments(self.stack)
        return self._moments

    def cells(self, kind: CellKind, clip: float, by_target: bool, reduce: bool) -> Cells:
        """Reduced cells (log loss, MAE)."""
        key = (kind, clip, by_target, reduce)
        if by_target and self.width > MOST_TARGET_PARTS:
            raise BankError(
                f"{self.width} targets are too many for weights per target; use --method per_group or a global one"
            )
        if key not in self._cells:
            self._cells[key] = gather_cells(self.stack, kind, clip, by_target, self.memory, reduce)
        return self._cells[key]

    def everything(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """All predictions and the truth in memory, for metrics given as functions and for ranks."""
        if self._everything is None:
            size = 4 * (self.models + 1) * len(self.stack.rows) * self.width
            if size > self.memory:
                raise BankError(
                    f"ranks and metrics given as functions need all predictions in memory ({size / 2**30:.1f} GiB); raise --memory"
                )
            chunks = list(self.stack.chunks())
            self._everything = (
                np.concatenate([chunk.predictions for chunk in chunks], axis=1),
                np.concatenate([chunk.truth for chunk in chunks]),
            )
        return self._everything

    def blend_fold(self, weights: Weights, fold: int) -> Array:
        """Blended rows of one fold in aligned order, from memory."""
        held = self.stack.rows["nested"].to_numpy() == fold
        predictions = self.everything()[0][:, held]
        if weights.kind != "rank":
            groups = self.stack.rows["group"].to_numpy()[held] if weights.level == "rows" else None
            return blend_rows(weights, predictions, groups)
        if self._ranks is None:
            self._ranks = {}
        if fold not in self._ranks:
            self._ranks[fold] = rank_table(predictions)
        return self._ranks[fold].blend(weights.values)

    def truth_sums(self) -> TruthSums:
        """Sums of the truth per block; only R2 needs more than the number of rows."""
        if self._truth_sums is None:
            counts = self.stack.blocks.counts.astype(np.float64)
            nothing = np.zeros((len(counts), 1))
            r2 = self.metric.name == "r2"
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

    def objective(self, *args: Any, **kwargs: Any) -> Objective:
        """As :meth:`Problem.objective`, over the new models."""
        return Composed(self._problem.objective(*args, **kwargs), self._basis)

    def count(self, folds: Sequence[int] | None, group: int) -> int:
        """As :meth:`Problem.count`."""
        return self._problem.count(folds, group)


def subset(problem: BlendProblem, keep: Sequence[int]) -> Projected:
    """A problem of some of the models."""
    return Projected(problem, np.eye(len(problem.names))[list(keep)], [problem.names[k] for k in keep])
