"""Predict GC-MS runs: a data folder's unlabelled splits or single files, into a submission and a bank."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from datamodules.errors import DataError
from datamodules.mars.render import rendered
from datamodules.mars.rendering import Rendering
from datamodules.mars.settings import MarsData
from datamodules.mars.tables import UNKNOWN, Samples, read_metadata
from datamodules.stores.store import Store
from experiments.engine.inference import Trained
from experiments.engine.prediction import PredictionInput, Text, predict_input
from experiments.engine.request import Request
from lit_modules.mars.task import MarsTask


def predict(request: Request, trained: Trained) -> None:
    """Predict ``request.input``; ``request.template`` is the judge's submission_format.csv.

    The input is a folder with metadata.csv, of which all samples outside the training split are predicted (the judge's
    rows), or one feature file, whose derivatized state is unknown.

    Raises:
        DataError: Files that cannot be used, or a template that asks for other rows or classes.
    """
    assert isinstance(trained.task, MarsTask)
    settings = trained.reading(request.data)
    samples = find_samples(request.input)
    with ExitStack() as stack:
        cache = settings.cache_dir
        if cache is None and (trained.run / "config.yaml").is_file():
            # rendering takes longer than predicting, and all folds and models of a data set share it
            cache = trained.run.resolve().parents[3] / "cache"
        if cache is None:
            cache = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        store = rendered(samples, rendering_of(trained.task, settings), cache, settings.check_md5, settings.processes)
        predict_input(request, trained, Images(request.input.stem, samples, store))


class Images(PredictionInput):
    """Rendered samples.

    Args:
        name: Name of the bank.
        samples: Ids and derivatized states.
        store: Their images.
    """

    unit: ClassVar[str] = "samples"
    largest_batch: ClassVar[int] = 256  # five widths of 256 images are as much as a GPU needs to be busy

    def __init__(self, name: str, samples: Samples, store: Store) -> None:
        super().__init__(name, len(samples))
        self.samples, self.store = samples, store

    def batches(self, size: int) -> Iterator[tuple[Text, dict[str, torch.Tensor]]]:
        """Ids, images and derivatized states."""
        for start in range(0, self.rows, size):
            rows = np.arange(start, min(self.rows, start + size))
            yield (
                self.samples.ids[rows],
                {
                    "row_id": torch.from_numpy(rows),
                    "image": torch.from_numpy(self.store.arrays["image"][rows]),
                    "derivatized": torch.from_numpy(self.samples.derivatized[rows]),
                },
            )


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


def rendering_of(task: MarsTask, settings: MarsData) -> Rendering:
    """Images like those that the task was trained on, of files that are read with these settings."""
    m_bins, t_bins, min_mass, drop_helium = (int(value) for value in task.rendering[:4])
    return Rendering(m_bins, t_bins, min_mass, bool(drop_helium), settings.on_nan, settings.negative_tolerance)
