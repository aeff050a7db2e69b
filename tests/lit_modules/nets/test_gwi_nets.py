from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lit_modules.nets.blocks.grid_attention import GridAttention, GridTransformer, relative_index
from lit_modules.nets.blocks.mbconv import MBConv
from lit_modules.nets.gwi_inversion import GwiFamilyNet, GwiInversion, Patches
from lit_modules.nets.inversionnet import InversionNet


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_published_sizes() -> None:
    """Counted by hand from the descriptions of the MaxViT blocks and of the OpenFWI benchmark's net."""
    with torch.device("meta"):
        assert count(MBConv(384)) == 1_497_312
        assert count(InversionNet()) == 24_409_123
    assert count(GridTransformer(384, 18)) == 1_789_164
    net = GwiInversion(blocks=1)
    assert count(net) + 27 * (1_497_312 + 1_789_164) == 92_157_680


def test_relative_index_names_offsets() -> None:
    index = relative_index(3).view(3, 3, 3, 3)
    assert index.unique().numel() == 25
    assert index[0, 0, 1, 2] == index[1, 0, 2, 2]
    assert index[0, 0, 1, 2] != index[1, 2, 0, 0]
    assert index[1, 1, 1, 1] == 12


def test_attention_equals_softmax_written_out() -> None:
    torch.manual_seed(0)
    attention = GridAttention(16, side=3, head_dim=8)
    nn.init.normal_(attention.bias)
    x = torch.randn(2, 9, 16)
    q, k, v = attention.qkv(x).view(2, 9, 3, 2, 8).unbind(2)
    expected = torch.empty(2, 9, 2, 8)
    for head in range(2):
        bias = attention.bias[relative_index(3), head].view(9, 9)
        scores = torch.einsum("bic,bjc->bij", q[:, :, head], k[:, :, head]) / 8**0.5 + bias
        expected[:, :, head] = scores.softmax(-1) @ v[:, :, head]
    torch.testing.assert_close(attention(x), attention.out(expected.flatten(2)))
    with torch.no_grad():  # by torch's fused kernel
        torch.testing.assert_close(attention(x), attention.out(expected.flatten(2)))


def test_the_running_statistics_follow_as_fast_as_they_are_told() -> None:
    x = 5 + torch.randn(64, 4, 3, 3)
    for momentum in (0.01, 0.1):
        block = MBConv(4, norm_momentum=momentum)
        block(x)
        torch.testing.assert_close(block.block[0].running_mean, momentum * x.mean((0, 2, 3)))


def test_mbconv_is_the_identity_where_its_last_layer_is_zero() -> None:
    block = MBConv(8)
    nn.init.zeros_(block.block[-1].weight)
    nn.init.zeros_(block.block[-1].bias)
    x = torch.randn(2, 8, 5, 5)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize("resize_width", [0, 144])
def test_gathers_become_maps_and_gradients_reach_every_parameter(resize_width: int) -> None:
    net = GwiInversion(dim=16, blocks=2, head_dim=8, samples=36, resize_width=resize_width)
    out = net(torch.randn(2, 5, 36, 70))
    assert out.velocity.shape == out.confidence.shape == (2, 70, 70)
    (out.velocity.sum() + out.confidence.square().sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_a_token_writes_the_cells_it_stands_over() -> None:
    """With the body left out, receivers 4 t - 1 to 4 t + 2 and their share of the time decide the cells below them."""
    net = GwiInversion(dim=16, blocks=0, head_dim=8, samples=36).eval()
    gathers = torch.randn(1, 5, 36, 70)
    changed = gathers.clone()
    changed[:, :, 10, 30] += 1  # token row 5, column (30 + 1) // 4 = 7
    rows, columns = (net(gathers).velocity != net(changed).velocity)[0].nonzero().T
    assert (rows.min(), rows.max()) == (4 * 5 - 1, 4 * 5 + 2)
    assert (columns.min(), columns.max()) == (4 * 7 - 1, 4 * 7 + 2)


@pytest.mark.parametrize("tokens", [6, 9, 12])
def test_fewer_tokens_are_as_many_larger_patches(tokens: int) -> None:
    net = GwiInversion(dim=16, blocks=1, head_dim=8, samples=36, tokens=tokens, positions=True)
    assert net.body(net.embed(torch.randn(2, 5, 36, 72))).shape == (2, tokens**2, 16)
    out = net(torch.randn(2, 5, 36, 70))
    assert out.velocity.shape == (2, 70, 70)
    out.velocity.sum().backward()
    assert net.place is not None
    assert net.place.grad is not None
    assert net.place.grad.abs().amax(0).min() > 0


def test_checkpointed_blocks_change_nothing() -> None:
    torch.manual_seed(0)
    net = GwiInversion(dim=16, blocks=2, head_dim=8, samples=36)
    x = torch.randn(2, 5, 36, 70)
    net(x).velocity.square().sum().backward()
    plain = [p.grad.clone() for p in net.parameters() if p.grad is not None]
    statistics = [b.clone() for b in net.buffers()]
    net.zero_grad()
    net.body.checkpoint_blocks = True
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
    net(x).velocity.square().sum().backward()
    torch.testing.assert_close([p.grad for p in net.parameters() if p.grad is not None], plain)
    torch.testing.assert_close(list(net.buffers()), statistics)


def test_the_head_is_float32_under_autocast() -> None:
    net = GwiInversion(dim=16, blocks=1, head_dim=8, samples=36)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert net(torch.randn(1, 5, 36, 70)).velocity.dtype == torch.float32


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="samples must be a multiple of the 18 tokens"):
        GwiInversion(dim=16, samples=1000)
    with pytest.raises(ValueError, match="tokens must divide the 72 cells of an edge, got 10"):
        GwiInversion(dim=16, tokens=10)
    with pytest.raises(ValueError, match="not divisible"):
        GridAttention(20, 18)


@pytest.mark.parametrize("samples", [288, 1000])
def test_inversionnet_gives_maps_for_any_number_of_samples(samples: int) -> None:
    out = InversionNet(samples, width=2)(torch.randn(2, 5, samples, 70))
    assert out.velocity.shape == (2, 70, 70)
    assert out.velocity.abs().max() <= 1


def test_the_family_net_learns_two_kinds_of_map() -> None:
    torch.manual_seed(0)
    net = GwiFamilyNet(dim=8, blocks=1, head_dim=8, families=2)
    flat = torch.linspace(-1, 1, 70)[:, None].expand(70, 70)
    maps, kinds = torch.stack([flat, flat.T] * 4) + 0.05 * torch.randn(8, 70, 70), torch.tensor([0, 1] * 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.01)
    for _ in range(25):
        loss = F.cross_entropy(net(maps), kinds)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1


def test_patches_by_one_product_are_the_convolution() -> None:
    torch.manual_seed(0)
    embed = Patches(3, 8, (5, 4))
    x, weights = torch.randn(2, 3, 20, 12), torch.randn(2, 8, 4, 3)
    gradients = []
    for product in (nn.Conv2d.forward(embed, x), embed(x)):
        embed.zero_grad()
        (product * weights).sum().backward()
        gradients.append((product.detach(), embed.weight.grad.clone(), embed.bias.grad.clone()))
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)
