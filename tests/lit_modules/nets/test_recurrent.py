from typing import Literal

import pytest
import torch
from torch import nn

from lit_modules.leap.settings import (
    BiGRU,
    BiGRUTransformer,
    BiLSTM,
    BiLSTMAttention,
    BiLSTMCNN,
    BiLSTMTCN,
    BiLSTMTransformer,
    LeapModel,
    LSTMGRUTransformer,
    ResLSTMAttention,
    TCNAttention,
    TransformerLSTM,
)
from lit_modules.leap.task import build_net
from lit_modules.nets import recurrent
from lit_modules.nets.blocks.attention import batch_axis_evaluation
from tests.lit_modules.nets.test_column_nets import BATCH_AXIS_NETS

# a linear layer in the source's scripts that no forward pass uses
UNUSED_LINEAR = 512 * 25 + 25
UNUSED_LINEAR_TCN = 256 * 25 + 25


@pytest.mark.parametrize(
    ("model", "counted"),
    [
        (BiLSTM, 8_734_478),  # the write-up's counts
        (BiGRU, 8_983_822),
        (BiLSTMTransformer, 11_886_862),
        (BiLSTMAttention, 9_785_102),
        (BiLSTMTCN, 11_755_150),
        (BiLSTMCNN, 10_179_214),
        (BiGRUTransformer, 9_783_591 - UNUSED_LINEAR),  # counted in the scripts
        (LSTMGRUTransformer, 18_247_975 - UNUSED_LINEAR),
        (TransformerLSTM, 8_854_476 - UNUSED_LINEAR),
        (ResLSTMAttention, 11_426_087 - UNUSED_LINEAR),
        (TCNAttention, 2_537_383 - UNUSED_LINEAR_TCN),
    ],
)
def test_parameter_counts(model: type[LeapModel], counted: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build_net(model(), 25).parameters()) == counted


def test_the_sum_weighs_lstm_and_gru() -> None:
    net = build_net(LSTMGRUTransformer(hidden=4, layers=1, heads=1, feedforward=8), 25).eval()
    x = torch.randn(2, 60, 25)
    expected = 0.6 * net.body.lstm(x) + 0.4 * net.body.gru(x)
    torch.testing.assert_close(net.body(x), expected)


def test_width_and_heads_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="width 26 is not divisible by its 5 heads"):
        build_net(TransformerLSTM(hidden=8, layers=1), 26)


@pytest.fixture(params=BATCH_AXIS_NETS)
def batch_axis_net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return BATCH_AXIS_NETS[request.param]()


def test_batch_axis_attention_is_refused_in_prediction(batch_axis_net: nn.Module) -> None:
    x = torch.randn(2, 60, 25)
    batch_axis_net.train()(x)
    with pytest.raises(RuntimeError, match=r"attention_axis='batch'.*refused for prediction"):
        batch_axis_net.eval()(x)


def test_batch_axis_attention_validates_only_where_it_is_allowed(batch_axis_net: nn.Module) -> None:
    x = torch.randn(3, 60, 25)
    batch_axis_net.eval()
    with torch.no_grad(), batch_axis_evaluation(batch_axis_net):
        together, alone = batch_axis_net(x), batch_axis_net(x[:1])
    assert not torch.allclose(together[0], alone[0], rtol=1e-4)  # the quirk itself
    with pytest.raises(RuntimeError, match="refused"):
        batch_axis_net(x)


def test_permission_ends_with_an_error_too() -> None:
    net = build_net(BiLSTMAttention(hidden=8, layers=1, attention_axis="batch"), 25).eval()
    with pytest.raises(ZeroDivisionError), batch_axis_evaluation(net):
        raise ZeroDivisionError
    with pytest.raises(RuntimeError, match="refused"):
        net(torch.randn(2, 60, 25))


def test_an_unknown_axis_is_an_error() -> None:
    with pytest.raises(ValueError, match="'level' or 'batch', got 'time'"):
        recurrent.BiLSTMAttention(in_channels=25, hidden=8, layers=1, dropout=0.0, attention_axis="time")


@pytest.mark.parametrize("axis", ["level", "batch"])
def test_a_residual_passes_by_the_attention(axis: Literal["level", "batch"]) -> None:
    net = build_net(BiLSTMAttention(hidden=8, layers=1, attention_axis=axis, attention_residual=True), 25).train()
    neck = net.neck.attention
    torch.nn.init.zeros_(neck.attention.out.weight)  # attention says nothing
    x = torch.randn(2, 60, 16)
    torch.testing.assert_close(net.neck(x), torch.nn.functional.layer_norm(x, (16,)))


def test_both_ends_of_the_column_reach_every_level() -> None:
    """Bidirectional: the surface influences the model top and the other way round."""
    torch.manual_seed(0)
    net = build_net(BiLSTM(hidden=8, layers=1, dropout=0.0), 25).eval()
    x = torch.randn(1, 60, 25, requires_grad=True)
    net.head(net.body(x))[0, 0].sum().backward()
    assert x.grad is not None
    assert (x.grad[0].abs().sum(dim=1) > 0).all()


def test_dropout_and_widths_reach_the_layers() -> None:
    sizes = {"hidden": 4, "layers": 3, "dropout": 0.25, "dilations": (1, 2)}
    net = recurrent.BiLSTMTCN(in_channels=26, n_level_targets=2, n_scalar_targets=1, **sizes)
    assert net.body.rnn.dropout == net.head[0].p == 0.25
    assert net.body.rnn.num_layers == 3
    assert net(torch.randn(2, 30, 26)).shape == (2, 2 * 30 + 1)
