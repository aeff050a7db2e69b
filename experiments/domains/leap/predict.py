"""Predict LEAP inputs: a table or raw files, streamed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datamodules.errors import DataError
from datamodules.leap.convert import KaggleSource, open_source, raw_row_names
from datamodules.leap.submission import SubmissionForm
from experiments.engine.inference import Trained
from experiments.engine.prediction import PredictionInput, Text, predict_input
from experiments.engine.request import Request

_FIELDS = ("profiles", "scalars", "step", "column", "row_id", "bad")


def predict(request: Request, trained: Trained) -> None:
    """Predict every row of ``request.input``.

    Raises:
        DataError: Rows that are not finite, ids that are not the template's, or wrong columns.
    """
    predict_input(request, trained, Rows(request.input, request.template))


class Rows(PredictionInput):
    """Rows of a Kaggle table or of raw files.

    Args:
        path: The input.
        template: The judge's sample submission, which gives ids and column weights.
    """

    def __init__(self, path: Path, template: Path | None) -> None:
        SubmissionForm(template)  # a wrong template is refused before hours of predicting
        self.source = open_source(path)
        super().__init__(path.stem, sum(unit.stop - unit.start for unit in self.source.units()))

    def batches(self, size: int) -> Iterator[tuple[Text, dict[str, torch.Tensor]]]:
        """Ids and float64 batches."""
        held: list[dict[str, npt.NDArray[Any]]] = []
        count = 0
        for unit in self.source.units():
            for block in self.source.read(unit):
                held.append({name: np.array(block[name]) for name in _FIELDS})
                count += len(block["row_id"])
                if count >= size:
                    yield self._batch(held)
                    held, count = [], 0
        if held:
            yield self._batch(held)

    def _batch(self, held: list[dict[str, npt.NDArray[Any]]]) -> tuple[Text, dict[str, torch.Tensor]]:
        rows = {name: np.concatenate([block[name] for block in held]) for name in held[0]}
        if isinstance(self.source, KaggleSource):
            ids = np.strings.add(self.source.table.id_prefix, rows["row_id"].astype(str))
        else:
            ids = raw_row_names(rows["row_id"])
        if rows["bad"].any():
            raise DataError(
                f"row {str(ids[np.argmax(rows['bad'])])!r} of the input holds NaN or infinite values "
                f"({int(rows['bad'].sum())} such rows in this batch); mend the file"
            )
        return ids, {name: torch.from_numpy(rows[name]) for name in ("profiles", "scalars", "row_id")}
