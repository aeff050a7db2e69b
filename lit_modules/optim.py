"""Optimisers and learning-rate schedules that count optimiser steps, so that ``--devices`` does not change them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from lit_modules.settings import Optim

Kind = tuple[type[torch.optim.Optimizer], dict[str, Any]]
_OPTIMIZERS: dict[str, Kind] = {
    "adamw": (torch.optim.AdamW, {}),
    "adam": (torch.optim.Adam, {}),
    "radam": (torch.optim.RAdam, {"decoupled_weight_decay": True}),  # it has both kinds in one class
}


def parameter_groups(modules: Iterable[nn.Module], optim: Optim) -> list[dict[str, Any]]:
    """Trainable parameters, biases and normalisation weights apart where they are not to decay."""
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    if optim.decay_norm_and_bias:
        return [{"params": parameters}]
    return [
        {"params": [p for p in parameters if p.ndim > 1]},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def build_optimizer(module: nn.Module, optim: Optim, lr: float) -> torch.optim.Optimizer:
    """The optimiser of the settings over all trainable parameters of ``module``."""
    kind, more = _kind(optim.optimizer)
    return kind(
        parameter_groups([module], optim),
        lr=lr,
        betas=(optim.beta1, optim.beta2),  # type: ignore[call-arg]
        eps=optim.eps,
        weight_decay=optim.weight_decay_per_lr * lr if optim.weight_decay_per_lr > 0 else optim.weight_decay,
        **more,
    )


def _kind(name: str) -> Kind:
    if name == "muon":
        from timm.optim.muon import Muon  # late: timm takes a second to import

        return Muon, {"nesterov": True}
    return _OPTIMIZERS[name]


def cosine_factor(step: int, total: int, warmup: int = 0, hold: int = 1) -> float:
    """Half cosine from 1 at ``step`` 0 (or the end of the warm-up) to 0 at ``total``.

    Args:
        step: Optimiser steps taken.
        total: Optimiser steps of the whole training.
        warmup: Steps of a linear rise from 0.
        hold: The factor stays constant for so many steps (a sub-epoch).
    """
    if step < warmup:
        return step / warmup
    held = step - step % max(1, hold)
    progress = min(1.0, max(0.0, (held - warmup) / max(1, total - warmup)))
    return 0.5 * (1.0 + math.cos(math.pi * progress))


class Plateau(ReduceLROnPlateau):
    """torch's, which an optimiser step leaves as it is and which is told every validation score by :meth:`observe`.

    Lightning would step it after the epoch's checkpoint is written, so that a run that goes on from there had missed a score.
    """

    def step(self, metrics: Any = None, epoch: Any = None) -> None:  # type: ignore[override]
        """Nothing without a score."""
        if metrics is not None:
            super().step(metrics, epoch)

    def observe(self, score: float) -> None:
        """Count a validation; lower the learning rate after too many without a better score."""
        self.step(score)


def build_scheduler(
    optimizer: torch.optim.Optimizer,
    optim: Optim,
    lr: float,
    total_steps: int,
    steps_per_epoch: int,
    mode: str = "min",
) -> LRScheduler:
    """The schedule of the settings, to be stepped once an optimiser step.

    Args:
        optimizer: The optimiser to drive.
        optim: The settings.
        lr: Peak learning rate.
        total_steps: Optimiser steps of the whole training (``trainer.estimated_stepping_batches``).
        steps_per_epoch: Optimiser steps of one epoch.
        mode: ``min`` or ``max``, which validation scores are better.
    """
    if optim.schedule == "plateau":
        return Plateau(
            optimizer,
            mode,  # type: ignore[arg-type]
            optim.factor,
            optim.patience,
            optim.threshold,
            threshold_mode="abs",
        )
    if optim.schedule == "one_cycle":
        return OneCycleLR(
            optimizer,
            max_lr=lr,
            total_steps=total_steps,
            pct_start=optim.pct_start,
            div_factor=optim.div_factor,
            final_div_factor=optim.final_div_factor,
            cycle_momentum=optim.cycle_momentum,
        )
    warmup = round(optim.warmup * total_steps)
    if optim.schedule == "constant":
        return LambdaLR(optimizer, lambda step: step / warmup if step < warmup else 1.0)
    if optim.schedule == "cyclic_cosine":
        # what CosineAnnealingLR(T_max) gives when it is stepped on beyond T_max
        return LambdaLR(optimizer, lambda s: 0.5 * (1 + math.cos(math.pi * (s // steps_per_epoch) / optim.half_period)))
    if optim.schedule == "multi_step":
        return LambdaLR(optimizer, lambda s: optim.gamma ** sum(s // steps_per_epoch >= m for m in optim.milestones))
    hold = max(1, steps_per_epoch // optim.sub_epochs) if optim.sub_epochs else 1
    return LambdaLR(optimizer, lambda step: cosine_factor(step, total_steps, warmup, hold))


def tie_weight_decay(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's weight decay to ``factor`` times its current learning rate (groups without decay stay so)."""
    for group in optimizer.param_groups:
        if group["weight_decay"] > 0 or group.get("tied", False):
            group["tied"] = True
            group["weight_decay"] = factor * group["lr"]
