"""Out-of-fold predictions: streamed by every process while it predicts, merged and checked by the first."""

from __future__ import annotations

import hashlib
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from lightning.pytorch import Callback, LightningModule, Trainer

from datamodules.banks.bank import Manifest, PartWriter, PredictionBank, hash_ids, merge_parts
from datamodules.base import BaseDataModule
from datamodules.batches import Rows
from datamodules.files import scratch_folder
from datamodules.folds import VALID
from lit_modules.base import BaseTask

_TRUTH_CHUNK = 65_536


class PredictionWriter(Callback):
    """Write what ``predict_step`` returns where it belongs in the bank to be.

    Args:
        parts: Folder that all processes share.
        rows: Every row that is to be predicted, ascending; parts hold positions in it.
    """

    def __init__(self, parts: Path, rows: Rows) -> None:
        self.parts = parts
        self.rows = rows
        self._writer: PartWriter | None = None

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the part of this process."""
        self._writer = PartWriter(self.parts, trainer.global_rank, len(self.rows))

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Append a batch."""
        assert self._writer is not None
        arrays = {name: value.float().cpu().numpy() for name, value in outputs.items() if name != "row_id"}
        self._writer.append(np.searchsorted(self.rows, outputs["row_id"].cpu().numpy()), arrays)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close it."""
        assert self._writer is not None
        self._writer.close()


def predict_rows(trainer: Trainer, task: LightningModule, data: BaseDataModule, rows: Rows, parts: Path) -> None:
    """Predict rows on all processes into ``parts``, an empty folder; the caller merges them on the first process."""
    writer = PredictionWriter(parts, rows)
    trainer.callbacks.append(writer)  # type: ignore[attr-defined]
    try:
        trainer.predict(task, dataloaders=data.eval_loader(rows), return_predictions=False)
    finally:
        trainer.callbacks.remove(writer)  # type: ignore[attr-defined]
    trainer.strategy.barrier("predicted")


def predict_out_of_fold(
    trainer: Trainer, task: BaseTask, data: BaseDataModule, path: Path, manifest: Manifest, truth_root: Path
) -> PredictionBank | None:
    """Predict the validation fold on all processes into a bank.

    Args:
        trainer: With the processes that predict.
        task: With the weights that predict.
        data: Prepared data.
        path: Path of the bank.
        manifest: Manifest of the bank; its ``truth`` is filled in.
        truth_root: Folder of truth banks.

    Returns:
        The bank on the first process, None on the others.
    """
    rows = data.rows(VALID)
    with ExitStack() as stack:
        own = stack.enter_context(scratch_folder(path)) if trainer.is_global_zero else None
        parts = trainer.strategy.broadcast(own)
        assert parts is not None
        predict_rows(trainer, task, data, rows, parts)
        if own is None:
            return None
        scale = task.bank_scale.double().cpu().numpy()
        return merge_out_of_fold(parts, trainer.world_size, path, data, rows, manifest, scale, truth_root)


def merge_out_of_fold(
    parts: Path,
    processes: int,
    path: Path,
    data: BaseDataModule,
    rows: Rows,
    manifest: Manifest,
    scale: npt.NDArray[np.float64],
    truth_root: Path,
) -> PredictionBank:
    """Join the parts of the validation fold into its bank, and write the truth it answers to if nobody has.

    Args:
        parts: Part files of all processes.
        processes: How many there were.
        path: Path of the bank.
        data: For ids and true values.
        rows: The rows that were predicted.
        manifest: Manifest of the bank; its ``truth`` is filled in.
        scale: Units of the bank.
        truth_root: Folder of truth banks.
    """
    index = data.index(rows)
    index.insert(1, "fold", np.full(len(index), manifest.folds[0], dtype=np.int16))
    hashes = [manifest.hashes["data"], manifest.hashes["folds"], hash_ids(index["row_id"])]
    # a domain may have several sets of targets for the same rows
    key = "|".join([*hashes, manifest.convention, "\n".join(manifest.targets)]) + data.truth_rule
    digest = hashlib.sha256(key.encode() + scale.tobytes()).hexdigest()[:16]
    truth_path = truth_root / f"{manifest.domain}-{digest}"
    if not truth_path.is_dir():
        own = Manifest(
            kind="truth", domain=manifest.domain, metric=manifest.metric, folds=manifest.folds, targets=manifest.targets,
            groups=manifest.groups, convention=manifest.convention,
            hashes={name: manifest.hashes[name] for name in ("data", "folds")},
        )  # fmt: skip
        with scratch_folder(truth_path) as truth:
            writer = PartWriter(truth, 0, len(rows))
            for start in range(0, len(rows), _TRUTH_CHUNK):
                chunk = rows[start : start + _TRUTH_CHUNK]
                writer.append(np.arange(start, start + len(chunk)), {"predictions": data.truth(chunk) / scale})
            writer.close()
            merge_parts(truth, 1, truth_path, index, own, scale)
    manifest.truth = os.path.relpath(truth_path, path)
    return merge_parts(parts, processes, path, index, manifest, scale)
