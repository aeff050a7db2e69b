"""The Lightning Trainer of a run: hardware, precision, callbacks, loggers."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import Logger
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy

from datamodules.errors import DataError
from datamodules.signals import as_parent
from datamodules.tracking import WandbPlace, group_name, run_name
from experiments.engine.callbacks import (
    BestCheckpoint,
    FigureWriter,
    LastCheckpoint,
    ProgressBar,
    Throughput,
    ValidationLines,
)
from experiments.engine.cli import Settings
from experiments.engine.loggers import MetricsCsv, tensorboard_logger, wandb_logger
from experiments.engine.processes import check_launch, is_first_process, launcher
from experiments.engine.run_directory import RunDirectory
from lit_modules.base import BaseTask
from lit_modules.callbacks import Ema, StepSeed
from lit_modules.frozen import FrozenIO
from lit_modules.sharding import GatherForEvaluation


def build_trainer(
    settings: Settings, directory: RunDirectory, task: BaseTask, callbacks: Sequence[Callback] = ()
) -> tuple[Trainer, MetricsCsv]:
    """The Lightning Trainer of the settings, and its CSV log.

    Args:
        settings: Of the run.
        directory: Run directory.
        task: What is trained.
        callbacks: Further callbacks, called first.

    Raises:
        DataError: Hardware that is not there, or processes that could only wait for each other.
    """
    daily, loop = settings.daily, settings.train
    accelerator, devices, precision = resolve_hardware(daily.accelerator, daily.devices, daily.precision)
    processes = devices * daily.num_nodes
    check_launch(devices, daily.num_nodes)
    if processes > 1:
        os.environ.update(as_parent())  # the processes that Lightning starts end with this one
    csv = MetricsCsv(directory.path / "metrics.csv")
    loggers: list[Logger] = [csv]
    place = WandbPlace(daily.wandb_project, daily.wandb_entity, daily.wandb_group, daily.wandb_tags)
    name, variant = settings.experiment.name, settings.variant
    if wandb := wandb_logger(
        daily.wandb, directory.path, csv, (task.monitor, task.mode), config=settings.plain(), job_type="train",
        name=run_name(name, variant, daily.seed, daily.fold), **place.options(group_name(name, variant)),
    ):  # fmt: skip
        loggers.append(wandb)
    if daily.logger == "tensorboard" and is_first_process():
        loggers.append(tensorboard_logger(directory.path, settings.plain()))
    validates = daily.fold != "full"
    trainer = Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=daily.num_nodes,
        strategy=_strategy(loop.strategy, processes),
        precision=precision,  # type: ignore[arg-type]
        max_epochs=daily.epochs,
        accumulate_grad_batches=loop.accumulate,
        gradient_clip_val=loop.grad_clip or None,
        val_check_interval=loop.validate_every if validates else None,
        limit_val_batches=None if validates else 0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the loaders share the rows out themselves, without padding
        sync_batchnorm=loop.sync_batchnorm and processes > 1 and accelerator == "gpu",
        deterministic="warn" if loop.deterministic else None,
        logger=loggers,
        log_every_n_steps=loop.log_every,
        callbacks=[*callbacks, *_callbacks(settings, directory, task, validates)],
        enable_progress_bar=loop.progress and sys.stderr.isatty(),
        enable_model_summary=False,
        default_root_dir=directory.path,
        plugins=_plugins(loop.strategy, task),
    )
    if isinstance(trainer.strategy, ModelParallelStrategy):
        trainer.strategy.connect(task)  # which it wants before it connects the processes of a launcher
    return trainer, csv


def _plugins(strategy: str, task: BaseTask) -> list[Any]:
    plugins: list[Any] = []
    if task.frozen and strategy != "fsdp":
        plugins.append(FrozenIO(task.frozen))
    if launcher() == "slurm":  # our own handlers see to a scheduler's signals (datamodules/signals.py)
        plugins.append(SLURMEnvironment(auto_requeue=False))
    return plugins


def _strategy(name: str, processes: int) -> Strategy | str:
    """How several processes share the work."""
    if processes == 1:
        return "auto"
    if name == "fsdp":
        return ModelParallelStrategy(processes, tensor_parallel_size=1, save_distributed_checkpoint=False)
    return DDPStrategy(gradient_as_bucket_view=True)


def _callbacks(settings: Settings, directory: RunDirectory, task: BaseTask, validates: bool) -> list[Callback]:
    loop = settings.train
    callbacks: list[Callback] = [StepSeed(settings.daily.seed), Throughput(), LearningRateMonitor("step")]
    if loop.progress:
        callbacks.append(ProgressBar(refresh_rate=10) if sys.stderr.isatty() else ValidationLines())
    if loop.strategy == "fsdp":
        callbacks.append(GatherForEvaluation())
    if loop.ema_decay > 0:
        callbacks.append(Ema(loop.ema_decay))
    if validates:
        if loop.figures:
            callbacks.append(FigureWriter(directory.figures))
        if loop.patience > 0:
            callbacks.append(EarlyStopping(task.monitor, mode=task.mode, patience=loop.patience))
        callbacks.append(
            BestCheckpoint(
                directory.checkpoints,
                filename="best",
                monitor=task.monitor,
                mode=task.mode,
                enable_version_counter=False,
            )
        )
    if loop.keep_epochs:
        callbacks.append(
            ModelCheckpoint(
                directory.checkpoints,
                filename="epoch{epoch}",
                auto_insert_metric_name=False,
                save_top_k=-1,
                enable_version_counter=False,
                save_on_train_epoch_end=True,
            )
        )
    callbacks.append(LastCheckpoint(directory.last, loop.checkpoint_every))
    return callbacks


def resolve_hardware(accelerator: str, devices: int | str, precision: str) -> tuple[str, int, str]:
    """What ``auto`` means on this machine.

    Raises:
        DataError: a GPU is asked for where there is none, or more than there are.
    """
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if accelerator == "gpu" and gpus == 0:
        raise DataError("--accelerator gpu: no CUDA GPU is visible; use --accelerator cpu")
    kind = "gpu" if accelerator in ("gpu", "auto") and gpus > 0 else "cpu"
    count = (gpus if kind == "gpu" else 1) if devices == "auto" else int(devices)
    if kind == "gpu" and count > gpus:
        raise DataError(f"--devices {count}: only {gpus} GPUs are visible")
    if precision == "auto":
        precision = (
            "bf16-mixed" if kind == "gpu" and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
        )
    if kind == "gpu":
        torch.set_float32_matmul_precision("high")
    return kind, count, precision


def quiet_libraries() -> None:
    """Keep the libraries' hints off the screen; their errors still come."""
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.distributed"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in (
        ".*does not have many workers.*",
        ".*Checkpoint directory .* exists and is not empty.*",
        ".*isinstance\\(treespec, LeafSpec\\).*",
        ".*The number of training batches.*is smaller than the logging interval.*",
        ".*lr_scheduler.step\\(\\).*before.*optimizer.step\\(\\).*",
        ".*your dataloader is not resumable.*",  # it is: datamodules/base.py asks the trainer where to begin
        ".*It is recommended to use `self.log.*sync_dist=True.*",  # the logged scores are synchronised already
        ".*The `srun` command is available.*",
    ):
        warnings.filterwarnings("ignore", message)
