"""What an experiment file declares: data, module, defaults, and the published score it answers to."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Literal

from datamodules.errors import DataError
from experiments.engine.settings import Train
from lit_modules.settings import Optim


@dataclass(frozen=True)
class Published:
    """A score that the original solution reported, never one of ours.

    Args:
        score: The number.
        what: Metric and rows, such as ``CV R2 on 2008-07..2009-01``.
        source: Where it stands.
    """

    score: float
    what: str
    source: str


@dataclass(frozen=True)
class Domain:
    """Where the parts of a domain live, as ``module:name`` so that nothing heavy is imported for ``--help``.

    Args:
        name: ``leap``, ``moa``, ``mars`` or ``gwi``.
        datamodule: The :class:`datamodules.base.BaseDataModule`.
        demo: Function ``(cache_dir, seed) -> data_dir`` that makes the demo data set.
        report: Function ``(RunReport) -> None`` that prints tables and writes figures after a run.
        predict: Function that predicts a file and writes a submission (``experiments/predict.py``).
        metric: Name of the judge's metric as banks carry it.
        demo_announcement: First line of a demo run, after ``DEMO: ``.
        export: Function ``(task) -> Deployable`` that wraps a task for ``experiments/export.py``; None where the domain
            has none.
    """

    name: str
    datamodule: str
    demo: str
    report: str
    predict: str
    metric: str
    demo_announcement: str
    export: str | None = None

    def part(self, name: str) -> Any:
        """Import one of the parts."""
        return load(getattr(self, name))


@dataclass(frozen=True)
class Experiment:
    """One trained system.

    Args:
        name: Name of the experiment, equal to its file's.
        domain: Where its data and reports live.
        task: ``module:class`` of the :class:`lit_modules.base.BaseTask`.
        model: Settings of the net and the task, the ``--model.*`` group with its defaults.
        data: Settings of the data, the ``--data.*`` group.
        optim: The ``--optim.*`` group.
        train: The ``--train.*`` group.
        epochs, batch_size, lr, seed: Defaults of the daily flags.
        demo: Defaults that a demo run changes, by dotted flag name.
        published: Scores of the original.
        previous: Name of the experiment that is trained before this one, where this is a later stage (``experiments/engine/stages.py``).
        takes: What it takes from there: out-of-fold ``predictions`` of all folds and seeds as inputs, or the ``weights`` of
            the same fold and seed to start from.
    """

    name: str
    domain: Domain
    task: str
    model: Any
    data: Any
    optim: Optim = field(default_factory=Optim)
    train: Train = field(default_factory=Train)
    epochs: int = 1
    batch_size: int = 1024
    lr: float = 1e-3
    seed: int = 0
    demo: dict[str, Any] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    previous: str = ""
    takes: Literal["predictions", "weights"] = "predictions"


def load(reference: str) -> Any:
    """The object that ``module:name`` names."""
    module, name = reference.split(":")
    return getattr(import_module(module), name)


def load_experiment(name: str) -> Experiment:
    """The declaration in ``experiments/<name>.py``.

    Raises:
        DataError: there is no such experiment.
    """
    try:
        experiment = import_module(f"experiments.{name}").EXPERIMENT
    except (ModuleNotFoundError, AttributeError) as error:
        raise DataError(f"there is no experiment {name!r} (experiments/{name}.py): {error}") from None
    assert isinstance(experiment, Experiment)
    return experiment
