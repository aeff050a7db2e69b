"""Submission files from a blended bank.

A domain that has a file format of its own registers a writer; every other bank becomes a CSV of ``row_id`` and targets
in the judge's units.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np

from blend.bank import BankError, PredictionBank
from datamodules.files import atomic_path

Writer = Callable[[PredictionBank, Path], None]
_WRITERS: dict[str, str] = {}
_CHUNK_VALUES = 2**22


def register_writer(domain: str, reference: str) -> None:
    """Name the writer of a domain.

    Args:
        domain: as in manifests.
        reference: ``package.module:function`` of ``(bank, path)``, imported when it is needed.
    """
    _WRITERS[domain] = reference


def write_submission(bank: PredictionBank, path: Path) -> None:
    """Write the submission of a blended bank, whole or not at all.

    Raises:
        BankError: the domain's writer cannot be imported.
    """
    reference = _WRITERS.get(bank.manifest.domain)
    if reference is None:
        write_csv(bank, path)
        return
    module, _, function = reference.partition(":")
    try:
        writer: Writer = getattr(import_module(module), function)
    except (ImportError, AttributeError) as error:
        raise BankError(
            f"the submission writer {reference} of {bank.manifest.domain} cannot be imported: {error}"
        ) from None
    writer(bank, path)


def write_csv(bank: PredictionBank, path: Path) -> None:
    """``row_id`` and one column per target, in the judge's units, in the bank's row order."""
    import pyarrow as pa
    from pyarrow import csv

    width = int(np.prod(bank.shape, dtype=np.int64))
    names = bank.manifest.targets if len(bank.manifest.targets) == width else [f"target_{t}" for t in range(width)]
    plain = bool((np.asarray(bank.scale) == 1.0).all())  # float32 text is half as long, and as exact
    schema = pa.schema([("row_id", pa.string()), *[(name, pa.float32() if plain else pa.float64()) for name in names]])
    step = max(1, _CHUNK_VALUES // width)
    with atomic_path(path) as temporary, csv.CSVWriter(str(temporary), schema) as writer:
        for start in range(0, len(bank.index), step):
            rows = slice(start, start + step)
            values = bank.predictions[rows] if plain else bank.in_judge_units(rows)
            columns = np.ascontiguousarray(values.reshape(-1, width).T)
            ids = pa.array(bank.index["row_id"].iloc[rows].astype(str).to_numpy(dtype=object), pa.string())
            writer.write_batch(pa.record_batch([ids, *[pa.array(column) for column in columns]], schema=schema))
