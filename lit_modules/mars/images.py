"""GC-MS images on the device: normalisation, mixup, logarithm, width, position, and three channels for a backbone.

Everything between the stored linear images and the backbone is one module, so that a checkpoint carries it. The order and
the numbers are the 2nd place's (dmitryakonovalov, Mars Spectrometry 2).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, one_hot

from datamodules.errors import DataError

YES, UNKNOWN = 1, -1


class SpectrogramImages(nn.Module):
    """Linear images ``(B, masses, times)`` and ``derivatized`` flags to backbone inputs ``(B, 3, masses, width)``.

    Args:
        normalise: ``mass`` divides every mass row by its maximum over time (the source's normM), ``time`` every column by
            its base peak (normT); maxima are floored at ``min_clip``. ``both`` gives a channel of each.
        log: ``log10`` or ``log1p``, see :meth:`scaled`.
        min_clip: Smallest value before the logarithm.
        log_scale: Factor of ``log1p``.
        derivatized_states: 2 or 3 channels, see :meth:`linear`.
        tta_step: Columns between the widths.
        tta_steps: Number of widths.
        rows: Masses to look at; None for all of an image.
        background: Quantile over time that is taken off every mass before anything else; 0 = off.
    """

    def __init__(
        self,
        normalise: Literal["none", "mass", "time", "both"] = "none",
        log: Literal["log10", "log1p"] = "log10",
        min_clip: float = 1e-4,
        log_scale: float = 1000.0,
        derivatized_states: Literal[2, 3] = 2,
        tta_step: int = 32,
        tta_steps: int = 5,
        rows: int | None = None,
        background: float = 0.0,
    ) -> None:
        super().__init__()
        self.background = background
        self.normalisations = ("mass", "time") if normalise == "both" else (normalise,)
        self.rows = rows
        self.log = log
        self.min_clip = min_clip
        self.log_scale = log_scale
        self.derivatized_states = derivatized_states
        self.tta_step = tta_step
        self.tta_steps = tta_steps
        self.stem = nn.Conv2d(derivatized_states * len(self.normalisations) + 2, 3, kernel_size=1)

    def widths(self, columns: int) -> list[int]:
        """Widths around the images' own: for 5 steps two narrower, two wider; for 4 one narrower, two wider."""
        return [columns + (i - (self.tta_steps - 1) // 2) * self.tta_step for i in range(self.tta_steps)]

    def linear(self, image: Tensor, derivatized: Tensor) -> Tensor:
        """Normalised linear images in the channels of their derivatized state, ``(B, states * normalisations, masses, times)``.

        With two states unknown (-1) counts as not derivatized, the source's rule; with three it has the third channel.
        """
        image = image[:, : self.rows].float()
        if self.background > 0:
            lowest = 1 + int(self.background * (image.shape[2] - 1))
            image = (image - image.kthvalue(lowest, dim=2, keepdim=True).values).clamp(min=0)
        planes = torch.stack([self._normalised(image, name) for name in self.normalisations], dim=1)
        channel = (derivatized == YES).long()
        if self.derivatized_states == 3:
            channel = torch.where(derivatized == UNKNOWN, 2, channel)
        states = one_hot(channel, self.derivatized_states).to(image.dtype)
        return (states[:, :, None, None, None] * planes[:, None]).flatten(1, 2)

    def _normalised(self, image: Tensor, name: str) -> Tensor:
        if name == "none":
            return image
        return image / image.amax(dim=2 if name == "mass" else 1, keepdim=True).clamp(min=self.min_clip)

    def scaled(self, linear: Tensor) -> Tensor:
        """Logarithm to [0, 1] of images divided by their maximum and clipped to ``[min_clip, 1]``.

        The source stretches every image from its own minimum, which its always empty third channel makes ``min_clip``;
        these are the closed forms, with ``a`` the clipped value: ``1 - log a / log min_clip``, and ``log(1 + s a)``
        mapped so that ``min_clip`` is 0 and 1 is 1.
        """
        largest = linear.amax(dim=(1, 2, 3), keepdim=True).clamp(min=torch.finfo(linear.dtype).tiny)
        a = (linear / largest).clamp(self.min_clip, 1.0)
        if self.log == "log10":
            return 1.0 - a.log() / math.log(self.min_clip)
        low, high = math.log1p(self.log_scale * self.min_clip), math.log1p(self.log_scale)
        return (((self.log_scale * a).log1p() - low) / (high - low)).clamp(0.0, 1.0)  # rounding

    def forward(self, scaled: Tensor, width: int) -> Tensor:
        """Resize to ``width`` columns, add two position planes, reduce to three channels.

        The resize is bilinear without antialiasing, which torchvision would now switch on; positions are counted after
        it, ``arange(n) / n`` along time and mass.
        """
        if width != scaled.shape[-1]:
            scaled = interpolate(scaled, (scaled.shape[-2], width), mode="bilinear", align_corners=False)
        rows, height = len(scaled), scaled.shape[-2]
        time = (torch.arange(width, device=scaled.device, dtype=scaled.dtype) / width).expand(rows, 1, height, width)
        mass = torch.arange(height, device=scaled.device, dtype=scaled.dtype) / height
        x: Tensor = self.stem(torch.cat([scaled, time, mass[:, None].expand(rows, 1, height, width)], dim=1))
        return x


def mixup(
    linear: Tensor, labels: Tensor, probability: float, low: float = 0.4, high: float = 0.6
) -> tuple[Tensor, Tensor]:
    """Average some samples with another one of the batch, on linear images; their labels are united.

    A derivatized and another sample light up both channels. Partners are drawn among the other rows of the batch, which
    is itself a random draw of training samples.

    Args:
        linear: Images ``(B, C, H, W)``.
        labels: 0 or 1, ``(B, classes)``.
        probability: Probability of a sample to be mixed.
        low: Smallest share of the sample itself.
        high: Its largest share.

    Raises:
        DataError: the batch has one row, so there is no partner.
    """
    if probability == 0:
        return linear, labels
    rows, device = len(linear), linear.device
    if rows < 2:
        raise DataError(
            "--model.mixup needs at least two rows of a batch on each device; raise --batch_size or use fewer --devices"
        )
    partner = (torch.arange(rows, device=device) + torch.randint(1, rows, (rows,), device=device)) % rows
    chosen = torch.rand(rows, device=device) < probability
    share = torch.where(chosen, torch.empty(rows, device=device).uniform_(low, high), 1.0).to(linear.dtype)
    share = share[:, None, None, None]
    mixed = share * linear + (1.0 - share) * linear[partner]
    return mixed, torch.where(chosen[:, None], torch.maximum(labels, labels[partner]), labels)


class Members(nn.Module):
    """Classifiers of the same images, each trained by its own loss; one classifier in prediction.

    Args:
        classifiers: ``(B, 3, masses, width)`` to logits ``(B, classes)``.
    """

    def __init__(self, classifiers: Iterable[nn.Module]) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(classifiers)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of each member, ``(B, members, classes)``, in training; their mean ``(B, classes)`` otherwise."""
        logits = torch.stack([classifier(x) for classifier in self.classifiers], dim=1)
        return logits if self.training else logits.mean(dim=1)


class SizeAveragedNet(nn.Module):
    """Images and classifier: one width at a time in training, the mean of the logits of all widths in prediction.

    Args:
        images: What makes the classifier's inputs.
        classifier: ``(B, 3, masses, any width)`` to logits.
        channels_last: Memory layout of the classifier's inputs and weights.
    """

    def __init__(self, images: SpectrogramImages, classifier: nn.Module, channels_last: bool = True) -> None:
        super().__init__()
        self.images = images
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.classifier = classifier.to(memory_format=self.layout)

    def forward(self, scaled: Tensor, width: int) -> Tensor:
        """Logits at one width."""
        logits: Tensor = self.classifier(self.images(scaled, width).contiguous(memory_format=self.layout))
        return logits

    def averaged(self, scaled: Tensor) -> Tensor:
        """Mean of the logits over all widths, float32."""
        widths = self.images.widths(scaled.shape[-1])
        return torch.stack([self(scaled, width).float() for width in widths]).mean(dim=0)
