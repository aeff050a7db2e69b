"""A body with one head, or with a second one of the same form that estimates the errors of the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from torch import Tensor, nn


class ColumnOutput(NamedTuple):
    """Prediction of a column net and its estimate of its own errors, both (batch, targets).

    Attributes:
        prediction: Scaled targets, then the auxiliary targets where the net has any.
        confidence: Expected error of each value of ``prediction``; None without a confidence head.
    """

    prediction: Tensor
    confidence: Tensor | None


class HeadedNet(nn.Module):
    """Base of the column nets: :meth:`body`, then ``head``, and ``confidence_head`` where expected errors are wanted.

    Args:
        make_head: Makes a module from what the body gives to (batch, targets).
        confidence: Whether a second head of the same form exists.
    """

    body: Callable[[Tensor], Any]

    def __init__(self, make_head: Callable[[], nn.Module], confidence: bool = False) -> None:
        super().__init__()
        self.head = make_head()
        self.confidence_head = make_head() if confidence else None

    def forward(self, x: Tensor) -> Tensor | ColumnOutput:
        """Map a column (batch, levels, in_channels) to targets (batch, targets), with confidence to both."""
        features = self.body(x)
        prediction: Tensor = self.head(features)
        if self.confidence_head is None:
            return prediction
        return ColumnOutput(prediction, self.confidence_head(features))
