"""One run: data, net, training that can be broken off anywhere, out-of-fold predictions, scores, report."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import yaml
from filelock import FileLock, Timeout
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping, LearningRateMonitor, ModelCheckpoint
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.strategies import DDPStrategy

from blend.bank import Manifest, PredictionBank
from datamodules.base import BaseDataModule
from datamodules.errors import DataError
from datamodules.files import atomic_path, sha256_of
from datamodules.folds import TRAIN, VALID
from experiments.callbacks import FigureWriter, LastCheckpoint, ProgressBar, Throughput
from experiments.cli import Settings
from experiments.declare import load
from experiments.loggers import MetricsCsv, wandb_logger
from experiments.oof import predict_out_of_fold
from experiments.processes import is_first_process
from experiments.run_directory import FINISHED, RunDirectory, provenance
from experiments.stages import previous_checkpoints
from lit_modules.base import BaseTask, load_weights, read_checkpoint
from lit_modules.callbacks import Ema, StepSeed, refuse_other_averaging

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class FinishedRun:
    """What a report gets.

    Args:
        settings: what was asked for.
        directory: of the run.
        data: prepared data.
        task: with the weights that predicted.
        bank: out-of-fold predictions, None with ``--fold full``.
        loggers: of the trainer, for pictures.
    """

    settings: Settings
    directory: RunDirectory
    data: BaseDataModule
    task: BaseTask
    bank: PredictionBank | None
    loggers: list[Logger]

    def log_image(self, name: str, figure: Figure) -> None:
        """Send a picture to W&B where it is on."""
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [figure])


def train(settings: Settings) -> RunDirectory:
    """Train, predict the held-out fold, score, report; a finished run is left as it is.

    Raises:
        DataError: data, settings or checkpoint that cannot be used, before any training.
    """
    quiet_libraries()
    daily = settings.daily
    directory = settings.directory()
    data = prepare_data(settings)
    with _alone(directory):
        if daily.resume == "never" and is_first_process():
            directory.set_aside()
        if _is_finished(directory, settings, data):
            print(f"{directory.path} is finished: nothing to do (--resume never starts anew)")
            return directory
        resume = resume_checkpoint(directory, settings, data)
        task = build_task(settings, data)
        parent = _start_from(task, daily.init_from) if resume is None else None
        if is_first_process():
            _open_record(directory, settings, data, task, parent)
        trainer, csv = build_trainer(settings, directory, task)
        if resume is not None:
            step = int(read_checkpoint(resume)["global_step"])
            csv.resume_at(step)
            print(f"going on from {resume} at optimiser step {step}")
        if settings.train.compile:
            task.net.compile()
        started = time.monotonic()
        trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
        bank = _predict_fold(trainer, task, data, settings, directory)
        if trainer.is_global_zero:
            _close_record(directory, trainer, bank, time.monotonic() - started)
            settings.experiment.domain.part("report")(
                FinishedRun(settings, directory, data, task, bank, trainer.loggers)
            )
            directory.update_record(status=FINISHED)
            print(f"run directory: {directory.path}")
            if daily.wandb == "offline":
                print(f"W&B: wandb sync {directory.path / 'wandb' / 'offline-run-*'}")
        trainer.strategy.barrier("end")
    return directory


def prepare_data(settings: Settings) -> BaseDataModule:
    """The data module of the settings, its data read; the demo data set is made where no folder is given."""
    daily = settings.daily
    domain = settings.experiment.domain
    cache = getattr(settings.data, "cache_dir", None) or daily.out / "cache"
    data_dir = daily.data_dir if daily.data_dir is not None else domain.part("demo")(cache)
    fold: int | str = daily.fold
    data: BaseDataModule = load(domain.datamodule)(
        settings.data, data_dir, cache, daily.batch_size, fold, daily.seed, settings.train.accumulate
    )
    data.prepare()
    if data.has_validation:
        data.folds.where(data.role_fold, VALID)
    return data


def build_task(settings: Settings, data: BaseDataModule) -> BaseTask:
    """The seeded task, fitted to the statistics of the training rows."""
    torch.manual_seed(settings.daily.seed)
    task: BaseTask = load(settings.experiment.task)(
        settings.model, settings.optim, settings.daily.lr, data.statistics()
    )
    task.identity = {
        "experiment": settings.experiment.name,
        "model": asdict(settings.model),
        "optim": asdict(settings.optim),
        "lr": settings.daily.lr,
        "config_hash": settings.config_hash,
        "data_hash": data.data_hash,
        "training_hash": data.training_hash,
        "folds_hash": data.folds.hash,
        "fold": settings.daily.fold,
        "seed": settings.daily.seed,
        "variant": settings.variant,
        "previous": previous_checkpoints(data.previous_runs, settings.directory().path),
    }
    return task


def resume_checkpoint(directory: RunDirectory, settings: Settings, data: BaseDataModule) -> Path | None:
    """The checkpoint to go on from, checked, or None to start.

    Raises:
        DataError: the checkpoint is damaged, or of another experiment, other settings or other data.
    """
    resume = settings.daily.resume
    if resume == "never":
        return None
    path = directory.last if resume == "auto" else Path(resume)
    if resume == "auto" and not path.is_file():
        return None
    checkpoint = read_checkpoint(path)
    made_by = checkpoint["podium"]
    expected = {
        "experiment": settings.experiment.name,
        "config_hash": settings.config_hash,
        "data_hash": data.data_hash,
        "training_hash": data.training_hash,
        "folds_hash": data.folds.hash,
    }
    for name, value in expected.items():
        if made_by.get(name) != value:
            what = {
                "experiment": f"experiment {made_by['experiment']!r}",
                "config_hash": "other settings",
                "training_hash": "other training rows",
            }.get(name, f"other {name.removesuffix('_hash')}")
            raise DataError(
                f"{path} was made by {what}, so training cannot go on from it; give the same flags, or start a new run "
                "from its weights with --init_from"
            )
    refuse_other_averaging(checkpoint, settings.train.ema_decay)
    return path


def build_trainer(settings: Settings, directory: RunDirectory, task: BaseTask) -> tuple[Trainer, MetricsCsv]:
    """The Lightning Trainer of the settings, and its CSV log."""
    daily, loop = settings.daily, settings.train
    accelerator, devices, precision = resolve_hardware(daily.accelerator, daily.devices, daily.precision)
    processes = devices * daily.num_nodes
    csv = MetricsCsv(directory.path / "metrics.csv")
    loggers = [csv]
    run_name = f"{settings.experiment.name}-{settings.variant}-s{daily.seed}-f{daily.fold}"
    group = f"{settings.experiment.name}-{settings.variant}"
    if wandb := wandb_logger(daily.wandb, directory.path, "podium", run_name, group, settings.plain()):
        loggers.append(wandb)  # type: ignore[arg-type]
    validates = daily.fold != "full"
    trainer = Trainer(
        accelerator=accelerator,
        devices=devices,
        num_nodes=daily.num_nodes,
        strategy=DDPStrategy(gradient_as_bucket_view=True) if processes > 1 else "auto",
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
        callbacks=_callbacks(settings, directory, task, validates),
        enable_progress_bar=loop.progress,
        enable_model_summary=False,
        default_root_dir=directory.path,
    )
    return trainer, csv


def _callbacks(settings: Settings, directory: RunDirectory, task: BaseTask, validates: bool) -> list[Callback]:
    loop = settings.train
    callbacks: list[Callback] = [StepSeed(settings.daily.seed), Throughput(), LearningRateMonitor("step")]
    if loop.progress:
        callbacks.append(ProgressBar(refresh_rate=10))
    if loop.ema_decay > 0:
        callbacks.append(Ema(loop.ema_decay))
    if validates:
        if loop.figures:
            callbacks.append(FigureWriter(directory.figures))
        if loop.patience > 0:
            callbacks.append(EarlyStopping(task.monitor, mode=task.mode, patience=loop.patience))
        callbacks.append(
            ModelCheckpoint(
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


@contextmanager
def _alone(directory: RunDirectory) -> Iterator[None]:
    """Hold the run's lock on the first process.

    Raises:
        DataError: another program trains the same run.
    """
    if not is_first_process():
        yield
        return
    lock = directory.path.with_name(f".{directory.path.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(lock, timeout=0.5):
            yield
    except Timeout:
        raise DataError(
            f"{directory.path} is being trained by another process; wait for it or give another --variant or --seed"
        ) from None


def _is_finished(directory: RunDirectory, settings: Settings, data: BaseDataModule) -> bool:
    record = directory.record()
    if not record:
        return False
    for name, value in _hashes(settings, data).items():
        if record["hashes"].get(name) != value:
            raise DataError(
                f"{directory.path} holds a run with other {name}; give this one a --variant of its own, or --resume never to set the old one aside"
            )
    return bool(record.get("status") == FINISHED)


def _hashes(settings: Settings, data: BaseDataModule) -> dict[str, str]:
    return {
        "data": data.data_hash,
        "training": data.training_hash,
        "folds": data.folds.hash,
        "config": settings.config_hash,
    }


def _start_from(task: BaseTask, source: Path | Literal["none"] | None) -> str | None:
    if source is None or source == "none":
        return None
    assert isinstance(source, Path)
    path = RunDirectory(source).inference_checkpoint() if source.is_dir() else source
    checkpoint = read_checkpoint(path)
    load_weights(task, checkpoint, task.own_entries(checkpoint["state_dict"]))
    return f"{path} (sha256 {sha256_of(path)[:16]})"


def _open_record(
    directory: RunDirectory, settings: Settings, data: BaseDataModule, task: BaseTask, parent: str | None
) -> None:
    directory.path.mkdir(parents=True, exist_ok=True)
    with atomic_path(directory.config) as temporary:
        temporary.write_text(yaml.safe_dump(settings.plain(), sort_keys=False))
    data.folds.write(directory.path / "folds.csv")
    before = directory.record()
    directory.update_record(
        status="running",
        experiment=settings.experiment.name,
        variant=settings.variant,
        seed=settings.daily.seed,
        fold=settings.daily.fold,
        demo=settings.demo,
        parent=parent or before.get("parent"),
        previous=task.identity["previous"],
        hashes=_hashes(settings, data),
        rows={"train": len(data.rows(TRAIN)), "valid": len(data.rows(VALID)) if data.has_validation else 0},
        parameters=task.count_parameters(),
        published=[asdict(p) for p in settings.experiment.published],
        starts=[*before.get("starts", []), provenance()],
    )


def _close_record(directory: RunDirectory, trainer: Trainer, bank: PredictionBank | None, seconds: float) -> None:
    best = next((c for c in trainer.callbacks if isinstance(c, ModelCheckpoint)), None)  # type: ignore[attr-defined]
    throughput = next(c for c in trainer.callbacks if isinstance(c, Throughput))  # type: ignore[attr-defined]
    score = None if best is None or best.best_model_score is None else float(best.best_model_score)
    directory.update_record(
        best={"score": score, "metric": best.monitor if best else None},
        epochs_done=trainer.current_epoch,
        optimizer_steps=trainer.global_step,
        seconds_of_last_start=round(seconds, 1),
        rows_per_second=throughput.rows_per_second,
        bank=str(bank.path.relative_to(directory.path)) if bank else None,
    )


def _predict_fold(
    trainer: Trainer, task: BaseTask, data: BaseDataModule, settings: Settings, directory: RunDirectory
) -> PredictionBank | None:
    path = directory.inference_checkpoint()
    task.load_state_dict(read_checkpoint(path)["state_dict"])
    if not data.has_validation:
        return None
    if not task.can_predict:
        print("no out-of-fold predictions: with these settings a row's prediction depends on the rows beside it")
        return None
    manifest = Manifest(
        kind="out_of_fold",
        domain=settings.experiment.domain.name,
        metric=settings.experiment.domain.metric,
        experiment=settings.experiment.name,
        variant=settings.variant,
        seed=settings.daily.seed,
        folds=[data.role_fold],
        targets=list(task.target_names),
        groups={name: [where.start, where.stop] for name, where in task.target_groups.items()},
        convention=data.convention,
        hashes={
            "data": data.data_hash,
            "folds": data.folds.hash,
            "config": settings.config_hash,
            "checkpoint": sha256_of(path),
        },
        extra={"demo": settings.demo},
    )
    return predict_out_of_fold(trainer, task, data, directory.bank, manifest, settings.daily.out / "truth")
