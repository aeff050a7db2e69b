"""From settings and fitted features to the net that reads them."""

from __future__ import annotations

from torch import Tensor, nn

from datamodules.errors import DataError
from datamodules.moa.features import FeaturePipeline
from lit_modules.moa.settings import (
    DeepInsightModel,
    LogisticModel,
    MLPModel,
    MoaModel,
    SoftOrderingModel,
    TabNetModel,
    TwoHeadsModel,
)


def build_net(settings: MoaModel, features: FeaturePipeline, prior: Tensor, initialise: bool = True) -> nn.Module:
    """The net of the settings, from the features ``(B, width)`` to logits ``(B, targets)``.

    Args:
        settings: Which net, how large.
        features: Fitted pipeline; nets ask it for the places of blocks and for the pixel map.
        prior: ``(targets,)`` share of positives in training, where logistic regression starts.
        initialise: Start from pretrained weights where the settings ask for them; not when a checkpoint follows.

    Raises:
        DataError: the recipe lacks a step that the net needs.
    """
    targets = len(prior)
    match settings:
        case LogisticModel():
            from lit_modules.nets.tabular_mlp import Logistic

            return Logistic(features.width, prior)
        case MLPModel():
            from lit_modules.nets.tabular_mlp import TabularMLP

            return TabularMLP(features.width, targets, settings.hidden, settings.dropout, settings.activation)
        case TwoHeadsModel():
            return _two_heads(settings, features, targets)
        case TabNetModel():
            return _tabnet(settings, features, targets)
        case SoftOrderingModel():
            from lit_modules.nets.soft_ordering_cnn import SoftOrderingCNN

            return SoftOrderingCNN(features.width, targets, settings.channels, settings.length, settings.width)
        case DeepInsightModel():
            return _deep_insight(settings, features, targets, initialise)
    raise DataError(f"there is no MoA net for {type(settings).__name__}")


def _two_heads(settings: TwoHeadsModel, features: FeaturePipeline, targets: int) -> nn.Module:
    from lit_modules.nets.two_heads_resnet import TwoHeadsResNet

    second = features.blocks.get("screened")
    if second is None or second.stop != features.width:
        raise DataError("the two-heads ResNet needs 'screen' to append the last block of data.features")
    return TwoHeadsResNet(features.width, targets, second.stop - second.start, settings.width, settings.trunk)


def _tabnet(settings: TabNetModel, features: FeaturePipeline, targets: int) -> nn.Module:
    from lit_modules.nets.tabnet import TabNet

    codes = features.blocks.get("codes")
    categories = {codes.start: len(features.times), codes.start + 1: len(features.doses)} if codes else {}
    return TabNet(
        features.width, targets, settings.decision, settings.attention, settings.steps, settings.gamma,
        settings.independent, settings.shared, categories, settings.chunk, settings.momentum,
    )  # fmt: skip


def _deep_insight(settings: DeepInsightModel, features: FeaturePipeline, targets: int, initialise: bool) -> nn.Module:
    from lit_modules.nets.deep_insight import DeepInsight, TableImages, efficientnet_b3, resnest50_fast

    image_map = features.step_state("image_map")
    if len(image_map["pixels"]) != features.width:
        raise DataError("DeepInsight draws every feature: 'image_map' must be the last step of data.features")
    images = TableImages(image_map["pixels"], int(image_map["size"]))
    weights = settings.weights if initialise else None
    if settings.backbone == "efficientnet_b3":
        backbone = efficientnet_b3(initialise and settings.pretrained, weights, settings.timm_name)
    else:
        backbone = resnest50_fast(weights, layers=settings.layers, channels=settings.channels)
    width = int(backbone.num_features)  # type: ignore[arg-type]
    return DeepInsight(images, backbone, width, targets, settings.hidden, settings.head_dropout)
