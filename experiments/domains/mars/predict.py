"""Predict GC-MS runs: a data folder's unlabelled splits or single files, into a submission and a bank."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from tqdm import tqdm

from blend.commands.submission import write_submission
from datamodules.banks.bank import write_bank
from datamodules.errors import DataError
from datamodules.mars.render import rendered
from datamodules.mars.rendering import Rendering
from datamodules.mars.tables import UNKNOWN, Samples, read_metadata
from datamodules.stores.store import Store
from experiments.engine.checkpoints import prediction_manifest, predictions_folder
from experiments.engine.declare import Experiment
from experiments.engine.request import Request
from lit_modules.mars.task import MarsTask


def predict(request: Request, task: MarsTask, experiment: Experiment, identity: dict[str, Any]) -> None:
    """Predict ``request.input``; ``request.weights`` is the judge's submission_format.csv.

    The input is a folder with metadata.csv, of which all samples outside the training split are predicted (the judge's
    rows), or one feature file, whose derivatized state is unknown.

    Raises:
        DataError: files that cannot be used, or a sample submission that asks for other rows or classes.
    """
    samples = find_samples(request.input)
    is_run = request.run.is_dir()
    folder = request.run if is_run else request.run.parent
    with ExitStack() as stack:
        # rendering takes longer than predicting, and all folds and models of a data set share it
        cache = (
            folder.resolve().parents[3] / "cache"
            if is_run
            else Path(stack.enter_context(tempfile.TemporaryDirectory()))
        )
        store = rendered(samples, rendering_of(task), cache)
        probabilities = predict_batches(task, store, samples, request.batch_size)
        keep = predictions_folder(request.run, identity) / request.input.stem
        target = keep if request.bank else Path(stack.enter_context(tempfile.TemporaryDirectory())) / "bank"
        index = pd.DataFrame({"row_id": samples.ids, "fold": np.full(len(samples), -1, dtype=np.int16)})
        bank = write_bank(target, probabilities, index, prediction_manifest(task, experiment, identity))
        if request.submission:
            write_submission(bank, request.submission, request.weights)
    if request.bank:
        print(f"predictions of {len(samples):,} samples: {target}")
    if request.submission:
        print(f"submission: {request.submission}")


def find_samples(path: Path) -> Samples:
    """The samples outside the training split of a data folder, or the one sample of a feature file.

    Raises:
        DataError: nothing is there, or all samples are of the training split.
    """
    if path.is_dir():
        samples = read_metadata(path)
        asked = np.flatnonzero(samples.splits != "train")
        if len(asked) == 0:
            raise DataError(f"{path / 'metadata.csv'} lists no sample of split val or test; nothing is to be predicted")
        return samples.take(asked)
    if not path.is_file():
        raise DataError(f"{path} does not exist; give a folder with metadata.csv or one feature file")
    return Samples(
        path.parent, np.array([path.stem]), np.array(["test"]), np.array([UNKNOWN], dtype=np.int8), np.array([path.name]),
        np.array([""]),
    )  # fmt: skip


def rendering_of(task: MarsTask) -> Rendering:
    """How the images were made that the task was trained on."""
    m_bins, t_bins, min_mass, drop_helium = (int(value) for value in task.rendering)
    return Rendering(m_bins, t_bins, min_mass, bool(drop_helium))


@torch.no_grad()
def predict_batches(task: MarsTask, store: Store, samples: Samples, size: int) -> npt.NDArray[np.float32]:
    """Probabilities ``(samples, classes)``, a batch at a time."""
    size = min(size, 256)  # five widths of 256 images are as much as a GPU needs to be busy
    pieces = []
    for start in tqdm(range(0, len(samples), size), unit=" batches", desc="predicting", disable=len(samples) <= size):
        rows = np.arange(start, min(len(samples), start + size))
        batch = {
            "row_id": torch.from_numpy(rows),
            "image": torch.from_numpy(store.arrays["image"][rows]),
            "derivatized": torch.from_numpy(samples.derivatized[rows]),
        }
        output = task.predict_step({name: value.to(task.device) for name, value in batch.items()})
        pieces.append(output["predictions"].float().cpu().numpy())
    return np.concatenate(pieces)
