"""What every net over the levels must do, whatever its blocks; nets of lit_modules/nets/{recurrent,squeezeformer}.py."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from lit_modules.leap import settings
from lit_modules.leap.settings import LeapModel
from lit_modules.leap.task import build_net
from lit_modules.nets.squeezeformer import Squeezeformer

WIDTHS = {"hidden": 8, "layers": 2}
ENCODER = {**WIDTHS, "feedforward": 32}
RECURRENT: dict[str, LeapModel] = {
    "bilstm": settings.BiLSTM(**WIDTHS),
    "bigru": settings.BiGRU(**WIDTHS),
    "bilstm_transformer": settings.BiLSTMTransformer(**ENCODER),
    "bilstm_attention": settings.BiLSTMAttention(**WIDTHS),
    "bilstm_tcn": settings.BiLSTMTCN(**WIDTHS),
    "bilstm_cnn": settings.BiLSTMCNN(**WIDTHS),
    "bigru_transformer": settings.BiGRUTransformer(**ENCODER),
    "lstm_gru_transformer": settings.LSTMGRUTransformer(**ENCODER),
    "transformer_lstm": settings.TransformerLSTM(**ENCODER),
    "reslstm_attention": settings.ResLSTMAttention(**WIDTHS),
    "tcn_attention": settings.TCNAttention(**WIDTHS),
}
TINY_NETS: dict[str, Callable[[], nn.Module]] = {
    **{name: partial(build_net, model, 25) for name, model in RECURRENT.items()},
    "squeezeformer": lambda: Squeezeformer(in_channels=25, dim=16, head=32, blocks=2, n_aux=0),
    "squeezeformer_checkpointed": lambda: Squeezeformer(
        in_channels=25, dim=16, head=32, blocks=1, n_aux=0, scale_bias_init="glorot", checkpoint_blocks=True
    ),
}
BATCH_AXIS_NETS: dict[str, Callable[[], nn.Module]] = {
    name: partial(build_net, replace(model, attention_axis="batch"), 25)
    for name, model in RECURRENT.items()
    if hasattr(model, "attention_axis")
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
