"""What a MoA net reads of new rows: their measurements, and where it is a later stage the predictions of the stage before."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from datamodules.errors import DataError
from datamodules.moa.tables import Signatures
from experiments.engine.inference import Trained
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

    def of(self, trained: Trained) -> dict[str, torch.Tensor]:
        """Tensors of a batch of all rows.

        Args:
            trained: A net, on the device where earlier stages are to be predicted too.

        Raises:
            DataError: A file of another form, or runs of the stage before that are gone or changed.
        """
        assert isinstance(trained.task, MoaTask)
        inputs = trained.task.features.encode(self.rows, self.path)
        if trained.task.features.meta:
            inputs["meta"] = torch.from_numpy(self._mean(trained, trained.task))
        return inputs

    def _mean(self, trained: Trained, task: MoaTask) -> npt.NDArray[np.float32]:
        """Mean over the folds and seeds of the stage before, ``(rows, predictions)``; it may have a stage before it too."""
        key = tuple(sorted(entry["sha256"] for entry in trained.saved.get("previous", [])))
        if key not in self._means:
            total = np.zeros((len(self.rows.ids), len(task.features.meta)))
            for before in previous_tasks(trained):
                assert isinstance(before.task, MoaTask)
                if tuple(before.task.target_names) != task.features.meta:
                    raise DataError(
                        f"{before.run} predicts other targets than {trained.run} was trained on; train {trained.run} again"
                    )
                before.task.to(task.device)
                total += predict_batches(before.task, self.of(before), self.size)
            if not key:
                raise DataError(
                    f"{trained.run} does not say which runs of the stage before it learnt from; train it again"
                )
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
