import torch
import torch.nn.functional as F
from torch import nn

from lit_modules.nets.blocks.attention import AttentionOverAxis, SelfAttention, attend
from lit_modules.nets.blocks.transformer import EncoderLayer


def copy_attention(source: nn.MultiheadAttention, ours: SelfAttention) -> None:
    ours.qkv.weight.data.copy_(source.in_proj_weight)
    ours.qkv.bias.data.copy_(source.in_proj_bias)
    ours.out.load_state_dict(source.out_proj.state_dict())


def test_computes_what_torch_computes() -> None:
    torch.manual_seed(0)
    reference = nn.MultiheadAttention(16, 4, batch_first=True)
    nn.init.normal_(reference.in_proj_bias)
    ours = SelfAttention(16, 4)
    copy_attention(reference, ours)
    x = torch.randn(3, 7, 16)
    torch.testing.assert_close(ours(x), reference(x, x, x)[0])


def test_starts_from_torch_s_distribution() -> None:
    torch.manual_seed(0)
    reference, ours = nn.MultiheadAttention(128, 4), SelfAttention(128, 4)
    assert abs(reference.in_proj_weight.std() / ours.qkv.weight.std() - 1) < 0.05
    assert abs(reference.out_proj.weight.std() / ours.out.weight.std() - 1) < 0.05
    assert not ours.qkv.bias.any()
    assert not ours.out.bias.any()


def test_plain_products_in_half_precision_agree_with_the_fused_kernel() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 2, 4, 60, 16).bfloat16().unbind(0)
    torch.testing.assert_close(attend(q, k, v), F.scaled_dot_product_attention(q, k, v), rtol=0.03, atol=0.03)


def test_dropout_keeps_the_mean() -> None:
    torch.manual_seed(0)
    q, k, v = torch.randn(3, 1, 1, 5, 4).unbind(0)
    many = attend(*(part.expand(20_000, 1, 5, 4) for part in (q, k, v)), dropout=0.2)
    assert many[0].ne(many[1]).any()
    torch.testing.assert_close(many.mean(0, keepdim=True), attend(q, k, v), rtol=0, atol=0.02)


def test_encoder_layer_computes_what_torch_computes() -> None:
    torch.manual_seed(0)
    reference = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
    ours = EncoderLayer(16, 4, 32)
    copy_attention(reference.self_attn, ours.attention)
    for mine, theirs in (("norm1", "norm1"), ("norm2", "norm2"), ("expand", "linear1"), ("project", "linear2")):
        getattr(ours, mine).load_state_dict(getattr(reference, theirs).state_dict())
    x = torch.randn(3, 7, 16)
    torch.testing.assert_close(ours.eval()(x), reference.eval()(x), rtol=1e-4, atol=1e-5)


def test_batch_axis_attends_over_the_rows() -> None:
    torch.manual_seed(0)
    attention = SelfAttention(8, 2)
    x = torch.randn(5, 7, 8)
    over_batch = AttentionOverAxis(attention, "batch").train()(x)
    for level in range(7):
        torch.testing.assert_close(over_batch[:, level], attention(x[None, :, level])[0])
