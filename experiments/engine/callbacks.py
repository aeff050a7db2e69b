"""Callbacks of a run: the checkpoint to go on from, throughput, figures."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, TQDMProgressBar
from lightning.pytorch.loggers import WandbLogger

from lit_modules.base import BaseTask


class ProgressBar(TQDMProgressBar):
    """Lightning's bar without the logger's version, which says nothing here."""

    def get_metrics(
        self, trainer: Trainer, pl_module: LightningModule
    ) -> dict[str, int | str | float | dict[str, float]]:
        """What stands behind the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        return metrics


class LastCheckpoint(Checkpoint):
    """Keep one checkpoint of the newest state, inside epochs too; Lightning writes it whole or not at all.

    Args:
        path: Path of the checkpoint.
        every: Optimiser steps between checkpoints inside an epoch; 0 = only at its end.
    """

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self._saved_at = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after every so many optimiser steps."""
        step = trainer.global_step
        if self.every and step % self.every == 0 and step != self._saved_at:
            self._saved_at = step
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the epoch and its validation."""
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint; a collective call."""
        trainer.save_checkpoint(self.path, weights_only=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do not save the step again that was loaded."""
        self._saved_at = state_dict["saved_at"]

    def state_dict(self) -> dict[str, Any]:
        """The step of the newest checkpoint."""
        return {"saved_at": self._saved_at}


class Throughput(Callback):
    """Rows per second from store to optimiser step, all processes together, the first batches left out.

    Attributes:
        rows_per_second: Over this start of the run, None before it is known.
    """

    _WARM_UP = 3

    def __init__(self) -> None:
        self.rows_per_second: float | None = None
        self._rows = 0
        self._seconds = 0.0
        self._batches = 0
        self._mark: float | None = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time between epochs does not count."""
        self._mark = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch's rows and the time since the batch before."""
        now = time.perf_counter()
        self._batches += 1
        if self._mark is not None and self._batches > self._WARM_UP:
            self._rows += len(batch["row_id"]) * trainer.world_size
            self._seconds += now - self._mark
        self._mark = now

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Nor does validation."""
        self._mark = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the rate so far."""
        if pl_module.device.type == "cuda":
            torch.cuda.synchronize()
        if self._seconds > 0:
            self.rows_per_second = round(self._rows / self._seconds, 1)
            pl_module.log("rows_per_second", self.rows_per_second, rank_zero_only=True)


class FigureWriter(Callback):
    """After every validation: the task's figures as PNG files and as W&B images.

    Args:
        folder: Folder of the PNG files, overwritten each time.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw and save."""
        if not trainer.is_global_zero or not isinstance(pl_module, BaseTask):
            return
        figures = pl_module.figures()
        if not figures:
            return
        import matplotlib.pyplot as plt

        self.folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            figure.savefig(self.folder / f"{name}.png", dpi=110)
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image(name, [figure], step=trainer.global_step)
            plt.close(figure)
