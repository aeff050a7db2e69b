"""Predict MoA feature files: any number of rows, into a submission and a bank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.banks.bank import write_bank
from datamodules.moa.submission import write_submission
from datamodules.moa.tables import CONTROL, TREATED, Text, read_signatures
from experiments.domains.moa.stages import StageInputs, predict_batches
from experiments.engine.checkpoints import prediction_manifest, predictions_folder
from experiments.engine.declare import Experiment
from experiments.engine.request import Request
from lit_modules.moa.task import MoaTask


def predict(request: Request, task: MoaTask, experiment: Experiment, identity: dict[str, Any]) -> None:
    """Predict every row of ``request.input``; ``request.weights`` is the judge's sample submission.

    Raises:
        DataError: a file of another form than the checkpoint's, or a sample submission with other rows or columns.
    """
    rows = read_signatures(request.input)
    inputs = StageInputs(rows, request.input, request.batch_size).of(task, request.run, identity)
    probabilities = predict_batches(task, inputs, request.batch_size)
    if request.submission:
        names = tuple(task.target_names)
        write_submission(request.submission, rows.ids, names, probabilities, rows.control, request.weights)
    if request.bank:
        target = predictions_folder(request.run, identity) / request.input.name.split(".")[0]
        _keep_bank(target, rows.ids, rows.control, probabilities, task, experiment, identity)
        print(f"predictions of {len(rows.ids):,} rows: {target}")
    if request.submission:
        print(f"submission: {request.submission}")


def _keep_bank(
    target: Path,
    ids: Text,
    control: npt.NDArray[np.bool_],
    probabilities: npt.NDArray[np.float32],
    task: MoaTask,
    experiment: Experiment,
    identity: dict[str, Any],
) -> None:
    # the convention of the out-of-fold predictions that weights are searched on; controls are 0 under any weights
    manifest = prediction_manifest(task, experiment, identity, convention="NC")
    # which rows are controls goes with the predictions, because a mean of logits is not 0 where its members are
    kinds = np.where(control, CONTROL, TREATED)
    index = pd.DataFrame({"row_id": ids, "fold": np.full(len(ids), -1, dtype=np.int16), "group": kinds})
    write_bank(target, probabilities, index, manifest, scale=task.bank_scale.double().cpu().numpy())
