"""What a MoA net reads of new rows: their measurements, and where it is a later stage the predictions of the stage before."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from datamodules.errors import DataError
from datamodules.moa.tables import Signatures
from experiments.engine.lineage import previous_tasks
from lit_modules.moa.task import MoaTask


class StageInputs:
    """Inputs of nets for the rows of one file; every earlier stage is predicted once, however many nets read it.

    Args:
        rows: Rows of the file.
        path: Path of the file, for error messages.
        size: Rows that are predicted at a time.
    """

    def __init__(self, rows: Signatures, path: Path, size: int) -> None:
        self.rows, self.path, self.size = rows, path, size
        self._means: dict[tuple[str, ...], npt.NDArray[np.float32]] = {}

    def of(self, task: MoaTask, run: Path, identity: dict[str, Any]) -> dict[str, torch.Tensor]:
        """Tensors of a batch of all rows.

        Args:
            task: On the device where earlier stages are to be predicted too.
            run: Its run directory or checkpoint file.
            identity: What its checkpoint says of itself.

        Raises:
            DataError: a file of another form, or runs of the stage before that are gone or changed.
        """
        inputs = task.features.encode(self.rows, self.path)
        if task.features.meta:
            inputs["meta"] = torch.from_numpy(self._mean(task, run, identity))
        return inputs

    def _mean(self, task: MoaTask, run: Path, identity: dict[str, Any]) -> npt.NDArray[np.float32]:
        """Mean over the folds and seeds of the stage before, ``(rows, predictions)``; it may have a stage before it too."""
        key = tuple(sorted(entry["sha256"] for entry in identity.get("previous", [])))
        if key not in self._means:
            total = np.zeros((len(self.rows.ids), len(task.features.meta)))
            for before, directory, own in previous_tasks(run, identity):
                assert isinstance(before, MoaTask)
                if tuple(before.target_names) != task.features.meta:
                    raise DataError(f"{directory} predicts other targets than {run} was trained on; train {run} again")
                before.to(task.device)
                total += predict_batches(before, self.of(before, directory, own), self.size)
            if not key:
                raise DataError(f"{run} does not say which runs of the stage before it learnt from; train it again")
            self._means[key] = (total / len(key)).astype(np.float32)
        return self._means[key]


@torch.no_grad()
def predict_batches(task: MoaTask, rows: dict[str, torch.Tensor], size: int) -> npt.NDArray[np.float32]:
    """Probabilities ``(rows, targets)``, a batch at a time."""
    n = len(rows["values"])
    pieces = []
    for start in range(0, n, size):
        batch = {name: value[start : start + size].to(task.device) for name, value in rows.items()}
        batch["row_id"] = torch.arange(start, min(n, start + size), device=task.device)
        pieces.append(task.predict_step(batch)["predictions"].float().cpu().numpy())
    return np.concatenate(pieces)
