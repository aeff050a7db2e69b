"""Submission files from a blended bank.

A domain that has a file format of its own declares a writer (:mod:`blend.domains`); every other bank becomes a CSV of ``row_id`` and targets
in the judge's units, or in the rows and columns of the judge's sample submission.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from blend.domains import domain_hook
from datamodules.banks.bank import BankError, PredictionBank
from datamodules.files import atomic_path
from datamodules.text_tables import read_table, table_form, table_names

Writer = Callable[[PredictionBank, Path, Path | None], None]
_WRITERS: dict[str, str] = {}
_CHUNK_VALUES = 2**22


def register_writer(domain: str, reference: str) -> None:
    """Name the writer of a domain that declares none itself.

    Args:
        domain: As in manifests.
        reference: ``package.module:function`` of ``(bank, path, template)``, imported when it is needed; ``template`` is
            the judge's sample submission or None.
    """
    _WRITERS[domain] = reference


def write_submission(bank: PredictionBank, path: Path, template: Path | None = None) -> None:
    """Write the submission of a blended bank, whole or not at all.

    Args:
        bank: Blended predictions.
        path: File to write.
        template: The judge's sample submission.

    Raises:
        BankError: the domain's writer cannot be imported, or the template asks for what the bank does not have.
    """
    domain = bank.manifest.domain
    writer: Writer | None = None
    if domain in _WRITERS:
        module, _, function = _WRITERS[domain].partition(":")
        try:
            writer = getattr(import_module(module), function)
        except (ImportError, AttributeError) as error:
            raise BankError(
                f"the submission writer {_WRITERS[domain]} of {domain} cannot be imported: {error}"
            ) from None
    (writer or domain_hook(domain, "submission", "submit_bank") or write_csv)(bank, path, template)


def write_csv(bank: PredictionBank, path: Path, template: Path | None = None) -> None:
    """An id and one column per target, in the judge's units.

    Args:
        bank: Blended predictions.
        path: File to write.
        template: CSV whose first column lists the wanted ids and whose header names id and targets; without it all rows
            and targets in the bank's order.

    Raises:
        BankError: the template asks for rows or targets that the bank does not have.
    """
    import pyarrow as pa
    from pyarrow import csv

    width = int(np.prod(bank.shape, dtype=np.int64))
    names = bank.manifest.targets if len(bank.manifest.targets) == width else [f"target_{t}" for t in range(width)]
    identity, ids, rows, order = _layout(bank, names, template)
    plain = bool((np.asarray(bank.scale) == 1.0).all())  # float32 text is half as long, and as exact
    number = pa.float32() if plain else pa.float64()
    schema = pa.schema([(identity, pa.string()), *[(names[t], number) for t in order]])
    step = max(1, _CHUNK_VALUES // width)
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    with (
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
        csv.CSVWriter(file, schema, write_options=options) as writer,
    ):
        file.write((",".join(schema.names) + "\n").encode())
        for start in range(0, len(rows), step):
            chosen = rows[start : start + step]
            values = bank.predictions[chosen] if plain else bank.in_judge_units(chosen)
            columns = np.ascontiguousarray(values.reshape(-1, width).T)
            text = pa.array(ids[start : start + step].astype(object), pa.string())
            writer.write_batch(pa.record_batch([text, *[pa.array(columns[t]) for t in order]], schema=schema))


def _layout(
    bank: PredictionBank, names: list[str], template: Path | None
) -> tuple[str, npt.NDArray[np.str_], npt.NDArray[np.int64], list[int]]:
    """Name of the id column, ids, their rows in the bank, and the targets' positions in the order to write."""
    held = bank.index["row_id"].to_numpy(dtype=str)
    if template is None:
        return "row_id", held, np.arange(len(held)), list(range(len(names)))
    identity, *wanted = table_names(table_form(template))
    missing = [name for name in wanted if name not in names]
    if missing:
        raise BankError(f"{template} asks for the target {missing[0]!r}, which {bank.path} does not have")
    ids = read_table(template, only=(identity,)).text(identity)
    rows = pd.Index(held).get_indexer(ids)
    if (rows < 0).any():
        raise BankError(f"{template} asks for row {str(ids[np.argmax(rows < 0)])!r}, which {bank.path} does not have")
    position = {name: t for t, name in enumerate(names)}
    return identity, ids, rows.astype(np.int64), [position[name] for name in wanted]
