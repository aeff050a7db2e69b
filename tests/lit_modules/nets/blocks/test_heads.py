import math

import torch

from lit_modules.nets.blocks.heads import MLPHead, sequence_to_targets


def test_variable_major_order_by_hand() -> None:
    """Two level channels and one column channel on three levels."""
    x = torch.tensor([[[1.0, 10.0, 100.0], [2.0, 20.0, 200.0], [3.0, 30.0, 600.0]]])
    assert sequence_to_targets(x, n_level_channels=2).tolist() == [[1, 2, 3, 10, 20, 30, 300]]


def test_leap_layout() -> None:
    x = torch.zeros(1, 60, 14)
    x[0, 5, 3] = 7.0  # q0003 at level 5
    x[0, :, 6 + 2] = 4.0  # third flux
    targets = sequence_to_targets(x)
    assert targets.shape == (1, 368)
    assert targets[0, 3 * 60 + 5] == 7
    assert targets[0, 362] == 4
    assert targets.count_nonzero() == 2


def test_mlp_head_starts_with_kaiming_normal_weights() -> None:
    torch.manual_seed(0)
    head = MLPHead(512, 14)
    shapes = [tuple(layer.weight.shape) for layer in head if isinstance(layer, torch.nn.Linear)]
    assert shapes == [(256, 512), (512, 256), (14, 512)]
    for layer in head:
        if isinstance(layer, torch.nn.Linear):
            expected = math.sqrt(2 / layer.in_features)
            assert abs(layer.weight.std().item() / expected - 1) < 0.05
            assert layer.weight.abs().max() > 2.5 * expected  # normal, not uniform


def test_mlp_head_begins_with_an_activation() -> None:
    """The recurrent body ends without one."""
    assert isinstance(MLPHead(8, 3)[0], torch.nn.GELU)
