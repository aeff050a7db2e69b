"""What a Mars run ends with: the log loss of every class beside the prior's, and pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from datamodules.folds import TRAIN, VALID
from datamodules.mars.datamodule import MarsDataModule
from lit_modules.mars.figures import log_loss_by_class, reliability, spectrograms
from lit_modules.mars.task import build_images
from lit_modules.metrics import ColumnLogLoss

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from experiments.engine.training import FinishedRun

Array = npt.NDArray[np.float64]
_NORMALISATIONS = {"none": "not normalised", "mass": "each mass by its maximum", "time": "each time by its base peak"}


def make_demo(cache: Path) -> Path:
    """Generate the demo data set below ``cache``, or find it there."""
    from datamodules.mars.demo import generate

    return generate(Path(cache) / "demo-mars")


def class_log_loss(probabilities: Array, labels: Array) -> Array:
    """The judge's log loss of every class, ``(classes,)``."""
    metric = ColumnLogLoss(labels.shape[1])
    metric.update(torch.from_numpy(np.ascontiguousarray(probabilities)), torch.from_numpy(labels))
    return metric.per_target().numpy()


def prior_log_loss(data: MarsDataModule) -> Array:
    """Log loss of predicting each class's share in the training rows, half a row added to both sides."""
    train, labels = data.truth(data.rows(TRAIN)), data.truth(data.rows(VALID))
    share = (train.sum(axis=0) + 0.5) / (len(train) + 1)
    return class_log_loss(np.broadcast_to(share, labels.shape), labels)


def report(run: FinishedRun) -> None:
    """Print and record the scores of the held-out rows; write the figures into the run directory."""
    if run.bank is None:
        return
    assert isinstance(run.data, MarsDataModule)
    truth = run.bank.truth().in_judge_units(slice(None))
    predicted = run.bank.in_judge_units(slice(None))
    scores = {"prior": prior_log_loss(run.data), run.settings.experiment.name: class_log_loss(predicted, truth)}
    run.directory.update_record(
        scores={name: {"log_loss": float(values.mean())} for name, values in scores.items()},
        per_target=scores[run.settings.experiment.name].tolist(),
        per_class={
            name: dict(zip(run.task.target_names, values.tolist(), strict=True)) for name, values in scores.items()
        },
    )
    if run.settings.train.figures:
        classes = list(run.task.target_names)
        figures = {
            "log_loss_by_class": log_loss_by_class(classes, scores),
            "reliability": reliability(predicted, truth),
            "spectrogram": spectrogram(run),
        }
        for name, figure in figures.items():
            run.keep_figure(name, figure)
    _print(run, scores, truth.sum(axis=0))


def spectrogram(run: FinishedRun) -> Figure:
    """A held-out sample that contains something, in the three normalisations and the run's log scaling."""
    assert isinstance(run.data, MarsDataModule)
    rows = run.data.rows(VALID)
    row = rows[int(np.argmax(run.data.labels.values[rows].sum(axis=1)))]
    batch = run.data.read(np.array([row]))
    planes = {}
    for name, title in _NORMALISATIONS.items():
        images = build_images(replace(run.settings.model, normalise=name))
        planes[title] = images.scaled(images.linear(batch["image"], batch["derivatized"])).amax(dim=1)[0].numpy()
    held = [name for name, value in zip(run.data.labels.classes, run.data.labels.values[row], strict=True) if value]
    return spectrograms(planes, f"{run.data.samples.ids[row]}: {', '.join(held) or 'nothing'}")


def _print(run: FinishedRun, scores: dict[str, Array], positives: Array) -> None:
    kind = "synthetic demo data, not comparable with any leaderboard" if run.settings.demo else "held-out samples"
    table = Table(title=f"log loss on {kind} ({len(run.bank.index) if run.bank else 0:,} samples)")
    table.add_column("class")
    for name in ("positives", *scores):
        table.add_column(name, justify="right")
    for i, name in enumerate(run.task.target_names):
        table.add_row(name, f"{positives[i]:.0f}", *(f"{values[i]:.4f}" for values in scores.values()))
    table.add_row("mean", "", *(f"{values.mean():.4f}" for values in scores.values()))
    Console(width=110).print(table)
