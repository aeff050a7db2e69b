"""The nets of "Crowdsourcing the Frontier": their published sizes, and what the originals answer with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from lit_modules.nets.blocks.headed import ColumnOutput
from lit_modules.nets.convnext import ConvNeXt
from lit_modules.nets.encdec_lstm import EncDecLSTM
from lit_modules.nets.pao import Pao, _LinearPerLevel
from lit_modules.nets.pure_reslstm import PureResLSTM
from lit_modules.nets.squeezeformer import Squeezeformer
from lit_modules.nets.unet import UNet

PAPER = {"n_level_targets": 5, "n_scalar_targets": 8}
NETS: dict[str, Callable[..., nn.Module]] = {
    "unet": lambda **more: UNet(positive_scalars=True, **PAPER, **more),
    "squeezeformer": lambda **more: Squeezeformer(variant="paper", n_aux=0, **PAPER, **({"confidence": False} | more)),
    "pure_reslstm": lambda **more: PureResLSTM(**PAPER, **more),
    "pao": lambda **more: Pao(level_major=True, **PAPER, **more),
    "convnext": lambda **more: ConvNeXt(**PAPER, **more),
    "encdec_lstm": lambda **more: EncDecLSTM(**PAPER, **more),
}
# standard, confidence, multi-representation (25 profiles, 17 scalars), expanded (23 profiles, 19 scalars)
SIZES = {
    "unet": (12_975_373, 12_980_634, 12_981_517, 12_981_517),
    "squeezeformer": (44_785_225, 44_811_862, 44_791_369, 44_791_369),
    "pure_reslstm": (15_395_341, 15_402_010, 15_428_109, 15_428_109),
    "pao": (18_876_133, 25_407_346, 18_880_613, 18_880_373),
    "convnext": (26_805_429, 26_839_242, 26_811_573, 26_811_573),
    "encdec_lstm": (18_582_976, 20_723_124, 21_004_960, 21_004_960),
}
# sum, sum of magnitudes; row 0 at 0, 59, 100, 150, 299, 300, 307; row 1 at 30
ANSWERS = {
    "unet": (251.441632, 275.650634, 0.371107, 0.573122, 0.795969, 0.956019, -0.051737, 0.055798, 0.499312, 0.374480),
    "squeezeformer": (
        151.183227, 2191.455993, 6.494060, 6.494060, 3.636821, -2.187616, -2.877658, 2.789944, 6.038310, 6.494059,
    ),
    "pure_reslstm": (
        277.641153, 277.641153, 0.677592, 0.809854, 0.529403, 0.681865, 0.296104, 0.280312, 0.372646, 0.760560,
    ),
    "pao": (217.737157, 392.649058, 1.804408, -0.143722, 1.794987, 1.794916, -0.141992, 1.739619, 1.181968, 1.793631),
    "convnext": (334.200664, 334.244547, 1.283875, 1.192474, 0.261352, 0.179274, -0.010972, 0.988304, 0.559658, 1.454203),
    "encdec_lstm": (
        117.784827, 1276.542602, 4.615713, 2.022343, 1.563419, 2.052121, -1.137466, -2.245576, -0.657609, -3.195579,
    ),
}  # fmt: skip
SCALARS = {"pao": ((9, 26), (25, 42), (23, 42))}


@pytest.mark.parametrize("name", NETS)
def test_sizes_are_the_published_ones(name: str) -> None:
    split = [{"scalars": where} for where in SCALARS.get(name, ())] or [{}, {}, {}]
    settings = (
        {"in_channels": 26, **split[0]},
        {"in_channels": 26, "confidence": True, **split[0]},
        {"in_channels": 42, **split[1]},
        {"in_channels": 42, **split[2]},
    )
    with torch.device("meta"):
        sizes = tuple(sum(p.numel() for p in NETS[name](**more).parameters()) for more in settings)
    assert sizes == SIZES[name]


@pytest.mark.parametrize("name", NETS)
def test_answers_are_the_originals(name: str) -> None:
    """Every weight follows from its tensor's shape alone, so that the originals' answers need no originals."""
    torch.manual_seed(0)
    in_channels = {"squeezeformer": {"in_channels": 26}}.get(name, {})
    net = NETS[name](**in_channels).double().eval()
    with torch.no_grad():
        for tensor in _tensors_of_the_original(net):
            wave = torch.cos(0.7 * torch.arange(tensor.numel(), dtype=torch.float64)).view(tensor.shape)
            if tensor.ndim > 1:
                tensor.copy_(wave / (tensor.numel() / tensor.shape[0]) ** 0.5)
            else:
                tensor.copy_(0.5 + 0.25 * wave)
        flat = torch.sin(0.1 * torch.arange(1114, dtype=torch.float64)).view(2, 557)
        x = torch.cat([flat[:, :540].view(2, 9, 60).mT, flat[:, None, 540:].expand(-1, 60, -1)], dim=-1)
        y = net(x)
        y = (y.prediction if isinstance(y, ColumnOutput) else y).clone()
    for variable in (1, 2, 3, 4):
        y[:, 60 * variable : 60 * variable + 12] = 0
    values = [y.sum(), y.abs().sum(), *y[0, [0, 59, 100, 150, 299, 300, 307]], y[1, 30]]
    assert [float(value) for value in values] == pytest.approx(ANSWERS[name], rel=2e-6, abs=2e-6)


def _tensors_of_the_original(net: nn.Module) -> Iterator[Tensor]:
    """The net's parameters, taken apart where this project holds in one tensor what the original holds in sixty or nine."""
    whole = {"level_scale", "level_bias"}
    for module in net.modules():
        for key, parameter in module.named_parameters(recurse=False):
            if isinstance(module, _LinearPerLevel):
                yield from parameter
            elif key in whole:
                yield from parameter.mT
            else:
                yield parameter


@pytest.mark.parametrize("name", NETS)
def test_a_level_keeps_its_variable_and_its_place(name: str) -> None:
    """A target that depends on one level of one channel is learnt at its own slot: the exits hold variable by variable."""
    torch.manual_seed(0)
    small: dict[str, dict[str, object]] = {
        "unet": {"width": 16, "blocks": 1, "positive_scalars": False},
        "squeezeformer": {"dim": 16, "head": 32, "blocks": 1, "confidence": False},
        "pure_reslstm": {"hidden": 8, "layers": 2},
        "pao": {"hidden": 16, "blocks": 1, "layers": 1, "level_major": False, "scalars": (3, 4)},
        "convnext": {"depths": (1, 1), "widths": (16, 16), "kernels": (3, 3), "layer_scale": 1.0},
        "encdec_lstm": {"hidden": 24, "layers": 1, "narrow": 8, "dropout": 0.0},
    }
    kinds = {"unet": UNet, "squeezeformer": Squeezeformer, "pure_reslstm": PureResLSTM}
    kinds |= {"pao": Pao, "convnext": ConvNeXt, "encdec_lstm": EncDecLSTM}
    extra = {"n_aux": 0, "variant": "paper"} if name == "squeezeformer" else {}
    net = kinds[name](in_channels=4, n_level_targets=2, n_scalar_targets=1, **small[name], **extra)
    optimizer = torch.optim.Adam(net.parameters(), 3e-3)
    levels = torch.linspace(-1, 1, 60)

    def rows(n: int) -> tuple[Tensor, Tensor]:
        amplitude = torch.randn(n, 3)
        scalar = torch.randn(n, 1)
        profiles = amplitude.unsqueeze(1) * torch.stack([levels, levels**2, torch.ones(60)], dim=1)
        x = torch.cat([profiles, scalar.unsqueeze(1).expand(-1, 60, -1)], dim=-1)
        return x, torch.cat([profiles[..., 0], -2 * profiles[..., 1], scalar], dim=1)

    for _ in range(150):
        x, y = rows(32)
        answer = net(x)
        answer = answer.prediction if isinstance(answer, ColumnOutput) else answer
        optimizer.zero_grad()
        (answer - y).square().mean().backward()
        optimizer.step()
    net.eval()
    x, y = rows(256)
    with torch.no_grad():
        answer = net(x)
    answer = answer.prediction if isinstance(answer, ColumnOutput) else answer
    for group in (slice(0, 60), slice(60, 120), slice(120, 121)):
        assert (answer - y)[:, group].square().mean() < 0.5 * y[:, group].var()


@pytest.mark.parametrize("name", NETS)
def test_confidence_is_a_second_answer_of_the_same_shape(name: str) -> None:
    torch.manual_seed(0)
    small: dict[str, dict[str, object]] = {
        "unet": {"width": 16, "blocks": 1},
        "squeezeformer": {"dim": 16, "head": 32, "blocks": 1},
        "pure_reslstm": {"hidden": 8, "layers": 2},
        "pao": {"hidden": 16, "blocks": 1, "layers": 1},
        "convnext": {"depths": (1, 1), "widths": (16, 16), "kernels": (4, 2)},
        "encdec_lstm": {"hidden": 8, "layers": 1},
    }
    net = NETS[name](in_channels=26, confidence=True, **small[name]).eval()
    answer = net(torch.randn(3, 60, 26))
    assert isinstance(answer, ColumnOutput)
    assert answer.confidence is not None
    assert answer.prediction.shape == answer.confidence.shape == (3, 308)
    assert not torch.equal(answer.prediction, answer.confidence)
