import copy
import math
from typing import Any

import pytest
import torch
from torch import nn

from lit_modules.nets.squeezeformer import ColumnOutput, ConvBlock, Squeezeformer, TransformerEncoder

TINY: dict[str, Any] = {"dim": 16, "head": 32, "blocks": 2}


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    ("arguments", "published"),
    [
        ({}, 52_714_340),
        ({"n_aux": 0}, 52_689_752),
        ({"n_aux": 0, "confidence": False}, 52_661_066),
        ({"dim": 256, "head": 1024}, 20_972_132),
        ({"dim": 512, "head": 2048}, 83_362_916),
    ],
)
def test_parameter_counts(arguments: dict[str, Any], published: int) -> None:
    with torch.device("meta"):
        assert count(Squeezeformer(**arguments)) == published


def test_parameter_counts_of_the_blocks() -> None:
    with torch.device("meta"):
        assert count(ConvBlock()) == 1_788_677
        assert count(TransformerEncoder()) == 1_481_088


def test_outputs_with_and_without_auxiliary_targets_and_confidence() -> None:
    x = torch.randn(2, 60, 44)
    both = Squeezeformer(**TINY)(x)
    assert isinstance(both, ColumnOutput)
    assert both.confidence is not None
    assert both.prediction.shape == both.confidence.shape == (2, 374)
    alone = Squeezeformer(**TINY, n_aux=0, confidence=False)(x)
    assert alone.prediction.shape == (2, 368)
    assert alone.confidence is None


def test_batch_norm_is_keras_momentum_95_and_eps() -> None:
    norms = [m for m in Squeezeformer(**TINY).modules() if isinstance(m, nn.BatchNorm1d)]
    assert len(norms) == 2
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.05, 1e-3)}
    norm = norms[0]
    norm(torch.full((120, norm.num_features), 10.0))
    torch.testing.assert_close(norm.running_mean, torch.full((norm.num_features,), 0.5))


def test_layer_norms_have_the_source_eps() -> None:
    assert {m.eps for m in Squeezeformer(**TINY).modules() if isinstance(m, nn.LayerNorm)} == {1e-6}


def test_first_weights_are_keras_defaults() -> None:
    """Bounds of Glorot's uniform rule, and biases 0; attention kernels count a receptive field as Keras does."""
    torch.manual_seed(0)
    net = Squeezeformer(dim=64, head=128, blocks=1, heads=4, scale_bias_init="glorot")
    conv, attention = net.blocks[0], net.blocks[1].attention
    bounds = {
        net.stem[0].weight: math.sqrt(6 / (44 + 64)),
        conv.expand.weight: math.sqrt(6 / (64 + 256)),
        conv.depthwise.weight: math.sqrt(6 / (15 + 15 * 128)),
        attention.qkv.weight: math.sqrt(6 / (64 * 4 + 64 * 16)),
        attention.out.weight: math.sqrt(6 / (4 * 16 + 4 * 64)),
        conv.scale_conv.scale: math.sqrt(3 / 64),
    }
    for weight, bound in bounds.items():
        assert 0.85 * bound < weight.abs().max() <= bound
    assert all((p == 0).all() for name, p in net.named_parameters() if name.endswith("bias"))


def test_recomputing_blocks_changes_neither_gradients_nor_running_statistics() -> None:
    torch.manual_seed(0)
    plain = Squeezeformer(**TINY)
    saving = Squeezeformer(**TINY, checkpoint_blocks=True)
    saving.load_state_dict(copy.deepcopy(plain.state_dict()))
    x = torch.randn(4, 60, 44)
    for net in (plain, saving):
        output = net(x)
        (output.prediction.square().mean() + output.confidence.square().mean()).backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), saving.named_parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, msg=name)
    for (name, a), (_, b) in zip(plain.named_buffers(), saving.named_buffers(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0, msg=name)


def test_recomputing_blocks_keeps_fewer_activations() -> None:
    def kept(checkpoint_blocks: bool) -> int:
        net = Squeezeformer(**TINY, checkpoint_blocks=checkpoint_blocks)
        sizes: dict[int, int] = {}

        def pack(t: torch.Tensor) -> torch.Tensor:
            sizes[t.data_ptr()] = t.untyped_storage().nbytes()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            net(torch.randn(8, 60, 44))
        return sum(sizes.values())

    assert kept(True) < 0.4 * kept(False)


@pytest.mark.parametrize("checkpoint_blocks", [False, True])
def test_compiles_as_one_graph(checkpoint_blocks: bool) -> None:
    """The graph gives the same gradients and counts a batch once in the running statistics."""
    torch.manual_seed(0)
    net = nn.Sequential(Squeezeformer(dim=8, head=8, blocks=1, heads=2, checkpoint_blocks=checkpoint_blocks))
    plain = copy.deepcopy(net)
    x = torch.randn(2, 60, 44)
    compiled = torch.compile(net, backend="aot_eager", fullgraph=True)
    for model in (plain, compiled):
        model(x).prediction.sum().backward()
    for (name, a), (_, b) in zip(plain.named_parameters(), net.named_parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, msg=name)
    for a, b in zip(plain.buffers(), net.buffers(), strict=True):
        torch.testing.assert_close(a, b)


def test_an_unknown_scale_bias_init_is_an_error() -> None:
    with pytest.raises(ValueError, match="'ones' or 'glorot', got 'zeros'"):
        Squeezeformer(**TINY, scale_bias_init="zeros")  # type: ignore[arg-type]
