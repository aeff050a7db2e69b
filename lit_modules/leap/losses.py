"""Losses of the LEAP solutions, on scaled targets (batch, 368) or, with the auxiliary ones, (batch, 374).

The difference between prediction and target is taken in float32 at least, also under autocast.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from datamodules.leap.schema import (
    LEVELS,
    N_TARGETS,
    PTEND_TRICK_TARGETS,
    TARGET_GROUPS,
    TENDENCIES,
    zero_weight_mask,
)

LossKind = Literal["smooth_l1", "huber", "mae", "mse"]


def learnable_target_mask(n_aux: int = 0) -> Tensor:
    """Targets a net can learn: boolean (368 + n_aux,).

    False for the 60 targets that the judge weighs 0 and for those that post-processing computes from the state
    (``schema.PTEND_TRICK_TARGETS``); auxiliary targets are always learnt.

    Args:
        n_aux: Number of auxiliary targets at the end.
    """
    mask = ~torch.from_numpy(zero_weight_mask())
    mask[torch.from_numpy(PTEND_TRICK_TARGETS)] = False
    return torch.cat([mask, torch.ones(n_aux, dtype=torch.bool)])


def group_mask(groups: Sequence[str]) -> Tensor:
    """Targets of some variable groups: boolean (368,).

    Args:
        groups: Keys of ``schema.TARGET_GROUPS``.
    """
    mask = torch.zeros(N_TARGETS, dtype=torch.bool)
    for name in groups:
        mask[TARGET_GROUPS[name]] = True
    return mask


def pointwise_loss(
    prediction: Tensor, target: Tensor, kind: LossKind = "smooth_l1", beta: float = 1.0, mask: Tensor | None = None
) -> Tensor:
    """Mean loss over rows and targets.

    SmoothL1 with beta 1 is the 8th place's (jackhuntcn: +.005 to .008 R2 over MSE); Huber with delta 2 the 3rd's; MAE the
    1st's; MSE the finishing stage of the 7th (nocchi1: +.002). SmoothL1 is Huber divided by ``beta``.

    Args:
        prediction: (batch, targets).
        target: (batch, targets).
        kind: Loss of one value.
        beta: Error where SmoothL1 and Huber (there called delta) turn from quadratic to linear; the others ignore it.
        mask: Boolean (targets,); the mean is over the targets where it is True. All by default.

    Returns:
        Scalar.
    """
    loss = _error_loss(_error(prediction, target), kind, beta)
    return loss.mean() if mask is None else _masked_mean(loss, mask.to(loss.device))


def vertical_difference_loss(
    prediction: Tensor,
    target: Tensor,
    order: Literal[1, 2] = 1,
    kind: LossKind = "smooth_l1",
    beta: float = 1.0,
    mask: Tensor | None = None,
    n_profiles: int = len(TENDENCIES),
) -> Tensor:
    """Loss of the first or second differences along the levels of the six tendencies.

    It asks for the right shape of a profile and not for the right values alone. The 2nd place (Z Lab) adds the first
    difference to SmoothL1, the 3rd (capaomat) first and second differences to Huber with delta 2.

    Args:
        prediction: (batch, targets), the first 360 the tendencies variable-major; further targets are ignored.
        target: (batch, targets).
        order: 1 for y[l + 1] - y[l], 2 for the difference of these.
        kind: Loss of one difference, as in :func:`pointwise_loss`.
        beta: As in :func:`pointwise_loss`.
        mask: Boolean (targets,); a difference counts where all levels it spans are True. All by default.
        n_profiles: How many variables have levels: five in the total-water form.

    Returns:
        Scalar, the mean over rows and differences.
    """
    n_values = n_profiles * LEVELS
    error = _error(prediction[:, :n_values], target[:, :n_values]).unflatten(1, (n_profiles, LEVELS))
    loss = _error_loss(error.diff(n=order, dim=-1), kind, beta)
    if mask is None:
        return loss.mean()
    spans = mask[:n_values].to(loss.device).unflatten(0, (n_profiles, LEVELS)).unfold(-1, order + 1, 1).all(-1)
    return _masked_mean(loss, spans)


def masked_confidence_loss(
    prediction: Tensor,
    confidence: Tensor | None,
    target: Tensor,
    mask: Tensor | None = None,
    detach: bool = True,
    kind: LossKind = "mae",
    beta: float = 1.0,
    learns: Literal["absolute_error", "loss"] = "absolute_error",
) -> Tensor:
    """Loss of a prediction, plus the loss of the net's own estimate of its error.

    l = loss(p - y) mask; c = |e - confidence| mask with e = |p - y| (1st place, greySnow, where l is the absolute error as
    well), or c = loss(l - confidence) mask ("Crowdsourcing the Frontier", where both are Huber's). The result is mean(l + c)
    over rows and *all* targets, the masked ones included with 0.

    Args:
        prediction: (batch, targets).
        confidence: (batch, targets), expected errors; None leaves c out.
        target: (batch, targets).
        mask: (targets,), see :func:`learnable_target_mask`; all by default.
        detach: Stop the gradient of c into the prediction; without it c also pulls the error towards the confidence.
        kind: Loss of the prediction.
        beta: As in :func:`pointwise_loss`.
        learns: What the confidence estimates.

    Returns:
        Scalar.
    """
    error = _error(prediction, target)
    loss = _error_loss(error, kind, beta)
    if confidence is not None:
        by_loss = learns == "loss"
        claimed = loss if by_loss else error.abs()
        miss = (claimed.detach() if detach else claimed) - confidence
        loss = loss + (_error_loss(miss, kind, beta) if by_loss else miss.abs())
    return loss.mean() if mask is None else (loss * mask.to(loss)).mean()


def error_of_loss(loss: Tensor, kind: LossKind = "smooth_l1", beta: float = 1.0) -> Tensor:
    """The absolute error that has a given pointwise loss; 0 for losses below 0.

    Args:
        loss: Losses, any shape.
        kind: As in :func:`pointwise_loss`.
        beta: As in :func:`pointwise_loss`.
    """
    loss = loss.clamp(min=0.0)
    if kind == "mae":
        return loss
    if kind == "mse":
        return loss.sqrt()
    halves = loss if kind == "smooth_l1" else loss / beta  # Huber is SmoothL1 times beta
    return torch.where(halves < beta / 2, (2 * beta * halves).sqrt(), halves + beta / 2)


def _error(prediction: Tensor, target: Tensor) -> Tensor:
    if prediction.shape != target.shape:
        raise ValueError(f"Predictions of shape {tuple(prediction.shape)} meet targets of shape {tuple(target.shape)}.")
    return prediction.to(torch.promote_types(prediction.dtype, torch.float32)) - target


def _error_loss(error: Tensor, kind: LossKind, beta: float) -> Tensor:
    """Loss of every error, same shape."""
    if kind == "mae":
        return error.abs()
    if kind == "mse":
        return error.square()
    zero = torch.zeros((), dtype=error.dtype, device=error.device).expand_as(error)
    if kind == "smooth_l1":
        return F.smooth_l1_loss(error, zero, reduction="none", beta=beta)
    if kind == "huber":
        return F.huber_loss(error, zero, reduction="none", delta=beta)
    raise ValueError(f"Unknown loss {kind!r}; choose smooth_l1, huber, mae or mse.")


def _masked_mean(loss: Tensor, mask: Tensor) -> Tensor:
    """Mean over rows and the entries of a boolean mask of the trailing shape; 0 where nothing is kept."""
    return (loss * mask).sum() / (mask.sum() * loss.shape[0]).clamp(min=1)
