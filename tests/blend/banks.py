"""Small run directories for the tests of the blend."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from blend.aligned.align import align
from blend.aligned.chunks import ArrayRows, Member, Part
from blend.aligned.view import Stack
from blend.metrics.registry import KNOWN
from blend.problem import Problem
from datamodules.banks import bank as banks
from datamodules.banks.bank import Manifest, PredictionBank
from datamodules.banks.sources import resolve
from datamodules.files import read_json, write_json

FOLDS_HASH = "f" * 64


def write_bank(path: Path, *arguments: Any, **options: Any) -> PredictionBank:
    """A bank without checksums, as version 0.1 wrote them, so that tests can change what it holds."""
    banks.write_bank(path, *arguments, **options)
    content = read_json(path / "manifest.json")
    content.pop("files")
    write_json(path / "manifest.json", content)
    return PredictionBank(path)


@dataclass
class Runs:
    root: Path
    ids: list[str]
    folds: np.ndarray
    truth: np.ndarray
    predictions: np.ndarray  # (models, rows, *shape)
    metric: str

    @property
    def banks(self) -> list[str]:
        return [str(self.root / f"model{k}") for k in range(len(self.predictions))]

    def problem(self, **options) -> Problem:
        row_groups = options.pop("row_groups", False)
        return Problem(align(resolve(self.banks), row_groups=row_groups), KNOWN[self.metric], **options)


def random_case(
    metric: str, models: int, rows: int, shape: tuple[int, ...], seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Truth and predictions of models of different quality with partly shared errors."""
    rng = np.random.default_rng(seed)
    size = (rows, *shape)
    if metric == "column_log_loss":
        logit = rng.normal(-1.0, 1.5, size)
        truth = rng.random(size) < 1 / (1 + np.exp(-logit))
        shared = rng.normal(0, 0.5, size)
        noise = [rng.normal(0.1 * k, 0.5 + 0.15 * k, size) for k in range(models)]
        return truth.astype(np.float32), np.array([1 / (1 + np.exp(-(logit + shared + e))) for e in noise], np.float32)
    truth = rng.normal(3.0, 2.0, size)
    shared = rng.normal(0, 0.4, size)
    return truth.astype(np.float32), np.array(
        [truth + shared + rng.normal(0.05 * k, 0.5 + 0.1 * k, size) for k in range(models)], np.float32
    )


def write_runs(
    root: Path,
    metric: str = "r2",
    models: int = 3,
    rows: int = 60,
    shape: tuple[int, ...] = (4,),
    n_folds: int = 5,
    seed: int = 0,
    groups: list[str] | None = None,
    target_groups: dict[str, list[int]] | None = None,
    truth: np.ndarray | None = None,
    predictions: np.ndarray | None = None,
    domain: str = "toy",
) -> Runs:
    """``root/model<k>/default/seed0/fold<f>/bank`` and one truth bank, rows shuffled differently in every bank."""
    if truth is None or predictions is None:
        truth, predictions = random_case(metric, models, rows, shape, seed)
    rng = np.random.default_rng(seed + 1)
    rows, ids = len(truth), [f"row{i:04d}" for i in range(len(truth))]
    folds = rng.permutation(rows) % n_folds
    table = pd.DataFrame({"row_id": ids, "fold": folds})
    if groups is not None:
        table["group"] = groups
    names = [f"t{t}" for t in range(truth.shape[1])] if truth.ndim == 2 else []
    common = {"domain": domain, "metric": metric, "targets": names, "groups": target_groups or {}}
    order = rng.permutation(rows)
    write_bank(root / "truth", truth[order], table.iloc[order], Manifest(kind="truth", **common))
    for k, values in enumerate(predictions):
        for fold in range(n_folds):
            held = rng.permutation(np.flatnonzero(folds == fold))
            folder = root / f"model{k}" / "default" / "seed0" / f"fold{fold}" / "bank"
            manifest = Manifest(
                kind="out_of_fold", experiment=f"model{k}", variant="default", seed=0, folds=[fold],
                hashes={"folds": FOLDS_HASH, "checkpoint": f"checkpoint-{k}-{fold}"},
                truth=os.path.relpath(root / "truth", folder), **common,
            )  # fmt: skip
            write_bank(folder, values[held], table.iloc[held], manifest)
    return Runs(root, ids, folds, truth, predictions, metric)


def memory_problem(
    metric: str,
    truth: np.ndarray,
    predictions: np.ndarray,
    n_folds: int = 5,
    groups: list[str] | None = None,
    target_groups: dict[str, list[int]] | None = None,
    folds: np.ndarray | None = None,
) -> Problem:
    """A problem without files, rows already in the order of their folds (and groups)."""
    rows = len(truth)
    folds = np.random.default_rng(1).permutation(rows) % n_folds if folds is None else folds
    order = np.lexsort((groups if groups is not None else np.zeros(rows), folds))
    table = pd.DataFrame({"row_id": [f"row{i:04d}" for i in order], "fold": folds[order], "nested": folds[order]})
    if groups is not None:
        table["group"] = np.asarray(groups)[order]

    def member(name: str, values: np.ndarray) -> Member:
        return Member(name, [Part(name, ArrayRows(values[order]), 0, np.arange(rows, dtype=np.int32))])

    stack = Stack(
        members=[member(f"model{k}", values) for k, values in enumerate(predictions)],
        rows=table,
        shape=truth.shape[1:],
        scale=np.ones(()),
        manifest=Manifest(kind="out_of_fold", domain="toy", metric=metric, groups=target_groups or {}),
        row_groups=groups is not None,
        truth=member("truth", truth),
    )
    return Problem(stack, KNOWN[metric])


def write_test_predictions(
    runs: Runs, rows: int = 12, name: str = "test", seed: int = 9, groups: list[str] | None = None
) -> np.ndarray:
    """Predictions of every fold's net on new rows; returns ``(models, folds, rows, *shape)``."""
    rng = np.random.default_rng(seed)
    shape, n_folds = runs.truth.shape[1:], int(runs.folds.max()) + 1
    values = rng.random((len(runs.predictions), n_folds, rows, *shape)).astype(np.float32)
    table = pd.DataFrame({"row_id": [f"new{i:03d}" for i in range(rows)], "fold": -1})
    if groups is not None:
        table["group"] = groups
    names = [f"t{t}" for t in range(shape[0])] if len(shape) == 1 else []
    for k in range(len(values)):
        for fold in range(n_folds):
            order = rng.permutation(rows)
            manifest = Manifest(
                kind="test", domain="toy", metric=runs.metric, targets=names, experiment=f"model{k}", variant="default",
                seed=0, folds=[fold], hashes={"checkpoint": f"checkpoint-{k}-{fold}"},
            )  # fmt: skip
            folder = runs.root / f"model{k}" / "default" / "seed0" / f"fold{fold}" / "predictions" / name
            write_bank(folder, values[k, fold][order], table.iloc[order], manifest)
    return values
