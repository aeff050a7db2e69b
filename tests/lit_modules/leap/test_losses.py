import pytest
import torch
import torch.nn.functional as F

from datamodules.leap.schema import TARGET_NAMES
from lit_modules.leap.losses import (
    LossKind,
    error_of_loss,
    learnable_target_mask,
    masked_confidence_loss,
    pointwise_loss,
    vertical_difference_loss,
)


class TestPointwise:
    def test_by_hand(self) -> None:
        prediction, target = torch.tensor([[0.5, 3.0]]), torch.zeros(1, 2)
        assert pointwise_loss(prediction, target, "mae").item() == pytest.approx(1.75)
        assert pointwise_loss(prediction, target, "mse").item() == pytest.approx(4.625)
        assert pointwise_loss(prediction, target).item() == pytest.approx((0.125 + 2.5) / 2)
        assert pointwise_loss(prediction, target, "huber", beta=2.0).item() == pytest.approx((0.125 + 2 * 2) / 2)
        assert pointwise_loss(prediction, target, "smooth_l1", beta=2.0).item() == pytest.approx((0.0625 + 2) / 2)

    def test_equals_torch(self) -> None:
        a, b = torch.randn(4, 368), torch.randn(4, 368)
        torch.testing.assert_close(pointwise_loss(a, b), F.smooth_l1_loss(a, b))
        torch.testing.assert_close(pointwise_loss(a, b, "huber", 2.0), F.huber_loss(a, b, delta=2.0))

    def test_mask_means_over_the_kept_targets(self) -> None:
        prediction = torch.tensor([[1.0, 100.0, 3.0], [1.0, 100.0, 5.0]])
        mask = torch.tensor([True, False, True])
        assert pointwise_loss(prediction, torch.zeros(2, 3), "mae", mask=mask).item() == 2.5

    def test_half_precision_predictions_meet_float32_targets(self) -> None:
        prediction = torch.ones(2, 3, dtype=torch.bfloat16)
        loss = pointwise_loss(prediction, torch.full((2, 3), 1.001))
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(0.5e-6, rel=1e-3)

    def test_mismatched_shapes_and_unknown_names_are_errors(self) -> None:
        with pytest.raises(ValueError, match=r"shape \(2, 3\) meet targets of shape \(2, 1\)"):
            pointwise_loss(torch.zeros(2, 3), torch.zeros(2, 1))
        with pytest.raises(ValueError, match="Unknown loss 'l1'"):
            pointwise_loss(torch.zeros(2, 3), torch.zeros(2, 3), "l1")  # type: ignore[arg-type]


class TestVerticalDifference:
    def test_one_wrong_level_costs_both_its_differences(self) -> None:
        prediction, target = torch.zeros(1, 368), torch.zeros(1, 368)
        prediction[0, 60 + 30] = 1.0  # inside q0001
        first = vertical_difference_loss(prediction, target, kind="mae")
        assert first.item() == pytest.approx(2 / (6 * 59))
        second = vertical_difference_loss(prediction, target, order=2, kind="mae")
        assert second.item() == pytest.approx((1 + 2 + 1) / (6 * 58))

    def test_a_shifted_profile_costs_nothing_nor_does_a_border_between_variables(self) -> None:
        prediction = torch.zeros(2, 368)
        prediction[:, :60], prediction[:, 60:120], prediction[:, 360:] = 5.0, -3.0, 7.0
        assert vertical_difference_loss(prediction, torch.zeros(2, 368)) == 0

    def test_differences_are_those_of_prediction_and_target(self) -> None:
        p, y = torch.randn(3, 368), torch.randn(3, 368)
        dp, dy = (v[:, :360].reshape(3, 6, 60).diff(dim=-1) for v in (p, y))
        torch.testing.assert_close(
            vertical_difference_loss(p, y, kind="huber", beta=2.0), F.huber_loss(dp, dy, delta=2.0)
        )

    def test_mask_drops_differences_that_touch_a_masked_level(self) -> None:
        prediction = torch.zeros(1, 368)
        prediction[0, 60 + 11] = 1.0  # the last ablated level of q0001
        mask = learnable_target_mask()
        assert vertical_difference_loss(prediction, torch.zeros(1, 368), mask=mask) == 0
        prediction[0, 60 + 12] = 1.0  # the first learnable level: its upper difference is masked, its lower one is not
        loss = vertical_difference_loss(prediction, torch.zeros(1, 368), kind="mae", mask=mask)
        kept = 59 + 47 + 31 + 3 * 47  # t; q0001; q0002 from level 28; q0003, u, v
        assert loss.item() == pytest.approx(1 / kept)


class TestConfidence:
    def test_by_hand(self) -> None:
        prediction = torch.tensor([[1.0, 5.0, 9.0]])
        confidence = torch.tensor([[0.25, 7.0, 4.0]])
        target = torch.tensor([[2.0, 5.0, 0.0]])
        mask = torch.tensor([True, True, False])
        # l = 1, 0, 0; c = 0.75, 7, 0; the masked target counts in the mean
        assert masked_confidence_loss(prediction, confidence, target, mask).item() == pytest.approx((1.75 + 7) / 3)
        assert masked_confidence_loss(prediction, None, target, mask).item() == pytest.approx(1 / 3)

    def test_detached_confidence_leaves_the_prediction_s_gradient_alone(self) -> None:
        prediction = torch.zeros(1, 2, requires_grad=True)
        confidence = torch.zeros(1, 2, requires_grad=True)
        target, mask = torch.full((1, 2), 2.0), torch.ones(2)

        def gradients(detach: bool) -> list[float]:
            loss = masked_confidence_loss(prediction, confidence, target, mask, detach=detach)
            p, c = torch.autograd.grad(loss, [prediction, confidence])
            return [p[0, 0].item(), c[0, 0].item()]

        assert gradients(detach=True) == [-0.5, -0.5]
        assert gradients(detach=False) == [-1.0, -0.5]

    def test_a_perfect_confidence_costs_nothing(self) -> None:
        prediction, target = torch.randn(4, 374), torch.randn(4, 374)
        mask = learnable_target_mask(n_aux=6)
        with_confidence = masked_confidence_loss(prediction, (prediction - target).abs(), target, mask)
        torch.testing.assert_close(with_confidence, masked_confidence_loss(prediction, None, target, mask))


def test_learnable_targets() -> None:
    mask = learnable_target_mask(n_aux=6)
    assert mask.shape == (374,)
    assert mask[368:].all()
    masked = {name for name, learnable in zip(TARGET_NAMES, mask[:368].tolist(), strict=True) if not learnable}
    assert len(masked) == 60 + 16
    assert {"ptend_q0001_0", "ptend_v_11", "ptend_q0002_12", "ptend_q0002_27"} <= masked
    assert not {"ptend_t_0", "ptend_q0001_12", "ptend_q0002_28", "cam_out_PRECC"} & masked


@pytest.mark.parametrize("kind", ["smooth_l1", "huber", "mae", "mse"])
@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0])
def test_an_error_is_found_again_from_its_loss(kind: LossKind, beta: float) -> None:
    errors = torch.tensor([[0.0, 0.1, 0.4, 0.5, 0.9, 1.0, 1.9, 2.0, 7.0]], dtype=torch.float64)
    losses = torch.stack([pointwise_loss(e[None, None], torch.zeros(1, 1), kind, beta) for e in errors[0]])
    assert torch.allclose(error_of_loss(losses, kind, beta), errors[0])
    assert error_of_loss(torch.tensor([-3.0]), kind, beta) == 0


def test_a_confidence_that_learns_the_loss_is_the_papers() -> None:
    """Mean of h + Huber(c - h), h without a gradient from the second term."""
    prediction = torch.tensor([[0.5, 3.0]], requires_grad=True)
    confidence = torch.tensor([[0.125, 0.5]], requires_grad=True)
    loss = masked_confidence_loss(prediction, confidence, torch.zeros(1, 2), kind="huber", learns="loss")
    loss.backward()
    # h = .125, 2.5; c - h = 0, -2, whose Huber losses are 0 and 1.5
    assert float(loss) == pytest.approx((0.125 + 2.5 + 1.5) / 2)
    assert prediction.grad is not None
    assert prediction.grad.tolist() == [[0.25, 0.5]]
    assert confidence.grad is not None
    assert confidence.grad.tolist() == [[0.0, -0.5]]
