"""Out-of-fold banks of checkpoints that are not a run's best."""

from __future__ import annotations

import sys
from dataclasses import replace

from filelock import FileLock
from lightning.pytorch import Trainer

from datamodules.banks.bank import PredictionBank
from datamodules.base import BaseDataModule
from datamodules.errors import DataError
from experiments.engine.cli import Settings, from_config
from experiments.engine.data import prepare_data
from experiments.engine.declare import load_experiment
from experiments.engine.inference import Trained, load_task
from experiments.engine.oof import predict_out_of_fold
from experiments.engine.run_directory import FINISHED, RunDirectory
from experiments.engine.trainer import quiet_libraries, resolve_hardware
from experiments.engine.training import FinishedRun


def checkpoint_bank(run: RunDirectory, which: str, accelerator: str = "auto") -> RunDirectory:
    """Predict the held-out fold with a checkpoint, score and report it.

    Args:
        run: A finished run.
        which: ``last`` or ``epoch<N>``.
        accelerator: As of a run.

    Raises:
        DataError: the run is not finished, held nothing out, or its data have changed.
    """
    quiet_libraries()
    record = run.record()
    if not run.is_finished or not run.bank.is_dir():
        raise DataError(
            f"{run.path} is no finished run with an out-of-fold bank; train it first, with a number as --fold"
        )
    trained = load_task(run.path, which)
    twin = RunDirectory(trained.directory)
    if twin.path == run.path:
        raise DataError(
            f"{run.path}: the best checkpoint's bank is the run's own; give --checkpoint last, epoch<N> or epochs"
        )
    if twin.is_finished and twin.bank.is_dir():
        print(f"{twin.path} is finished: nothing to do")
        return twin
    settings = settings_of(run, twin)
    data = prepare_data(settings)
    if data.data_hash != record["hashes"]["data"]:
        raise DataError(
            f"the data of {run.path} have changed since it was trained; give back the old ones or train it again"
        )
    twin.lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(twin.lock):
        return _finish(trained, settings, accelerator, data, run, twin)


def _finish(
    trained: Trained, settings: Settings, accelerator: str, data: BaseDataModule, run: RunDirectory, twin: RunDirectory
) -> RunDirectory:
    record = run.record()
    bank = _predict(settings, accelerator, trained, data, PredictionBank(run.bank), twin)
    names = ("experiment", "seed", "fold", "demo", "hashes", "settings", "rows", "parameters", "published")
    kept = {name: record[name] for name in names if name in record}
    twin.update_record(
        **kept, status="running", variant=settings.variant, parent=str(trained.checkpoint), bank=twin.bank.name
    )
    trained.experiment.domain.part("report")(FinishedRun(settings, twin, data, trained.task, bank, []))
    twin.update_record(status=FINISHED)
    print(f"run directory: {twin.path}")
    return twin


def settings_of(run: RunDirectory, twin: RunDirectory) -> Settings:
    """The settings of a run's ``config.yaml``, under its twin's variant and where the run lies now."""
    content = run.settings()
    experiment = load_experiment(content.pop("experiment"))
    del content["demo"]
    return from_config(experiment, content | {"variant": twin.path.parent.parent.name, "out": str(run.path.parents[3])})


def _predict(
    settings: Settings,
    accelerator: str,
    trained: Trained,
    data: BaseDataModule,
    best: PredictionBank,
    twin: RunDirectory,
) -> PredictionBank | None:
    """The bank of a checkpoint, with the manifest of the ``best`` one's but for what differs."""
    kind, _, precision = resolve_hardware(accelerator, 1, settings.daily.precision)
    trainer = Trainer(
        accelerator=kind,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        logger=False,
        enable_progress_bar=settings.train.progress and sys.stderr.isatty(),
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    hashes = best.manifest.hashes | {"checkpoint": trained.identity.checkpoint}
    extra = best.manifest.extra | data.bank_notes()  # banks of earlier versions lack the notes
    manifest = replace(best.manifest, variant=settings.variant, hashes=hashes, truth=None, extra=extra)
    return predict_out_of_fold(trainer, trained.task, data, twin.bank, manifest, settings.daily.out / "truth")
