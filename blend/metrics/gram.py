"""Residual moments: everything R2 can say about any blend, from one pass over the predictions.

For each block of rows and each target, the Gram matrix of ``[p_1 - y, ..., p_K - y, y - c, 1]`` (c: a constant near the
target's mean). A blend with weights ``w`` has the residual ``w.e + (sum(w) - 1) y``, hence a squared error that is a
quadratic form of ``v = [w, s, s c]`` with ``s = sum(w) - 1``. Working on residuals keeps full precision where R2 is
close to 1, and 368 targets x 8 models need 0.3 MB per block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from blend.aligned.view import Stack
from blend.metrics.scores import TruthSums

Array = npt.NDArray[np.float64]


@dataclass
class ResidualMoments:
    """Moments of all blocks.

    Attributes:
        gram: ``(blocks, targets, models + 2, models + 2)``.
        shift: ``(targets,)`` the constant c.
        counts: ``(blocks,)`` rows.
    """

    gram: Array
    shift: Array
    counts: Array

    @property
    def models(self) -> int:
        """Number of models."""
        return int(self.gram.shape[-1] - 2)

    def truth_sums(self) -> TruthSums:
        """Sums of the shifted truth."""
        return TruthSums(self.counts, self.gram[:, :, -2, -1], self.gram[:, :, -2, -2])

    def squared_errors(self, weights: Array, blocks: npt.NDArray[np.int64]) -> Array:
        """``(blocks, targets)`` sums of squared errors of weights ``(models,)`` or ``(targets, models)``."""
        v = self.form(np.broadcast_to(weights, (self.gram.shape[1], self.models)))
        gram = self.gram[blocks]
        result: Array = np.maximum(np.einsum("btk,tk->bt", np.einsum("btkl,tl->btk", gram, v), v), 0.0)
        return result

    def form(self, weights: Array) -> Array:
        """The vectors ``v`` of weights ``(targets, models)``."""
        excess = weights.sum(axis=1) - 1.0
        excess[np.abs(excess) < 1e-12] = 0.0  # a sum of 1 up to rounding must not bring the mean back in
        return np.concatenate([weights, excess[:, None], (excess * self.shift)[:, None]], axis=1)


def residual_moments(stack: Stack) -> ResidualMoments:
    """Gather the moments, in one pass."""
    models, width = len(stack.members), stack.width
    gram = np.zeros((len(stack.blocks), width, models + 2, models + 2))
    shift: Array | None = None
    for chunk in stack.chunks():
        truth = chunk.truth.T.astype(np.float64)
        if shift is None:
            constant = truth.min(axis=1) == truth.max(axis=1)
            shift = np.where(constant, truth[:, 0], truth.mean(axis=1))
        columns = np.empty((width, models + 2, truth.shape[1]))
        np.subtract(chunk.predictions.transpose(2, 0, 1), truth[:, None, :], out=columns[:, :models])
        columns[:, models] = truth - shift[:, None]
        columns[:, models + 1] = 1.0
        gram[chunk.block] += columns @ columns.transpose(0, 2, 1)
    assert shift is not None
    return ResidualMoments(gram, shift, stack.blocks.counts.astype(np.float64))
