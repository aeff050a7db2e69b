"""Predict LEAP inputs: stream a table or raw files through a task, into a submission and a bank."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from datamodules.banks.bank import PartWriter, merge_parts
from datamodules.errors import DataError
from datamodules.leap.convert import KaggleSource, open_source, raw_row_names
from datamodules.leap.submission import SubmissionForm, open_submission
from experiments.engine.checkpoints import prediction_manifest, predictions_folder
from experiments.engine.declare import Experiment
from experiments.engine.request import Request
from lit_modules.leap.task import LeapTask


def predict(request: Request, task: LeapTask, experiment: Experiment, identity: dict[str, Any]) -> None:
    """Predict every row of ``request.input`` in its order.

    Raises:
        DataError: rows that are not finite, ids that are not the weights file's, or wrong columns.
    """
    form = SubmissionForm(request.weights)
    source = open_source(request.input)
    total = sum(unit.stop - unit.start for unit in source.units())
    folder = predictions_folder(request.run, identity)
    target = folder / request.input.stem
    parts = folder.parent / ".parts-predict"
    shutil.rmtree(parts, ignore_errors=True)
    names: list[npt.NDArray[Any]] = []
    rows = 0
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(open_submission(request.submission, form)) if request.submission else None
        bank = PartWriter(parts, 0) if request.bank else None
        bar = stack.enter_context(tqdm(total=total, unit=" rows", unit_scale=True, desc="predicting"))
        for ids, batch in _batches(source, request.batch_size):
            with torch.no_grad():
                output = task.predict_step({name: value.to(task.device) for name, value in batch.items()})
            if writer:
                # the bank's float32 numbers, so that bank and submission agree to the last digit
                scale = task.bank_scale.cpu().numpy()
                writer.append(ids, output["predictions"].cpu().numpy().astype(np.float64) * scale)
            if bank:
                arrays = {name: value.float().cpu().numpy() for name, value in output.items() if name != "row_id"}
                bank.append(np.arange(rows, rows + len(ids)), arrays)
            names.append(ids)
            rows += len(ids)
            bar.update(len(ids))
        if bank:
            bank.close()
    if request.bank:
        index = pd.DataFrame({"row_id": np.concatenate(names), "fold": np.full(rows, -1, dtype=np.int16)})
        manifest = prediction_manifest(task, experiment, identity)
        merge_parts(parts, 1, target, index, manifest, task.bank_scale.double().cpu().numpy())
        shutil.rmtree(parts, ignore_errors=True)
        print(f"predictions of {rows:,} rows: {target}")
    if request.submission:
        print(f"submission: {request.submission}")


def _batches(source: Any, size: int) -> Iterator[tuple[npt.NDArray[Any], dict[str, torch.Tensor]]]:
    """Ids and float64 batches of at most ``size`` rows, in the order of the input."""
    held: list[dict[str, npt.NDArray[Any]]] = []
    count = 0
    for unit in source.units():
        for block in source.read(unit):
            held.append(
                {name: np.array(block[name]) for name in ("profiles", "scalars", "step", "column", "row_id", "bad")}
            )
            count += len(block["row_id"])
            if count >= size:
                yield _batch(source, held)
                held, count = [], 0
    if held:
        yield _batch(source, held)


def _batch(source: Any, held: list[dict[str, npt.NDArray[Any]]]) -> tuple[npt.NDArray[Any], dict[str, torch.Tensor]]:
    rows = {name: np.concatenate([block[name] for block in held]) for name in held[0]}
    if isinstance(source, KaggleSource):
        ids = np.strings.add(source.table.id_prefix, rows["row_id"].astype(str))
    else:
        ids = raw_row_names(rows["row_id"])
    if rows["bad"].any():
        raise DataError(
            f"row {str(ids[np.argmax(rows['bad'])])!r} of the input holds NaN or infinite values ({int(rows['bad'].sum())} such rows in this batch); mend the file"
        )
    return ids, {name: torch.from_numpy(rows[name]) for name in ("profiles", "scalars", "row_id")}
