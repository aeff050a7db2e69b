"""Submission files from a blended bank.

A domain that has a file format of its own declares a writer (:mod:`blend.domains`); every other bank becomes a CSV of ids and
targets in the judge's units, or in the rows and columns of the judge's sample submission. A metric of decisions (accuracy, F1,
kappa) gets decisions: the labels of the tables, by the thresholds that were fitted.
"""

from __future__ import annotations

import csv
import io
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from blend.domains import domain_hook
from blend.metrics.registry import KNOWN
from blend.metrics.tables import DecisionMetric, QuadraticKappa
from datamodules.banks.bank import BankError, PredictionBank
from datamodules.banks.roles import TableForm, group_columns, positive_label
from datamodules.banks.tables import open_columns, whole_ids
from datamodules.files import atomic_path, usable_cores
from datamodules.text_tables import table_form

Writer = Callable[[PredictionBank, Path, Path | None], None]
_WRITERS: dict[str, str] = {}
_CHUNK_VALUES = 2**19  # small enough for every thread to have one soon
_MOST_THREADS = 8


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


@dataclass
class _Sheet:
    """What a submission holds.

    Attributes:
        header: Names of the id column and the targets.
        ids: ``(rows,)``.
        rows: ``(rows,)`` their positions in the bank.
        columns: Values of some rows of the bank, one array per target.
        number: Arrow's type of a value.
        delimiter: Between fields.
        quoted: Names and ids are quoted.
    """

    header: list[str]
    ids: npt.NDArray[np.str_]
    rows: npt.NDArray[np.int64]
    columns: Callable[[npt.NDArray[np.int64]], list[npt.NDArray[Any]]]
    number: Any
    delimiter: str = ","
    quoted: bool = False


def write_csv(bank: PredictionBank, path: Path, template: Path | None = None) -> None:
    """An id and one column per target, in the judge's units.

    Args:
        bank: Blended predictions.
        path: File to write.
        template: Table whose first column lists the wanted ids and whose header names id and targets; without it all rows
            and targets in the bank's order, under the names of the tables that were blended.

    Raises:
        BankError: the template asks for rows or targets that the bank does not have.
    """
    sheet = _layout(bank, template)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        quoting = csv.QUOTE_ALL if sheet.quoted else csv.QUOTE_MINIMAL
        header = io.StringIO()
        csv.writer(header, delimiter=sheet.delimiter, quoting=quoting, lineterminator="\n").writerow(sheet.header)  # type: ignore[arg-type]
        file.write(header.getvalue().encode())
        for text in _texts(sheet):
            file.write(text)


def _texts(sheet: _Sheet) -> Iterator[Any]:
    """The rows as text, in order; some threads are ahead, since Arrow formats numbers without Python's lock."""
    step = max(1, _CHUNK_VALUES // max(1, len(sheet.header)))
    threads = min(_MOST_THREADS, usable_cores())
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[Any]] = deque()
        for start in range(0, len(sheet.rows), step):
            ahead.append(pool.submit(_text, sheet, start, start + step))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _text(sheet: _Sheet, start: int, stop: int) -> Any:
    import pyarrow as pa
    from pyarrow import csv as arrow

    ids = pa.array(sheet.ids[start:stop].astype(object), pa.string())
    columns = [pa.array(column, sheet.number) for column in sheet.columns(sheet.rows[start:stop])]
    out = pa.BufferOutputStream()
    style = "needed" if sheet.quoted else "none"
    options = arrow.WriteOptions(include_header=False, quoting_style=style, delimiter=sheet.delimiter)
    names = [str(i) for i in range(len(columns) + 1)]
    arrow.write_csv(pa.record_batch([ids, *columns], names=names), out, options)
    return out.getvalue()


def _layout(bank: PredictionBank, template: Path | None) -> _Sheet:
    """Which rows and targets are written, under which names."""
    import pyarrow as pa

    width = int(np.prod(bank.shape, dtype=np.int64))
    targets = bank.manifest.targets
    names = targets if len(targets) == width else [f"target_{t}" for t in range(width)]
    form = TableForm(**bank.manifest.extra["tables"]) if "tables" in bank.manifest.extra else None
    held = bank.index["row_id"].to_numpy(dtype=str)
    wanted, identity, ids, rows = names, form.identity if form else "row_id", held, np.arange(len(held))
    delimiter, quoted = ",", False
    decisions = None if form is None else _decisions(bank, form)
    if decisions is not None and form is not None and form.kind == "classes":
        wanted = [form.label or "label"]
    if template is not None:
        identity, wanted, ids, rows, delimiter, quoted = _wanted(bank, template, held)
    plain = bool((np.asarray(bank.scale) == 1.0).all())  # float32 text is half as long, and as exact
    number: Any = pa.float32() if plain else pa.float64()
    if decisions is not None and len(wanted) == len(decisions(np.arange(0))):
        columns, number = decisions, None
    else:
        order = _order(bank, wanted, names, form, template)

        def columns(chosen: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
            values = bank.predictions[chosen] if plain else bank.in_judge_units(chosen)
            flat = np.ascontiguousarray(values.reshape(-1, width).T)
            return [1 - flat[0] if t < 0 else flat[t] for t in order]

    special = any(any(mark in text for mark in (delimiter, '"', "\n", "\r")) for text in ids.tolist())
    return _Sheet([identity, *wanted], ids, rows.astype(np.int64), columns, number, delimiter, quoted or special)


def _wanted(
    bank: PredictionBank, template: Path, held: npt.NDArray[np.str_]
) -> tuple[str, list[str], npt.NDArray[np.str_], npt.NDArray[np.intp], str, bool]:
    """Names, ids and form of the judge's sample submission."""
    table = open_columns(template)
    identity, *wanted = (name for name in table.kinds if name != table.nameless)
    ids = table.read([identity], [])[0][identity]
    rows = pd.Index(held).get_indexer(pd.Index(whole_ids(ids)))
    if (rows < 0).any():
        raise BankError(f"{template} asks for row {str(ids[np.argmax(rows < 0)])!r}, which {bank.path} does not have")
    if template.name.lower().endswith((".parquet", ".pq")):
        return identity, wanted, ids, rows, ",", False
    form = table_form(template)
    with form.open() as file:
        quoted = file.read(64).decode(form.encoding, errors="replace").lstrip("\ufeff").startswith('"')
    return identity, wanted, ids, rows, form.delimiter, quoted


def _order(
    bank: PredictionBank, wanted: list[str], names: list[str], form: TableForm | None, template: Path | None
) -> list[int]:
    """Positions of the wanted targets: by name, by the labels of classes, or the only one there is; -1 is its complement."""
    position = {name: t for t, name in enumerate(names)}
    if all(name in position for name in wanted):
        return [position[name] for name in wanted]
    if len(wanted) == len(names) == 1 and form is not None:
        return [0]
    groups = group_columns(wanted, form.classes) if form is not None and form.kind != "values" else None
    if form is not None and groups is not None and len(groups) == 1:
        places = [int(t) for t in np.argsort(next(iter(groups.values())))]
        positive = form.classes.index(positive_label(form.classes)) if form.kind == "binary" else None
        return places if positive is None else [0 if t == positive else -1 for t in places]
    missing = next(name for name in wanted if name not in position)
    raise BankError(f"{template} asks for the target {missing!r}, which {bank.path} does not have")


def _decisions(
    bank: PredictionBank, form: TableForm
) -> Callable[[npt.NDArray[np.int64]], list[npt.NDArray[Any]]] | None:
    """What a metric of decisions judges: labels; None for other metrics."""
    metric = KNOWN.get(bank.manifest.metric)
    if not isinstance(metric, DecisionMetric | QuadraticKappa):
        return None
    labels: npt.NDArray[Any] = np.array(form.classes)
    numbers = all(label.lstrip("-").isdigit() for label in form.classes)
    labels = labels.astype(np.int64) if numbers and len(labels) else labels.astype(object)
    thresholds = bank.manifest.extra.get("thresholds") or 0.5
    width = int(np.prod(bank.shape, dtype=np.int64))

    def decide(chosen: npt.NDArray[np.int64]) -> list[npt.NDArray[Any]]:
        values = bank.in_judge_units(chosen).reshape(len(chosen), width)
        if form.kind == "classes":
            return [labels[values.argmax(axis=1)]]
        if isinstance(metric, QuadraticKappa):
            rounded = np.rint(values).astype(np.int64)
            return list((rounded.clip(labels.min(), labels.max()) if numbers and len(labels) else rounded).T)
        above = values >= np.asarray(thresholds)
        if form.kind != "binary":
            return list(above.astype(np.int64).T)
        positive = form.classes.index(positive_label(form.classes))
        return [labels[np.where(above[:, 0], positive, 1 - positive)]]

    return decide
