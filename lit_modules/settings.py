"""Typed settings of optimisation, shared by all domains (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from datamodules.settings import Checked, setting


@dataclass
class Optim(Checked):
    """Optimiser and learning-rate schedule.

    Args:
        optimizer: ``adamw``, ``adam``, ``radam``, or ``muon``: momentum of weight matrices and kernels made orthogonal (Jordan et al. 2024), as large
            as AdamW's steps (Liu et al. 2025, so that ``lr`` means the same), and NAdamW for vectors. Matrices must be whole: not with fsdp.
        weight_decay: Decoupled weight decay (L2 penalty for ``adam``).
        eps: Term that keeps the division by the second moment finite (Keras: 1e-7).
        weight_decay_per_lr: If above 0, the weight decay is this factor times the current learning rate (LEAP 1st place: 4).
        beta1: Decay of the first moment.
        beta2: Decay of the second moment.
        decay_norm_and_bias: Apply weight decay to biases and normalisation weights too (torch's default).
        schedule: ``cosine`` = half cosine to zero, ``one_cycle`` = OneCycleLR, ``constant``, ``cyclic_cosine`` = a
            cosine wave of epochs between lr and zero (MoA 1st place's image nets), ``multi_step`` = steps down after epochs,
            ``plateau`` = steps down when the validation score no longer improves (constant with ``--fold full``).
        warmup: Share of all optimiser steps that rise linearly from zero (0 to 1).
        sub_epochs: If above 0, the learning rate changes this many times an epoch (LEAP 1st place: 10).
        pct_start: Share of the steps in which ``one_cycle`` rises.
        div_factor: ``one_cycle`` starts at lr / div_factor.
        final_div_factor: ``one_cycle`` ends at lr / (div_factor * final_div_factor).
        cycle_momentum: ``one_cycle`` moves beta1 from 0.95 to 0.85 and back, against the learning rate (torch's default).
        half_period: Epochs in which ``cyclic_cosine`` goes from lr to zero, or back.
        milestones: Epochs after which ``multi_step`` multiplies the learning rate by ``gamma``.
        gamma: Factor of ``multi_step``.
        factor: ``plateau`` multiplies the learning rate by it.
        patience: Validations without a better score that ``plateau`` bears, one fewer than Keras' patience.
        threshold: What counts as better for ``plateau``, an absolute difference of the monitored score.
    """

    group: ClassVar[str] = "optim"

    optimizer: Literal["adamw", "adam", "radam", "muon"] = "adamw"
    weight_decay: float = setting(0.01, low=0)
    weight_decay_per_lr: float = setting(0.0, low=0)
    eps: float = setting(1e-8, above=0)
    beta1: float = setting(0.9, low=0, below=1)
    beta2: float = setting(0.999, low=0, below=1)
    decay_norm_and_bias: bool = True
    schedule: Literal["cosine", "one_cycle", "constant", "cyclic_cosine", "multi_step", "plateau"] = "cosine"
    warmup: float = setting(0.0, low=0, below=1)
    sub_epochs: int = setting(0, low=0)
    pct_start: float = setting(0.3, above=0, below=1)
    div_factor: float = setting(25.0, low=1)
    final_div_factor: float = setting(1e4, low=1)
    cycle_momentum: bool = False
    half_period: int = setting(5, low=1)
    milestones: tuple[int, ...] = setting((), low=1)
    gamma: float = setting(0.1, above=0, high=1)
    factor: float = setting(0.5, above=0, below=1)
    patience: int = setting(3, low=0)
    threshold: float = setting(1e-4, low=0)
