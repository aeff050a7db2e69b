"""Multilayer perceptrons of the MoA solution: batch norm, dropout and weight-normalised linear layers in turn."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

_ACTIVATIONS = {"leaky_relu": nn.LeakyReLU, "relu": nn.ReLU}


class TabularMLP(nn.Module):
    """Batch norm, dropout, linear, activation, for each hidden layer and the output (which has no activation).

    The first and the last linear layer are weight-normalised (Salimans & Kingma 2016). The MoA winners' three-stage net
    is ``hidden=(2048, 2048), dropout=(0.15, 0.30, 0.25)``, their simple net has no input dropout, the first stage of their
    two-stage model is ``hidden=(2048,), dropout=(0.2, 0.25), activation="relu"``.

    Args:
        in_features: Columns of the input.
        out_features: Logits.
        hidden: Widths of the hidden layers.
        dropout: Before each linear layer, one more than there are hidden layers.
        activation: ``leaky_relu`` (slope 0.01) or ``relu``.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        hidden: Sequence[int] = (2048, 2048),
        dropout: Sequence[float] = (0.15, 0.30, 0.25),
        activation: str = "leaky_relu",
    ) -> None:
        super().__init__()
        if len(dropout) != len(hidden) + 1:
            raise ValueError(
                f"model.dropout has {len(dropout)} values for {len(hidden)} hidden layers; give one before each layer and the output"
            )
        widths = [in_features, *hidden, out_features]
        layers: list[nn.Module] = []
        last = len(widths) - 2
        for i, rate in enumerate(dropout):
            linear = nn.Linear(widths[i], widths[i + 1])
            layers += [
                nn.BatchNorm1d(widths[i]),
                nn.Dropout(rate),
                weight_norm(linear) if i in (0, last) else linear,
            ]
            if i < last:
                layers.append(_ACTIVATIONS[activation]())
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(B, in_features)`` to logits ``(B, out_features)``."""
        logits: Tensor = self.layers(x)
        return logits


class Logistic(nn.Module):
    """Logistic regression, the baseline of the nets: one linear layer that starts at the training shares.

    Args:
        in_features: Columns of the input.
        prior: ``(targets,)`` share of positives in training, above 0 and below 1.
    """

    def __init__(self, in_features: int, prior: Tensor) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, len(prior))
        nn.init.zeros_(self.linear.weight)
        self.linear.bias.data.copy_(prior.logit())

    def forward(self, x: Tensor) -> Tensor:
        """Features ``(B, in_features)`` to logits ``(B, out_features)``."""
        logits: Tensor = self.linear(x)
        return logits
