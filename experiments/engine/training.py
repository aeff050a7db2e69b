"""One run: data, net, training that can be broken off anywhere, out-of-fold predictions, scores, report."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
import yaml
from filelock import FileLock, Timeout
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from datamodules.banks.bank import Manifest, PredictionBank
from datamodules.base import BaseDataModule
from datamodules.commands import announced
from datamodules.errors import DataError
from datamodules.figures import save
from datamodules.files import atomic_path, sha256_of
from datamodules.folds import TRAIN, VALID
from datamodules.signals import Stopped, patient
from experiments.engine.callbacks import BestCheckpoint, OpenRecord, Throughput
from experiments.engine.check import check
from experiments.engine.cli import Settings
from experiments.engine.data import prepare_data
from experiments.engine.declare import load, trust
from experiments.engine.identity import RunIdentity
from experiments.engine.lineage import previous_checkpoints
from experiments.engine.loggers import OneWandbRun
from experiments.engine.oof import predict_out_of_fold
from experiments.engine.processes import decide, is_first_process
from experiments.engine.run_directory import FINISHED, RunDirectory, provenance
from experiments.engine.steps import announce_steps
from experiments.engine.trainer import build_trainer, quiet_libraries
from lit_modules.base import IDENTITY_KEY, BaseTask, load_weights, read_checkpoint
from lit_modules.callbacks import refuse_other_averaging
from lit_modules.frozen import PATTERN
from lit_modules.sharding import load_whole

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

    def keep_figure(self, name: str, figure: Figure) -> None:
        """Write a figure into the run's folder, and send it to W&B and TensorBoard where they are on."""
        save(figure, self.directory.figures / f"{name}.png")
        for logger in self.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(name, [figure])
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure(name, figure)


@dataclass(frozen=True)
class _Start:
    """How a run begins, decided by the first process for all.

    Args:
        finished: Nothing is left to do.
        resume: Checkpoint to go on from.
    """

    finished: bool = False
    resume: str | None = None


def train(settings: Settings) -> RunDirectory:
    """Train, predict the held-out fold, score, report; a finished run is left as it is.

    Raises:
        DataError: Data, settings or checkpoint that cannot be used, before any training.
        Stopped: A signal came.
    """
    quiet_libraries()
    check(settings)
    trust(settings.experiment)
    directory = settings.directory()
    with _announced("preparing the data"):
        data = prepare_data(settings)
    identity = identity_of(settings, data)
    with _alone(directory):
        with _announced("statistics and features of the training rows"):
            task = build_task(settings, data, identity)
        parents: list[str] = []
        record = OpenRecord(lambda: _open_record(directory, settings, data, task, identity, parents))
        trainer, csv = build_trainer(settings, directory, task, [record])
        start = _Start(**decide(trainer, lambda: asdict(_start(directory, settings, identity))))
        if start.finished:
            if is_first_process():
                print(f"{directory.path} is finished: {_score(directory)} (--resume never starts anew)")
            return directory
        if start.resume is None:
            if is_first_process() and (before := _shorter(directory, settings)):
                print(
                    f"a new run: {before} differs in its epochs alone; --init_from {before} would start from its weights"
                )
            parents += _start_from(task, settings.daily.init_from)
        else:
            step = int(read_checkpoint(start.resume)["global_step"])
            if is_first_process():
                csv.resume_at(step)
                print(f"going on from {start.resume} at optimiser step {step}")
        if is_first_process():
            announce_steps(settings, data, trained=not task.one_pass)
        if settings.train.compile:
            task.net.compile()
        try:
            _fit_and_predict(trainer, task, data, settings, directory, identity, start.resume)
        except Stopped:
            if is_first_process() and directory.record():
                directory.update_record(status="stopped")
            raise
    return directory


def _announced(what: str) -> AbstractContextManager[None]:
    """Said by the first process alone."""
    return announced(what) if is_first_process() else nullcontext()


def _score(directory: RunDirectory) -> str:
    """What a finished run reached, in words."""
    best = directory.record().get("best") or {}
    score, metric = best.get("score"), best.get("metric")
    return "nothing to do" + ("" if score is None else f", {metric} is {score:.6g}")


def _shorter(directory: RunDirectory, settings: Settings) -> Path | None:
    """A finished run of the same settings and another number of epochs, whose user may have meant to prolong it."""
    own = settings.naming()
    for path in sorted(directory.path.parents[1].parent.glob(f"*/{directory.path.parent.name}/{directory.path.name}")):
        saved = RunDirectory(path).record().get("settings", {})
        other = {name for name in own if saved.get(name) != own[name]}
        if other == {"epochs"} and RunDirectory(path).is_finished:
            return path
    return None


def identity_of(settings: Settings, data: BaseDataModule) -> RunIdentity:
    """Who the run of these settings on these data is."""
    return RunIdentity(
        experiment=settings.experiment.name,
        variant=settings.variant,
        seed=settings.daily.seed,
        fold=settings.daily.fold,
        data=data.data_hash,
        training=data.training_hash,
        folds=data.folds.hash,
        config=settings.config_hash,
        settings=settings.naming(),
    )


def build_task(settings: Settings, data: BaseDataModule, identity: RunIdentity | None = None) -> BaseTask:
    """The seeded task, fitted to the statistics of the training rows.

    Args:
        settings: Of the run.
        data: Prepared data.
        identity: As :func:`identity_of` gives it.
    """
    torch.manual_seed(settings.daily.seed)
    task: BaseTask = load(settings.experiment.task)(
        settings.model, settings.optim, settings.daily.lr, data.statistics()
    )
    task.identity = {
        **(identity or identity_of(settings, data)).plain(),
        "place": settings.experiment.place,
        "model": asdict(settings.model),
        "settings_class": type(settings.model).__name__,
        "optim": asdict(settings.optim),
        "lr": settings.daily.lr,
        "previous": previous_checkpoints(data.previous_runs, settings.directory().path),
    }
    return task


def check_finished(directory: RunDirectory, settings: Settings, identity: RunIdentity) -> bool:
    """Whether the run in a directory is finished, once it is sure to be this one.

    Args:
        directory: Where the run lies.
        settings: Of this run.
        identity: Of this run.

    Raises:
        DataError: Another run lies there.
    """
    record = directory.record()
    if not record:
        return False
    saved = RunIdentity.read(record)
    if not saved.settings:  # written by version 0.1, which kept the settings in config.yaml alone
        saved = replace(saved, settings=directory.flat_settings())
    other = identity.other(saved) or _settings_apart(settings, saved)
    if other:
        raise DataError(
            f"{directory.path} holds a run with {other}; give this one a --variant of its own, or --resume never to set the old "
            "one aside"
        )
    return bool(record.get("status") == FINISHED)


def _start(directory: RunDirectory, settings: Settings, identity: RunIdentity) -> _Start:
    """Decide how to begin; called on the first process only."""
    resume = settings.daily.resume
    if resume == "never":
        directory.set_aside()
        return _Start()
    if check_finished(directory, settings, identity):
        return _Start(finished=True)
    path = directory.last if resume == "auto" else Path(resume)
    if resume == "auto" and not path.is_file():
        return _Start()
    checkpoint = read_checkpoint(path)
    saved = RunIdentity.read(checkpoint[IDENTITY_KEY])
    if not saved.settings:
        saved = replace(saved, settings=RunDirectory(path.parent.parent).flat_settings())
    other = identity.other(saved) or _settings_apart(settings, saved)
    if other:
        raise DataError(
            f"{path} was made by {other}, so training cannot go on from it; give the same flags, or start a new run "
            "from its weights with --init_from"
        )
    refuse_other_averaging(checkpoint, settings.train.ema_decay)
    if settings.train.strategy == "fsdp" and any(path.parent.glob(PATTERN)):
        raise DataError(
            f"{path} keeps its fitted features in a file beside it, which --train.strategy fsdp does not read; go on without that "
            "flag, or start a new run from its weights with --init_from"
        )
    return _Start(resume=str(path))


def _settings_apart(settings: Settings, saved: RunIdentity) -> str:
    apart = settings.differing(saved.settings)
    return f"other settings: {apart}" if apart else ""


def _fit_and_predict(
    trainer: Trainer,
    task: BaseTask,
    data: BaseDataModule,
    settings: Settings,
    directory: RunDirectory,
    identity: RunIdentity,
    resume: str | None,
) -> None:
    started = time.monotonic()
    try:
        with patient():
            trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
        with _announced("predicting the held-out rows"):
            bank = _predict_fold(trainer, task, data, settings, directory, identity)
    except Stopped as stop:
        if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
            trainer.strategy.launcher.kill(stop.signum)
        raise
    if trainer.is_global_zero:
        _close_record(directory, trainer, bank, time.monotonic() - started)
        with _announced("scores, baselines and figures of the report"):
            report = settings.experiment.domain.part("report")
            report(FinishedRun(settings, directory, data, task, bank, trainer.loggers))
        for logger in trainer.loggers:
            if isinstance(logger, OneWandbRun):
                logger.keep(directory, settings.daily.wandb_artifacts)
        directory.update_record(status=FINISHED)
        print(f"run directory: {directory.path}")
        if settings.daily.wandb == "offline":
            print(f"W&B: wandb sync {directory.path / 'wandb' / 'offline-run-*'}")
    trainer.strategy.barrier("end")


@contextmanager
def _alone(directory: RunDirectory) -> Iterator[None]:
    """Hold the run's lock on the first process.

    Raises:
        DataError: Another program trains the same run.
    """
    if not is_first_process():
        yield
        return
    directory.lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(directory.lock, timeout=0.5):
            yield
    except Timeout:
        raise DataError(
            f"{directory.path} is being trained by another process; wait for it or give another --variant or --seed"
        ) from None


def _start_from(task: BaseTask, source: Path | Literal["none"] | None) -> list[str]:
    """Take the weights of another run; its path and digest, for the record."""
    if not isinstance(source, Path):
        return []
    path = RunDirectory(source).inference_checkpoint() if source.is_dir() else source
    checkpoint = read_checkpoint(path)
    load_weights(task, checkpoint, task.own_entries(checkpoint["state_dict"]))
    return [f"{path} (sha256 {sha256_of(path)[:16]})"]


def _open_record(
    directory: RunDirectory,
    settings: Settings,
    data: BaseDataModule,
    task: BaseTask,
    identity: RunIdentity,
    parents: Sequence[str],
) -> None:
    directory.path.mkdir(parents=True, exist_ok=True)
    with atomic_path(directory.config) as temporary:
        temporary.write_text(yaml.safe_dump(settings.plain(), sort_keys=False))
    data.folds.write(directory.path / "folds.csv", full=not data.has_validation)
    before = directory.record()
    directory.update_record(
        status="running",
        experiment=identity.experiment,
        variant=identity.variant,
        seed=identity.seed,
        fold=identity.fold,
        demo=settings.demo,
        parent=parents[0] if parents else before.get("parent"),
        previous=task.identity["previous"],
        hashes=identity.hashes,
        settings=dict(identity.settings),
        rows={"train": len(data.rows(TRAIN)), "valid": len(data.rows(VALID)) if data.has_validation else 0},
        batch_size=data.micro_batch * settings.train.accumulate,
        parameters=task.count_parameters(),
        published=[asdict(p) for p in settings.experiment.published],
        starts=[*before.get("starts", []), provenance()],
    )


def _close_record(directory: RunDirectory, trainer: Trainer, bank: PredictionBank | None, seconds: float) -> None:
    best = next((c for c in trainer.callbacks if isinstance(c, BestCheckpoint)), None)  # type: ignore[attr-defined]
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
    trainer: Trainer,
    task: BaseTask,
    data: BaseDataModule,
    settings: Settings,
    directory: RunDirectory,
    identity: RunIdentity,
) -> PredictionBank | None:
    path = directory.inference_checkpoint()
    load_whole(task, read_checkpoint(path)["state_dict"])
    if not data.has_validation:
        return None
    if task.cannot_predict:
        print(f"no out-of-fold predictions: {task.cannot_predict}")
        return None
    manifest = Manifest(
        kind="out_of_fold",
        domain=settings.experiment.domain.name,
        metric=settings.experiment.domain.metric,
        experiment=identity.experiment,
        variant=identity.variant,
        seed=identity.seed,
        folds=[data.role_fold],
        targets=list(task.target_names),
        groups={name: [where.start, where.stop] for name, where in task.target_groups.items()},
        convention=data.convention,
        hashes=replace(identity, checkpoint=sha256_of(path)).hashes,
        extra={"demo": settings.demo, **data.bank_notes()},
    )
    return predict_out_of_fold(trainer, task, data, directory.bank, manifest, settings.daily.out / "truth")
