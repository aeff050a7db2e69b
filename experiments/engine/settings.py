"""Typed settings of a run: the flat daily flags and the ``--train.*`` group (no torch here: ``--help`` reads this file)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from datamodules.settings import Checked, setting

FileFormat = Literal["torch_export", "torchscript", "aotinductor"]


@dataclass
class Daily(Checked):
    """The flags of every day.

    Args:
        data_dir: Folder of the raw files; without it a synthetic demo data set is made and a smaller net trained.
        devices: GPUs (or CPU processes) to train on: a number, or auto for all GPUs. Changes speed, not results.
        num_nodes: Machines, with torchrun or SLURM.
        accelerator: auto takes CUDA GPUs where there are any, else the CPU (float64 rules out Apple's MPS).
        precision: auto = bf16-mixed on GPUs that have it, else 32-true.
        fold: Number of the fold to hold out, all (one process per fold) or full (train on every row).
        seed: Seed of weights, shuffling and dropout.
        seeds: Several seeds, such as 0,1,2: each is a run of its own (or one for every fold), and blends take their mean.
        epochs: Passes over the training rows.
        batch_size: Rows of one optimiser step, all devices and accumulated micro-batches together; auto = the largest power
            of two up to the declared size that leaves 1,000 optimiser steps or more.
        lr: Peak learning rate.
        resume: auto = go on from the newest checkpoint of this run or start; never = start anew (the old run is set
            aside); or the path of a checkpoint of the same settings.
        init_from: Checkpoint or run directory whose weights this new run starts from (recorded as its parent); none = do
            without the earlier phase that the experiment begins with.
        wandb: offline keeps a W&B run on disk without a key; online sends it; disabled.
        wandb_project: W&B project; default: WANDB_PROJECT of the environment, else podium.
        wandb_entity: W&B user or team; default: WANDB_ENTITY, else your account's own.
        wandb_group: Group of W&B runs; default: WANDB_RUN_GROUP, else experiment and variant, which holds all folds and seeds.
        wandb_tags: Tags of the W&B run, such as paper,small, beside those of WANDB_TAGS.
        wandb_artifacts: bank keeps the out-of-fold predictions as a W&B artifact, all the checkpoint too; with --wandb online they
            are uploaded.
        logger: tensorboard writes scores, settings and figures for TensorBoard too, into the run directory (extra tensorboard);
            csv: metrics.csv alone, which is always written.
        variant: Name of these settings in the run directory; default: demo or default, plus a short hash of the
            settings that differ from the declaration.
        out: Folder of runs, predictions and cached data.
    """

    data_dir: Path | None = setting(None, names_run=False)
    devices: int | Literal["auto"] = setting("auto", low=1, names_run=False)
    num_nodes: int = setting(1, low=1, names_run=False)
    accelerator: Literal["auto", "cpu", "gpu"] = setting("auto", names_run=False)
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = setting("auto", names_run=False)
    fold: int | Literal["all", "full"] = setting(0, low=0, names_run=False)
    seed: int = setting(0, low=0, high=2**32 - 1, names_run=False)
    seeds: str = setting("", names_run=False)
    epochs: int = setting(1, low=1)
    batch_size: int | Literal["auto"] = setting(1024, low=1)
    lr: float = setting(1e-3, above=0)
    resume: str = setting("auto", names_run=False)
    init_from: Literal["none"] | Path | None = None
    wandb: Literal["online", "offline", "disabled"] = setting("offline", names_run=False)
    wandb_project: str = setting("", names_run=False)
    wandb_entity: str = setting("", names_run=False)
    wandb_group: str = setting("", names_run=False)
    wandb_tags: str = setting("", names_run=False)
    wandb_artifacts: Literal["none", "bank", "all"] = setting("none", names_run=False)
    logger: Literal["csv", "tensorboard"] = setting("csv", names_run=False)
    variant: str | None = setting(None, names_run=False)
    out: Path = setting(Path("runs"), names_run=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        names = [name.strip() for name in self.seeds.split(",")] if self.seeds else []
        if not all(name.isdecimal() for name in names) or len(set(names)) < len(names):
            raise ValueError(f"--seeds takes different whole numbers such as 0,1,2, got {self.seeds!r}")
        if self.variant is not None and not re.fullmatch(r"\w[\w.+-]*", self.variant):
            raise ValueError(f"--variant is a folder name of letters, digits and . + - _, got {self.variant!r}")

    @property
    def seed_list(self) -> list[int]:
        """``seeds``, or the one ``seed``."""
        return [int(name) for name in self.seeds.split(",")] if self.seeds else [self.seed]


@dataclass
class Train(Checked):
    """How the training loop runs.

    Args:
        accumulate: micro-batches of one optimiser step; saves memory, keeps the effective batch.
        grad_clip: Largest gradient norm; 0 = no clipping.
        patience: Stop after so many validations without a better score; 0 = never.
        ema_decay: Decay of an exponential moving average of the weights, such as 0.999; 0 = off.
        compile: Compile the net in place (torch.compile).
        checkpoint_every: Optimiser steps between checkpoints inside an epoch; 0 = only at the end of an epoch.
        keep_epochs: Keep the checkpoint of every epoch, so that blends can weigh epochs (``experiments/checkpoint_bank.py``).
        validate_every: Validations per epoch happen after this share of it (1 = at its end).
        strategy: ddp = every process holds the whole net; fsdp = weights, gradients and optimiser states are shared out, for nets
            that outgrow a GPU's memory.
        sync_batchnorm: BatchNorm over all GPUs.
        deterministic: Only deterministic algorithms.
        progress: Show progress bars.
        figures: Draw pictures after every validation and at the end.
        log_every: Optimiser steps between logged training losses.
    """

    group: ClassVar[str] = "train"

    accumulate: int = setting(1, low=1)
    grad_clip: float = setting(0.0, low=0)
    patience: int = setting(0, low=0)
    ema_decay: float = setting(0.0, low=0, below=1)
    compile: bool = setting(False, names_run=False)
    checkpoint_every: int = setting(500, low=0, names_run=False)
    keep_epochs: bool = setting(False, names_run=False)
    validate_every: float = setting(1.0, above=0, high=1)
    strategy: Literal["ddp", "fsdp"] = setting("ddp", names_run=False)
    sync_batchnorm: bool = True
    deterministic: bool = False
    progress: bool = setting(True, names_run=False)
    figures: bool = setting(True, names_run=False)
    log_every: int = setting(20, low=1, names_run=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.strategy == "fsdp" and self.ema_decay > 0:
            raise ValueError(
                "train.ema_decay averages whole weights, which --train.strategy fsdp shares out; give one of them"
            )
