"""Predict MoA feature files: any number of rows."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from datamodules.moa.tables import CONTROL, TREATED, read_signatures
from experiments.domains.moa.stages import StageInputs
from experiments.engine.inference import Trained
from experiments.engine.prediction import PredictionInput, Text, predict_input
from experiments.engine.request import Request


def predict(request: Request, trained: Trained) -> None:
    """Predict every row of ``request.input``; ``request.template`` is the judge's sample submission.

    Raises:
        DataError: A file of another form than the checkpoint's, or a template with other rows or columns.
    """
    trained.reading(request.data)  # the pipeline in the checkpoint reads rows, so that nothing may be changed
    predict_input(request, trained, SignatureRows(request, trained))


class SignatureRows(PredictionInput):
    """The rows of a feature file, with the predictions of earlier stages where the net reads them.

    Args:
        request: What is asked for.
        trained: The task that reads them.
    """

    def __init__(self, request: Request, trained: Trained) -> None:
        self.signatures = read_signatures(request.input)
        self.inputs = StageInputs(self.signatures, request.input, request.batch_size).of(trained)
        super().__init__(request.input.name.split(".")[0], len(self.signatures.ids))

    def batches(self, size: int) -> Iterator[tuple[Text, dict[str, torch.Tensor]]]:
        """Ids and the net's inputs."""
        for start in range(0, self.rows, size):
            rows = slice(start, min(self.rows, start + size))
            batch = {name: value[rows] for name, value in self.inputs.items()}
            yield self.signatures.ids[rows], batch | {"row_id": torch.arange(rows.start, rows.stop)}

    def manifest(self) -> dict[str, Any]:
        """The convention of the out-of-fold predictions that weights are searched on; controls are 0 under any weights."""
        return {"convention": "NC"}

    def groups(self) -> Text:
        """Which rows are controls goes with the predictions: a mean of logits is not 0 where its members are."""
        return np.where(self.signatures.control, CONTROL, TREATED)
