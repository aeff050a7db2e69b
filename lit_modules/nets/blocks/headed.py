"""A body with one head, or with a second one of the same form that estimates the errors of the first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, cast

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
    """Base of the column nets: :meth:`features`, then ``head``, and ``confidence_head`` where expected errors are wanted."""

    def add_heads(self, make_head: Callable[[], nn.Module], confidence: bool) -> None:
        """Make the head, and a second one for the confidence.

        Args:
            make_head: Makes a module from what :meth:`features` gives to what :meth:`to_targets` takes.
            confidence: Whether the second head exists.
        """
        self.head = make_head()
        self.confidence_head = make_head() if confidence else None

    def features(self, x: Tensor) -> Any:
        """What the heads read of a column (batch, levels, in_channels)."""
        raise NotImplementedError

    def to_targets(self, x: Tensor) -> Tensor:
        """What a head gives as a vector (batch, targets), which most heads give at once."""
        return x

    def forward(self, x: Tensor) -> Tensor | ColumnOutput:
        """Map a column (batch, levels, in_channels) to targets (batch, targets), with confidence to both."""
        features = self.features(x)
        prediction = self.to_targets(cast(Tensor, self.head(features)))
        if self.confidence_head is None:
            return prediction
        return ColumnOutput(prediction, self.to_targets(cast(Tensor, self.confidence_head(features))))
