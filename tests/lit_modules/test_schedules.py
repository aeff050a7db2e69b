"""Schedules that are stepped once an optimiser step, against torch's own that are stepped once an epoch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR, MultiStepLR, ReduceLROnPlateau

from lit_modules.optim import Plateau, build_optimizer, build_scheduler
from lit_modules.settings import Optim

STEPS = 7  # of an epoch


def rates(optim: Optim, epochs: int) -> list[float]:
    optimizer = build_optimizer(nn.Linear(2, 2), optim, 0.1)
    scheduler = build_scheduler(optimizer, optim, 0.1, epochs * STEPS, STEPS)
    out = []
    for _ in range(epochs * STEPS):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


def reference(kind: type, epochs: int, **options: object) -> list[float]:
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1)
    scheduler = kind(optimizer, **options)
    out = []
    for _ in range(epochs):
        out += [optimizer.param_groups[0]["lr"]] * STEPS
        optimizer.step()
        scheduler.step()
    return out


def test_cyclic_cosine_is_cosine_annealing_run_beyond_its_end() -> None:
    ours = rates(Optim(schedule="cyclic_cosine", half_period=5), 23)
    assert ours == pytest.approx(reference(CosineAnnealingLR, 23, T_max=5), abs=1e-9)
    assert ours[5 * STEPS] == pytest.approx(0, abs=1e-12)
    assert ours[10 * STEPS] == pytest.approx(0.1)


def test_multi_step_is_torchs() -> None:
    ours = rates(Optim(schedule="multi_step", milestones=(2, 5), gamma=0.9), 7)
    assert ours == pytest.approx(reference(MultiStepLR, 7, milestones=[2, 5], gamma=0.9))


def test_one_cycle_moves_the_momentum_when_asked() -> None:
    optim = Optim(optimizer="adam", schedule="one_cycle", cycle_momentum=True, pct_start=0.2, div_factor=1e3)
    optimizer = build_optimizer(nn.Linear(2, 2), optim, 0.1)
    scheduler = build_scheduler(optimizer, optim, 0.1, 100, 10)
    seen = []
    for step in range(100):
        seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"][0]))
        optimizer.step()
        if step < 99:
            scheduler.step()
    assert seen[0] == pytest.approx((1e-4, 0.95))
    assert max(seen) == pytest.approx((0.1, 0.85), rel=1e-2)
    assert seen[-1][1] == pytest.approx(0.95, rel=1e-2)


def test_radam_decays_weights_apart_from_the_gradient() -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Linear(3, 2), nn.Linear(3, 2)
    theirs.load_state_dict(ours.state_dict())
    a = build_optimizer(ours, Optim(optimizer="radam", weight_decay=0.1, eps=1e-6), 0.05)
    b = torch.optim.RAdam(theirs.parameters(), 0.05, weight_decay=0.1, eps=1e-6, decoupled_weight_decay=True)
    x = torch.randn(8, 3)
    for _ in range(10):
        for net, optimizer in ((ours, a), (theirs, b)):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)


def test_plateau_is_kerass_with_one_patience_less() -> None:
    """Keras counts the epochs without a gain of 1e-4 and halves the rate at the fourth."""
    optim = Optim(schedule="plateau", factor=0.5, patience=3, threshold=1e-4)
    optimizer = build_optimizer(nn.Linear(2, 2), optim, 1e-3)
    scheduler = build_scheduler(optimizer, optim, 1e-3, 100, 10)
    assert isinstance(scheduler, Plateau)
    seen = []
    for score in (0.02, 0.019, 0.01895, 0.01896, 0.01897, 0.01898, 0.018, 0.0181, 0.0181, 0.0181, 0.0181):
        for _ in range(STEPS):
            optimizer.step()
            scheduler.step()  # an optimiser step changes nothing
        scheduler.observe(score)
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == [1e-3] * 5 + [5e-4] * 5 + [2.5e-4]


@pytest.mark.parametrize("mode", ["min", "max"])
def test_plateau_goes_on_from_its_state_as_torchs(mode: str) -> None:
    optim = Optim(schedule="plateau", factor=0.3, patience=1, threshold=0.05)
    scores = torch.rand(40, generator=torch.Generator().manual_seed(0)).tolist()
    theirs = torch.optim.SGD(nn.Linear(2, 2).parameters(), 0.1)
    reference = ReduceLROnPlateau(theirs, mode, 0.3, 1, 0.05, "abs")  # type: ignore[arg-type]
    ours = build_optimizer(nn.Linear(2, 2), optim, 0.1)
    scheduler = build_scheduler(ours, optim, 0.1, 100, 10, mode)
    for i, score in enumerate(scores):
        if i == 7:  # broken off and gone on
            state, groups = scheduler.state_dict(), ours.state_dict()
            ours = build_optimizer(nn.Linear(2, 2), optim, 0.1)
            scheduler = build_scheduler(ours, optim, 0.1, 100, 10, mode)
            scheduler.load_state_dict(state)
            ours.load_state_dict(groups)
        assert isinstance(scheduler, Plateau)
        scheduler.observe(score)
        reference.step(score)
        assert ours.param_groups[0]["lr"] == pytest.approx(theirs.param_groups[0]["lr"])
    assert ours.param_groups[0]["lr"] < 0.01


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"optim\.factor must be (above 0|below 1)"):
        Optim(factor=1.0)
    with pytest.raises(ValueError, match=r"optim\.half_period must be at least 1"):
        Optim(half_period=0)
