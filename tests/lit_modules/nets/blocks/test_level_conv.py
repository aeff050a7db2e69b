import copy

import pytest
import torch
from torch import nn

from lit_modules.nets.blocks.level_conv import LevelBatchNorm, LevelConv


@pytest.mark.parametrize(("kernel_size", "dilation", "groups"), [(3, 1, 1), (3, 8, 1), (15, 1, 12), (5, 2, 4)])
@pytest.mark.parametrize("contiguous", [True, False])
def test_convolves_as_conv1d_does(kernel_size: int, dilation: int, groups: int, contiguous: bool) -> None:
    torch.manual_seed(0)
    ours = LevelConv(12, 12, kernel_size, dilation, groups)
    reference = nn.Conv1d(12, 12, kernel_size, padding="same", dilation=dilation, groups=groups)
    reference.load_state_dict(ours.state_dict())
    x = torch.randn(2, 60, 12) if contiguous else torch.randn(60, 2, 12).transpose(0, 1)
    torch.testing.assert_close(ours(x), reference(x.transpose(1, 2)).transpose(1, 2))


def test_one_row_and_one_channel_are_no_special_case() -> None:
    conv = LevelConv(1, 1, 3)
    reference = nn.Conv1d(1, 1, 3, padding=1)
    reference.load_state_dict(conv.state_dict())
    x = torch.randn(1, 4, 1)
    torch.testing.assert_close(conv(x), reference(x.transpose(1, 2)).transpose(1, 2))


def test_sequences_stay_in_memory_order() -> None:
    assert LevelConv(8, 8, 3)(torch.randn(4, 60, 8)).is_contiguous()


def test_an_even_kernel_is_an_error() -> None:
    with pytest.raises(ValueError, match="kernel_size must be odd"):
        LevelConv(4, 4, 2)


def test_batch_norm_pools_rows_and_levels() -> None:
    ours, reference = LevelBatchNorm(6), nn.BatchNorm1d(6)
    x = torch.randn(4, 60, 6) * 3 + 1
    torch.testing.assert_close(ours(x), reference(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(ours.norm.running_mean, reference.running_mean)
    torch.testing.assert_close(ours.norm.running_var, reference.running_var)
    torch.testing.assert_close(ours.eval()(x), reference.eval()(x.transpose(1, 2)).transpose(1, 2))


def test_batch_norm_becomes_a_synchronised_one() -> None:
    """Lightning's ``sync_batchnorm`` converts by type; the converted layer must still read (batch, levels, channels)."""
    plain = nn.Sequential(LevelBatchNorm(6))
    converted = nn.SyncBatchNorm.convert_sync_batchnorm(copy.deepcopy(plain))
    assert isinstance(converted[0].norm, nn.SyncBatchNorm)
    x = torch.randn(4, 60, 6)
    torch.testing.assert_close(converted(x), plain(x))
