import pytest
import torch
from torch import nn

from lit_modules.nets.recurrent_hybrids import (
    BiGRUTransformer,
    LSTMGRUTransformer,
    ResLSTMAttention,
    TCNAttention,
    TransformerLSTM,
)

# Totals counted in the source's scripts, and the linear layer among them that no forward pass uses.
UNUSED_LINEAR = 512 * 25 + 25
UNUSED_LINEAR_TCN = 256 * 25 + 25


@pytest.mark.parametrize(
    ("build", "used"),
    [
        (BiGRUTransformer, 9_783_591 - UNUSED_LINEAR),
        (LSTMGRUTransformer, 18_247_975 - UNUSED_LINEAR),
        (TransformerLSTM, 8_854_476 - UNUSED_LINEAR),
        (ResLSTMAttention, 11_426_087 - UNUSED_LINEAR),
        (TCNAttention, 2_537_383 - UNUSED_LINEAR_TCN),
    ],
)
def test_parameter_counts_of_the_scripts(build: type[nn.Module], used: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build().parameters()) == used


def test_the_sum_weighs_lstm_and_gru() -> None:
    net = LSTMGRUTransformer(hidden=4, layers=1, heads=1, feedforward=8).eval()
    x = torch.randn(2, 60, 25)
    expected = 0.6 * net.body.lstm(x) + 0.4 * net.body.gru(x)
    torch.testing.assert_close(net.body(x), expected)


def test_width_and_heads_that_do_not_fit_are_named() -> None:
    with pytest.raises(ValueError, match="width 26 is not divisible by its 5 heads"):
        TransformerLSTM(in_channels=26, hidden=8, layers=1)
