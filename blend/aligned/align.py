"""Joining the banks of many models by row id, and refusing whatever does not fit.

The aligned order is by fold (then by group, where groups are asked for), so that the rows of a fold are one range.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from blend.aligned.chunks import ArrayRows, Member, Part
from blend.aligned.nesting import Nesting, nested_folds
from blend.aligned.truth import attach_truth
from blend.aligned.view import Stack
from datamodules.banks.bank import BankError, PredictionBank
from datamodules.banks.groups import read_groups
from datamodules.banks.sources import Source
from datamodules.banks.tables import TableBank

_MOST_LABELS = 2**26
_AGREE = ("domain", "metric", "targets", "convention")
_WHY = {
    "domain": "they predict different things",
    "metric": "they answer to different judges",
    "targets": "columns would be mixed up; predict with the same target list",
    "convention": "their rows count different things (such as with and without control rows); predict both alike",
}


def align(
    sources: Sequence[Source],
    truth: Path | None = None,
    row_groups: bool = False,
    groups: Path | None = None,
    clip_predictions: bool = False,
    allow_fold_mismatch: bool = False,
    with_truth: bool = True,
    nesting: Nesting | None = None,
) -> Stack:
    """Join models by row id.

    Args:
        sources: The models, all out-of-fold or all test predictions.
        truth: True values (bank folder or table); by default the truth bank that the models name.
        row_groups: Order rows by group within a fold, for weights per group.
        groups: Table with the columns ``row_id`` and ``group`` in place of the banks' own groups.
        clip_predictions: Clip probabilities to [0, 1] instead of refusing others.
        allow_fold_mismatch: Do not compare the hashes of fold tables (row ids and fold numbers must still agree).
        with_truth: Attach the true values of out-of-fold predictions.
        nesting: How rows are parted for the nested score.

    Raises:
        BankError: rows, folds, targets, shapes or conventions differ; the sentence names the bank and the row.
    """
    _check_manifests(sources, allow_fold_mismatch)
    for source in sources:
        _check_one_data_set(source)
    test = sources[0].kind == "test"
    frame = _reference_rows(sources[0], test)
    if groups is not None:
        frame["group"] = read_groups(groups, frame["row_id"])
    nesting, note = nesting or Nesting(), ""
    if test:  # not scored: they stay together
        frame = frame.assign(nested=0)
    else:
        frame, note = nested_folds(frame, nesting, lambda: _stored_truth(sources, truth, frame) if with_truth else None)
    if row_groups and "group" not in frame:
        raise BankError(f"{sources[0].path} has no row groups; give them with --groups FILE (columns row_id, group)")
    order = (
        np.lexsort((frame["group"].to_numpy(), frame["nested"]))
        if row_groups
        else np.argsort(frame["nested"], kind="stable")
    )
    rows = frame.iloc[order].reset_index(drop=True)
    ids = pd.Index(rows["row_id"])
    members = [_member(source, ids, rows, test) for source in sources]
    first = sources[0].banks[0]
    stack = Stack(
        members=members,
        rows=rows,
        shape=first.shape,
        scale=np.asarray(first.scale, dtype=np.float64),
        manifest=first.manifest,
        nested_note=note,
        forward=nesting.time,
        row_groups=row_groups,
        clip_predictions=clip_predictions,
    )
    if with_truth and not test:
        attach_truth(stack, sources, truth, ids)
    _to_common_scale(sources, members, stack)
    return stack


def _stored_truth(sources: Sequence[Source], truth: Path | None, frame: pd.DataFrame) -> npt.NDArray[np.float32] | None:
    """True values in the order of the first model's rows; None for more of them than labels ever are."""
    first = sources[0].banks[0]
    if len(frame) * int(np.prod(first.shape, dtype=np.int64)) > _MOST_LABELS:
        return None
    scale = np.asarray(first.scale, dtype=np.float64)
    alone = Stack([], frame.assign(nested=0), first.shape, scale, first.manifest)
    attach_truth(alone, sources, truth, pd.Index(frame["row_id"]))
    assert alone.truth is not None
    return alone.truth.read(0, len(frame), alone.width)


def _check_manifests(sources: Sequence[Source], allow_fold_mismatch: bool) -> None:
    reference = sources[0].banks[0]
    for bank in (bank for source in sources for bank in source.banks):
        if bank.manifest.kind != reference.manifest.kind:
            raise BankError(
                f"{bank.path} holds {bank.manifest.kind} predictions but {reference.path} {reference.manifest.kind}"
            )
        for name in _AGREE:
            ours, theirs = getattr(reference.manifest, name), getattr(bank.manifest, name)
            silent = (isinstance(bank, TableBank) and not theirs) or (isinstance(reference, TableBank) and not ours)
            if ours != theirs and not silent:  # a table need not say what it holds
                raise BankError(
                    f"{bank.path} and {reference.path} have different {name} ({_differ(theirs, ours)}): {_WHY[name]}"
                )
        if bank.shape != reference.shape:
            raise BankError(f"{bank.path} predicts shape {bank.shape} per row but {reference.path} {reference.shape}")
        ours, theirs = reference.manifest.hashes.get("folds"), bank.manifest.hashes.get("folds")
        if ours and theirs and ours != theirs and not allow_fold_mismatch:
            raise BankError(
                f"{bank.path} was trained on another fold table ({theirs[:12]}) than {reference.path} ({ours[:12]}); "
                "its out-of-fold rows may be training rows of the other: train it on the same folds"
            )


def _check_one_data_set(source: Source) -> None:
    """The out-of-fold banks of one model come from one data set, or its rows do not belong together."""
    said = [(bank, bank.manifest.hashes["data"]) for bank in source.banks if bank.manifest.hashes.get("data")]
    for bank, theirs in said if source.kind != "test" else []:
        first, ours = said[0]
        if ours != theirs:
            raise BankError(
                f"{bank.path} was predicted on other data ({theirs[:12]}) than {first.path} ({ours[:12]}), both folds or seeds of "
                f"{source.name}; train them on one data set"
            )


def _differ(theirs: Any, ours: Any) -> str:
    if isinstance(theirs, list):
        where = next(
            (i for i, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), min(len(theirs), len(ours))
        )
        return f"target {where}: {theirs[where : where + 1]} and {ours[where : where + 1]}"
    return f"{theirs!r} and {ours!r}"


def _reference_rows(source: Source, test: bool) -> pd.DataFrame:
    """Row ids, folds and groups of the first model, in stored order."""
    frame = source.seeds[0][0].index if test else pd.concat([b.index for b in source.seeds[0]], ignore_index=True)
    twice = frame["row_id"].duplicated()
    if twice.any():
        row = frame["row_id"][twice].iloc[0]
        where = [str(bank.path) for bank in source.seeds[0] if (bank.index["row_id"] == row).any()]
        raise BankError(f"row {row!r} is predicted by {' and by '.join(where)}; the folds of a model must not overlap")
    columns = [name for name in ("row_id", "fold", "group") if name in frame]
    return frame[columns].reset_index(drop=True)


def _member(source: Source, ids: pd.Index, rows: pd.DataFrame, test: bool) -> Member:
    parts: list[Part] = []
    for banks in source.seeds:
        if test:
            for bank in banks:
                parts += _parts([bank], ids, None, 1.0 / len(source.seeds) / len(banks), source.name)
        else:
            parts += _parts(banks, ids, rows.get("fold"), 1.0 / len(source.seeds), source.name)
    return Member(source.name, parts)


def _parts(
    banks: Sequence[PredictionBank], ids: pd.Index, folds: pd.Series | None, weight: float, name: str
) -> list[Part]:
    """Parts that together hold every aligned row once."""
    held = np.zeros(len(ids), dtype=np.int8)
    parts = []
    for bank in banks:
        positions = ids.get_indexer(pd.Index(bank.index["row_id"]))
        if (positions < 0).any():
            extra = bank.index["row_id"].iloc[int(np.argmax(positions < 0))]
            raise BankError(
                f"{bank.path}: row {extra!r} is not among the rows of the other models ({int((positions < 0).sum())} such rows)"
                f"{_hint(bank)}"
            )
        if held[positions].any():
            twice = ids[positions[int(np.argmax(held[positions]))]]
            raise BankError(
                f"{bank.path}: row {twice!r} is already predicted by another fold of {name}; folds must not overlap"
            )
        held[positions] = 1
        if folds is not None and "fold" in bank.index:
            _check_folds(bank, positions, folds, ids)
        parts.append(_part(bank, positions, weight))
    if not held.all():
        missing = int(np.argmin(held))
        raise BankError(
            f"{name} ({banks[0].path}) has no prediction for row {ids[missing]!r} that the other models predict ({int((held == 0).sum())} rows missing{_whole_folds(held, folds)})"
            f"{_hint(banks[0])}"
        )
    return parts


def _whole_folds(held: npt.NDArray[np.int8], folds: pd.Series | None) -> str:
    """The folds of which not one row is there, such as those that were never trained."""
    if folds is None:
        return ""
    present = pd.Series(held).groupby(folds.to_numpy()).any()
    names = [str(fold) for fold in present.index[~present]]
    return f", among them all of fold{'s' * (len(names) > 1)} {', '.join(names)}" if names else ""


def _hint(bank: PredictionBank) -> str:
    return "; --rows intersect blends the rows that all tables have" if isinstance(bank, TableBank) else ""


def _check_folds(bank: PredictionBank, positions: npt.NDArray[np.intp], folds: pd.Series, ids: pd.Index) -> None:
    differs = bank.index["fold"].to_numpy() != folds.to_numpy()[positions]
    if differs.any():
        row = int(np.argmax(differs))
        raise BankError(
            f"{bank.path}: row {ids[positions[row]]!r} is in fold {bank.index['fold'].iloc[row]} but in fold "
            f"{folds.iloc[positions[row]]} of the other models; all models of a blend need the same fold table"
        )


def _part(bank: PredictionBank, positions: npt.NDArray[np.intp], weight: float) -> Part:
    """The inverse of ``positions`` (aligned place of each stored row), over the range it covers."""
    first, last = int(positions.min()), int(positions.max())
    local = np.full(last - first + 1, -1, dtype=np.int32)
    local[positions - first] = np.arange(len(positions), dtype=np.int32)
    several = isinstance(bank, TableBank) and bank.manifest.experiment not in bank.path.name  # models in one file
    where = f"{bank.path} ({bank.manifest.experiment})" if several else str(bank.path)
    return Part(where, ArrayRows(bank.predictions), first, local, weight)


def _to_common_scale(sources: Sequence[Source], members: Sequence[Member], stack: Stack) -> None:
    """Multiply into the units of the first bank."""
    for source, member in zip(sources, members, strict=True):
        for part, bank in zip(member.parts, source.banks, strict=True):
            part.factor = stack.factor(bank.scale)
