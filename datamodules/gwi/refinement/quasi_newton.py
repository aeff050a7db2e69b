"""Steps of a quasi-Newton method whose objective is half known: the misfit's Hessian is learnt, the prior's is given.

Were the two learnt together, as L-BFGS does, most of its memory would go to the prior, whose stiffness changes with every edge, and
a heavy prior would slow the descent down. Solved for exactly, it speeds it up: it tells which changes of the map come together.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Operator = Callable[[Array], Array]
_CURVED = 1e-12  # least cosine of a step and its change of gradient


class SecantHessian:
    """BFGS estimate of a Hessian from the last steps, in its compact form (Byrd, Nocedal and Schnabel 1994, theorem 2.3).

    Args:
        most: Steps that are remembered.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._pairs: list[tuple[Array, Array]] = []

    def __bool__(self) -> bool:
        return bool(self._pairs)

    def remember(self, step: Array, change: Array) -> None:
        """A step and how the gradient changed by it, unless that bends the wrong way."""
        if (step * change).sum() > _CURVED * np.sqrt((step**2).sum() * (change**2).sum()):
            self._pairs = [*self._pairs, (step, change)][-self.most :]

    def forget(self) -> None:
        """Begin again."""
        self._pairs = []

    def operator(self) -> Operator:
        """What multiplies a vector with the estimate.

        Raises:
            ValueError: nothing is remembered.
        """
        if not self._pairs:
            raise ValueError("no step is remembered yet")
        steps, changes = (np.stack([pair[i].ravel() for pair in self._pairs], axis=1) for i in (0, 1))
        products = steps.T @ changes
        size = float((changes[:, -1] ** 2).sum() / products[-1, -1])
        lower = np.tril(products, -1)
        middle = np.block([[size * steps.T @ steps, lower], [lower.T, -np.diag(np.diag(products))]])
        basis = np.hstack([size * steps, changes])
        left = np.linalg.solve(middle, basis.T).T

        def multiply(vector: Array) -> Array:
            return size * vector - (left @ (basis.T @ vector.ravel())).reshape(vector.shape)

        return multiply


def solve(operator: Operator, right: Array, tolerance: float = 1e-3, most: int = 300) -> Array:
    """Conjugate gradients; cut short, the result still points downhill.

    Args:
        operator: Symmetric and positive.
        right: Hand side.
        tolerance: Norm of the residual over that of ``right``.
        most: Multiplications.
    """
    x, residual = np.zeros_like(right), right.copy()
    direction = residual.copy()
    square = first = float((residual**2).sum())
    for _ in range(most):
        if square <= tolerance**2 * first:
            break
        image = operator(direction)
        bend = float((direction * image).sum())
        if bend <= 0:  # rounding
            break
        length = square / bend
        x += length * direction
        residual -= length * image
        before, square = square, float((residual**2).sum())
        direction = residual + (square / before) * direction
    return x if x.any() else right
