"""Out-of-fold predictions of a run's last checkpoint, as a run of its own beside that of the best one.

A run predicts its held-out fold with the best checkpoint, which was chosen on that very fold; GWI's 4th place gave the last
checkpoints more weight than the best (0.6 to 0.4). The bank lies in ``<experiment>/<variant>-last/seed<S>/fold<F>``, so that
blends tell both apart and average folds and seeds of each; ``predict.py --checkpoint last`` puts test predictions there too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from experiments.command import run_command
from experiments.run_directory import FINISHED, RunDirectory

if TYPE_CHECKING:
    from experiments.cli import Settings

LAST = "-last"


@dataclass
class Request:
    """Which run.

    Args:
        run: run directory (``runs/<experiment>/<variant>/seed<S>/fold<F>``) of a finished fold.
        accelerator: auto takes a CUDA GPU where there is one.
    """

    run: Path
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"


def main(argv: Sequence[str] | None = None) -> None:
    """Command line of ``python experiments/last_bank.py``."""
    run_command(Request, last_bank, "python experiments/last_bank.py", __doc__, argv)


def variant_of(identity: dict[str, Any]) -> str:
    """Name of what a checkpoint predicts: the run's variant, with ``-last`` where the run has a best checkpoint too.

    Args:
        identity: as :func:`experiments.inference.load_task` gives it.
    """
    is_last = Path(identity["checkpoint"]).stem == "last" and identity["fold"] != "full"
    return str(identity["variant"]) + (LAST if is_last else "")


def directory_of(run: Path, variant: str) -> Path:
    """Where predictions of a run under a variant's name belong: the run itself, or its twin in that variant's folder.

    Args:
        run: run directory, or the folder of a checkpoint file.
        variant: as :func:`variant_of` gives it.
    """
    run = run.absolute()
    run = run.parent if run.name == "checkpoints" else run
    runs_variant = run.parent.parent
    if run.name.startswith("fold") and runs_variant.name + LAST == variant:
        return runs_variant.with_name(variant) / run.parent.name / run.name
    return run


def last_bank(request: Request) -> RunDirectory:
    """Predict the held-out fold with the last checkpoint, score and report it.

    Raises:
        DataError: the run is not finished, held nothing out, or its data have changed.
    """
    from blend.bank import PredictionBank
    from datamodules.errors import DataError
    from experiments.inference import load_task
    from experiments.training import FinishedRun, prepare_data, quiet_libraries

    quiet_libraries()
    run = RunDirectory(request.run.absolute())
    record = run.record()
    if record.get("status") != FINISHED or not run.bank.is_dir():
        raise DataError(
            f"{run.path} is no finished run with an out-of-fold bank; train it first, with a number as --fold"
        )
    task, experiment, identity = load_task(run.path, "last")
    twin = RunDirectory(directory_of(run.path, variant_of(identity)))
    settings = settings_of(run, twin)
    data = prepare_data(settings)
    if data.data_hash != record["hashes"]["data"]:
        raise DataError(
            f"the data of {run.path} have changed since it was trained; give back the old ones or train it again"
        )
    bank = _predict(
        settings, request.accelerator, task, data, PredictionBank(run.bank), twin, Path(identity["checkpoint"])
    )
    kept = {
        name: record[name]
        for name in ("experiment", "seed", "fold", "demo", "hashes", "rows", "parameters", "published")
    }
    twin.update_record(**kept, variant=settings.variant, parent=identity["checkpoint"], bank=twin.bank.name)
    experiment.domain.part("report")(FinishedRun(settings, twin, data, task, bank, []))
    twin.update_record(status=FINISHED)
    print(f"run directory: {twin.path}")
    return twin


def settings_of(run: RunDirectory, twin: RunDirectory) -> Settings:
    """The settings of a run's ``config.yaml``, under its twin's variant and where the run lies now."""
    import tempfile

    import yaml

    from experiments.cli import parse
    from experiments.declare import load_experiment

    content = yaml.safe_load(run.config.read_text())
    experiment = load_experiment(content.pop("experiment"))
    del content["demo"]
    content |= {"variant": twin.path.parent.parent.name, "out": str(run.path.parents[3])}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "config.yaml"
        file.write_text(yaml.safe_dump(content))
        return parse(experiment, ["--config", str(file)])


def _predict(
    settings: Settings, accelerator: str, task: Any, data: Any, best: Any, twin: RunDirectory, checkpoint: Path
) -> Any:
    """The bank of ``task``, with the manifest of the ``best`` checkpoint's but for what differs."""
    import hashlib
    from dataclasses import replace

    from lightning.pytorch import Trainer

    from datamodules.folds import VALID
    from experiments.oof import merge_out_of_fold, predict_rows
    from experiments.training import resolve_hardware

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
    rows = data.rows(VALID)
    parts = twin.path / ".parts"
    predict_rows(trainer, task, data, rows, parts)
    hashes = best.manifest.hashes | {"checkpoint": hashlib.sha256(checkpoint.read_bytes()).hexdigest()}
    manifest = replace(best.manifest, variant=settings.variant, hashes=hashes, truth=None)
    scale = task.bank_scale.double().cpu().numpy()
    return merge_out_of_fold(parts, 1, twin.bank, data, rows, manifest, scale, settings.daily.out / "truth")


if __name__ == "__main__":
    main()
