"""What every net over the levels must do, whatever its blocks; nets of lit_modules/nets/{recurrent,recurrent_hybrids,squeezeformer}.py."""

import pytest
import torch
from torch import Tensor, nn

from lit_modules.nets.recurrent import (
    BiGRU,
    BiLSTM,
    BiLSTMAttention,
    BiLSTMCNN,
    BiLSTMTCN,
    BiLSTMTransformer,
)
from lit_modules.nets.recurrent_hybrids import (
    BiGRUTransformer,
    LSTMGRUTransformer,
    ResLSTMAttention,
    TCNAttention,
    TransformerLSTM,
)
from lit_modules.nets.squeezeformer import Squeezeformer

TINY = {"hidden": 8, "layers": 2}
TINY_NETS = {
    "bilstm": lambda: BiLSTM(**TINY),
    "bigru": lambda: BiGRU(**TINY),
    "bilstm_transformer": lambda: BiLSTMTransformer(**TINY, feedforward=32),
    "bilstm_attention": lambda: BiLSTMAttention(**TINY),
    "bilstm_tcn": lambda: BiLSTMTCN(**TINY),
    "bilstm_cnn": lambda: BiLSTMCNN(**TINY),
    "bigru_transformer": lambda: BiGRUTransformer(**TINY, feedforward=32),
    "lstm_gru_transformer": lambda: LSTMGRUTransformer(**TINY, feedforward=32),
    "transformer_lstm": lambda: TransformerLSTM(**TINY, feedforward=32),
    "reslstm_attention": lambda: ResLSTMAttention(**TINY),
    "tcn_attention": lambda: TCNAttention(**TINY),
    "squeezeformer": lambda: Squeezeformer(in_channels=25, dim=16, head=32, blocks=2, n_aux=0),
    "squeezeformer_checkpointed": lambda: Squeezeformer(
        in_channels=25, dim=16, head=32, blocks=1, n_aux=0, scale_bias_init="glorot", checkpoint_blocks=True
    ),
}
BATCH_AXIS_NETS = {
    "bilstm_transformer": lambda: BiLSTMTransformer(**TINY, feedforward=32, attention_axis="batch"),
    "bilstm_attention": lambda: BiLSTMAttention(**TINY, attention_axis="batch"),
    "bigru_transformer": lambda: BiGRUTransformer(**TINY, feedforward=32, attention_axis="batch"),
    "lstm_gru_transformer": lambda: LSTMGRUTransformer(**TINY, feedforward=32, attention_axis="batch"),
    "transformer_lstm": lambda: TransformerLSTM(**TINY, feedforward=32, attention_axis="batch"),
    "reslstm_attention": lambda: ResLSTMAttention(**TINY, attention_axis="batch"),
}


def parts(output: Tensor | tuple[Tensor, Tensor | None]) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else [part for part in output if part is not None]


@pytest.fixture(params=TINY_NETS)
def net(request: pytest.FixtureRequest) -> nn.Module:
    torch.manual_seed(0)
    return TINY_NETS[request.param]()


def test_gives_368_targets_per_row(net: nn.Module) -> None:
    assert {tuple(part.shape) for part in parts(net(torch.randn(3, 60, 25)))} == {(3, 368)}


def test_a_row_does_not_depend_on_its_batch(net: nn.Module) -> None:
    x = torch.randn(5, 60, 25)
    net.train()(x)  # BatchNorm statistics that are not the initial ones
    net.eval()
    with torch.no_grad():
        together = parts(net(x))
        alone = parts(net(x[3:4]))
    for whole, row in zip(together, alone, strict=True):
        torch.testing.assert_close(whole[3], row[0], rtol=1e-5, atol=1e-5)


def test_every_parameter_gets_a_gradient(net: nn.Module) -> None:
    sum(part.square().sum() for part in parts(net(torch.randn(4, 60, 25)))).backward()
    silent = [name for name, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    # a key's bias shifts all logits of a softmax alike; the joint bias of q, k and v still gets the others' gradient
    assert silent == []


def test_one_bf16_step_is_finite(net: nn.Module) -> None:
    optimiser = torch.optim.AdamW(net.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = sum(part.float().square().mean() for part in parts(net(torch.randn(4, 60, 25))))
    loss.backward()
    optimiser.step()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p).all() for p in net.parameters())


def test_state_survives_a_round_trip(net: nn.Module, request: pytest.FixtureRequest) -> None:
    x = torch.randn(2, 60, 25)
    net.train()(x)
    torch.manual_seed(1)
    twin = TINY_NETS[request.node.callspec.params["net"]]()
    twin.load_state_dict(net.state_dict())
    for a, b in zip(parts(net.eval()(x)), parts(twin.eval()(x)), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)
