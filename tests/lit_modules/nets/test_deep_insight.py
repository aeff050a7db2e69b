from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lit_modules.nets.deep_insight import DeepInsight, TableImages, efficientnet_b3, resnest50_fast


def test_images_are_a_group_by() -> None:
    rng = np.random.default_rng(0)
    pixels, size = rng.integers(0, 7, size=(60, 2)), 7
    x = rng.random((5, 60)).astype(np.float32)
    images = TableImages(torch.from_numpy(pixels), size)(torch.from_numpy(x)).numpy()
    frame = pd.DataFrame({"i": pixels[:, 0], "j": pixels[:, 1]})
    for row in range(5):
        groups = frame.assign(v=x[row]).groupby(["i", "j"])["v"]
        reference = np.zeros((3, size, size))
        for channel, kind in enumerate(("mean", "min", "max")):
            values = getattr(groups, kind)()
            reference[channel, values.index.get_level_values(0), values.index.get_level_values(1)] = values
        np.testing.assert_allclose(images[row], reference, atol=2e-7)


def test_negative_values_and_single_features_keep_their_extremes() -> None:
    images = TableImages(torch.tensor([[0, 0], [0, 0], [1, 1]]), 2)(torch.tensor([[-3.0, -1.0, 5.0]]))
    torch.testing.assert_close(images[0, :, 0, 0], torch.tensor([-2.0, -3.0, -1.0]))
    torch.testing.assert_close(images[0, :, 1, 1], torch.tensor([5.0, 5.0, 5.0]))
    assert images[0, :, 0, 1].abs().sum() == 0


def test_the_head_is_the_sources() -> None:
    torch.manual_seed(0)
    net = DeepInsight(TableImages(torch.zeros(4, 2, dtype=torch.int64), 1), nn.Flatten(), 3, 206, hidden=512)
    first, last = net.head[1], net.head[3]
    assert (first.in_features, first.out_features, last.out_features) == (3, 512, 206)
    assert isinstance(net.head[2], nn.ELU)
    assert first.weight.abs().max() <= 512**-0.5
    assert 0.9 * 206**-0.5 < last.weight.abs().max() <= 206**-0.5
    assert last.bias.abs().max() == 0
    assert net(torch.randn(2, 4)).shape == (2, 206)


def test_resnest_has_the_sources_26943792_parameters() -> None:
    pytest.importorskip("timm")
    with torch.device("meta"):
        net = resnest50_fast(classes=1000)
        bare = resnest50_fast()
    assert sum(p.numel() for p in net.parameters()) == 26_943_792
    assert sum(p.numel() for p in bare.parameters()) == 26_943_792 - 2048 * 1000 - 1000
    assert {"conv1.0.weight", "layer1.0.conv2.conv.weight", "layer1.0.conv2.fc1.weight"} <= set(net.state_dict())


def test_efficientnet_b3_has_its_parameters() -> None:
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        bare = efficientnet_b3()
    # 12.23 M with the classifier of 1000 classes
    assert sum(p.numel() for p in bare.parameters()) + 1536 * 1000 + 1000 == pytest.approx(12.23e6, rel=1e-3)
    assert bare.num_features == 1536
    assert timm.is_model("tf_efficientnet_b3")


def test_local_weights_are_loaded_and_others_refused(tmp_path: Path) -> None:
    pytest.importorskip("timm")
    shallow = (1, 1, 1, 1)
    torch.manual_seed(1)
    original = resnest50_fast(classes=10, layers=shallow)
    torch.save(original.state_dict(), tmp_path / "weights.pth")
    loaded = resnest50_fast(tmp_path / "weights.pth", layers=shallow)
    assert torch.equal(loaded.state_dict()["layer4.0.conv3.weight"], original.state_dict()["layer4.0.conv3.weight"])
    with pytest.raises(ValueError, match="is of another net; first differing entry"):
        resnest50_fast(tmp_path / "weights.pth", layers=(2, 1, 1, 1))
    with pytest.raises(ValueError, match="does not exist"):
        resnest50_fast(tmp_path / "none.pth", layers=shallow)
