"""What a MoA run ends with: the log loss beside the constant prior's, in both conventions, and the hardest targets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.table import Table

from datamodules.folds import TRAIN, VALID
from datamodules.moa.datamodule import MoaDataModule
from lit_modules.metrics import ColumnLogLoss
from lit_modules.moa.figures import feature_map
from lit_modules.moa.task import PRIOR_SMOOTHING, MoaTask
from lit_modules.nets.deep_insight import DeepInsight

if TYPE_CHECKING:
    from experiments.engine.training import FinishedRun

Array = npt.NDArray[np.float64]
_SHOWN = 5


def make_demo(cache: Path) -> Path:
    """Generate the demo data set below ``cache``, or find it there."""
    from datamodules.moa.demo import generate

    return generate(Path(cache) / "demo-moa")


def column_log_loss(probabilities: npt.NDArray[np.floating], labels: npt.NDArray[np.floating]) -> Array:
    """The judge's log loss of every target, ``(targets,)``."""
    metric = ColumnLogLoss(labels.shape[1])
    metric.update(torch.from_numpy(np.ascontiguousarray(probabilities)), torch.from_numpy(np.ascontiguousarray(labels)))
    return metric.per_target().numpy()


def prior_scores(data: MoaDataModule) -> Array:
    """Log loss of predicting each target's share in the training rows, smoothed like the nets' labels.

    Without smoothing a target without positives in training would cost 34.5 for every positive in validation.
    """
    train = data.rows(TRAIN)
    treated = train[~data.tables.signatures.control[train]]
    prior = data.truth(treated).mean(axis=0) * (1 - PRIOR_SMOOTHING) + 0.5 * PRIOR_SMOOTHING
    labels = data.truth(data.rows(VALID))
    return column_log_loss(np.broadcast_to(prior, labels.shape), labels)


def report(run: FinishedRun) -> None:
    """Print and record the scores of the held-out rows."""
    if run.bank is None:
        return
    assert isinstance(run.data, MoaDataModule)
    truth = run.bank.truth().in_judge_units(slice(None))
    own = column_log_loss(run.bank.in_judge_units(slice(None)), truth)
    prior = prior_scores(run.data)
    share = float(1 - run.data.tables.signatures.control.mean())
    predictors = {"prior": prior, run.settings.experiment.name: own}
    table = {
        name: {"NC": float(values.mean()), "ALL": float(values.mean()) * share} for name, values in predictors.items()
    }
    run.directory.update_record(scores=table, per_target=own.tolist(), prior_per_target=prior.tolist())
    _print(run, table, own, prior, truth.sum(axis=0))
    if run.settings.train.figures and isinstance(run.task.net, DeepInsight):
        _draw_feature_map(run, run.task.net)


def _draw_feature_map(run: FinishedRun, net: DeepInsight) -> None:
    """Picture of the map that was fitted to the training rows, with the first held-out row drawn on it."""
    assert isinstance(run.task, MoaTask)
    features, row = run.task.features, run.data.rows(VALID)[:1]
    batch = {name: value.to(run.task.device) for name, value in run.data.read(row).items()}
    with torch.no_grad():
        table = features(batch["values"], batch["time"], batch["dose"], batch["control"], batch.get("meta"))
        image = net.images(table)[0]
    pixels = features.step_state("image_map")["pixels"].cpu().numpy()
    row_id = str(run.data.index(row)["row_id"].iloc[0])
    figure = feature_map(pixels, net.images.size, features.blocks, image.cpu().numpy(), row_id)
    run.keep_figure("feature_map", figure)


def _print(run: FinishedRun, table: dict[str, dict[str, float]], own: Array, prior: Array, positives: Array) -> None:
    assert run.bank is not None
    kind = "synthetic demo data, not comparable with any leaderboard" if run.settings.demo else "held-out rows"
    what = "log loss"
    if run.settings.data.targets != "scored":
        what = f"log loss of {len(own)} non-scored targets (not the competition's score)"
    out = Table(title=f"{what} on {kind} ({len(run.bank.index):,} rows, {run.settings.data.cv} folds)")
    for name in ("predictor", "NC", "ALL", "against the prior"):
        out.add_column(name, justify="left" if name == "predictor" else "right")
    for name, scores in table.items():
        gain = scores["NC"] / table["prior"]["NC"] - 1
        out.add_row(name, f"{scores['NC']:.5f}", f"{scores['ALL']:.5f}", f"{gain:+.1%}")
    out.caption = "NC: without control rows; ALL: with them, predicted as 0"
    hardest = Table(title="hardest targets")
    for name in ("target", "positives", "log loss", "prior"):
        hardest.add_column(name, justify="left" if name == "target" else "right")
    names = run.task.target_names
    for i in np.argsort(-own)[:_SHOWN]:
        hardest.add_row(names[i], f"{positives[i]:.0f}", f"{own[i]:.4f}", f"{prior[i]:.4f}")
    console = Console(width=110)
    console.print(out)
    console.print(hardest)
