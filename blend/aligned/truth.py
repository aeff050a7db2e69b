"""Finding the true values of aligned rows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from blend.aligned.chunks import ArrayRows, Member, Part
from blend.aligned.view import Stack
from datamodules.banks.bank import BankError, PredictionBank
from datamodules.banks.roles import TableFlags, table_suffix
from datamodules.banks.sources import Source
from datamodules.banks.table_set import truth_bank
from datamodules.banks.tables import TableBank

_ROUNDING = 1e-6  # float32, in units that differ from model to model
_SMALLEST = 1e-36


def attach_truth(stack: Stack, sources: Sequence[Source], path: Path | None, ids: pd.Index) -> None:
    """Attach the truth that a file holds or that the banks name.

    Args:
        stack: The aligned models.
        sources: Their banks.
        path: Bank folder or table of true values, None for what the banks name.
        ids: Aligned row ids.

    Raises:
        BankError: rows are missing, or models answer to different true values.
    """
    if path is not None:
        bank = _open_truth(path, stack.manifest.targets, stack.shape)
        stack.attach_truth(_truth_member(stack, [(bank, np.arange(len(ids)))], ids))
        return
    if any(_knows_truth(source) for source in sources):  # tables may leave it to the others
        sources = [source for source in sources if _knows_truth(source)]
    seen: set[tuple[Path, ...]] = set()
    for source in sources:
        for banks in source.seeds:
            opened = [bank.truth() for bank in banks]
            paths = tuple(sorted(bank.path for bank in opened))
            if paths in seen:
                continue
            where = [ids.get_indexer(pd.Index(bank.index["row_id"])) for bank in banks]
            member = _truth_member(stack, list(zip(opened, where, strict=True)), ids)
            if stack.truth is None:
                stack.attach_truth(member)
            else:
                _check_same_truth(stack, member, source)
            seen.add(paths)


def _knows_truth(source: Source) -> bool:
    return all(not isinstance(bank, TableBank) or bank.true_values is not None for bank in source.banks)


def _open_truth(path: Path, targets: list[str], shape: tuple[int, ...]) -> PredictionBank:
    return truth_bank(path, TableFlags(), targets, shape) if table_suffix(path) is not None else PredictionBank(path)


def _truth_member(stack: Stack, pieces: list[tuple[PredictionBank, npt.NDArray[np.intp]]], ids: pd.Index) -> Member:
    parts = []
    for bank, aligned in pieces:
        _check_form(stack, bank)
        stored = pd.Index(bank.index["row_id"]).get_indexer(ids[aligned])
        if (stored < 0).any():
            raise BankError(
                f"the truth {bank.path} lacks row {ids[aligned][int(np.argmax(stored < 0))]!r} that the models predict"
                + ("; --rows intersect leaves such rows out" if isinstance(bank, TableBank) else "")
            )
        first = int(aligned.min())
        local = np.full(int(aligned.max()) - first + 1, -1, dtype=np.int32)
        local[aligned - first] = stored
        parts.append(Part(str(bank.path), ArrayRows(bank.predictions), first, local, factor=stack.factor(bank.scale)))
    return Member("truth", parts)


def _check_form(stack: Stack, bank: PredictionBank) -> None:
    if bank.shape != stack.shape:
        raise BankError(f"the truth {bank.path} has shape {bank.shape} per row, the predictions {stack.shape}")
    ours, theirs = stack.manifest.targets, bank.manifest.targets
    if ours and theirs and ours != theirs:
        where = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), len(ours))
        raise BankError(
            f"the truth {bank.path} has other targets than the predictions, the first one at column {where}"
        )


def _check_same_truth(stack: Stack, other: Member, source: Source) -> None:
    assert stack.truth is not None
    step = max(1, 2**22 // stack.width)
    for start in range(0, len(stack.rows), step):
        stop = min(start + step, len(stack.rows))
        ours, theirs = stack.truth.read(start, stop, stack.width), other.read(start, stop, stack.width)
        same = np.isclose(theirs, ours, rtol=_ROUNDING, atol=_SMALLEST).all(axis=1)
        if not same.all():
            row = start + int(np.argmin(same))
            raise BankError(
                f"{source.path} answers to other true values: {other.where(row)} and {stack.truth.where(row)} differ in row "
                f"{stack.rows['row_id'].iloc[row]!r}{_data_sets(stack, source)}; were the data sets prepared differently?"
            )


def _data_sets(stack: Stack, source: Source) -> str:
    """The two data sets, where the banks say that they differ."""
    ours, theirs = stack.manifest.hashes.get("data"), source.banks[0].manifest.hashes.get("data")
    return f" (data {theirs[:12]} and {ours[:12]})" if ours and theirs and ours != theirs else ""
