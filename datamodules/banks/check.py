"""A last look at a submission before it is sent: it must have the form of the judge's sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.banks.tables import open_columns, whole_ids
from datamodules.errors import DataError
from datamodules.text_tables import table_form


def check_submission(path: Path, template: Path) -> int:
    """Refuse a submission that the judge would refuse: other columns, other rows, rows twice, cells without a number.

    Args:
        path: The submission, a text table; read once, in blocks.
        template: The judge's sample submission.

    Returns:
        Rows.

    Raises:
        DataError: names the column or the row.
    """
    from pyarrow import csv as arrow

    sample = open_columns(template)
    identity, *targets = (name for name in sample.kinds if name != sample.nameless)
    wanted = whole_ids(sample.read([identity], [])[0][identity])
    form = replace(table_form(path), numbered=False)  # row numbers may be all the ids there are
    names = list(form.fields)
    for what, one, other in (("lacks", [identity, *targets], names), ("has", names, [identity, *targets])):
        if strange := [name for name in one if name not in set(other)]:
            raise DataError(f"{path} {what} the column {strange[0]!r}, unlike {template} ({len(strange)} such columns)")
    if names != [identity, *targets]:
        raise DataError(f"{path} has the columns of {template} in another order; write them as {template.name} does")
    options = form.arrow_options(names, [identity, *(name for name in targets if sample.kinds[name] == "t")])
    ids: list[npt.NDArray[Any]] = []
    try:
        with form.open() as file, arrow.open_csv(file, **options) as reader:
            for batch in reader:
                _check_cells(path, names, batch, sum(map(len, ids)))
                ids.append(batch.column(0).to_numpy(zero_copy_only=False))
    except ValueError as error:  # Arrow's, of a cell that is no number; DataError is one too
        raise error if isinstance(error, DataError) else DataError(f"{path}: {str(error).splitlines()[0]}") from None
    own = np.concatenate(ids) if ids else np.empty(0, dtype=object)
    if len(own) == len(wanted) and (own == wanted).all():
        return len(own)
    index = pd.Index(own)
    for what, rows in (
        ("lacks the row", wanted[~pd.Index(wanted).isin(index)]),
        ("has a row unlike the sample's:", own[~index.isin(wanted)]),
        ("has more than once the row", own[index.duplicated()]),
    ):
        if len(rows):
            raise DataError(f"{path} {what} {str(rows[0])!r} ({len(rows):,} such rows; {template} has {len(wanted):,})")
    return len(own)


def _check_cells(path: Path, names: list[str], batch: Any, before: int) -> None:
    for name, column in zip(names, batch.columns, strict=True):
        values = column.to_numpy(zero_copy_only=False)
        bad = values == "" if values.dtype == object else ~np.isfinite(values)
        if bad.any():
            row = int(np.argmax(bad))
            what = "is empty" if values.dtype == object else f"holds {values[row]}, no finite number"
            raise DataError(f"{path}, row {before + row + 2}: {name} {what}; nothing was submitted")
