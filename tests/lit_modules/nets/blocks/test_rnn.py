import pytest
import torch
from torch import nn

from lit_modules.nets.blocks.rnn import BidirectionalRNN


@pytest.mark.parametrize(("cell", "reference"), [("lstm", nn.LSTM), ("gru", nn.GRU)])
def test_is_torch_s_stack(cell: str, reference: type[nn.RNNBase]) -> None:
    body = BidirectionalRNN(25, 8, layers=3, dropout=0.1, cell=cell)
    theirs = reference(25, 8, num_layers=3, batch_first=True, bidirectional=True, dropout=0.1)
    theirs.load_state_dict(body.rnn.state_dict())
    x = torch.randn(2, 60, 25)
    out = body.eval()(x)
    torch.testing.assert_close(out, theirs.eval()(x)[0])
    assert out.shape == (2, 60, 16)
    assert out.is_contiguous()


def test_one_layer_has_no_layer_to_drop_out_after(recwarn: pytest.WarningsRecorder) -> None:
    assert BidirectionalRNN(25, 8, layers=1, dropout=0.1).rnn.dropout == 0
    assert not recwarn
