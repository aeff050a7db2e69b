"""Predictions that did not come from a run directory, in the files that people have: CSV, Parquet, ``.npz`` and ``.npy``.

Each file is opened into :class:`Opened`, whatever its format: ids, folds, true values where it holds some, and one array of
predictions with the names of its columns. :mod:`datamodules.banks.table_set` makes models of them.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.banks.bank import BankError, Manifest, PredictionBank
from datamodules.banks.roles import (
    CLASSES,
    FOLDS,
    IDS,
    MODELS,
    PREDICTIONS,
    TARGETS,
    TableFlags,
    find_known,
    id_candidates,
    is_prediction,
    label_text,
    table_suffix,
)
from datamodules.errors import DataError, UsageError, nearest_name
from datamodules.files import refuse_lfs_pointer
from datamodules.text_tables import read_table, table_form, table_names

Text = npt.NDArray[np.str_]
Array = npt.NDArray[Any]


class TableBank(PredictionBank):
    """One model of a table, in memory, that answers like a bank folder.

    Args:
        path: The file.
        manifest: What the bank says of itself.
        index: ``row_id`` and, where known, ``fold`` and ``group``.
        predictions: ``(rows, *shape)``.
        truth: The bank of its true values, None where there is none.
    """

    def __init__(
        self, path: Path, manifest: Manifest, index: pd.DataFrame, predictions: Array, truth: TableBank | None = None
    ) -> None:
        self.path, self.manifest, self.index, self.files = Path(path), manifest, index, {}
        self.predictions, self._shape = np.asarray(predictions, dtype=np.float32), tuple(predictions.shape[1:])
        self.scale, self.true_values = np.ones(()), truth

    def truth(self) -> PredictionBank:
        """The true values that were found with the table.

        Raises:
            BankError: there are none.
        """
        if self.true_values is None:
            raise BankError(
                f"{self.path} is a table and names no true values; give them with --truth FILE (such as train.csv) and "
                "--target COLUMN"
            )
        return self.true_values


@dataclass
class Labels:
    """True values as a file holds them.

    Attributes:
        where: The file.
        names: Names of the columns, empty for arrays.
        values: ``(rows,)`` text, or ``(rows, *shape)`` float64.
    """

    where: Path
    names: list[str]
    values: Array


@dataclass
class Opened:
    """What one file holds.

    Attributes:
        path: The file.
        ids: ``(rows,)``; None where the file has none.
        identity: Name of the id column.
        folds, groups: ``(rows,)`` text, None where there are none.
        labels: True values, None where there are none.
        columns: Names of the predictions' columns, empty for arrays.
        predictions: ``(rows, *shape)``.
        models: Names of the models of an array ``(models, rows, *shape)``, empty for one model.
        row_name: Where a row stands, for an error.
        notes: What was guessed, in words, such as ``id 'image_name'``.
    """

    path: Path
    ids: Text | None
    identity: str
    folds: Text | None
    groups: Text | None
    labels: Labels | None
    columns: list[str]
    predictions: Array
    models: list[str]
    row_name: Callable[[int], str]
    notes: list[str]


class Columns(ABC):
    """Named columns of a file.

    Args:
        path: The file.
        kinds: For every column whether it holds numbers (``i`` whole, ``f`` others) or text (``t``).
        nameless: The index that pandas wrote without a name: ids where nothing else is, and never a prediction.
    """

    def __init__(self, path: Path, kinds: dict[str, str], nameless: str | None) -> None:
        self.path, self.kinds, self.nameless = path, kinds, nameless

    @abstractmethod
    def read(self, text: Sequence[str], numbers: Sequence[str]) -> tuple[dict[str, Text], npt.NDArray[np.float32]]:
        """Text columns by name, and the numbers as one array ``(rows, columns)``; an empty cell is NaN."""

    def row_name(self, row: int) -> str:
        """Where a row stands."""
        return f"{self.path}, row {row + 1}"


class CsvColumns(Columns):
    """A text table; a nameless first column is called ``index``."""

    def __init__(self, path: Path) -> None:
        from pyarrow import csv as arrow

        form = table_form(path)
        first = form.fields[0]
        form = replace(form, numbered=False)  # row numbers may be all the ids there are
        self._form = form
        names = table_names(form, canonical=lambda name: name or "index")
        options = form.arrow_options(names)
        options["convert_options"] = arrow.ConvertOptions(
            include_columns=names, decimal_point=form.decimal, strings_can_be_null=False
        )
        try:
            with form.open() as file, arrow.open_csv(file, **options) as reader:
                schema = reader.schema
        except Exception as error:  # Arrow's; reading the columns gives the sentence
            if not type(error).__module__.startswith("pyarrow"):
                raise
            read_table(path, form=form)
            raise DataError(f"{path} cannot be read as a table: {str(error).splitlines()[0]}") from None
        nameless = names[0] if not first or first.startswith("Unnamed: 0") else None
        super().__init__(path, {field.name: _kind(field.type) for field in schema}, nameless)

    def read(self, text: Sequence[str], numbers: Sequence[str]) -> tuple[dict[str, Text], npt.NDArray[np.float32]]:
        """In one pass."""
        wanted = [*text, *numbers]
        table = read_table(self.path, text=text, only=wanted, form=self._form, canonical=lambda name: name or "index")
        values = np.empty((len(table), len(numbers)), dtype=np.float32)
        for i, name in enumerate(numbers):
            values[:, i] = table.numbers(name)
        return {name: table.text(name) for name in text}, values

    def row_name(self, row: int) -> str:
        """By the lines of the file."""
        return f"{self.path}, row {row + self._form.skip + 1}"


class ParquetColumns(Columns):
    """A Parquet file; the index that pandas wrote is a column like the others."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        try:
            self._schema = parquet.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            refuse_lfs_pointer(path)
            raise BankError(f"{path} cannot be read as Parquet ({str(error).splitlines()[0]}); get it again") from None
        self._spelled = {name: "index" if name == "__index_level_0__" else name for name in self._schema.names}
        kinds = {self._spelled[field.name]: _kind(field.type) for field in self._schema}
        self._range, name = self._range_index()
        nameless = "index" if "__index_level_0__" in self._spelled or (self._range and not name) else None
        if self._range is not None:
            kinds = {name or "index": "i"} | kinds
        super().__init__(path, kinds, nameless)

    def _range_index(self) -> tuple[range | None, str | None]:
        """The index that pandas keeps as three numbers, and its name."""
        stored = json.loads((self._schema.metadata or {}).get(b"pandas", b"{}")).get("index_columns", [])
        for index in stored:
            if isinstance(index, dict) and index.get("kind") == "range":
                return range(index["start"], index["stop"], index["step"]), index.get("name")
        return None, None

    def read(self, text: Sequence[str], numbers: Sequence[str]) -> tuple[dict[str, Text], npt.NDArray[np.float32]]:
        """Columns as they are asked for."""
        import pyarrow as pa
        from pyarrow import parquet

        stored = {spelled: name for name, spelled in self._spelled.items()}
        wanted = [stored[name] for name in dict.fromkeys([*text, *numbers]) if name in stored]
        table = parquet.read_table(self.path, columns=wanted or self._schema.names[:1])
        values = np.empty((len(table), len(numbers)), dtype=np.float32)
        for i, name in enumerate(numbers):
            try:
                values[:, i] = table[stored[name]].cast(pa.float64()).to_numpy()
            except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
                raise BankError(f"{self.path}: column {name!r} holds {table[stored[name]].type}, not numbers") from None
        found = {}
        for name in text:
            if name not in stored:
                assert self._range is not None
                found[name] = np.array(self._range[: len(table)], dtype=str)
                continue
            column = table[stored[name]]
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            found[name] = np.array(["" if x is None else label_text(x) for x in column.to_pylist()], dtype=str)
        return found, values


def _kind(kind: Any) -> str:
    import pyarrow as pa

    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return "i"
    return "f" if pa.types.is_floating(kind) or pa.types.is_decimal(kind) else "n" if pa.types.is_null(kind) else "t"


def open_columns(path: Path) -> Columns:
    """A file with named columns.

    Raises:
        DataError: it cannot be read.
    """
    return ParquetColumns(path) if table_suffix(path) in (".parquet", ".pq") else CsvColumns(path)


def open_table(
    path: Path, flags: TableFlags, test: bool, wanted: Sequence[str] = (), truth: Sequence[str] = ()
) -> Opened:
    """Open predictions.

    Args:
        path: The file.
        flags: Names of columns.
        test: Test predictions: true values are not looked for, arrays named ``test_...`` come first.
        wanted: Columns that come before others, those of the out-of-fold tables.
        truth: Columns of the file of true values: a table of nothing else predicts them all.

    Raises:
        DataError: the file is damaged, or lacks a column or an array; it is named.
    """
    if not Path(path).is_file():
        raise BankError(f"{path} does not exist")
    suffix = table_suffix(path)
    if suffix in (".npy", ".npz"):
        return _open_arrays(path, flags, test)
    columns = open_columns(path)
    left = [name for name in columns.kinds if name != columns.nameless]
    identity, ids = _find_ids(columns, flags)
    fold = _named(columns, flags.fold, FOLDS)
    group = _named(columns, flags.group, ())
    left = [name for name in left if name not in (identity, fold, group)]
    predictions, targets = _parts(columns, left, flags, test, wanted, truth)
    text = [name for name in (fold, group, *targets) if name is not None]
    found, values = columns.read([*([identity] if identity and ids is None else []), *text], predictions)
    labels = None
    if targets:
        labels = _labels(path, targets, [found[name] for name in targets])
    if identity and ids is None:
        ids = _checked_ids(columns, identity, found[identity])
    notes = [f"id {identity!r}"] if identity else []
    notes += [f"labels {', '.join(map(repr, targets))}"] if targets else []
    notes += [f"folds {fold!r}"] if fold else []
    return Opened(
        path, ids, identity or "row_id", found.get(fold or ""), found.get(group or ""), labels, predictions, values,
        [], columns.row_name, notes,
    )  # fmt: skip


def _named(columns: Columns, given: str | None, known: Sequence[str]) -> str | None:
    """The given column where the table has it, else one of a known name."""
    if given is not None:
        return next((name for name in columns.kinds if name.lower() == given.lower()), None)
    return next(iter(find_known(list(columns.kinds), known)), None)


def _find_ids(columns: Columns, flags: TableFlags) -> tuple[str | None, Text | None]:
    """Name of the id column and, where it had to be read to be sure, the ids."""
    names = list(columns.kinds)
    if flags.id is not None:
        found = _named(columns, flags.id, ())
        if found is None and flags.ids is None:
            near = nearest_name(flags.id, names)
            hint = f" (is {near!r} meant?)" if near else ""
            raise BankError(f"{columns.path} has no column {flags.id!r}{hint}; it has {_listed(names)}")
        return found, None
    named = [name for name in names if name != columns.nameless]
    candidates = id_candidates(named, [name for name in named if columns.kinds[name] == "f"])
    candidates += [columns.nameless] if columns.nameless is not None else []
    if flags.prefer in names:
        candidates = [flags.prefer, *(name for name in candidates if name != flags.prefer)]
    for name in candidates if len(candidates) > 1 else []:
        ids = columns.read([name], [])[0][name]
        if (ids != "").all() and len(np.unique(ids)) == len(ids):
            return name, _checked_ids(columns, name, ids)
    if candidates:
        return candidates[0], None
    if flags.ids is None:
        raise BankError(
            f"{columns.path} has no column of row ids (it has {_listed(names)}); name one with --id, or give --ids FILE "
            "with the ids of its rows in order"
        )
    return None, None


def _checked_ids(columns: Columns, name: str, ids: Text) -> Text:
    if (empty := ids == "").any():
        raise BankError(f"{columns.row_name(int(np.argmax(empty)))}: {name} is empty; every row needs its own id")
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) != len(ids):
        twice = unique[np.argmax(counts)]
        first, second = np.flatnonzero(ids == twice)[:2]
        raise BankError(
            f"{columns.row_name(int(second))}: {name} {str(twice)!r} stands {counts.max()} times (first in row "
            f"{columns.row_name(int(first)).rpartition(' ')[2]}); ids must be unique: take one out, or name another column with --id"
        )
    return whole_ids(ids)


def whole_ids(ids: Text) -> Text:
    """Ids without the ``.0`` that a detour through floats gave all of them."""
    if len(ids) and all(text.endswith(".0") and text[:-2].lstrip("-").isdigit() for text in ids):
        return np.char.replace(ids, ".0", "")
    return ids


def _parts(
    columns: Columns, left: list[str], flags: TableFlags, test: bool, wanted: Sequence[str], truth: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Names of the prediction columns and of the columns of true values."""
    lower = {name.lower(): name for name in left}
    given = [lower[name.lower()] for name in flags.prediction if name.lower() in lower]
    if flags.prediction and not given:
        near = nearest_name(flags.prediction[0], left)
        hint = f" (is {near!r} meant?)" if near else ""
        raise BankError(f"{columns.path} has no column {flags.prediction[0]!r}{hint}; it has {_listed(left)}")
    if flags.target:
        targets = [lower[name.lower()] for name in flags.target if name.lower() in lower and name not in given]
    else:
        targets = find_known([name for name in left if name not in given and name not in wanted], TARGETS)[:1]
        if len(left) > 1 and set(left) <= set(truth):
            targets = []
    numbers = [name for name in left if columns.kinds[name] != "t"]
    rest = given or [name for name in numbers if name not in targets]
    if (not rest and targets and len(targets) == len(left)) or (not rest and not flags.target and targets):
        rest, targets = targets, []  # as in a sample submission, where the target's column holds predictions
    if not given:
        own = [
            name for name in rest if name not in truth
        ]  # the others are features, if these call themselves predictions
        rest = own if any(map(is_prediction, own)) else rest
        known = find_known(rest, PREDICTIONS)
        rest = known if len(known) == 1 else rest
    rest = [name for name in rest if name in wanted] or rest
    if not rest:
        raise BankError(
            f"{columns.path} has no column of predictions (it has {_listed(list(columns.kinds))}); name it with --prediction"
        )
    return rest, [] if test else targets


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (", ..." if len(names) > 8 else "")


def _labels(path: Path, names: Sequence[str], columns: Sequence[Text]) -> Labels:
    """One column stays text where it is no number (True and False too); several are numbers."""
    try:
        numbers = [_numbers(column, several=len(columns) > 1) for column in columns]
    except ValueError:
        if len(columns) > 1:
            raise BankError(f"{path}: the true values {', '.join(names)} are not numbers") from None
        return Labels(path, list(names), columns[0])
    return Labels(path, list(names), np.stack(numbers, axis=1))


def _numbers(column: Text, several: bool) -> npt.NDArray[np.float64]:
    known = {"": "nan"} | ({"true": "1", "false": "0"} if several else {})
    return np.array([known.get(text.lower(), text) for text in column.tolist()]).astype(np.float64)


# --- True values, ids and folds of other files ---------------------------------------------------------------------


def open_truth(
    path: Path, flags: TableFlags, predicted: Sequence[str], shape: tuple[int, ...]
) -> tuple[Text, str, Labels, Text | None]:
    """Ids, their column's name, true values and folds of a file.

    Args:
        path: The file.
        flags: Names of columns.
        predicted: Columns of the predictions: truth may have the same.
        shape: Trailing shape of the predictions.

    Raises:
        DataError: the file has no such column, or several that might be meant.
    """
    if table_suffix(path) in (".npz", ".npy"):
        opened = _open_arrays(path, flags, False, truth=True)
        if opened.ids is None:
            raise BankError(f"{path} has no array of row ids; it has no place among the predictions")
        values = opened.labels.values if opened.labels else opened.predictions
        return opened.ids, opened.identity, Labels(path, opened.columns, values), opened.folds
    columns = open_columns(path)
    identity, ids = _find_ids(columns, flags)
    fold = _named(columns, flags.fold, FOLDS)
    left = [
        name for name in columns.kinds if name not in (identity, fold, columns.nameless) and name.lower() != "group"
    ]
    targets = _target_columns(path, left, flags, predicted, shape)
    several = targets if len(targets) > 1 and all(columns.kinds[name] != "t" for name in targets) else []
    text = [name for name in (identity if ids is None else None, fold, *targets) if name and name not in several]
    found, numbers = columns.read(text, several)
    if identity and ids is None:
        ids = _checked_ids(columns, identity, found[identity])
    if ids is None:
        raise BankError(f"{path} has no column of row ids; name it with --id")
    for name in targets:
        empty = np.isnan(numbers[:, several.index(name)]) if name in several else found[name] == ""
        if empty.any():
            raise BankError(
                f"{columns.row_name(int(np.argmax(empty)))}: column {name!r} is empty; every row needs its true value"
            )
    labels = Labels(path, targets, numbers) if several else _labels(path, targets, [found[n] for n in targets])
    return ids, identity or "row_id", labels, found.get(fold or "")


def _target_columns(
    path: Path, left: list[str], flags: TableFlags, predicted: Sequence[str], shape: tuple[int, ...]
) -> list[str]:
    lower = {name.lower(): name for name in left}
    if flags.target:
        missing = [name for name in flags.target if name.lower() not in lower]
        if missing:
            near = nearest_name(missing[0], left)
            hint = f" (is {near!r} meant?)" if near else ""
            raise BankError(f"{path} has no column {missing[0]!r}{hint}; it has {_listed(left)}")
        return [lower[name.lower()] for name in flags.target]
    if predicted and all(name.lower() in lower for name in predicted):
        return [lower[name.lower()] for name in predicted]
    if len(left) == 1 or (not predicted and len(left) == int(np.prod(shape)) and not find_known(left, TARGETS)):
        return left
    if known := find_known(left, TARGETS):
        return known[:1]
    test = next(
        (p for p in sorted(path.resolve().parent.iterdir()) if p.name.lower() in ("test.csv", "test.parquet")), None
    )
    if test is not None and len(only := [name for name in left if name not in open_columns(test).kinds]) == 1:
        return only
    raise BankError(f"{path}: which column holds the true values? Name it with --target; there are {_listed(left)}")


def truth_columns(path: Path) -> list[str]:
    """Names of all columns of a file of true values; those of an archive's targets.

    Raises:
        DataError: it cannot be read.
    """
    if table_suffix(path) in (".npz", ".npy"):
        return _open_arrays(path, TableFlags(), False, truth=True).columns
    return list(open_columns(path).kinds)


def open_ids(path: Path, flags: TableFlags) -> Text:
    """Ids in the order of a file's rows: a table's id column, an array, or the lines of a text file.

    Raises:
        DataError: there are none.
    """
    suffix = table_suffix(path)
    if suffix == ".npy":
        ids = _load_npy(path)
        if ids.ndim != 1 or ids.dtype.kind not in "iuU":
            raise BankError(f"{path} holds {ids.dtype} {ids.shape}, not one id for every row")
        return ids.astype(str)
    if suffix == ".npz":
        opened = _open_arrays(path, flags, False, truth=True)
        if opened.ids is None:
            raise BankError(f"{path} has no array of row ids")
        return opened.ids
    if suffix is None:
        if not path.is_file():
            raise BankError(f"--ids {path} does not exist")
        return np.array(path.read_text(encoding="utf-8").splitlines(), dtype=str)
    columns = open_columns(path)
    names = [name for name in columns.kinds if name != columns.nameless]
    if len(names) == 1:
        (name,) = names
        return _checked_ids(columns, name, columns.read([name], [])[0][name])
    found, read = _find_ids(columns, replace(flags, ids=None))
    assert found is not None
    return read if read is not None else _checked_ids(columns, found, columns.read([found], [])[0][found])


def open_folds(path: Path, flags: TableFlags) -> tuple[Text, Text]:
    """Ids and folds of a file of its own.

    Raises:
        DataError: it lacks one of them.
    """
    columns = open_columns(path)
    identity, ids = _find_ids(columns, flags)
    rest = [name for name in columns.kinds if name not in (identity, columns.nameless)]
    fold = _named(columns, flags.fold, FOLDS) or (rest[0] if len(rest) == 1 else None)
    if fold is None or identity is None:
        raise BankError(f"{path}: which column holds the folds? Name it with --fold; there are {_listed(rest)}")
    found = columns.read([identity, fold], [])[0]
    return ids if ids is not None else _checked_ids(columns, identity, found[identity]), found[fold]


# --- Arrays -------------------------------------------------------------------------------------------------------


def _load_npy(path: Path) -> Array:
    try:
        loaded = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        refuse_lfs_pointer(path)
        raise BankError(f"{path} cannot be read ({error}); pickled arrays are refused, save ids as text") from None
    return np.asarray(loaded)


def _open_arrays(path: Path, flags: TableFlags, test: bool, truth: bool = False) -> Opened:
    """An ``.npy`` array, or the arrays of an ``.npz``, found by their names."""
    if table_suffix(path) == ".npy":
        values = _load_npy(path)
        if values.dtype.kind not in "fiub":
            raise BankError(f"{path} holds {values.dtype}, not numbers")
        values = values.reshape(len(values), -1) if values.ndim < 3 else values
        return Opened(path, None, "row_id", None, None, None, [], values, [], _array_row(path), [])
    import zipfile

    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        refuse_lfs_pointer(path)
        raise BankError(f"{path} cannot be read ({error}); pickled arrays are refused, save ids as text") from None
    if test:  # arrays of test rows stand beside those of the out-of-fold ones
        own = {name[5:]: value for name, value in arrays.items() if name.lower().startswith("test_")}
        if "test" in arrays:
            own["predictions"] = arrays["test"]
        shared = {name: arrays[name] for known in (MODELS, CLASSES) for name in find_known(list(arrays), known)}
        arrays = shared | own if own else arrays
    return _named_arrays(path, arrays, flags, truth)


def _named_arrays(path: Path, arrays: dict[str, Array], flags: TableFlags, truth: bool) -> Opened:
    def find(given: str | None, known: Sequence[str]) -> str | None:
        if given is not None and given in arrays:
            return given
        return next(iter(find_known(list(arrays), known)), None)

    wanted = next(iter(flags.prediction), None)
    labelled = find(
        next(iter(flags.target), None), [name for name in TARGETS if name != "targets"]
    )  # which holds names
    chosen = (labelled if truth else None) or find(wanted, PREDICTIONS) or (find(None, ("targets",)) if truth else None)
    if chosen is None:
        raise BankError(
            f"{path} has no array 'predictions' (it has {', '.join(sorted(arrays))}); name it with --prediction; see docs/blending.md"
        )
    values = arrays[chosen]
    if values.dtype.kind not in "fiub":
        raise BankError(f"{path}: {chosen} are {values.dtype}, not numbers")
    named = find(None, MODELS)
    models: list[str] = []
    if (
        named is not None
        and values.ndim > 1
        and arrays[named].shape == values.shape[:1]
        and values.ndim > arrays[named].ndim
    ):
        models = [str(name) for name in arrays[named]]
    rows = values.shape[1] if models else len(values)
    identity = find(flags.id, (*IDS, "ids", "row_ids", "sample_ids", "test_ids"))
    ids = None if identity is None else _per_row(path, identity, arrays[identity], rows)
    if ids is not None and ids.dtype.kind == "f":
        raise BankError(f"{path}: {identity} holds fractions, no ids")
    fold, group = find(flags.fold, FOLDS), find(flags.group, ())
    labels = None
    if labelled not in (None, chosen) and not truth:
        held = _per_row(path, labelled, arrays[labelled], rows)
        labels = Labels(path, [], held.astype(str) if held.dtype.kind == "U" else held.astype(np.float64))
        if labels.values.dtype.kind == "f":
            labels.values = labels.values.reshape(rows, -1)
    listed = find(None, CLASSES)
    width = int(np.prod(values.shape[2 if models else 1 :], dtype=np.int64))
    columns = [str(name) for name in arrays[listed]] if listed is not None and arrays[listed].dtype.kind in "Ui" else []
    columns = columns if len(columns) == width else []
    if labels is not None and len(columns) == width and labels.values.ndim > 1 and labels.values.shape[1] == width:
        labels.names = columns
    if not models and values.ndim < 3:
        values = values.reshape(rows, -1)
    folds, groups = (_row_text(path, name, arrays, rows) for name in (fold, group))
    repeated = pd.Series([] if ids is None else ids).duplicated()
    if ids is not None and repeated.any():
        raise BankError(f"{path}: row id {str(ids[int(np.argmax(repeated))])!r} is repeated")
    notes = [f"id {identity!r}"] if identity else []
    notes += [f"labels {labelled!r}"] if labels is not None else []
    return Opened(path, None if ids is None else ids.astype(str), identity or "row_id", folds, groups, labels, columns, values, models, _array_row(path), notes)  # fmt: skip


def _row_text(path: Path, name: str | None, arrays: dict[str, Array], rows: int) -> Text | None:
    if name is None:
        return None
    return np.array([label_text(x) for x in _per_row(path, name, arrays[name], rows).tolist()], dtype=np.str_)


def _per_row(path: Path, name: str | None, values: Array, rows: int) -> Array:
    if values.shape[:1] != (rows,):
        raise BankError(f"{path}: {name} has shape {values.shape} for {rows} predictions")
    return values


def _array_row(path: Path) -> Callable[[int], str]:
    return lambda row: f"{path}, row {row} (counted from 0)"


def require_ids(opened: Opened, flags: TableFlags) -> Text:
    """The ids of an opened table, its own or those of ``--ids``.

    Raises:
        UsageError: nobody gives ids.
        BankError: there are more or fewer than rows.
    """
    rows = opened.predictions.shape[1 if opened.models else 0]
    if opened.ids is not None:
        return opened.ids
    if flags.ids is None:
        raise UsageError(
            f"{opened.path} holds no row ids; give --ids FILE with the ids of its {rows} rows in order (such as train.csv)"
        )
    ids = open_ids(flags.ids, flags)
    if len(ids) != rows:
        raise BankError(f"{flags.ids} gives {len(ids)} ids for the {rows} rows of {opened.path}")
    return ids
