"""Output heads of the sequence nets over the 60 atmospheric levels.

Source: write-up of the 8th place (jackhuntcn, discussion 523223); the 1st place (greySnow) reduces its maps the same way.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


def sequence_to_targets(x: Tensor, n_level_channels: int = 6) -> Tensor:
    """Reduce a map over the levels to one vector of targets.

    The first channels hold one target per level and are laid out variable-major (all levels of the first variable, then
    all levels of the second); each remaining channel is one target for the whole column, its mean over the levels.

    Args:
        x: Map (batch, levels, channels).
        n_level_channels: Number of leading channels that are targets per level.

    Returns:
        Tensor (batch, n_level_channels * levels + channels - n_level_channels).
    """
    profiles = x[..., :n_level_channels].transpose(1, 2).flatten(1)
    scalars = x[..., n_level_channels:].mean(dim=1)
    return torch.cat([profiles, scalars], dim=1)


class LevelHead(nn.Module):
    """A linear layer at every level, then :func:`sequence_to_targets`.

    Args:
        width: Channels of the sequence.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(self, width: int, n_level_targets: int = 6, n_scalar_targets: int = 8) -> None:
        super().__init__()
        self.n_level_targets = n_level_targets
        self.linear = nn.Linear(width, n_level_targets + n_scalar_targets)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, levels, width) to (batch, targets)."""
        return sequence_to_targets(self.linear(x), self.n_level_targets)


class MLPHead(nn.Sequential):
    """Two hidden layers after a leading activation, applied at every level.

    GELU, dropout, Linear(in, hidden), GELU, dropout, Linear(hidden, in), GELU, dropout, Linear(in, out). The leading GELU
    belongs to the head because the recurrent bodies end without an activation. Weights are drawn with
    ``kaiming_normal_`` (fan in, gain sqrt 2) and biases keep torch's default.

    Args:
        in_features: Channels of the input and of the second hidden layer.
        out_features: Channels of the output.
        hidden_features: Channels of the first hidden layer; half of ``in_features`` by default.
        dropout: Probability of every dropout.
    """

    def __init__(
        self, in_features: int = 512, out_features: int = 14, hidden_features: int | None = None, dropout: float = 0.1
    ) -> None:
        hidden_features = hidden_features or in_features // 2
        layers: list[nn.Module] = []
        for n_in, n_out in (
            (in_features, hidden_features),
            (hidden_features, in_features),
            (in_features, out_features),
        ):
            linear = nn.Linear(n_in, n_out)
            nn.init.kaiming_normal_(linear.weight)
            layers += [nn.GELU(), nn.Dropout(dropout), linear]
        super().__init__(*layers)
