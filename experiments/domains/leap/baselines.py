"""Scores that every LEAP score is read beside: the training mean and ridge regression, on the same rows."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from filelock import FileLock

from datamodules.batches import OrderedBatches, Rows
from datamodules.files import read_json, write_json
from datamodules.folds import TRAIN, VALID
from datamodules.leap.datamodule import LeapDataModule
from datamodules.leap.schema import N_TARGETS
from datamodules.loader import BatchLoader
from lit_modules.leap.ridge import RidgeTask
from lit_modules.leap.settings import Ridge
from lit_modules.leap.task import LeapTask
from lit_modules.metrics import StreamingR2
from lit_modules.settings import Optim

VERSION = 5
_BATCH = 4096


def baseline_scores(data: LeapDataModule, clamp_water: bool = False) -> dict[str, list[float]]:
    """R2 of the 368 targets for ``ridge`` and ``mean``, post-processed like a net's; cached beside the store.

    Args:
        data: Prepared data with a validation fold.
        clamp_water: As the net that is compared.
    """
    rows = {role: data.rows(role) for role in (TRAIN, VALID)}
    digest = hashlib.sha256(f"{VERSION}|{data.data_hash}|{clamp_water}|".encode())
    for role, positions in rows.items():
        digest.update(f"{role}{len(positions)}|".encode() + positions.tobytes())
    path = Path(data.cache_dir) / f"baselines-{digest.hexdigest()[:16]}.json"
    with FileLock(str(path) + ".lock"):
        if not path.is_file():
            write_json(path, _fit_and_score(data, rows, clamp_water))
        scores = read_json(path)
    return {name: scores[name] for name in ("ridge", "mean")}


def _fit_and_score(data: LeapDataModule, rows: dict[str, Rows], clamp_water: bool) -> dict[str, list[float]]:
    task = RidgeTask(Ridge(clamp_water=clamp_water), Optim(), 1.0, data.statistics()).eval()
    scores = {"mean": _score(task, data, rows[VALID])}  # a fresh ridge is all zeros: the training mean
    task.first_late_row = int(rows[TRAIN][int(len(rows[TRAIN]) * 0.8)])
    for batch in BatchLoader(data.read, OrderedBatches(rows[TRAIN], _BATCH)):
        task.collect(batch)
    task.solve()
    return scores | {"ridge": _score(task, data, rows[VALID])}


@torch.no_grad()
def _score(task: LeapTask, data: LeapDataModule, rows: Rows) -> list[float]:
    metric = StreamingR2(N_TARGETS)
    for batch in BatchLoader(data.read, OrderedBatches(rows, _BATCH)):
        metric.update(task.physical(task(batch["profiles"], batch["scalars"]), batch), batch["targets"])
    return [float(value) for value in metric.per_target()]
