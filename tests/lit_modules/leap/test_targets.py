from __future__ import annotations

import numpy as np
import torch

from datamodules.leap.schema import N_TARGETS, PROFILES, PTEND_TRICK_TARGETS, TARGET_GROUPS, zero_weight_mask
from datamodules.leap.statistics import Moments, target_statistics
from lit_modules.leap.targets import TargetScaler, postprocess


def physical_targets(rows: int = 200) -> np.ndarray:
    rng = np.random.default_rng(0)
    spread = 10.0 ** rng.uniform(-58, 2, N_TARGETS)
    values = rng.normal(size=(rows, N_TARGETS)) * spread + spread * 3
    values[:, zero_weight_mask()] = 0.0
    return values


def scaler(values: np.ndarray) -> TargetScaler:
    return TargetScaler(target_statistics(Moments.of(values)))


def test_decode_undoes_encode() -> None:
    values = physical_targets()
    values[:, 135] = np.random.default_rng(1).normal(size=200) * 1e-12  # no floor in the way
    own = scaler(values)
    ordinary = own.target_std.numpy() > 1e-14
    back = own.decode(own.encode(torch.from_numpy(values))).numpy()
    spread = values.std(axis=0)
    np.testing.assert_allclose(((back - values) / np.where(spread > 0, spread, 1))[:, ordinary], 0, atol=1e-5)
    assert (back[:, zero_weight_mask()] == 0).all()


def test_the_net_sees_what_the_source_showed_it() -> None:
    values = physical_targets()
    own = scaler(values)
    z = own.encode(torch.from_numpy(values)).numpy()
    weight = np.where(zero_weight_mask(), 0, 1 / np.maximum(values.std(axis=0, ddof=1), 1e-15))
    weighted = values * weight
    reference = (weighted - weighted.mean(axis=0)) / np.maximum(np.sqrt((weighted**2).mean(axis=0)), 1e-8)
    np.testing.assert_allclose(z, reference, rtol=1e-5, atol=1e-5)
    assert z.dtype == np.float32


def test_buffers_stay_float64_when_a_model_is_halved() -> None:
    own = scaler(physical_targets()).half()
    assert own.target_weight.dtype == torch.float64
    restored = TargetScaler()
    restored.load_state_dict(own.state_dict())
    assert torch.equal(restored.target_std, own.target_std)


def test_postprocessing_by_hand() -> None:
    profiles = torch.zeros(2, 9, 60, dtype=torch.float64)
    profiles[0, PROFILES.index("state_q0002"), 12] = 1.2e-50
    profiles[1, PROFILES.index("state_q0001"), 40] = 6e-3
    physical = torch.full((2, N_TARGETS), -1e-4, dtype=torch.float64)
    out = postprocess(physical.clone(), profiles)
    assert out[0, PTEND_TRICK_TARGETS[0]] == -1.2e-50 / 1200
    assert (out[:, torch.from_numpy(zero_weight_mask())] == 0).all()
    assert out[1, TARGET_GROUPS["q0001"].start + 40] == -1e-4
    clamped = postprocess(physical.clone(), profiles, clamp_water=True)
    assert clamped[1, TARGET_GROUPS["q0001"].start + 40] == -6e-3 / 1200
    assert clamped[0, TARGET_GROUPS["q0001"].start + 40] == 0  # no vapour, no loss
    assert clamped[0, TARGET_GROUPS["t"].start + 40] == -1e-4
    assert clamped[0, PTEND_TRICK_TARGETS[0]] == -1.2e-50 / 1200
