"""A loss as a function of the weights: what solvers minimise."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from blend.objectives.simplex import minimize_smooth

Array = npt.NDArray[np.float64]


class Objective(ABC):
    """A loss of blend weights, lower is better.

    Attributes:
        size: Number of models.
        convex: A minimiser can be found and certified.
        smooth: Derivatives exist.
    """

    size: int
    convex: bool = True
    smooth: bool = True

    @abstractmethod
    def losses(self, W: Array) -> Array:
        """Losses ``(candidates,)`` of weights ``(candidates, models)`` that sum to 1."""

    def additions(self, counts: Array, among: npt.NDArray[np.intp]) -> Array:
        """Losses of the mean of models, each taken ``counts`` times, with one more: each of ``among`` in turn.

        The least is exact; others may be an upper bound that is above it, where that is cheaper.
        """
        return self.losses((counts + np.eye(self.size)[among]) / (counts.sum() + 1))

    def loss(self, w: Array) -> float:
        """Loss of one vector of weights."""
        return float(self.losses(w[None, :])[0])

    def derivatives(self, w: Array) -> tuple[float, Array, Array]:
        """Loss, gradient and Hessian on the simplex.

        Raises:
            NotImplementedError: the loss has none.
        """
        raise NotImplementedError(f"{type(self).__name__} has no derivatives")

    def minimum(self, start: Array | None = None) -> tuple[Array, float]:
        """Weights on the simplex of least loss, and by how much at most they miss the optimum."""
        return minimize_smooth(self, self.equal() if start is None else start)

    def nonnegative_minimum(self, ridge: float = 0.0, center: Array | None = None) -> Array:
        """Weights of least loss whose sum is free.

        Raises:
            NotImplementedError: only squared errors have it.
        """
        raise NotImplementedError(f"{type(self).__name__} needs weights that sum to 1")

    def equal(self) -> Array:
        """Equal weights."""
        return np.full(self.size, 1.0 / self.size)

    def singles(self) -> Array:
        """``(models,)`` losses of the models alone."""
        return self.losses(np.eye(self.size))


class TableLoss(Objective):
    """Any metric of any kind of blend, evaluated in full.

    Args:
        evaluate: Losses ``(candidates,)`` of weights ``(candidates, models)``.
        models: Number of models.
        additions: :meth:`Objective.additions`, where sums of predictions are cheaper than products with all weights.
    """

    convex = smooth = False

    def __init__(
        self,
        evaluate: Callable[[Array], Array],
        models: int,
        additions: Callable[[Array, npt.NDArray[np.intp]], Array] | None = None,
    ) -> None:
        self._evaluate, self.size, self._additions = evaluate, models, additions

    def losses(self, W: Array) -> Array:
        """See :class:`Objective`."""
        return self._evaluate(W)

    def additions(self, counts: Array, among: npt.NDArray[np.intp]) -> Array:
        """See :class:`Objective`."""
        return super().additions(counts, among) if self._additions is None else self._additions(counts, among)
