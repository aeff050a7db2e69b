"""Predictions as a solver wants them: log loss and MAE reduced to what still depends on the weights.

A *cell* is one (row, target). Most cells need not be looked at again for every trial:

* log loss: where all models give the true label nearly the same probability (relative spread ``r`` below 2 %), the
  cell's loss is a cubic polynomial of the weights up to ``r**4 / 4``, so sums over such cells need a few moments. On
  sparse labels such as MoA's that is nine cells in ten; the bounds are added up and belong to the certificate;
* absolute and pinball loss: where all models lie on the same side of the truth, the loss is linear in the weights,
  exactly.

All other cells are kept as they are, ``(models, cells)`` float32, in memory or, above the limit, in a scratch file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from blend.aligned.view import CHUNK_VALUES, Stack
from blend.metrics.scores import sum_log, true_label_probability
from datamodules.banks.bank import BankError

Array = npt.NDArray[np.float64]
AGREEMENT = 0.02
_MOST_MODELS = 16  # a cubic polynomial of more models has too many terms
_FEWEST_VALUES = 2**22  # smaller problems are fast enough as they are
_SPAN = 2**15
_REDUCED_SPAN = 2**12  # pairs of models times cells fit the cache


@dataclass
class Polynomial:
    """Sum of losses ``constant + linear.w + w'Qw + C[w,w,w]`` over the reduced cells of one part.

    Attributes:
        cells: How many there are.
        error: Bound of the sum's error on the simplex.
    """

    constant: float
    linear: Array
    quadratic: Array
    cubic: Array | None
    cells: int = 0
    error: float = 0.0

    @classmethod
    def zero(cls, models: int, cubic: bool) -> Polynomial:
        """The empty sum."""
        third = np.zeros((models, models, models)) if cubic else None
        return cls(0.0, np.zeros(models), np.zeros((models, models)), third)

    def add(self, other: Polynomial) -> None:
        """Add another sum."""
        self.constant += other.constant
        self.linear += other.linear
        self.quadratic += other.quadratic
        self.cells += other.cells
        self.error += other.error
        if other.cubic is not None:
            self.cubic = other.cubic.copy() if self.cubic is None else self.cubic + other.cubic

    def losses(self, W: Array) -> Array:
        """Sums for weights ``(candidates, models)``."""
        out: Array = self.constant + W @ self.linear + ((W @ self.quadratic) * W).sum(axis=1)
        if self.cubic is not None:
            slabs = np.tensordot(W, self.cubic, axes=1)
            out = out + np.einsum("mi,mij,mj->m", W, slabs, W)
        return out

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """Sum, gradient, Hessian."""
        gradient = self.linear + 2 * self.quadratic @ w
        hessian = 2 * self.quadratic
        value = self.constant + self.linear @ w + w @ self.quadratic @ w
        if self.cubic is not None:
            slab = self.cubic @ w
            value += w @ slab @ w
            gradient = gradient + 3 * slab @ w
            hessian = hessian + 6 * slab
        return float(value), gradient, hessian


class _Keeper:
    """Holds kept cells in memory until the limit, then in a scratch file."""

    def __init__(self, limit: int) -> None:
        self._room, self._files = limit, 0
        self.scratch: tempfile.TemporaryDirectory[str] | None = None

    def keep(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        values = np.ascontiguousarray(values)
        self._room -= values.nbytes
        if self._room >= 0:
            return values
        if self.scratch is None:
            self.scratch = tempfile.TemporaryDirectory(prefix="blend-cells-")
        name = f"{self.scratch.name}/{self._files}.bin"
        self._files += 1
        values.tofile(name)
        return np.memmap(name, dtype=np.float32, mode="r", shape=values.shape)


@dataclass
class Part:
    """Cells of one fold, row group and target segment."""

    polynomial: Polynomial
    values: list[npt.NDArray[np.float32]] = field(default_factory=list)
    truth: list[npt.NDArray[np.float32]] = field(default_factory=list)
    cells: int = 0
    _waiting: list[tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = field(default_factory=list)

    def keep(self, values: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> None:
        """Take cells to be kept; small pieces wait to be joined."""
        if len(truth):
            self._waiting.append((values, truth))

    @property
    def waiting(self) -> int:
        """Cells that wait."""
        return sum(len(truth) for _, truth in self._waiting)

    def flush(self, keeper: _Keeper) -> None:
        """Join what waits into one array."""
        if self._waiting:
            self.values.append(keeper.keep(np.concatenate([v for v, _ in self._waiting], axis=1)))
            self.truth.append(np.concatenate([t for _, t in self._waiting]))
            self._waiting.clear()

    def spans(self) -> Iterator[tuple[Array, npt.NDArray[np.float32]]]:
        """Kept cells in spans that fit the processor's cache: ``(models, n)`` float64 and the truth ``(n,)``."""
        for values, truth in zip(self.values, self.truth, strict=True):
            for start in range(0, values.shape[1], _SPAN):
                span = slice(start, start + _SPAN)
                yield values[:, span].astype(np.float64), truth[span]


@dataclass
class Cells:
    """All parts, by (fold, row group, first target of the segment)."""

    parts: dict[tuple[int, int, int], Part]
    scratch: tempfile.TemporaryDirectory[str] | None = None


@dataclass(frozen=True)
class CellForm:
    """How predictions become cells.

    Attributes:
        clip: Probabilities are clipped to ``[clip, 1 - clip]`` before they are averaged.
        reduce: Sum up cells that need not be looked at again.
    """

    clip: float = 0.0
    reduce: bool = True

    def cubic(self, models: int, values: int) -> bool:
        """Whether reduced cells are polynomials of third degree."""
        return False

    def flat(
        self, predictions: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], scale: Array
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Predictions ``(models, rows, columns)`` and truth ``(rows, columns)`` of the cells."""
        return predictions, truth

    def take(self, part: Part, P: npt.NDArray[np.float32], y: npt.NDArray[np.float32], cubic: bool) -> None:
        """Reduce or keep cells ``(models, cells)``."""
        part.keep(P, y)


@dataclass(frozen=True)
class LogLossCells(CellForm):
    """Probabilities and labels."""

    def cubic(self, models: int, values: int) -> bool:
        """Where it pays."""
        return self.reduce and models <= _MOST_MODELS and values >= _FEWEST_VALUES

    def take(self, part: Part, P: npt.NDArray[np.float32], y: npt.NDArray[np.float32], cubic: bool) -> None:
        """Sum up agreeing cells where ``cubic``."""
        P = np.clip(P, np.float32(self.clip), np.float32(1.0 - self.clip)) if self.clip > 0 else P.copy()
        if cubic:
            _reduce_log_loss(part, P, y)
        else:
            part.keep(P, y)


@dataclass(frozen=True)
class TrueClassCells(LogLossCells):
    """The probability of each row's true class: a log loss whose labels are all 1."""

    def flat(
        self, predictions: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], scale: Array
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """One column."""
        true = np.take_along_axis(predictions, truth.argmax(axis=1)[None, :, None], axis=2)
        return true, np.ones((len(truth), 1), dtype=np.float32)


@dataclass(frozen=True)
class LogitCells(CellForm):
    """Logits and labels."""

    def take(self, part: Part, P: npt.NDArray[np.float32], y: npt.NDArray[np.float32], cubic: bool) -> None:
        """Keep the logits."""
        part.keep(_logits(P, self.clip), y)


@dataclass(frozen=True)
class ResidualCells(CellForm):
    """Residuals in the judge's units, those of one side summed up by the slopes of the loss.

    Attributes:
        slopes: Cost of a unit above the truth, and of a unit below.
    """

    slopes: tuple[float, float] = (1.0, 1.0)

    def flat(
        self, predictions: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], scale: Array
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """In the judge's units."""
        if (scale == 1.0).all():
            return predictions, truth
        return (predictions * scale).astype(np.float32), (truth * scale).astype(np.float32)

    def take(self, part: Part, P: npt.NDArray[np.float32], y: npt.NDArray[np.float32], cubic: bool) -> None:
        """Keep residuals of the cells that some models over- and some under-estimate."""
        over, under = self.slopes
        residual = np.subtract(P, y, dtype=np.float64)
        above, below = (residual >= 0).all(axis=0), (residual <= 0).all(axis=0)
        below &= ~above
        part.polynomial.linear += over * residual[:, above].sum(axis=1) - under * residual[:, below].sum(axis=1)
        part.polynomial.cells += int((above | below).sum())
        kept = ~(above | below)
        part.keep(residual[:, kept].astype(np.float32), y[kept])


def gather_cells(stack: Stack, form: CellForm, by_target: bool, limit: int) -> Cells:
    """Reduce the predictions of all models, in one pass.

    Args:
        stack: The models.
        form: What a cell is.
        by_target: Keep a part per target, for weights per target.
        limit: Bytes of kept cells in memory; more go to a scratch file.

    Raises:
        BankError: parts per target do not fit in memory.
    """
    models = len(stack.members)
    values = models * len(stack.rows) * stack.width
    if by_target and 4 * values > 4 * limit:
        raise BankError(
            f"weights per target need the predictions in memory ({4 * values / 2**30:.1f} GiB); raise --memory, or take per_group"
        )
    cubic = form.cubic(models, values)
    keeper = _Keeper(limit)
    parts: dict[tuple[int, int, int], Part] = {}
    span = _REDUCED_SPAN if cubic else _SPAN
    for chunk in stack.chunks(CHUNK_VALUES if by_target else CHUNK_VALUES // 2):
        fold, group = int(stack.blocks.fold[chunk.block]), int(stack.blocks.group[chunk.block])
        for target, P, y in _pieces(*form.flat(chunk.predictions, chunk.truth, stack.target_scale), by_target, span):
            part = parts.setdefault((fold, group, target), Part(Polynomial.zero(models, cubic)))
            part.cells += len(y)
            form.take(part, P, y, cubic)
            if part.waiting >= _SPAN and not by_target:
                part.flush(keeper)
    for part in parts.values():
        part.flush(keeper)
    return Cells(parts, keeper.scratch)


def _pieces(
    predictions: npt.NDArray[np.float32], truth: npt.NDArray[np.float32], by_target: bool, span: int
) -> Iterator[tuple[int, npt.NDArray[np.float32], npt.NDArray[np.float32]]]:
    """Flat cells of a chunk, whole or target by target."""
    if by_target:
        columns = np.ascontiguousarray(predictions.transpose(2, 0, 1))
        for target in range(truth.shape[1]):
            yield target, columns[target], np.ascontiguousarray(truth[:, target])
        return
    step = max(1, span // truth.shape[1])
    for start in range(0, len(truth), step):
        rows = predictions[:, start : start + step]
        yield 0, rows.reshape(len(predictions), -1), truth[start : start + step].reshape(-1)


def _logits(P: npt.NDArray[np.float32], clip: float) -> npt.NDArray[np.float32]:
    p = np.clip(P, clip, 1.0 - clip, dtype=np.float64)
    result: npt.NDArray[np.float32] = np.log(p / (1.0 - p)).astype(np.float32)
    return result


def _reduce_log_loss(part: Part, P: npt.NDArray[np.float32], y: npt.NDArray[np.float32]) -> None:
    """Sum up the cells on which the models agree: with ``d_k = Q_k / mean(Q) - 1``, ``-log(w.Q) = -log mean(Q) - log(1 + w.d)``."""
    mean = P.mean(axis=0, dtype=np.float64)
    q = true_label_probability(y, mean)
    models = len(P)
    d = np.subtract(P, mean, dtype=np.float64)
    d *= (2.0 * y.astype(np.float64) - 1.0) / q
    spread = np.maximum(d.max(axis=0), -d.min(axis=0))
    agree = spread <= AGREEMENT
    d *= agree
    first, second = np.triu_indices(models)
    pairs = np.empty((len(first), d.shape[1]))
    start = 0
    for k in range(models):  # d[first] * d[second] without its copies
        np.multiply(d[k], d[k:], out=pairs[start : start + models - k])
        start += models - k
    third = np.empty((models, models, models))
    third[first, second] = third[second, first] = pairs @ d.T
    polynomial = part.polynomial
    polynomial.constant -= float(sum_log(np.where(agree, q, 1.0)))
    polynomial.linear -= d.sum(axis=1)
    polynomial.quadratic += 0.5 * (d @ d.T)
    assert polynomial.cubic is not None
    polynomial.cubic -= third / 3.0
    polynomial.cells += int(agree.sum())
    polynomial.error += float(np.sum(spread[agree] ** 4)) / (4.0 * (1.0 - AGREEMENT))
    kept = np.flatnonzero(~agree)
    part.keep(P[:, kept], y[kept])
