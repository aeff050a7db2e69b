"""Level-wise mixing of profiles and scalars, convolutions, attention and an LSTM: the 3rd place of LEAP.

Source: "Crowdsourcing the Frontier" (Lin et al. 2025, arXiv:2511.20963), after capaomat's solution.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from lit_modules.nets.blocks.headed import HeadedNet
from lit_modules.nets.blocks.rnn import BidirectionalRNN
from lit_modules.nets.blocks.transformer import EncoderLayer

_ATTENTION_HEADS = 8
_KERNEL = 5


class Pao(HeadedNet):
    """Profiles and scalars are embedded apart, joined at every level, mixed by residual blocks and read by an LSTM.

    Args:
        in_channels: Channels of the input, profiles and scalars together; 26 in the source.
        scalars: Which of the channels are scalars repeated on the levels: the first one, and the one after the last.
        hidden: Width of the embedded profiles and of the embedded scalars; a multiple of 4.
        blocks: Residual blocks.
        layers: Layers of the LSTM.
        level_major: Leave the profile head's output in its order (level by level), where variable by variable is meant, as
            the published code does by oversight; only to load published weights.
        confidence: Whether heads of expected errors exist.
        levels: Levels of a column.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 26,
        scalars: tuple[int, int] = (9, 26),
        hidden: int = 160,
        blocks: int = 4,
        layers: int = 2,
        level_major: bool = False,
        confidence: bool = False,
        levels: int = 60,
        n_level_targets: int = 6,
        n_scalar_targets: int = 8,
    ) -> None:
        width = 2 * hidden
        super().__init__()
        self.add_heads(
            lambda: _SplitHead(width, hidden, levels, n_level_targets, n_scalar_targets, level_major), confidence
        )
        self.scalars = slice(*scalars)
        n_scalars = scalars[1] - scalars[0]
        n_profiles = in_channels - n_scalars
        self.level_scale = nn.Parameter(torch.ones(levels, n_profiles))
        self.level_bias = nn.Parameter(torch.zeros(levels, n_profiles))
        self.embed_profiles = nn.Linear(n_profiles, hidden)
        self.embed_level = nn.Embedding(levels, hidden)
        self.embed_scalars = nn.Sequential(
            nn.Linear(n_scalars, hidden), nn.BatchNorm1d(hidden), nn.GELU(),
            nn.Linear(hidden, hidden), nn.BatchNorm1d(hidden), nn.GELU(),
        )  # fmt: skip
        self.scalars_to_levels = _LinearPerLevel(hidden, hidden, levels)
        self.norm = nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(_ResidualBlock(width) for _ in range(blocks)))
        self.lstm = BidirectionalRNN(width, width, layers, dropout=0.0)
        self.scalar_norm = nn.LayerNorm(levels * 2 * width)  # the scalar heads share it

    def features(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Map (batch, levels, in_channels) to the states (batch, levels, 4 * hidden), and them normalised and flat."""
        profiles = torch.cat([x[..., : self.scalars.start], x[..., self.scalars.stop :]], dim=-1)
        levels = self.embed_profiles(profiles * self.level_scale + self.level_bias) + self.embed_level.weight
        scalars = self.scalars_to_levels(self.embed_scalars(x[:, 0, self.scalars]))
        states = self.lstm(self.blocks(self.norm(torch.cat([levels, scalars], dim=-1))))
        return states, self.scalar_norm(states.flatten(1))


class _LinearPerLevel(nn.Module):
    """A linear layer of its own for every level, from one vector: (batch, in) to (batch, levels, out)."""

    def __init__(self, in_features: int, out_features: int, levels: int) -> None:
        super().__init__()
        layers = [nn.Linear(in_features, out_features) for _ in range(levels)]
        self.weight = nn.Parameter(torch.stack([layer.weight.detach() for layer in layers]))
        self.bias = nn.Parameter(torch.stack([layer.bias.detach() for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        levels, out, _ = self.weight.shape
        return (x @ self.weight.flatten(0, 1).T).view(-1, levels, out) + self.bias


class _ResidualBlock(nn.Module):
    """Two convolutions along the levels with a residual, then a Transformer encoder layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.Conv1d(width, width, _KERNEL, padding=_KERNEL // 2), nn.BatchNorm1d(width), nn.GELU()]
        self.convolutions = nn.Sequential(*layers)
        self.encoder = EncoderLayer(width, _ATTENTION_HEADS, width, dropout=0.0)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.encoder(x + self.convolutions(x.transpose(1, 2)).transpose(1, 2))
        return out


class _SplitHead(nn.Module):
    """One MLP at every level for the profiles, one on the flat column for the scalars."""

    def __init__(
        self, width: int, hidden: int, levels: int, n_level_targets: int, n_scalar_targets: int, level_major: bool
    ) -> None:
        super().__init__()
        self.level_major = level_major
        self.profiles = _gelu_mlp(2 * width, width, width, hidden, n_level_targets)
        self.scalars = _gelu_mlp(levels * 2 * width, hidden, hidden, n_scalar_targets)

    def forward(self, features: tuple[Tensor, Tensor]) -> Tensor:
        states, flat = features
        profiles = self.profiles(states)
        if not self.level_major:
            profiles = profiles.transpose(1, 2)
        return torch.cat([profiles.flatten(1), self.scalars(flat)], dim=1)


def _gelu_mlp(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.GELU()]
    return nn.Sequential(*layers[:-1])
