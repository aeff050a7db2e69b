"""Predict Kaggle's test folder: stream one file after another through a task, into a submission and a bank."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from datamodules.banks.bank import PartWriter, merge_parts
from datamodules.errors import DataError
from datamodules.gwi.files import open_test_gathers
from datamodules.gwi.gathers import COMPACT_SAMPLES, resize_time, zero_last_sample
from datamodules.gwi.schema import VMAX, VMIN
from datamodules.gwi.submission import check_oids, open_submission
from experiments.engine.checkpoints import prediction_manifest, predictions_folder
from experiments.engine.declare import Experiment
from experiments.engine.request import Request
from lit_modules.gwi.task import GwiTask

_MOST = 256  # 1.4 MB a file: a batch of thousands would not fit


def predict(request: Request, task: GwiTask, experiment: Experiment, identity: dict[str, Any]) -> None:
    """Predict every ``<oid>.npy`` of the folder ``request.input``, in the order of the names.

    Raises:
        DataError: no files there, a file that is no gather, or ids that are not the sample submission's.
    """
    paths = sorted(Path(request.input).glob("*.npy"))
    if not paths:
        raise DataError(f"{request.input} holds no .npy files; give the folder of the test gathers")
    if request.weights:
        named = pd.read_csv(request.weights, usecols=["oid_ypos"])["oid_ypos"].str.rpartition("_y_")[0]
        check_oids(list(named.unique()), request.input)
    folder = predictions_folder(request.run, identity)
    parts = folder.parent / ".parts-predict"
    shutil.rmtree(parts, ignore_errors=True)
    samples = getattr(task.model_settings, "samples", COMPACT_SAMPLES)
    with contextlib.ExitStack() as stack:
        writer = stack.enter_context(open_submission(request.submission)) if request.submission else None
        bank = PartWriter(parts, 0) if request.bank else None
        bar = stack.enter_context(tqdm(total=len(paths), unit=" maps", desc="predicting"))
        size = min(request.batch_size, _MOST)
        for start in range(0, len(paths), size):
            chunk = paths[start : start + size]
            arrays = _maps(task, chunk, samples)
            if writer:
                writer.append([path.stem for path in chunk], arrays["predictions"].clip(VMIN, VMAX))
            if bank:
                bank.append(np.arange(start, start + len(chunk)), arrays)
            bar.update(len(chunk))
        if bank:
            bank.close()
    if request.bank:
        target = folder / Path(request.input).stem
        index = pd.DataFrame({"row_id": [path.stem for path in paths], "fold": np.full(len(paths), -1, dtype=np.int16)})
        manifest = prediction_manifest(task, experiment, identity)
        merge_parts(parts, 1, target, index, manifest, task.bank_scale.double().cpu().numpy())
        shutil.rmtree(parts, ignore_errors=True)
        print(f"predictions of {len(paths):,} maps: {target}")
    if request.submission:
        print(f"submission: {request.submission}")


@torch.no_grad()
def _maps(task: GwiTask, paths: list[Path], samples: int) -> dict[str, np.ndarray]:
    recorded = torch.from_numpy(np.stack([open_test_gathers(path) for path in paths])).to(task.device)
    batch = {"row_id": torch.arange(len(paths)), "gathers": resize_time(zero_last_sample(recorded), samples)}
    output = task.predict_step(batch)
    return {name: value.float().cpu().numpy() for name, value in output.items() if name != "row_id"}
