"""Squeeze-excite, ECA, GLU and ScaleBias against computations by hand."""

import pytest
import torch
import torch.nn.functional as F

from lit_modules.nets.blocks.eca import ECA
from lit_modules.nets.blocks.glu import GLUMlp, glu
from lit_modules.nets.blocks.scale_bias import ScaleBias
from lit_modules.nets.blocks.se import SEGate
from lit_modules.nets.blocks.tcn import ResidualTCNBlock


def test_eca_gates_channels_by_their_neighbours() -> None:
    eca = ECA(kernel_size=3)
    eca.conv.weight.data = torch.tensor([[[1.0, 2.0, 4.0]]])
    x = torch.tensor([[[1.0, 0.0, -1.0, 3.0], [3.0, 0.0, -3.0, 5.0]]])  # level means 2, 0, -2, 4
    logits = torch.tensor([2 * 2.0 + 4 * 0, 2.0 + 2 * 0 + 4 * -2, 0 + 2 * -2.0 + 4 * 4, -2.0 + 2 * 4])
    torch.testing.assert_close(eca(x), x * torch.sigmoid(logits))


def test_eca_keeps_levels_in_proportion() -> None:
    x = torch.rand(2, 60, 8) + 1
    ratio = ECA()(x) / x
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio))


def test_se_gate_is_the_gate_of_the_mean() -> None:
    gate = SEGate(channels=8)
    assert gate.gate[0].out_features == 2
    x = torch.randn(3, 60, 8)
    hidden = F.gelu(F.linear(x.mean(1), gate.gate[0].weight, gate.gate[0].bias))
    weights = torch.sigmoid(F.linear(hidden, gate.gate[2].weight, gate.gate[2].bias))
    torch.testing.assert_close(gate(x), x * weights[:, None])


def test_glu_multiplies_the_first_half_by_the_swished_second() -> None:
    x = torch.tensor([2.0, 3.0, 1.0, -1.0])
    sigmoid = torch.sigmoid(torch.tensor([1.0, -1.0]))
    torch.testing.assert_close(glu(x), torch.tensor([2.0 * 1.0, 3.0 * -1.0]) * sigmoid)


def test_glu_mlp_widths() -> None:
    mlp = GLUMlp(6, 8, 5)
    assert mlp.project.in_features == 4
    assert mlp(torch.randn(2, 3, 6)).shape == (2, 3, 5)


def test_scale_bias() -> None:
    layer = ScaleBias(3)
    x = torch.randn(2, 4, 3)
    assert torch.equal(layer(x), x)
    layer.scale.data = torch.tensor([1.0, 2.0, 3.0])
    layer.bias.data = torch.tensor([0.0, 1.0, -1.0])
    torch.testing.assert_close(layer(x), x * layer.scale + layer.bias)


@pytest.mark.parametrize("in_channels", [4, 3])
def test_residual_tcn_block_passes_its_input_on(in_channels: int) -> None:
    block = ResidualTCNBlock(in_channels, 4, dilation=2).eval()
    torch.nn.init.zeros_(block.norm2.weight)
    torch.nn.init.zeros_(block.norm2.bias)
    x = torch.randn(2, 60, in_channels)
    torch.testing.assert_close(block(x), F.gelu(block.residual(x)))
