"""Predict Kaggle's test folder: one file of gathers after another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch

from datamodules.errors import DataError
from datamodules.gwi.files import open_test_gathers
from datamodules.gwi.gathers import COMPACT_SAMPLES, resize_time, zero_last_sample
from datamodules.gwi.submission import check_oids, template_oids
from experiments.engine.inference import Trained
from experiments.engine.prediction import PredictionInput, Text, predict_input
from experiments.engine.request import Request


def predict(request: Request, trained: Trained) -> None:
    """Predict every ``<oid>.npy`` of the folder ``request.input``, in the order of the names.

    Raises:
        DataError: No files there, a file that is no gather, or ids that are not the template's.
    """
    trained.reading(request.data)  # refuses what would be ignored
    samples = getattr(trained.task.model_settings, "samples", COMPACT_SAMPLES)
    predict_input(request, trained, Gathers(request.input, samples, request.template))


class Gathers(PredictionInput):
    """The test folder.

    Args:
        folder: Folder of ``<oid>.npy``.
        samples: Time samples that the net gets.
        template: The judge's sample submission, whose ids must be those of the folder.
    """

    unit: ClassVar[str] = "maps"
    largest_batch: ClassVar[int] = 256  # 1.4 MB a file: a batch of thousands would not fit

    def __init__(self, folder: Path, samples: int, template: Path | None) -> None:
        self.paths = sorted(Path(folder).glob("*.npy"))
        if not self.paths:
            raise DataError(f"{folder} holds no .npy files; give the folder of the test gathers")
        if template:
            check_oids(template_oids(template).tolist(), folder)
        self._samples = samples
        super().__init__(Path(folder).stem, len(self.paths))

    def batches(self, size: int) -> Iterator[tuple[Text, dict[str, torch.Tensor]]]:
        """Ids and gathers ``(B, 5, samples, 70)``."""
        for start in range(0, self.rows, size):
            chunk = self.paths[start : start + size]
            recorded = torch.from_numpy(np.stack([open_test_gathers(path) for path in chunk]))
            gathers = resize_time(zero_last_sample(recorded), self._samples)
            yield np.array([path.stem for path in chunk]), {"row_id": torch.arange(len(chunk)), "gathers": gathers}
