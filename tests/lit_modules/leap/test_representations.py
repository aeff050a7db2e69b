import math

import numpy as np
import pytest
import torch
from torch import Tensor

from datamodules.leap.humidity import level_pressure, relative_humidity
from lit_modules.leap.representations import (
    MultiRepresentation,
    StandardColumns,
    signed_log1p,
    soft_clip_log,
    soft_clip_sqrt,
)
from tests.lit_modules.leap.columns import CH4, LIQUID, PS, Q, T, U, V, raw_columns, statistics_of

KINDS = [StandardColumns, MultiRepresentation]


@pytest.fixture
def columns() -> tuple[Tensor, Tensor]:
    return raw_columns()


@pytest.fixture
def statistics(columns: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    return statistics_of(*columns)


class TestStandardColumns:
    def test_layout_and_scaling(self, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]) -> None:
        profiles, scalars = columns
        out = StandardColumns(statistics)(profiles, scalars)
        assert out.shape == (64, 60, 25)
        assert out.dtype == torch.float32
        z = (profiles[:, U] - statistics["profile_mean"][U]) / statistics["profile_std"][U]
        torch.testing.assert_close(out[..., U], z.float())
        z_ps = (scalars[:, PS] - statistics["scalar_mean"][PS]) / statistics["scalar_std"][PS]
        for level in (0, 31, 59):
            torch.testing.assert_close(out[:, level, 9 + PS], z_ps.float())

    def test_cloud_water_of_1e_34_survives(self, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]) -> None:
        """Its square underflows float32 and its difference from the mean would vanish there."""
        out = StandardColumns(statistics)(*columns)
        torch.testing.assert_close(out[..., LIQUID].std(0, correction=0), torch.ones(60))

    def test_constant_columns_are_exactly_zero(
        self, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]
    ) -> None:
        profiles, scalars = columns
        assert statistics["profile_constant"][CH4].sum() == 33
        profiles[:, CH4, 27:] += 1e-12  # a rounding step away from the training value
        scalars[:, 3] = 4.0
        statistics |= {"scalar_std": statistics["scalar_std"].index_fill(0, torch.tensor(3), 0.0)}
        statistics |= {"scalar_constant": statistics["scalar_std"] == 0}
        out = StandardColumns(statistics)(profiles, scalars)
        assert not out[:, 27:, CH4].any()
        assert out[:, :27, CH4].all()
        assert not out[..., 9 + 3].any()

    def test_extra_channels(self, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]) -> None:
        profiles, scalars = columns
        plain = StandardColumns(statistics)(profiles, scalars)
        features = StandardColumns(statistics, relative_humidity=True, vertical_difference=True)
        out = features(profiles, scalars)
        assert out.shape[-1] == features.out_channels == 35
        torch.testing.assert_close(out[..., :25], plain, rtol=0, atol=0)
        humidity = relative_humidity(profiles[:, T], profiles[:, Q], level_pressure(scalars[:, PS]))
        assert humidity.max() > 2
        torch.testing.assert_close(out[..., 25], humidity.clamp(0, 2).float())
        assert not out[:, 0, 26:].any()
        torch.testing.assert_close(out[:, 1:, 26:], plain[:, 1:, :9] - plain[:, :-1, :9], atol=1e-5, rtol=1e-5)


class TestMultiRepresentation:
    def test_44_channels(self, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]) -> None:
        features = MultiRepresentation(statistics)
        out = features(*columns)
        assert out.shape == (64, 60, features.out_channels) == (64, 60, 44)
        assert out.dtype == torch.float32
        assert torch.isfinite(out).all()

    def test_blocks_by_hand(self) -> None:
        """Neutral statistics but for a few, one row, values placed where the formulas can be done on paper."""
        zeros, ones = np.zeros((9, 60)), np.ones((9, 60))
        statistics = {
            "profile_mean": zeros.copy(),
            "profile_std": 2 * ones,
            "profile_min": -2 * ones,  # z_min = -1
            "profile_constant": zeros.astype(bool),
            "profile_total_mean": np.full(9, 1.0),
            "profile_total_std": np.full(9, 4.0),
            "scalar_mean": np.zeros(16),
            "scalar_std": np.full(16, 0.5),
            "scalar_constant": np.zeros(16, bool),
        }
        statistics["profile_mean"][U] = 1.0
        profiles = torch.zeros(1, 9, 60, dtype=torch.float64)
        profiles[0, T, :4] = torch.tensor([6.0, -6.0, 128.0, -128.0])  # z = 3, -3, 64, -64
        profiles[0, U, 0], profiles[0, V, 0] = 3.0, -4.0
        scalars = torch.full((1, 16), 1.5, dtype=torch.float64)
        out = MultiRepresentation(statistics)(profiles, scalars)[0]
        root = 30 - math.sqrt(30)
        expected_total = [(6 - 1) / 4, (-6 - 1) / 4, 127 / 4, -129 / 4]
        expected_column = [3, -3, 8 + root, -8 - root]
        expected_log = [math.log(5), -math.log(3), math.log(66), -math.log(64)]  # b = z + 1 = 4, -2, 65, -63
        torch.testing.assert_close(out[:4, 0], torch.tensor(expected_total))
        torch.testing.assert_close(out[:4, 9], torch.tensor(expected_column))
        torch.testing.assert_close(out[:4, 18], torch.tensor(expected_log))
        assert out[0, 27].item() == pytest.approx((5 - 0.5) / 4)
        assert out[1, 27].item() == pytest.approx((0 - 0.5) / 4)
        assert (out[:, 28:] == 3.0).all()

    def test_logarithm_follows_the_write_up(
        self, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]
    ) -> None:
        """Log(a) where a = z - z_min + 1 is at least 1, else -log(2 - a)."""
        profiles, scalars = columns
        profiles = profiles - 0.1 * statistics["profile_std"]  # some below the training minimum
        out = MultiRepresentation(statistics)(profiles, scalars)
        mean, std = statistics["profile_mean"][T], statistics["profile_std"][T]
        a = (profiles[:, T] - mean) / std - (statistics["profile_min"][T] - mean) / std + 1
        assert (a < 1).any()
        expected = torch.where(a >= 1, a.clamp(min=1e-9).log(), -(2 - a).clamp(min=1e-9).log())
        torch.testing.assert_close(out[..., 18 + T], expected.float())

    def test_constant_columns_are_zero_in_blocks_that_divide_by_their_std(
        self, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]
    ) -> None:
        out = MultiRepresentation(statistics)(*columns)
        assert not out[:, 27:, 9 + CH4].any()
        assert not out[:, 27:, 18 + CH4].any()
        assert out[:, 27:, CH4].all()  # the scaling by the whole variable keeps them

    def test_everything_is_clipped_beyond_86(
        self, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]
    ) -> None:
        profiles, scalars = columns
        profiles[0, LIQUID, 0] = 1.0  # 1e35 standard deviations
        scalars[0, PS] = 1e9
        out = MultiRepresentation(statistics)(profiles, scalars)
        assert torch.isfinite(out).all()
        z = (1e9 - statistics["scalar_mean"][PS]) / statistics["scalar_std"][PS]
        assert out[0, 0, 28 + PS].item() == pytest.approx(86 + math.log(z / 86), rel=1e-6)

    def test_standard_columns_agree_below_the_clip(
        self, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]
    ) -> None:
        multi, standard = MultiRepresentation(statistics)(*columns), StandardColumns(statistics)(*columns)
        torch.testing.assert_close(multi[..., 9:18], standard[..., :9])
        torch.testing.assert_close(multi[..., 28:], standard[..., 9:])


@pytest.mark.parametrize(("clip", "limit"), [(soft_clip_sqrt, 30.0), (soft_clip_log, 86.0)])
class TestSoftClips:
    def test_identity_inside_continuous_and_odd(self, clip: object, limit: float) -> None:
        z = torch.linspace(-limit, limit, 101, dtype=torch.float64)
        assert torch.equal(clip(z), z)  # type: ignore[operator]
        edge = torch.tensor([limit, limit + 1e-9, limit * 4], dtype=torch.float64)
        inside, outside, far = clip(edge).tolist()  # type: ignore[operator]
        assert outside == pytest.approx(inside, abs=1e-8)
        assert limit < far < limit * 4
        assert torch.equal(clip(-edge), -clip(edge))  # type: ignore[operator]

    def test_values(self, clip: object, limit: float) -> None:
        z = torch.tensor([100.0, -2500.0], dtype=torch.float64)
        if limit == 30:
            expected = [10 + 30 - 30**0.5, -(50 + 30 - 30**0.5)]
        else:
            expected = [math.log(100) + 86 - math.log(86), -(math.log(2500) + 86 - math.log(86))]
        torch.testing.assert_close(clip(z), torch.tensor(expected, dtype=torch.float64))  # type: ignore[operator]

    def test_gradient_is_finite_at_zero(self, clip: object, limit: float) -> None:
        z = torch.zeros(3, requires_grad=True)
        clip(z).sum().backward()  # type: ignore[operator]
        torch.testing.assert_close(z.grad, torch.ones(3))


def test_signed_log1p_is_odd_and_smooth_at_zero() -> None:
    b = torch.tensor([-math.e + 1, -1e-9, 0.0, 1e-9, math.e - 1], dtype=torch.float64)
    torch.testing.assert_close(signed_log1p(b), torch.tensor([-1, -1e-9, 0, 1e-9, 1], dtype=torch.float64))


@pytest.mark.parametrize("kind", KINDS)
class TestStatistics:
    def test_a_checkpoint_carries_them(
        self, kind: type, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]
    ) -> None:
        fitted, empty = kind(statistics), kind()
        assert not torch.equal(fitted(*columns), empty(*columns))
        empty.load_state_dict(fitted.state_dict())
        torch.testing.assert_close(fitted(*columns), empty(*columns), rtol=0, atol=0)

    def test_they_stay_float64_in_a_half_precision_model(self, kind: type, statistics: dict[str, Tensor]) -> None:
        features = kind(statistics)
        torch.nn.ModuleDict({"features": features}).to(torch.bfloat16)
        assert features.profile_std.dtype == torch.float64
        assert torch.equal(features.profile_std, statistics["profile_std"])
        assert features.profile_constant.dtype == torch.bool

    def test_later_changes_of_the_mapping_do_not_reach_the_module(
        self, kind: type, statistics: dict[str, Tensor]
    ) -> None:
        features = kind(statistics)
        statistics["profile_mean"].zero_()
        assert features.profile_mean.any()

    def test_narrow_columns_are_refused(self, kind: type, columns: tuple[Tensor, Tensor]) -> None:
        profiles, scalars = columns
        with pytest.raises(TypeError, match="must arrive as float64"):
            kind()(profiles.float(), scalars)

    def test_a_missing_statistic_is_named(self, kind: type, statistics: dict[str, Tensor]) -> None:
        del statistics["profile_std"]
        with pytest.raises(KeyError, match="profile_std"):
            kind(statistics)

    def test_a_wrong_shape_is_named(self, kind: type, statistics: dict[str, Tensor]) -> None:
        statistics["scalar_mean"] = statistics["scalar_mean"][:15]
        with pytest.raises(ValueError, match=r"'scalar_mean' has shape \(15,\), expected \(16,\)"):
            kind(statistics)

    def test_a_nan_is_named(self, kind: type, statistics: dict[str, Tensor]) -> None:
        statistics["profile_mean"][0, 0] = torch.nan
        with pytest.raises(ValueError, match="'profile_mean' holds NaN"):
            kind(statistics)

    def test_a_zero_std_needs_its_flag(self, kind: type, statistics: dict[str, Tensor]) -> None:
        statistics["profile_std"][2, 5] = 0.0
        with pytest.raises(ValueError, match=r"profile_std is 0 at \(2, 5\)"):
            kind(statistics)
        statistics["profile_constant"][2, 5] = True
        assert torch.isfinite(kind(statistics)(*raw_columns(2))).all()

    def test_inputs_stay_as_they_were(
        self, kind: type, columns: tuple[Tensor, Tensor], statistics: dict[str, Tensor]
    ) -> None:
        before = [part.clone() for part in columns]
        kind(statistics)(*columns)
        assert all(torch.equal(a, b) for a, b in zip(before, columns, strict=True))
