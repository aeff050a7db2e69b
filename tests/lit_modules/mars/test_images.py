from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lit_modules.mars.images import SizeAveragedNet, SpectrogramImages, mixup
from tests.datamodules.mars.test_render import MICRO_IMAGE

MICRO = torch.from_numpy(MICRO_IMAGE)[None]
UNKNOWN = torch.tensor([-1])


def pixels(normalise: Any, log: Any) -> torch.Tensor:
    images = SpectrogramImages(normalise, log)
    out = images.scaled(images.linear(MICRO, UNKNOWN))
    assert (out[0, 1] < 1e-6).all()  # the empty channel
    return out[0, 0]


def cells(image: torch.Tensor) -> dict[tuple[int, int], float]:
    return {(int(r), int(c)): float(image[r, c]) for r, c in (image > 1e-6).nonzero()}


GOLDEN: dict[tuple[str, str], dict[tuple[int, int], float]] = {
    ("none", "log10"): {
        (0, 0): 0.9247, (2, 0): 0.9886, (2, 2): 0.9758, (2, 3): 0.75, (3, 0): 0.9005, (5, 1): 0.9445, (6, 3): 1, (7, 2): 0.8693,
    },
    ("mass", "log10"): {
        (0, 0): 1, (2, 0): 1, (2, 2): 0.9872, (2, 3): 0.7614, (3, 0): 1, (5, 1): 1, (6, 3): 1, (7, 2): 1
    },
    ("time", "log10"): {
        (0, 0): 0.9362, (2, 0): 1, (2, 2): 1, (2, 3): 0.75, (3, 0): 0.9120, (5, 1): 1, (6, 3): 1, (7, 2): 0.8935
    },
    ("none", "log1p"): {
        (0, 0): 0.8984, (2, 0): 0.9846, (2, 2): 0.9673, (2, 3): 0.6634, (3, 0): 0.8657, (5, 1): 0.9251, (6, 3): 1, (7, 2): 0.8236,
    },
    ("mass", "log1p"): {
        (0, 0): 1, (2, 0): 1, (2, 2): 0.9827, (2, 3): 0.6787, (3, 0): 1, (5, 1): 1, (6, 3): 1, (7, 2): 1
    },
    ("time", "log1p"): {
        (0, 0): 0.9138, (2, 0): 1, (2, 2): 1, (2, 3): 0.6634, (3, 0): 0.8812, (5, 1): 1, (6, 3): 1, (7, 2): 0.8563
    },
}  # fmt: skip


@pytest.mark.parametrize(("normalise", "log"), list(GOLDEN))
def test_golden_micro_example(normalise: str, log: str) -> None:
    assert cells(pixels(normalise, log)) == pytest.approx(GOLDEN[normalise, log], abs=5.1e-5)


@pytest.mark.parametrize(
    ("log", "expected"),
    [("log10", (1, 0.92474, 0.75, 0.5, 0.25, 0, 0)), ("log1p", (1, 0.89841, 0.66337, 0.33795, 0.08774, 0, 0))],
)
def test_closed_forms(log: Any, expected: tuple[float, ...]) -> None:
    a = torch.tensor([1, 0.5, 0.1, 0.01, 0.001, 1e-4, -3.0]).view(1, 1, 1, -1)
    out = SpectrogramImages(log=log).scaled(a).flatten()
    torch.testing.assert_close(out, torch.tensor(expected, dtype=torch.float32), rtol=0, atol=1e-5)


@pytest.mark.parametrize("log", ["log10", "log1p"])
def test_agrees_with_the_sources_min_max_over_an_empty_third_channel(log: Any) -> None:
    linear = torch.rand(1, 2, 6, 5).pow(8)
    three = np.concatenate([linear[0].double().numpy(), np.zeros((1, 6, 5))])
    a = np.clip(three / three.max(), 1e-4, 1)
    z = np.log10(a) if log == "log10" else np.log10(1000 * a / a.max() + 1)
    z = z / z.max() if log == "log1p" else z
    expected = (z - z.min()) / (z.max() - z.min())
    torch.testing.assert_close(
        SpectrogramImages(log=log).scaled(linear)[0].double(), torch.from_numpy(expected[:2]), rtol=0, atol=1e-6
    )
    dense = linear.clamp(min=0.3)  # no empty pixel: the floor stays where it was
    assert SpectrogramImages(log=log).scaled(dense).min() > 0.2


def test_normalisation_floors_its_maxima() -> None:
    image = torch.tensor([[[1.0, 0.5], [2e-5, 1e-5], [-1e-6, -2e-6], [0, 0]]])
    by_mass = SpectrogramImages("mass").linear(image, UNKNOWN)[0, 0]
    torch.testing.assert_close(by_mass, torch.tensor([[1, 0.5], [0.2, 0.1], [-0.01, -0.02], [0, 0]]))
    by_time = SpectrogramImages("time").linear(image, UNKNOWN)[0, 0]
    torch.testing.assert_close(by_time[:2], torch.tensor([[1, 1], [2e-5, 2e-5]]))


def test_derivatized_states_choose_the_channel() -> None:
    image, flags = torch.rand(3, 4, 5), torch.tensor([-1, 0, 1], dtype=torch.int8)
    two = SpectrogramImages().linear(image, flags)
    assert two.shape == (3, 2, 4, 5)
    torch.testing.assert_close(two[0, 0], image[0])
    torch.testing.assert_close(two[1, 0], image[1])
    torch.testing.assert_close(two[2, 1], image[2])
    assert (two.sum(dim=1) == image).all()
    three = SpectrogramImages(derivatized_states=3).linear(image, flags)
    assert [int(row.sum(dim=(1, 2)).argmax()) for row in three] == [2, 0, 1]


def test_position_planes_are_counted_after_the_resize() -> None:
    images = SpectrogramImages(tta_step=2)
    with torch.no_grad():
        images.stem.weight.zero_()
        images.stem.bias.zero_()  # type: ignore[union-attr]
        for out, plane in enumerate((0, 2, 3)):
            images.stem.weight[out, plane] = 1
    scaled = torch.rand(2, 2, 8, 6)
    for width in (4, 6, 9):
        x = images(scaled, width)
        assert x.shape == (2, 3, 8, width)
        expected = nn.functional.interpolate(scaled, (8, width), mode="bilinear", align_corners=False, antialias=False)
        torch.testing.assert_close(x[:, 0], expected[:, 0])
        torch.testing.assert_close(x[1, 1, 5], torch.arange(width) / width)
        torch.testing.assert_close(x[1, 2, :, 1], torch.arange(8) / 8)
    assert sum(p.numel() for p in images.parameters()) == 15


def test_widths() -> None:
    assert SpectrogramImages().widths(192) == [128, 160, 192, 224, 256]
    assert SpectrogramImages(tta_steps=3).widths(192) == [160, 192, 224]
    assert SpectrogramImages(tta_steps=4).widths(192) == [160, 192, 224, 256]
    assert SpectrogramImages(tta_steps=1).widths(192) == [192]


def test_prediction_averages_the_logits_of_all_widths() -> None:
    class MeanColumns(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.full((len(x), 2), float(x.shape[-1])).square()

    net = SizeAveragedNet(SpectrogramImages(), MeanColumns())
    out = net.averaged(torch.rand(3, 2, 4, 192))
    torch.testing.assert_close(out, torch.full((3, 2), float(np.mean(np.square([128, 160, 192, 224, 256])))))


def test_mixup_averages_linear_images_and_unites_labels() -> None:
    torch.manual_seed(0)
    rows = 6
    linear = torch.zeros(rows, 2, 3, 3)
    linear[range(rows), 0, 0, 0] = torch.arange(1.0, rows + 1)
    labels = torch.eye(rows)
    mixed, united = mixup(linear, labels, probability=1.0)
    assert (united.sum(dim=1) == 2).all()
    for i in range(rows):
        partner = next(j for j in range(rows) if j != i and united[i, j] == 1)
        share = (float(mixed[i, 0, 0, 0]) - (partner + 1)) / ((i + 1) - (partner + 1))
        assert 0.4 - 1e-5 <= share <= 0.6 + 1e-5
    same, unchanged = mixup(linear, labels, probability=0.0)
    assert same is linear
    assert unchanged is labels


def test_mixup_happens_as_often_as_asked() -> None:
    torch.manual_seed(0)
    labels = torch.eye(8)
    mixed = sum(int((mixup(torch.rand(8, 1, 1, 1), labels, 0.1)[1].sum(dim=1) == 2).sum()) for _ in range(500))
    assert mixed / 4000 == pytest.approx(0.1, abs=4 * math.sqrt(0.1 * 0.9 / 4000))
    with pytest.raises(ValueError, match="at least two rows"):
        mixup(torch.rand(1, 1, 2, 2), torch.ones(1, 1), 0.1)


def test_a_mix_of_both_states_lights_up_both_channels() -> None:
    images = SpectrogramImages()
    linear = images.linear(torch.ones(2, 2, 2), torch.tensor([0, 1]))
    mixed, _ = mixup(linear, torch.zeros(2, 1), 1.0)
    assert (images.scaled(mixed) > 0.8).all()


@pytest.mark.real_data
def test_real_images_show_what_the_write_up_printed(real_data: Any) -> None:
    """S0592: with normT all 192 columns peak at 1, rows 0, 1 and 4 are empty; normM and normT differ by row and column."""
    image = np.load(real_data / "mars" / "reconstructed_S0592_S0801_256x192.npz", allow_pickle=False)["S0592"]
    tensor = torch.from_numpy(image)[None]
    by_time, by_mass = (
        (images := SpectrogramImages(name, "log1p")).scaled(images.linear(tensor, UNKNOWN))[0, 0]  # type: ignore[arg-type]
        for name in ("time", "mass")
    )
    torch.testing.assert_close(by_time.amax(dim=0), torch.ones(192))
    assert (by_time[[0, 1, 4]] < 1e-6).all()
    assert (by_mass > 0).float().mean() > (SpectrogramImages("none").scaled(tensor[None]) > 0).float().mean()


def test_both_normalisations_are_channels_of_each_state() -> None:
    image, derivatized = torch.rand(3, 8, 5), torch.tensor([-1, 0, 1])
    both = SpectrogramImages("both")
    linear = both.linear(image, derivatized)
    for state in range(2):
        for place, name in enumerate(("mass", "time")):
            alone = SpectrogramImages(name).linear(image, derivatized)  # type: ignore[arg-type]
            torch.testing.assert_close(linear[:, 2 * state + place], alone[:, state])
    assert both(both.scaled(linear), 7).shape == (3, 3, 8, 7)


def test_rows_that_are_not_looked_at_change_nothing() -> None:
    image = torch.rand(2, 8, 5)
    few = SpectrogramImages("mass", rows=4)
    torch.testing.assert_close(few.linear(image, UNKNOWN.expand(2)), few.linear(image[:, :4], UNKNOWN.expand(2)))


def test_the_background_of_a_mass_is_what_it_holds_most_of_the_time() -> None:
    image = torch.full((1, 2, 11), 0.5)
    image[0, 0, 4], image[0, 1, 7] = 0.9, 0.1  # a peak, and a gap that a minimum would have taken for the background
    peaks = SpectrogramImages("none", background=0.2).linear(image, UNKNOWN)[0, 0]
    assert peaks.nonzero().tolist() == [[0, 4]]
    torch.testing.assert_close(peaks[0, 4], torch.tensor(0.4))
    shifted = SpectrogramImages("mass", background=0.2).linear(image + 0.3, UNKNOWN)
    torch.testing.assert_close(shifted, SpectrogramImages("mass", background=0.2).linear(image, UNKNOWN))
