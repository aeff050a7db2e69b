"""What a run of the family classifier ends with: accuracy of each family, and who was taken for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from datamodules.banks.bank import PredictionBank
from datamodules.folds import TRAIN, VALID
from datamodules.gwi.maps import FamilyDataModule
from datamodules.gwi.schema import FAMILIES
from lit_modules.gwi.figures import confusion_matrix
from lit_modules.gwi.metrics import FamilyConfusion
from lit_modules.metrics import ColumnLogLoss

if TYPE_CHECKING:
    from experiments.engine.training import FinishedRun


def report(run: FinishedRun) -> None:
    """Print and record log loss and accuracy beside those of the families' shares; draw the confusion matrix."""
    if run.bank is None:
        return
    assert isinstance(run.data, FamilyDataModule)
    family = run.data.family(run.data.rows(VALID))
    table, counts = scores_of(run.bank, family)
    share = np.bincount(run.data.family(run.data.rows(TRAIN)), minlength=len(FAMILIES)).astype(np.float64)
    constant = np.broadcast_to(share / share.sum(), (len(family), len(FAMILIES)))
    scores = {"families' shares": _scores(constant, family)[0], run.settings.experiment.name: table}
    run.directory.update_record(scores=scores, confusion=counts.tolist())
    if run.settings.train.figures:
        figure = confusion_matrix(counts)
        run.keep_figure("out_of_fold_confusion", figure)
    _print(run, scores, counts)


def scores_of(bank: PredictionBank, family: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """Log loss and accuracies of a bank of probabilities, and its confusion matrix.

    Args:
        bank: ``(rows, 10)``.
        family: Numbers of the true families, ``(rows,)``.
    """
    return _scores(bank.in_judge_units(slice(None)), family)


def _scores(probabilities: np.ndarray, family: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    log_loss, confusion = ColumnLogLoss(len(FAMILIES)), FamilyConfusion()
    guessed, labels = torch.from_numpy(probabilities.copy()), torch.from_numpy(np.eye(len(FAMILIES))[family])
    log_loss.update(guessed, labels)
    confusion.update(guessed.argmax(1), torch.from_numpy(family))
    return {"log_loss": float(log_loss.compute()), **confusion.table()}, confusion.compute().numpy()


def _print(run: FinishedRun, scores: dict[str, dict[str, float]], counts: np.ndarray) -> None:
    kind = "generated" if run.settings.demo else "held-out"
    assert isinstance(run.data, FamilyDataModule)
    shown = "as a net predicted them" if run.data.predicted is not None else "that imitate predictions"
    out = Table(title=f"families of {counts.sum():,} {kind} maps {shown}")
    for name in ("", *scores, "most often taken for"):
        out.add_column(name, justify="left" if name == "" else "right")
    ours = scores[run.settings.experiment.name]
    for name in ours:
        family = name.removeprefix("accuracy_")
        other = _mistaken_for(counts, FAMILIES.index(family)) if family in FAMILIES else ""
        out.add_row(name.replace("_", " ", 1), *(f"{table[name]:.4f}" for table in scores.values()), other)
    Console(width=100).print(out)


def _mistaken_for(counts: np.ndarray, family: int) -> str:
    others = counts[family].copy()
    others[family] = 0
    return f"{FAMILIES[int(others.argmax())]} ({others.max()})" if others.any() else ""
