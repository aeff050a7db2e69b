"""Callbacks that all domains share: reproducible randomness, averaged weights."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from datamodules.errors import DataError


class StepSeed(Callback):
    """Seed torch before every training batch from (seed, epoch, batch, process).

    Dropout masks so become a function of the position in training, and a run that goes on from a checkpoint draws the
    same ones as an unbroken run, without saving a generator's state per process.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Seed all generators of this process."""
        position = f"{self.seed}|{trainer.current_epoch}|{batch_idx}|{trainer.global_rank}"
        torch.manual_seed(int.from_bytes(hashlib.blake2b(position.encode(), digest_size=7).digest(), "big"))


class Ema(WeightAveraging):
    """Exponential moving average of weights and buffers, validated and saved in the place of the raw ones.

    The decay warms up, ``min(decay, (1 + n) / (10 + n))`` after ``n`` updates, so that the random first weights are
    forgotten (as in timm's ModelEmaV3 and TensorFlow's moving averages).

    Args:
        decay: Decay of the average, such as 0.999.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(use_buffers=True, avg_fn=self._average)
        self.decay = decay

    def _average(self, averaged: Tensor, current: Tensor, updates: Tensor | int) -> Tensor:
        if not averaged.is_floating_point():
            return current
        n = float(updates)
        return averaged.lerp(current, 1.0 - min(self.decay, (1.0 + n) / (10.0 + n)))


def refuse_other_averaging(checkpoint: dict[str, Any], ema_decay: float) -> None:
    """Refuse to resume with a moving average where there was none, or the other way round.

    Lightning would silently go on from the averaged weights.

    Raises:
        DataError: the two do not agree.
    """
    was = "averaging_state" in checkpoint
    if was != (ema_decay > 0):
        raise DataError(
            f"the checkpoint was trained {'with' if was else 'without'} a moving average of the weights but --train.ema_decay is "
            f"{ema_decay}; resume with the same setting, or start a new run from it with --init_from"
        )
