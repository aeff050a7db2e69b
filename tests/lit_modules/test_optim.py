from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from lit_modules.optim import build_optimizer, build_scheduler, cosine_factor, tie_weight_decay
from lit_modules.settings import Optim


def rates(optim: Optim, lr: float, total: int, per_epoch: int) -> list[float]:
    optimizer = build_optimizer(nn.Linear(2, 2), optim, lr)
    scheduler = build_scheduler(optimizer, optim, lr, total, per_epoch)
    out = []
    for _ in range(total):
        out.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return out


def test_half_cosine_per_step() -> None:
    got = rates(Optim(), 1e-3, 100, 10)
    assert got == pytest.approx([1e-3 * 0.5 * (1 + math.cos(math.pi * k / 100)) for k in range(100)])


def test_sub_epochs_hold_the_rate() -> None:
    """LEAP 1st place: ten sub-epochs an epoch, lr_k = lr * half cosine of k / K, constant inside."""
    got = rates(Optim(sub_epochs=10, weight_decay_per_lr=4), 1e-3, 60, 30)
    expected = [1e-3 * 0.5 * (1 + math.cos(math.pi * k / 20)) for k in range(20) for _ in range(3)]
    assert got == pytest.approx(expected)


def test_warm_up_rises_linearly_then_falls() -> None:
    got = rates(Optim(warmup=0.2), 1.0, 50, 10)
    assert got[:10] == pytest.approx([k / 10 for k in range(10)])
    assert got[10] == pytest.approx(1.0)
    assert cosine_factor(50, 50, 10) == pytest.approx(0.0)


def test_one_cycle_peaks_where_it_is_told() -> None:
    got = rates(Optim(schedule="one_cycle", pct_start=0.1, div_factor=1e3, final_div_factor=1e5), 1e-2, 100, 10)
    assert got[0] == pytest.approx(1e-5)
    assert max(got) == pytest.approx(1e-2)
    assert got.index(max(got)) in (9, 10)


def test_biases_and_norms_can_be_spared_from_decay() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    spared = build_optimizer(net, Optim(decay_norm_and_bias=False, weight_decay=0.1), 1e-3)
    assert [group["weight_decay"] for group in spared.param_groups] == [0.1, 0.0]
    assert [sum(p.numel() for p in group["params"]) for group in spared.param_groups] == [12, 12]


def test_weight_decay_follows_the_rate() -> None:
    optimizer = build_optimizer(nn.Linear(2, 2), Optim(weight_decay_per_lr=4), 1e-3)
    assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(4e-3)
    for lr in (5e-4, 0.0, 1e-4):
        optimizer.param_groups[0]["lr"] = lr
        tie_weight_decay(optimizer, 4)
        assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(4 * lr)


def test_every_optimiser_trains() -> None:
    for name in ("adamw", "adam", "radam", "muon"):
        net = nn.Linear(2, 1)
        optimizer = build_optimizer(net, Optim(optimizer=name), 0.1)  # type: ignore[arg-type]
        x = torch.randn(64, 2, generator=torch.Generator().manual_seed(0))
        first = last = None
        for _ in range(60):
            loss = (net(x) - x.sum(dim=1, keepdim=True)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            first, last = first or loss.item(), loss.item()
        assert last < first  # type: ignore[operator]


def test_muon_steps_are_orthogonal_and_of_the_size_of_adamw_steps() -> None:
    torch.manual_seed(0)
    net = nn.Linear(48, 24)
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = build_optimizer(net, Optim(optimizer="muon", weight_decay=0), 1e-2)
    net(torch.randn(64, 48)).pow(3).mean().backward()
    optimizer.step()
    weight, bias = (p.detach() - old for p, old in zip(net.parameters(), before, strict=True))
    values = torch.linalg.svdvals(weight)
    assert values.max() < 2 * values.min()
    # AdamW's steps are of one learning rate at first, and of a fifth to two fifths in the course of a training
    assert 0.1e-2 < weight.square().mean().sqrt() < 0.5e-2
    assert 0.3e-2 < bias.abs().min() <= bias.abs().max() < 2e-2


def test_one_cycle_drives_muon() -> None:
    got = rates(Optim(optimizer="muon", schedule="one_cycle"), 1e-2, 50, 10)
    assert max(got) == pytest.approx(1e-2)
