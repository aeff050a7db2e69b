"""Convolution along the levels for sequences whose channels come last."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  (torch's own name for it)
from torch import Tensor, nn


class LevelConv(nn.Conv1d):
    """``Conv1d`` over (batch, levels, channels) with zero padding that keeps the number of levels.

    The sequence nets hold channels last, torch's ``Conv1d`` wants them in the middle. The sequence is therefore read, without a
    copy, as an image of height 1 in the channels-last memory format, which the convolution libraries take as it is.
    Parameters and their names are those of ``nn.Conv1d``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel_size: Odd number of levels the kernel spans.
        dilation: Step between the levels the kernel sees.
        groups: Groups of channels; equal to ``in_channels`` for a depthwise convolution.
        bias: Whether a bias is added.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 3,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        if kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd to keep the number of levels, got {kernel_size}.")
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            padding=dilation * (kernel_size - 1) // 2,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (batch, levels, in_channels) to (batch, levels, out_channels)."""
        image = x.transpose(1, 2).unsqueeze(2)
        out = F.conv2d(
            image,
            self.weight.unsqueeze(2),
            self.bias,
            padding=(0, int(self.padding[0])),
            dilation=(1, self.dilation[0]),
            groups=self.groups,
        )
        return out.squeeze(2).transpose(1, 2)


class LevelBatchNorm(nn.Module):
    """``BatchNorm1d`` over (batch, levels, channels): statistics over rows and levels together.

    Flattening the two leading axes gives the same statistics as moving the channels to the middle, without the copy. The
    BatchNorm is a child, so that its conversion to ``SyncBatchNorm`` keeps the flattening.

    Args:
        channels: Channels of the sequence.
        eps: Added to the variance.
        momentum: Weight of the new batch in the running statistics (Keras counts the old ones: .99 there is .01 here).
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(channels, eps=eps, momentum=momentum)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (batch, levels, channels); the shape stays."""
        out: Tensor = self.norm(x.flatten(0, 1)).view_as(x)
        return out
