"""The one loop that predicts files: a domain opens its input, this streams it through the task into a bank and a submission."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from datamodules.banks.bank import PartWriter, PredictionBank, merge_parts
from datamodules.errors import DataError
from datamodules.files import scratch_folder
from experiments.engine.inference import Trained
from experiments.engine.request import Request

Text = npt.NDArray[np.str_]


class PredictionInput(ABC):
    """What a domain opens to be predicted.

    Args:
        name: Name of the bank.
        rows: How many rows there are.

    Attributes:
        unit: What a row is called, such as ``rows`` or ``maps``.
        largest_batch: Rows that fit into memory at once.
    """

    unit: ClassVar[str] = "rows"
    largest_batch: ClassVar[int] = 65_536

    def __init__(self, name: str, rows: int) -> None:
        self.name, self.rows = name, rows

    @abstractmethod
    def batches(self, size: int) -> Iterator[tuple[Text, dict[str, Tensor]]]:
        """Ids and batches of about ``size`` rows, in the order of the input."""

    def manifest(self) -> dict[str, Any]:
        """Entries of the bank's manifest that the checkpoint does not know, such as ``convention``."""
        return {}

    def groups(self) -> Text | None:
        """Group of every row, where rows have one."""
        return None

    def check_output(self, path: Path) -> None:
        """Refuse an ``--output`` before hours of predicting.

        Raises:
            DataError: The domain writes no such file of this input.
        """
        raise DataError(
            f"--output {path}: no format of the field is written of this input; --submission writes a CSV file"
        )

    def write_output(self, bank: PredictionBank, path: Path, trained: Trained) -> None:
        """Write the predictions in a format of the field."""
        raise NotImplementedError


def predict_input(request: Request, trained: Trained, source: PredictionInput) -> None:
    """Predict every row of an input in its order, into a bank, and from that into the judge's file.

    Two predictions of one run may go on at once: each writes in a folder of its own, and two that want the same bank
    refuse one another.

    Args:
        request: What is asked for.
        trained: Task, on the device that predicts.
        source: The opened input.

    Raises:
        DataError: Rows that the domain refuses, a template that asks for others, or a process that writes the same bank.
    """
    if request.output:
        source.check_output(request.output)
    target = trained.predictions / source.name
    with ExitStack() as stack:
        if request.bank:
            stack.enter_context(_only_writer(target))
        else:
            target = Path(stack.enter_context(TemporaryDirectory(prefix="podium-"))) / source.name
        bank = _predict(request, trained, source, target, stack.enter_context(scratch_folder(target)))
        if request.bank:
            print(f"predictions of {source.rows:,} {source.unit}: {target}")
        if request.submission:
            trained.experiment.domain.part("submission")(bank, request.submission, request.template)
            print(f"submission: {request.submission}")
        if request.output:
            source.write_output(bank, request.output, trained)
            print(f"output: {request.output}")


def _predict(
    request: Request, trained: Trained, source: PredictionInput, target: Path, scratch: Path
) -> PredictionBank:
    parts = PartWriter(scratch, 0, source.rows)
    names: list[Text] = []
    rows = 0
    with tqdm(total=source.rows, unit=f" {source.unit}", unit_scale=True, desc="predicting") as bar:
        for ids, batch in source.batches(min(request.batch_size, source.largest_batch)):
            with torch.no_grad():
                output = trained.task.predict_step({n: value.to(trained.task.device) for n, value in batch.items()})
            arrays = {name: value.float().cpu().numpy() for name, value in output.items() if name != "row_id"}
            parts.append(np.arange(rows, rows + len(ids)), arrays)
            names.append(ids)
            rows += len(ids)
            bar.update(len(ids))
    parts.close()
    index = pd.DataFrame({"row_id": np.concatenate(names), "fold": np.full(rows, -1, dtype=np.int16)})
    if (groups := source.groups()) is not None:
        index["group"] = groups
    scale = trained.task.bank_scale.double().cpu().numpy()
    return merge_parts(scratch, 1, target, index, trained.manifest(**source.manifest()), scale)


@contextmanager
def _only_writer(target: Path) -> Iterator[None]:
    """Hold a lock on a bank that is being written, or refuse."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(target.with_name(f".{target.name}.lock"), timeout=0):
            yield
    except Timeout:
        raise DataError(
            f"{target} is being written by another process; wait for it, or predict with --bank false"
        ) from None
