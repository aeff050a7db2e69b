"""One run: data, net, training that can be broken off anywhere, out-of-fold predictions, scores, report."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import yaml
from filelock import FileLock, Timeout
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import Logger, WandbLogger

from datamodules.banks.bank import Manifest, PredictionBank
from datamodules.base import BaseDataModule
from datamodules.errors import DataError
from datamodules.files import atomic_path, sha256_of
from datamodules.folds import TRAIN, VALID
from experiments.engine.callbacks import Throughput
from experiments.engine.cli import Settings
from experiments.engine.data import prepare_data
from experiments.engine.declare import load
from experiments.engine.lineage import previous_checkpoints
from experiments.engine.oof import predict_out_of_fold
from experiments.engine.processes import is_first_process
from experiments.engine.run_directory import FINISHED, RunDirectory, provenance
from experiments.engine.trainer import build_trainer, quiet_libraries
from lit_modules.base import BaseTask, load_weights, read_checkpoint
from lit_modules.callbacks import refuse_other_averaging

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass
class FinishedRun:
    """What a report gets.

    Args:
        settings: What was asked for.
        directory: Directory of the run.
        data: Prepared data.
        task: With the weights that predicted.
        bank: out-of-fold predictions, None with ``--fold full``.
        loggers: Loggers of the trainer, for pictures.
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
