"""Out-of-fold predictions of a run's last checkpoint, or of any epoch's, as a run of its own beside that of the best one.

A run predicts its held-out fold with the best checkpoint, which was chosen on that very fold; GWI's 4th place gave the last
checkpoints more weight than the best (0.6 to 0.4). The bank lies in ``<experiment>/<variant>-last/seed<S>/fold<F>``, so that
blends tell both apart and average folds and seeds of each; ``predict.py --checkpoint last`` puts test predictions there too. With
``--train.keep_epochs`` every epoch can have a bank, and blends choose the best epoch of each target (docs/blending.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.engine.command import run_command
from experiments.engine.run_directory import FINISHED, RunDirectory

if TYPE_CHECKING:
    from datamodules.banks.bank import PredictionBank
    from datamodules.base import BaseDataModule
    from experiments.engine.cli import Settings
    from experiments.engine.inference import Trained


@dataclass
class Request:
    """Which run.

    Args:
        run: Run directory (``runs/<experiment>/<variant>/seed<S>/fold<F>``) of a finished fold.
        checkpoint: last, epoch<N> of a run with --train.keep_epochs, or epochs = each of them.
        accelerator: auto takes a CUDA GPU where there is one.
    """

    run: Path
    checkpoint: str = "last"
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/checkpoint_bank.py``."""
    run_command(Request, checkpoint_banks, "python experiments/checkpoint_bank.py", __doc__, argv)


def checkpoint_banks(request: Request) -> list[RunDirectory]:
    """Predict with the wanted checkpoints; those that were predicted before are left as they are.

    Raises:
        DataError: as :func:`checkpoint_bank` does.
    """
    run = RunDirectory(request.run.absolute())
    wanted = [request.checkpoint]
    if request.checkpoint == "epochs":
        kept = run.checkpoints.glob("epoch*.ckpt")
        wanted = [path.stem for path in sorted(kept, key=lambda path: (len(path.stem), path.stem))] or ["epoch0"]
    return [checkpoint_bank(run, which, request.accelerator) for which in wanted]


def checkpoint_bank(run: RunDirectory, which: str, accelerator: str = "auto") -> RunDirectory:
    """Predict the held-out fold with a checkpoint, score and report it.

    Args:
        run: A finished run.
        which: ``last`` or ``epoch<N>``.
        accelerator: As of a run.

    Raises:
        DataError: the run is not finished, held nothing out, or its data have changed.
    """
    from datamodules.banks.bank import PredictionBank
    from datamodules.errors import DataError
    from experiments.engine.data import prepare_data
    from experiments.engine.inference import load_task
    from experiments.engine.trainer import quiet_libraries
    from experiments.engine.training import FinishedRun

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
    bank = _predict(settings, accelerator, trained, data, PredictionBank(run.bank), twin)
    names = ("experiment", "seed", "fold", "demo", "hashes", "settings", "rows", "parameters", "published")
    kept = {name: record[name] for name in names if name in record}
    twin.update_record(**kept, variant=settings.variant, parent=str(trained.checkpoint), bank=twin.bank.name)
    trained.experiment.domain.part("report")(FinishedRun(settings, twin, data, trained.task, bank, []))
    twin.update_record(status=FINISHED)
    print(f"run directory: {twin.path}")
    return twin


def settings_of(run: RunDirectory, twin: RunDirectory) -> Settings:
    """The settings of a run's ``config.yaml``, under its twin's variant and where the run lies now."""
    from experiments.engine.cli import from_config
    from experiments.engine.declare import load_experiment

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
    from dataclasses import replace

    from lightning.pytorch import Trainer

    from experiments.engine.oof import predict_out_of_fold
    from experiments.engine.trainer import resolve_hardware

    kind, _, precision = resolve_hardware(accelerator, 1, settings.daily.precision)
    trainer = Trainer(
        accelerator=kind,
        devices=1,
        precision=precision,  # type: ignore[arg-type]
        logger=False,
        enable_progress_bar=settings.train.progress,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
    )
    hashes = best.manifest.hashes | {"checkpoint": trained.identity.checkpoint}
    manifest = replace(best.manifest, variant=settings.variant, hashes=hashes, truth=None)
    return predict_out_of_fold(trainer, trained.task, data, twin.bank, manifest, settings.daily.out / "truth")


if __name__ == "__main__":
    main()
