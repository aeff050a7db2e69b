"""The modified Squeezeformer that won LEAP: convolution and attention blocks over the 60 atmospheric levels.

Reads a column in several representations (batch, 60, 44) and gives the scaled targets, an estimate of its own absolute error
for each of them, and optionally auxiliary targets that say where and when the column is.

Source: write-up of greySnow (shlomoron), 1st place of Kaggle ``leap-atmospheric-physics-ai-climsim``. It goes back to hoyso48's
Squeezeformer (2nd place of Stanford Ribonanza) and to Kim et al. 2022, arXiv:2206.00888. Axes, sizes and initial values are
the winner's Keras ones. ``variant="paper"`` is the PyTorch port that "Crowdsourcing the Frontier" (Lin et al. 2025,
arXiv:2511.20963) compares: its channel attention gates the levels instead, the gate of its head is narrower, its BatchNorm
has torch's epsilon, and its weights start as torch draws them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from lit_modules.nets.blocks.attention import SelfAttention
from lit_modules.nets.blocks.eca import ECA
from lit_modules.nets.blocks.glu import GLUMlp, glu
from lit_modules.nets.blocks.headed import ColumnOutput
from lit_modules.nets.blocks.heads import sequence_to_targets
from lit_modules.nets.blocks.level_conv import LevelBatchNorm, LevelConv
from lit_modules.nets.blocks.scale_bias import ScaleBias, ScaleBiasInit

NORM_EPS = 1e-6  # Keras layers of the source
BATCH_NORM_EPS = {"winner": 1e-3, "paper": 1e-5}  # Keras' and torch's defaults

Variant = Literal["winner", "paper"]


class ConvBlock(nn.Module):
    """Gated depthwise convolution with channel attention, then a gated feed-forward net.

    Linear(d, expand d), GLU, depthwise convolution, BatchNorm, swish, ECA, Linear to d, ScaleBias, residual without a norm;
    then GLU feed-forward, ScaleBias, residual, LayerNorm.

    Args:
        dim: Channels d.
        kernel_size: Levels the depthwise kernel spans.
        expand: Ratio of the width before a gate to d.
        scale_bias_init: See :class:`ScaleBias`.
        bn_momentum: BatchNorm momentum in torch's sense (Keras .95 is torch .05).
        variant: ``"winner"`` or ``"paper"``, which differ in the axis of the attention and the epsilon.
    """

    def __init__(
        self,
        dim: int = 384,
        kernel_size: int = 15,
        expand: int = 4,
        scale_bias_init: ScaleBiasInit = "ones",
        bn_momentum: float = 0.05,
        variant: Variant = "winner",
    ) -> None:
        super().__init__()
        gated = expand * dim // 2
        self.expand = nn.Linear(dim, expand * dim)
        self.depthwise = LevelConv(gated, gated, kernel_size, groups=gated, bias=False)
        self.batch_norm = LevelBatchNorm(gated, eps=BATCH_NORM_EPS[variant], momentum=bn_momentum)
        self.channel_attention = ECA(axis="channel" if variant == "winner" else "level")
        self.project = nn.Linear(gated, dim)
        self.scale_conv = ScaleBias(dim, scale_bias_init)
        self.feedforward = GLUMlp(dim, expand * dim, dim)
        self.scale_feedforward = ScaleBias(dim, scale_bias_init)
        self.norm = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, levels, dim) to the same shape."""
        h = self.batch_norm(self.depthwise(glu(self.expand(x))))
        h = self.channel_attention(F.silu(h))
        x = x + self.scale_conv(self.project(h))
        out: Tensor = self.norm(x + self.scale_feedforward(self.feedforward(x)))
        return out


class TransformerEncoder(nn.Module):
    """Post-norm self-attention and gated feed-forward net, each with ScaleBias before the residual; no positions, no mask.

    Args:
        dim: Channels.
        heads: Attention heads; must divide ``dim``.
        expand: Ratio of the width before the gate to ``dim``.
        scale_bias_init: See :class:`ScaleBias`.
    """

    def __init__(
        self, dim: int = 384, heads: int = 4, expand: int = 4, scale_bias_init: ScaleBiasInit = "ones"
    ) -> None:
        super().__init__()
        self.attention = SelfAttention(dim, heads)
        self.scale_attention = ScaleBias(dim, scale_bias_init)
        self.norm_attention = nn.LayerNorm(dim, eps=NORM_EPS)
        self.feedforward = GLUMlp(dim, expand * dim, dim)
        self.scale_feedforward = ScaleBias(dim, scale_bias_init)
        self.norm_feedforward = nn.LayerNorm(dim, eps=NORM_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """Map (batch, levels, dim) to the same shape."""
        x = self.norm_attention(x + self.scale_attention(self.attention(x)))
        out: Tensor = self.norm_feedforward(x + self.scale_feedforward(self.feedforward(x)))
        return out


class Squeezeformer(nn.Module):
    """Stem, pairs of :class:`ConvBlock` and :class:`TransformerEncoder`, wide head, prediction and confidence.

    Args:
        in_channels: Channels of the input.
        dim: Width of the blocks: 256, 384 or 512 in the source.
        head: Width of the head: 1024, 2048 or 2048.
        blocks: Pairs of blocks.
        kernel_size: Levels the depthwise kernels span.
        heads: Attention heads; must divide ``dim``.
        expand: Ratio of the width before a gate to ``dim``.
        n_aux: Auxiliary targets after the targets (latitude, longitude, day and second as sine and cosine); 0 for none.
        confidence: Whether the confidence head exists.
        scale_bias_init: ``"ones"`` or ``"glorot"``, see :class:`ScaleBias`.
        bn_momentum: BatchNorm momentum in torch's sense.
        checkpoint_blocks: Recompute the blocks and the head in the backward pass instead of keeping their activations.
        variant: The ``"winner"``'s net or the ``"paper"``'s port of it (with ``bn_momentum`` 0.95, ``n_aux`` 0 there).
        n_level_targets: Targets per level.
        n_scalar_targets: Targets per column.
    """

    def __init__(
        self,
        in_channels: int = 44,
        dim: int = 384,
        head: int = 2048,
        blocks: int = 12,
        kernel_size: int = 15,
        heads: int = 4,
        expand: int = 4,
        n_aux: int = 6,
        confidence: bool = True,
        scale_bias_init: ScaleBiasInit = "ones",
        bn_momentum: float = 0.05,
        checkpoint_blocks: bool = False,
        variant: Variant = "winner",
        n_level_targets: int = 6,
        n_scalar_targets: int = 8,
    ) -> None:
        super().__init__()
        self.n_level_targets = n_level_targets
        self.checkpoint_blocks = checkpoint_blocks
        self.stem = nn.Sequential(nn.Linear(in_channels, dim, bias=False), nn.LayerNorm(dim, eps=NORM_EPS))
        self.blocks = nn.ModuleList()
        for _ in range(blocks):
            self.blocks.append(ConvBlock(dim, kernel_size, expand, scale_bias_init, bn_momentum, variant))
            self.blocks.append(TransformerEncoder(dim, heads, expand, scale_bias_init))
        gated = 2 * head if variant == "winner" else expand * dim
        self.head = nn.Sequential(nn.Linear(dim, head), nn.SiLU(), GLUMlp(head, gated, head))
        out_channels = n_level_targets + n_scalar_targets + n_aux
        self.prediction = nn.Linear(head, out_channels)
        self.confidence = nn.Linear(head, out_channels) if confidence else None
        if variant == "winner":
            self.apply(init_like_keras)

    def forward(self, x: Tensor) -> ColumnOutput:
        """Map a column (batch, levels, in_channels) to prediction and confidence (batch, targets + auxiliary targets)."""
        x = self.stem(x)
        for block in self.blocks:
            x = self._run(block, x)
        x = self._run(self.head, x)
        confidence = None if self.confidence is None else sequence_to_targets(self.confidence(x), self.n_level_targets)
        return ColumnOutput(sequence_to_targets(self.prediction(x), self.n_level_targets), confidence)

    def _run(self, part: nn.Module, x: Tensor) -> Tensor:
        out: Tensor
        if not (self.checkpoint_blocks and self.training and torch.is_grad_enabled()):
            out = part(x)
            return out
        if torch.compiler.is_compiling():  # the compiler recomputes values only, never the update of buffers
            out = checkpoint(part, x, use_reentrant=False)
            return out

        def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
            return nullcontext(), _frozen_running_statistics(part)

        out = checkpoint(part, x, use_reentrant=False, context_fn=contexts)
        return out


@contextmanager
def _frozen_running_statistics(module: nn.Module) -> Iterator[None]:
    """Keep BatchNorm from counting the same batch twice when its block is recomputed."""
    norms = [m for m in module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, seen) in zip(norms, before, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, seen


def init_like_keras(module: nn.Module) -> None:
    """Draw a module's own weights as Keras' defaults do: Glorot uniform, biases 0.

    Keras sees the query, key and value kernels as (dim, heads, head width) and the output kernel as (heads, head width, dim), and
    counts the leading axes as a receptive field; attention therefore starts smaller than torch's Glorot rule would set it.
    """
    if isinstance(module, SelfAttention):
        dim = module.out.in_features
        head_width = dim // module.heads
        _uniform(module.qkv, math.sqrt(6.0 / (dim * (module.heads + head_width))))
        _uniform(module.out, math.sqrt(6.0 / (module.heads * (head_width + dim))))
    elif isinstance(module, nn.Linear | nn.Conv1d):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _uniform(linear: nn.Linear, bound: float) -> None:
    nn.init.uniform_(linear.weight, -bound, bound)
    nn.init.zeros_(linear.bias)
