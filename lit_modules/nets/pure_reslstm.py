"""Ten bidirectional LSTMs with residuals: the 2nd place of LEAP as "Crowdsourcing the Frontier" compares it.

Source: Lin et al. 2025 (arXiv:2511.20963); the original is Z Lab's (Kaggle ``leap-atmospheric-physics-ai-climsim``).
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lit_modules.nets.blocks.headed import HeadedNet
from lit_modules.nets.blocks.heads import LevelHead
from lit_modules.nets.blocks.rnn import BidirectionalRNN

_NEW, _OLD = 0.7, 0.3  # shares of a layer's normalised states and of its input


class PureResLSTM(HeadedNet):
    """h = GELU(0.7 LayerNorm(LSTM(h)) + 0.3 h) in every layer after the first; the norm spans levels and channels.

    Args:
        in_channels: Channels of the input, 26 in the source.
        hidden: Width of one direction.
        layers: Recurrent layers.
        confidence: Whether a head of expected errors exists.
        levels: Levels of a column.
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 26,
        hidden: int = 256,
        layers: int = 10,
        confidence: bool = False,
        levels: int = 60,
        n_level_targets: int = 6,
        n_scalar_targets: int = 8,
    ) -> None:
        width = 2 * hidden
        super().__init__()
        self.add_heads(lambda: LevelHead(width, n_level_targets, n_scalar_targets), confidence)
        self.lstms = nn.ModuleList(
            BidirectionalRNN(width if layer else in_channels, hidden, 1, dropout=0.0) for layer in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm((levels, width)) for _ in range(layers))
        self.apply(_initialise)

    def features(self, x: Tensor) -> Tensor:
        """Map (batch, levels, in_channels) to (batch, levels, 2 * hidden)."""
        h = F.gelu(self.norms[0](self.lstms[0](x)))
        for lstm, norm in zip(self.lstms[1:], self.norms[1:], strict=True):
            h = F.gelu(_NEW * norm(lstm(h)) + _OLD * h)
        return h


def _initialise(module: nn.Module) -> None:
    """Xavier weights; orthogonal recurrent ones; the forget gates start open."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.LSTM):
        for name, parameter in module.named_parameters():
            if name.startswith("weight_ih"):
                nn.init.xavier_uniform_(parameter)
            elif name.startswith("weight_hh"):
                nn.init.orthogonal_(parameter)
            else:
                nn.init.zeros_(parameter)
                if name.startswith("bias_ih"):
                    nn.init.ones_(parameter.data[module.hidden_size : 2 * module.hidden_size])
