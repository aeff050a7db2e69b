"""Sizes and wiring of the MoA nets at the spec's widths."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lit_modules.nets.deep_insight import efficientnet_b3
from lit_modules.nets.soft_ordering_cnn import SoftOrderingCNN
from lit_modules.nets.tabnet import GhostBatchNorm
from lit_modules.nets.tabular_mlp import Logistic, TabularMLP
from lit_modules.nets.two_heads_resnet import TwoHeadsResNet


def count(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def linear(n_in: int, n_out: int, weight_norm: bool = False) -> int:
    return n_in * n_out + n_out * (2 if weight_norm else 1)


@pytest.mark.parametrize(
    ("n_in", "hidden", "n_out"),
    [(1087, 2048, 331), (1418, 2048, 206), (206, 1024, 206), (1091, 2048, 206), (1032, 2048, 206)],
)
def test_two_hidden_layers_have_the_sources_size(n_in: int, hidden: int, n_out: int) -> None:
    with torch.device("meta"):
        net = TabularMLP(n_in, n_out, (hidden, hidden), (0.15, 0.30, 0.25))
    norms = 2 * (n_in + hidden + hidden)
    assert count(net) == linear(n_in, hidden, True) + linear(hidden, hidden) + linear(hidden, n_out, True) + norms
    if n_in == 1087:
        assert count(net) == pytest.approx(7.1e6, rel=0.01)


def test_one_hidden_layer_of_the_two_stage_model() -> None:
    with torch.device("meta"):
        net = TabularMLP(954, 331, (2048,), (0.2, 0.25), "relu")
    assert count(net) == linear(954, 2048, True) + linear(2048, 331, True) + 2 * (954 + 2048)


def test_layers_stand_in_the_sources_order() -> None:
    net = TabularMLP(6, 3, (4, 4), (0.15, 0.3, 0.25))
    kinds = [
        type(layer).__bases__[0].__name__ if "Parametrized" in type(layer).__name__ else type(layer).__name__
        for layer in net.layers
    ]
    assert kinds == [
        "BatchNorm1d",
        "Dropout",
        "Linear",
        "LeakyReLU",
        "BatchNorm1d",
        "Dropout",
        "Linear",
        "LeakyReLU",
        "BatchNorm1d",
        "Dropout",
        "Linear",
    ]
    assert [layer.p for layer in net.layers if isinstance(layer, nn.Dropout)] == [0.15, 0.3, 0.25]
    normed = [hasattr(layer, "parametrizations") for layer in net.layers if isinstance(layer, nn.Linear)]
    assert normed == [True, False, True]
    with pytest.raises(ValueError, match="3 values for 1 hidden layers"):
        TabularMLP(6, 3, (4,), (0.1, 0.1, 0.1))


def test_logistic_regression_starts_at_the_prior() -> None:
    prior = torch.tensor([0.5, 0.01, 0.2])
    torch.testing.assert_close(Logistic(5, prior)(torch.randn(2, 5)).sigmoid(), prior.expand(2, -1))


@pytest.mark.parametrize(("first", "classes"), [(976, 206), (979, 206), (979, 402)])
def test_two_heads_resnet_has_the_sources_joints(first: int, classes: int) -> None:
    with torch.device("meta"):
        net = TwoHeadsResNet(first + 447, classes, second=447)
    widths = {
        name: next(m for m in getattr(net, name).modules() if isinstance(m, nn.BatchNorm1d)).num_features
        for name in ("o1", "a1", "a2", "a3", "a3b", "a4", "head")
    }
    assert widths == {"o1": first, "a1": 703, "a2": 1215, "a3": 768, "a3b": 1024, "a4": 1024, "head": classes}
    norms = 2 * (first + 512 + 703 + 1215 + 512 + 768 + 1024 + 1024 + 256 + classes)
    dense = [
        (first, 512),
        (512, 256),
        (703, 512),
        (1215, 512),
        (512, 256),
        (768, 256),
        (1024, 256),
        (1024, 256),
        (256, classes),
        (classes, classes),
    ]
    assert count(net) == norms + sum(linear(*d) for d in dense)
    norm = net.o1[0]
    assert (norm.eps, norm.momentum) == (1e-3, 0.01)


def test_two_heads_resnet_uses_both_inputs() -> None:
    torch.manual_seed(0)
    net = TwoHeadsResNet(12, 5, second=4, width=16).eval()
    x = torch.randn(3, 12, requires_grad=True)
    net(x).sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(dim=0) > 0).all()
    with pytest.raises(ValueError, match="cannot have 447 of 12 columns"):
        TwoHeadsResNet(12, 5)


def test_soft_ordering_cnn_has_the_sources_shapes() -> None:
    with torch.device("meta"):
        net = SoftOrderingCNN(942, 206)
    assert net.order[2].out_features == 4096
    assert net.head[1].num_features == 2048
    convolutions = [(256, 512, 5, 0), (512, 512, 3, 512), (512, 512, 3, 512), (512, 512, 5, 512)]
    expected = 2 * 942 + linear(942, 4096, True) + 2 * 2048 + linear(2048, 206, True)
    expected += sum(2 * i + i * o * k + 1 + bias for i, o, k, bias in convolutions)
    assert count(net) == expected


def test_soft_ordering_cnn_runs_and_learns() -> None:
    torch.manual_seed(0)
    net = SoftOrderingCNN(10, 3, channels=8, length=8, width=16)
    x = torch.randn(32, 10)
    y = (x[:, :3] > 0).float()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    losses = []
    for _ in range(60):
        loss = nn.functional.binary_cross_entropy_with_logits(net(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]
    with pytest.raises(ValueError, match="must divide by 4"):
        SoftOrderingCNN(10, 3, length=6)


@pytest.mark.parametrize(("rows", "chunks"), [(101, 10), (100, 10), (11, 1), (9, 1), (2, 1)])
def test_a_row_left_over_joins_the_ghost_batch_before_it(rows: int, chunks: int) -> None:
    torch.manual_seed(0)
    norm = GhostBatchNorm(3, chunk=10).train()
    x = torch.randn(rows, 3) * 5
    seen = []
    norm.norm.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    out = norm(x)
    assert len(out) == rows
    assert len(seen) == chunks or rows == 11
    assert min(seen) > 1
    assert sum(seen) == rows
    last = x[-seen[-1] :]
    torch.testing.assert_close(out[-seen[-1] :], (last - last.mean(0)) / (last.var(0, unbiased=False) + 1e-5).sqrt())


def test_efficientnet_b3_has_the_sources_dropout_before_its_head() -> None:
    """drop_rate 0.3 and drop path 0.2 are geffnet's for B3; without timm's classifier the dropout is the head's own."""
    with torch.device("meta"):
        net = efficientnet_b3()
    assert net.num_features == 1536
    assert net.drop_rate == 0.3
    assert sum("DropPath" in type(module).__name__ and module.drop_prob > 0 for module in net.modules()) > 10
