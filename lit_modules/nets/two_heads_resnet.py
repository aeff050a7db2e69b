"""The two-heads ResNet of the MoA winners: two inputs, and layers that see most of the layers before them."""

from __future__ import annotations

import torch
from torch import Tensor, nn

ACTIVATIONS = {"elu": nn.ELU, "relu": nn.ReLU, "selu": nn.SELU}


class TwoHeadsResNet(nn.Module):
    """All measurements in the first input, columns that t-tests relate to the targets in the second.

    Both stand side by side in ``x``, the second one last. Batch norm and initialisation are those of Keras, in which the
    original was written.

    Args:
        in_features: Columns of both inputs together.
        out_features: Logits.
        second: Columns of the second input, 447 in the source.
        width: Width of the wide layers, 512 in the source; the narrow ones have half of it.
        trunk: Width of the last layer before the head, 206 in the source; 0 = ``out_features``.
    """

    def __init__(
        self, in_features: int, out_features: int, second: int = 447, width: int = 512, trunk: int = 0
    ) -> None:
        super().__init__()
        trunk = trunk or out_features
        first, wide, narrow = in_features - second, width, width // 2
        if first < 1:
            raise ValueError(f"the second input cannot have {second} of {in_features} columns")
        self.inputs = (first, second)
        self.o1 = nn.Sequential(
            _norm(first), nn.Dropout(0.2), _dense(first, wide, "elu"), _norm(wide), _dense(wide, narrow, "elu")
        )
        self.a1 = nn.Sequential(_norm(narrow + second), nn.Dropout(0.3), _dense(narrow + second, wide, "relu"))
        joined = narrow + second + wide
        self.a2 = nn.Sequential(_norm(joined), _dense(joined, wide, "elu"), _norm(wide), _dense(wide, narrow, "relu"))
        self.a3 = nn.Sequential(_norm(wide + narrow), _dense(wide + narrow, narrow, "elu"))
        self.a3b = nn.Sequential(_norm(wide + 2 * narrow), _dense(wide + 2 * narrow, narrow, "relu"))
        self.a4 = nn.Sequential(
            _norm(4 * narrow), _dense(4 * narrow, narrow, "selu"), _norm(narrow), _dense(narrow, trunk, "selu")
        )
        output = nn.Linear(trunk, out_features)
        nn.init.xavier_uniform_(output.weight)
        nn.init.zeros_(output.bias)
        self.head = nn.Sequential(_norm(trunk), output)

    def forward(self, x: Tensor) -> Tensor:
        """Both inputs side by side ``(B, in_features)`` to logits ``(B, out_features)``."""
        first, second = x.split(self.inputs, dim=1)
        o1 = self.o1(first)
        a1 = self.a1(torch.cat([o1, second], dim=1))
        a2 = self.a2(torch.cat([o1, second, a1], dim=1))
        a3 = self.a3(torch.cat([a1, a2], dim=1))
        a3b = self.a3b(torch.cat([a1, a2, a3], dim=1))
        logits: Tensor = self.head(self.a4(torch.cat([o1, a2, a3, a3b], dim=1)))
        return logits


def _norm(features: int) -> nn.BatchNorm1d:
    return nn.BatchNorm1d(features, eps=1e-3, momentum=0.01)


def _dense(in_features: int, out_features: int, activation: str) -> nn.Sequential:
    linear = nn.Linear(in_features, out_features)
    if activation == "selu":
        # LeCun's normal initialisation
        nn.init.normal_(linear.weight, std=in_features**-0.5)
    else:
        nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return nn.Sequential(linear, ACTIVATIONS[activation]())
