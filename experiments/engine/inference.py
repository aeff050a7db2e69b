"""A trained task from its checkpoint alone, with all that the checkpoint says of itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from datamodules.banks.bank import Manifest
from datamodules.errors import DataError
from experiments.engine.checkpoints import directory_of, find_checkpoint, variant_of
from experiments.engine.declare import Experiment, load, load_experiment
from experiments.engine.identity import RunIdentity
from experiments.engine.pretrained import find_shared
from experiments.engine.run_directory import RunDirectory
from lit_modules.base import IDENTITY_KEY, BaseTask, load_weights, read_checkpoint
from lit_modules.settings import Optim


@dataclass(frozen=True)
class Trained:
    """A trained task and where it comes from.

    Args:
        task: In eval mode, with its weights and statistics.
        experiment: Its declaration.
        identity: Who the run is, with the checkpoint's hash.
        checkpoint: The file.
        saved: All plain values of the checkpoint: settings of net and optimiser, the runs of the stage before.
        epoch: Passes over the training rows when it was written.
        home: What stands for the run directory of a model that was shared.
    """

    task: BaseTask
    experiment: Experiment
    identity: RunIdentity
    checkpoint: Path
    saved: Mapping[str, Any]
    epoch: int
    home: Path | None = None

    @property
    def run(self) -> Path:
        """The run directory, or the folder of a checkpoint that lies alone."""
        if self.home is not None:
            return self.home
        folder = self.checkpoint.parent
        return folder.parent if folder.name == "checkpoints" else folder

    @property
    def variant(self) -> str:
        """Name of what this checkpoint predicts."""
        return variant_of(self.identity.variant, self.identity.fold, self.checkpoint)

    @property
    def directory(self) -> Path:
        """The run, or its twin for a checkpoint that is not the best one."""
        return directory_of(self.run, self.variant)

    @property
    def predictions(self) -> Path:
        """Folder of the banks of predicted files."""
        return self.directory / "predictions"

    @cached_property
    def data_settings(self) -> Any:
        """The ``--data.*`` settings of training, so that prediction reads rows as training did."""
        kind, values = type(self.experiment.data), dict(self.identity.settings)
        if not values and (self.run / "config.yaml").is_file():  # written by version 0.1
            values = {
                f"data.{name}": value for name, value in RunDirectory(self.run).settings().get("data", {}).items()
            }
        known = {item.name for item in fields(kind) if item.metadata.get("names_run", True)}
        own = {name: values[f"data.{name}"] for name in known if f"data.{name}" in values}
        return kind(**{name: value for name, value in own.items() if not _is_path(kind, name)})

    def reading(self, changes: Mapping[str, Any]) -> Any:
        """The ``--data.*`` settings to read an input with: training's, and what prediction may change of them.

        Args:
            changes: By name, as the command line of ``predict.py`` gives them.

        Raises:
            DataError: A setting that is training's, or none, or a value that it cannot have.
        """
        kind = type(self.experiment.data)
        known = {item.name: item.metadata for item in fields(kind)}
        allowed = [name for name, about in known.items() if about.get("at_prediction")]
        for name in changes:
            if name not in allowed:
                what = "is none of this experiment's settings"
                if name in known:
                    what = f"is training's, {getattr(self.data_settings, name)!r}"
                may = ", ".join(f"--data.{other}" for other in allowed) or "none"
                raise DataError(f"--data.{name} {what}; prediction may change {may}")
        parser = ArgumentParser(exit_on_error=False)
        parser.add_class_arguments(kind, "data")
        try:
            given = parser.parse_object({"data": dict(changes)}).data
            return replace(self.data_settings, **{name: getattr(given, name) for name in changes})
        except (ArgumentError, ValueError) as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            raise DataError(f"--data.{', --data.'.join(changes)}: {lines[-1]}") from None

    def manifest(self, **more: Any) -> Manifest:
        """Manifest of predictions of rows that nobody held out.

        Args:
            more: Other entries, such as ``convention``.
        """
        return Manifest(
            **{
                "kind": "test",
                "domain": self.experiment.domain.name,
                "metric": self.experiment.domain.metric,
                "experiment": self.experiment.name,
                "variant": self.variant,
                "seed": self.identity.seed,
                "targets": list(self.task.target_names),
                "groups": {name: [where.start, where.stop] for name, where in self.task.target_groups.items()},
                "hashes": self.identity.hashes,
                "extra": {"trained_on_fold": self.identity.fold},
                **more,
            }
        )


def load_task(run: Path, which: str = "best", declaration: Path | None = None) -> Trained:
    """Rebuild a task with its weights and statistics, in eval mode on the CPU.

    Args:
        run: Run directory, or a checkpoint file, or a shared model: its folder or ``hf://user/name``.
        which: ``best``, ``last`` or ``epoch<N>`` of a run directory.
        declaration: File of the experiment, where it lies outside of this repository.

    Raises:
        DataError: No checkpoint there, an unfinished run, or a checkpoint that this program cannot rebuild.
    """
    if (shared := find_shared(run)) is not None:
        if which != "best":
            raise DataError(f"{run} holds one checkpoint of each run; leave --checkpoint {which} out")
        return _rebuild(shared.checkpoint(), shared.saved, shared.weights, declaration, shared.home)
    run = Path(run)
    if not run.exists():
        raise DataError(f"{run} does not exist; give a run directory (…/seed<S>/fold<F>) or a checkpoint file")
    path = run if run.is_file() else find_checkpoint(RunDirectory(run), which)
    checkpoint = read_checkpoint(path)
    return _rebuild(checkpoint, checkpoint[IDENTITY_KEY], path, declaration)


def load_pretrained(place: str | Path, declaration: Path | None = None) -> Trained:
    """A model that somebody shared, with its weights and statistics, in eval mode on the CPU.

    Args:
        place: ``hf://user/name[@revision][/member]``, or the folder that ``experiments/share.py`` wrote.
        declaration: File of the experiment, where it lies outside of this repository.

    Raises:
        DataError: No shared model, or a file that is not what was shared.
    """
    return load_task(Path(place), declaration=declaration)


def _rebuild(
    checkpoint: Mapping[str, Any],
    saved: Mapping[str, Any],
    path: Path,
    declaration: Path | None,
    home: Path | None = None,
) -> Trained:
    identity = RunIdentity.read(saved, path)
    experiment = load_experiment(identity.experiment, saved.get("place", ""), declaration)
    kind = load(experiment.task)
    task: BaseTask = kind(
        _restore(type(experiment.model), saved["model"], path),
        _restore(Optim, saved["optim"], path),
        saved["lr"],
        kind.statistics_in(checkpoint["state_dict"]),
    )
    load_weights(task, checkpoint)
    return Trained(task.eval(), experiment, identity, path, saved, int(checkpoint["epoch"]), home)


def _restore(kind: type, values: dict[str, Any], path: Path) -> Any:
    unknown = set(values) - {field.name for field in fields(kind)}
    if unknown:
        raise DataError(
            f"{path} has the setting {min(unknown)!r}, which {kind.__name__} does not know; it was made by another version"
        )
    # JSON, in which models are shared, knows no tuples; settings know no lists
    return kind(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})


def _is_path(kind: type, name: str) -> bool:
    """Whether a field holds a path, of which a checkpoint keeps what it pointed to and not where it lay."""
    item = next(item for item in fields(kind) if item.name == name)
    return "Path" in str(item.type) and item.default is not MISSING
