"""What an experiment file declares: data, module, defaults, and the published score it answers to."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any, Literal

from datamodules.commands import as_typed
from datamodules.errors import DataError
from experiments.engine.settings import Train
from lit_modules.settings import Optim

_EXPERIMENTS = Path(__file__).resolve().parents[1]
_FILE = "_podium_file_"


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
        predict: Function ``(request, trained) -> None`` that predicts an input (``experiments/predict.py``).
        metric: Name of the judge's metric as banks carry it.
        demo_announcement: First line of a demo run, after ``DEMO: ``; ``{net}`` is where it says which net is trained.
        export: Function ``(task) -> Deployable`` that wraps a task for ``experiments/export.py``; None where the domain
            has none.
        evaluate: Function ``(Request) -> None`` behind ``experiments/evaluate.py``; None where the domain has none.
        task: What its nets predict from what, a sentence of the card of a shared model.
        data_licence: Whose data they are trained on and under which licence, for the same card.
        intended_use: What they are good for and not good for, for the same card.
        pictures: Names of the figures that its runs draw, for a dashboard.
    """

    name: str
    datamodule: str
    demo: str
    report: str
    predict: str
    metric: str
    demo_announcement: str
    submission: str = "blend.commands.submission:write_csv"
    export: str | None = None
    evaluate: str | None = None
    pictures: tuple[str, ...] = ()
    task: str = "See the declaration."
    data_licence: str = "those of whoever gave the data."
    intended_use: str = "comparison with other nets on the same data."

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
        place: Module or file of the declaration, found by itself.
        announcement: First line of a demo run, where the domain's does not fit.
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
    announcement: str = ""
    place: str = ""

    def __post_init__(self) -> None:
        if not self.place:
            object.__setattr__(self, "place", _place())

    @property
    def command(self) -> list[str]:
        """Program and arguments that run the experiment file in a process of its own."""
        if self.place == f"experiments.{self.name}":  # as a file, it is found from beside any folder named experiments
            return [sys.executable, str(_EXPERIMENTS / f"{self.name}.py")]
        return [sys.executable, *([self.place] if self.place.endswith(".py") else ["-m", self.place])]

    @property
    def shown_command(self) -> str:
        """The command as a user types it."""
        if self.place == f"experiments.{self.name}":
            return as_typed(f"python experiments/{self.name}.py").replace("podium ", "podium train ", 1)
        return f"python {self.place}" if self.place.endswith(".py") else f"python -m {self.place}"

    @property
    def answers_to(self) -> str:
        """Which solution the declaration rebuilds, as the first line of its file says: ``8th place`` or ``baseline``."""
        head = (getattr(sys.modules.get(self.place), "__doc__", "") or "").partition(":")[0]
        return head.partition(" ")[2].strip()

    @property
    def demo_announcement(self) -> str:
        """What a run without data says first."""
        smaller = any(name.startswith("model.") for name in self.demo)
        text = self.announcement or self.domain.demo_announcement
        return text.format(net="a smaller net" if smaller else "the declared net")


def load(reference: str) -> Any:
    """The object that ``module:name`` names."""
    module, name = reference.split(":")
    return getattr(import_module(module), name)


def load_experiment(name: str, place: str = "", given: Path | None = None) -> Experiment:
    """A declaration, wherever it lies.

    Args:
        name: Name of the experiment.
        place: Where a checkpoint says that it is declared. Outside of this repository that is code which a file of data
            names, so it is run only where this user trained with it before.
        given: The file of the declaration, as the user names it.

    Raises:
        DataError: There is no such experiment, or it is not known that its code may be run.
    """
    if given is not None:
        place = str(given.resolve())
    elif not place or place.startswith("experiments."):
        place = f"experiments.{name}"
    elif place not in _trusted():
        raise DataError(
            f"experiment {name!r} was declared in {place}, which is not part of podium and was never run by you here; "
            "if you trust it, name the file with --experiment FILE"
        )
    try:
        experiment = (_load_file(Path(place)) if place.endswith(".py") else import_module(place)).EXPERIMENT
    except (ImportError, FileNotFoundError, AttributeError) as error:
        raise DataError(f"there is no experiment {name!r} ({place}): {error}") from None
    if not isinstance(experiment, Experiment) or experiment.name != name:
        raise DataError(f"{place} does not declare the experiment {name!r}")
    return experiment


def trust(experiment: Experiment) -> None:
    """Remember that this user runs an experiment from outside of the repository, so that prediction may find it."""
    if not experiment.place.startswith("experiments.") and experiment.place not in _trusted():
        file = _trust_file()
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as lines:
            lines.write(f"{experiment.place}\n")


def _trusted() -> list[str]:
    file = _trust_file()
    return file.read_text().splitlines() if file.is_file() else []


def _trust_file() -> Path:
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "podium" / "experiments.txt"


def _load_file(path: Path) -> ModuleType:
    """Run a declaration that no package holds, with its folder on the path as Python has it for a script."""
    spec = spec_from_file_location(f"{_FILE}{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    spec.loader.exec_module(module)
    return module


def _place() -> str:
    """Where the declaration that is being made stands: the innermost module whose own lines make it."""
    frame: FrameType | None = sys._getframe(2)
    while frame is not None and frame.f_code.co_name != "<module>":
        frame = frame.f_back
    if frame is None or "__file__" not in frame.f_globals:
        return "experiments."
    file = Path(frame.f_globals["__file__"]).resolve()
    if file.parent == _EXPERIMENTS:
        return f"experiments.{file.stem}"
    spec = frame.f_globals.get("__spec__")
    return str(file) if spec is None or spec.name.startswith(_FILE) else str(spec.name)
