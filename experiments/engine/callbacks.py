"""Callbacks of a run: the checkpoint to go on from, throughput, figures."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, Checkpoint, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import WandbLogger

from datamodules import signals
from datamodules.figures import save
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

    When a signal comes, all processes agree on the optimiser step after which they write it and stop.

    Args:
        path: Path of the checkpoint.
        every: Optimiser steps between checkpoints inside an epoch; 0 = only at its end.
    """

    # optimiser steps; asking costs a GPU a synchronisation
    _ASK_EVERY: ClassVar[dict[str, int]] = {"cpu": 1, "cuda": 8}

    def __init__(self, path: Path, every: int) -> None:
        self.path = path
        self.every = every
        self._saved_at = 0
        self._seen = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hear signals again: Lightning has just put its own handlers in the place of ours."""
        signals.install()
        self._seen = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save after every so many optimiser steps, and when it is time to stop."""
        step = trainer.global_step
        # after a micro-batch the gradients so far would be lost; before a validation Lightning would leave that out when it
        # goes on from there
        if step == self._seen or _validation_follows(trainer, batch_idx):
            return
        self._seen = step
        if self.every and step % self.every == 0 and step != self._saved_at:
            self._saved_at = step
            self.save(trainer)
        if step % self._ASK_EVERY.get(pl_module.device.type, 1) == 0 and (signum := self._agreed(trainer)):
            if step != self._saved_at:
                self._saved_at = step
                self.save(trainer)
            raise self._stop(signum, step)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop inside a validation too; training goes on from the newest checkpoint before it."""
        if trainer.world_size == 1 and (signum := signals.pending()):
            raise signals.Stopped(signum, f"the same command goes on from {self.path}, or starts where there is none")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after the epoch and its validation, and stop there if it is time."""
        self.save(trainer)
        if signum := self._agreed(trainer):
            raise self._stop(signum, trainer.global_step)

    def save(self, trainer: Trainer) -> None:
        """Write the checkpoint; a collective call."""
        trainer.save_checkpoint(self.path, weights_only=False)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Do not save the step again that was loaded."""
        self._saved_at = state_dict["saved_at"]

    def state_dict(self) -> dict[str, Any]:
        """The step of the newest checkpoint."""
        return {"saved_at": self._saved_at}

    def _stop(self, signum: int, step: int) -> signals.Stopped:
        return signals.Stopped(signum, f"{self.path} holds optimiser step {step}; the same command goes on from there")

    def _agreed(self, trainer: Trainer) -> int:
        """The signal that any process heard, the same on all."""
        heard = torch.tensor(signals.pending(), device=trainer.strategy.root_device)
        return int(trainer.strategy.reduce(heard, reduce_op="max")) if trainer.world_size > 1 else int(heard)


class ValidationLines(Callback):
    """One line a validation, where there is no terminal to draw a bar on: a log file wants no thousand updates."""

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print where training stands."""
        if not trainer.is_global_zero or not isinstance(pl_module, BaseTask):
            return
        scores = {name: float(trainer.callback_metrics[name]) for name in (pl_module.monitor, "val_loss")}
        words = ", ".join(f"{name} {value:.5g}" for name, value in scores.items())
        epoch = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
        print(f"{epoch}, optimiser step {trainer.global_step:,}: {words}", flush=True)


class BestCheckpoint(ModelCheckpoint):
    """The checkpoint of the best validation score, which a run remembers when its folder was moved in between."""

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best score so far; Lightning forgets it where the folder is another."""
        best = Path(state_dict["best_model_path"])
        own = str(Path(str(self.dirpath)) / best.name) if state_dict["best_model_path"] else ""
        paths = {"dirpath": self.dirpath, "best_model_path": own, "last_model_path": ""}
        scores = {own: state_dict["best_model_score"]} if own else {}
        super().load_state_dict({**state_dict, **paths, "kth_best_model_path": own, "best_k_models": scores})


class OpenRecord(Callback):
    """Write what a run is into its folder just before the first optimiser step, so that a refused start leaves nothing.

    Args:
        write: Writes the record.
    """

    def __init__(self, write: Callable[[], None]) -> None:
        self._write = write

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write it, once for all processes."""
        if trainer.is_global_zero:
            self._write()
        trainer.strategy.barrier("record")


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
        for name, figure in figures.items():
            save(figure, self.folder / f"{name}.png")
            for logger in trainer.loggers:
                if isinstance(logger, WandbLogger):
                    logger.log_image(name, [figure], step=trainer.global_step)


def _validation_follows(trainer: Trainer, batch_idx: int) -> bool:
    """Whether Lightning validates right after a training batch."""
    every = trainer.val_check_batch
    return trainer.is_last_batch or (every is not None and (batch_idx + 1) % every == 0)
