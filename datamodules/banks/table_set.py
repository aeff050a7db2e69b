"""The tables of one blend, read together: who is a model, which columns are whose, what the labels are, which rows all share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from datamodules.banks.bank import BankError, Manifest
from datamodules.banks.roles import (
    TableFlags,
    TableForm,
    classes_of_columns,
    group_columns,
    is_truth_file,
    label_of,
    label_text,
    plain,
    positive_label,
    sort_labels,
    table_name,
    table_suffix,
    truth_files,
)
from datamodules.banks.tables import (
    Array,
    Labels,
    Opened,
    TableBank,
    Text,
    open_folds,
    open_table,
    open_truth,
    require_ids,
    truth_columns,
    whole_ids,
)

_MOST_CLASSES, _MOST_RATINGS = 1000, 50
_SUM_TO_ONE = 0.02


@dataclass
class Truth:
    """True values of rows.

    Attributes:
        ids: ``(rows,)``.
        labels: As the file holds them.
        folds: ``(rows,)`` text, None where the file has none.
    """

    ids: Text
    labels: Labels
    folds: Text | None = None


@dataclass
class TableSet:
    """What was read.

    Attributes:
        form: What the tables hold.
        banks: For every model its name, the argument it came from, and its bank.
        notes: What was guessed or left out, one sentence each.
    """

    form: TableForm
    banks: list[tuple[str, int, TableBank]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def read_tables(
    named: Sequence[tuple[str, Path]], flags: TableFlags, kind: str, form: TableForm | None = None
) -> TableSet:
    """Read the tables of a blend.

    Args:
        named: For every table the name that was given to its model (perhaps none) and its path; files of true values among
            them are taken as such.
        flags: What the person says of them.
        kind: ``out_of_fold`` or ``test``.
        form: What the out-of-fold tables held, for test predictions.

    Raises:
        DataError: a file cannot be read or does not fit the others; it is named with row and column.
    """
    test = kind == "test"
    models = [(name, path) for name, path in named if name or not is_truth_file(path)]
    if not models:  # truth alone: someone's only table is called labels
        models = list(named)
    given = [path for pair in named if pair not in models for path in pair[1:]]
    file = None if test else _truth_file(models[0][1].parent, flags, given)
    beside = truth_columns(file) if file is not None else ()
    opened = [open_table(path, flags, test, form.columns if form else (), beside) for _, path in models]
    ids = [require_ids(table, flags) for table in opened]
    truth = None
    notes: list[str] = []
    if not test:
        truth = _find_truth(opened, ids, flags, file, bool(given))
    if form is None:
        opened = [_class_columns_alone(table, truth, flags, notes) for table in opened]
        taken = dict.fromkeys(name for table in opened for name in table.columns)
        form = replace(_decide(opened, truth, flags, notes), columns=list(taken))
    found = TableSet(form, notes=notes)
    folds = _Folds(flags, opened, ids, truth) if not test else None
    bank_of = _truth_banks(form, flags, truth)
    for argument, ((name, path), table, own) in enumerate(zip(models, opened, ids, strict=True)):
        for model, columns, values in _models(table, form, flags):
            own_name = model if table.models else _model_name(path, model, len(models))
            label = own_name if not name else f"{name}/{model}" if model else name
            index = pd.DataFrame({"row_id": own})
            if folds is not None and (of_row := folds.of(own)) is not None:
                index["fold"] = of_row
            if table.groups is not None:
                index["group"] = table.groups
            index, values = _complete(table, columns, index, values, flags, found.notes)
            manifest = Manifest(
                kind=kind, domain="", metric="", experiment=label, targets=form.targets, folds=[],
                extra={"tables": asdict(form)},
            )  # fmt: skip
            bank = TableBank(path, manifest, index, values)
            if not test:
                bank.true_values = bank_of(table, own)
            found.banks.append((label, argument, bank))
    if flags.rows == "intersect":
        _intersect(found)
    _say(opened, truth, folds, found)
    return found


def _model_name(path: Path, column: str, files: int) -> str:
    """A column of a wide file is named by itself, the model of a file by the file."""
    file = table_name(path)
    if not column or plain(column) in (
        "pred",
        "preds",
        "prob",
        "proba",
        "class",
        "p",
        "oof",
        "target",
        "prediction",
        "label",
    ):
        return file
    column = column.removeprefix("oof_").removeprefix("pred_").removesuffix("_oof").removesuffix("_pred")
    return column if files == 1 else f"{file}/{column}"


# --- True values --------------------------------------------------------------------------------------------------


def _truth_file(folder: Path, flags: TableFlags, given: Sequence[Path]) -> Path | None:
    """``--truth``, a file of true values among the models, or ``train.csv`` and the like beside them."""
    if flags.truth is not None and flags.truth.is_dir():
        return None  # a bank
    if flags.truth is not None and (table_suffix(flags.truth) is None or not flags.truth.is_file()):
        raise BankError(f"{flags.truth} is no table of true values; give a CSV, Parquet or .npz file, or a bank folder")
    return next(iter([flags.truth] if flags.truth is not None else [*given, *truth_files(folder)]), None)


def _find_truth(
    opened: Sequence[Opened], ids: Sequence[Text], flags: TableFlags, file: Path | None, named: bool
) -> Truth | None:
    """From the file that was named, from a model's own table, or from the file beside them."""
    if flags.truth is None and not named:
        for table, own in zip(opened, ids, strict=True):
            if table.labels is not None:
                return Truth(own, table.labels, None)
    if file is None:
        return None
    shape = opened[0].predictions.shape[2 if opened[0].models else 1 :]
    own, identity, labels, folds = open_truth(file, flags, opened[0].columns, shape)
    for table in opened:
        if table.ids is None:
            table.identity = identity
    return Truth(whole_ids(own), labels, folds)


def _decide(opened: Sequence[Opened], truth: Truth | None, flags: TableFlags, notes: list[str]) -> TableForm:
    """What labels and columns mean."""
    first = opened[0]
    identity, width = first.identity, _width(first)
    columns = first.columns if len(first.columns) == width else []
    plain_form = TableForm("values", identity, columns)
    if truth is None or first.predictions.ndim > (3 if first.models else 2):
        return plain_form
    values, names = truth.labels.values, truth.labels.names
    if values.ndim > 1 and values.shape[1] > 1:
        return plain_form.named(names or columns or [f"target{k}" for k in range(values.shape[1])])
    flat = values.reshape(-1)
    label = names[0] if names else ""
    text = flat.dtype.kind == "U"
    distinct = sort_labels(list({label_text(value) for value in np.unique(flat[~_empty(flat)]).tolist()}))
    plain_form = plain_form.named([label] if label else columns[:1] if width == 1 else [])
    discrete = text or (len(distinct) <= min(_MOST_CLASSES, max(2, len(flat) // 2)) and _whole(flat))
    if width > 1 and discrete and flags.labels != "values" and flags.wide is not True:
        classes = _classes(first, columns, distinct)
        if classes is not None and len(classes) == 2 and flags.labels != "classes":
            notes.append(f"two columns of classes: the probability of {positive_label(classes)!r} is blended")
            return TableForm("binary", identity, [label or positive_label(classes)], classes, label)
        if classes is not None:
            return TableForm("classes", identity, columns or classes, classes, label)
    if flags.wide is False and width > 1:
        raise BankError(
            f"{first.path}: the columns {_few(columns)} are not those of the labels {_few(distinct)} of {truth.labels.where}"
        )
    if len(distinct) > 2 and text:
        raise BankError(
            f"{truth.labels.where} has the labels {_few(distinct)}, but the columns of {first.path} ({_few(first.columns)}) are "
            "not one for each of them; name columns by labels, such as prob_" + distinct[0]
        )
    if len(distinct) == 2 and (text or (flags.labels == "binary" and distinct != ["0", "1"])):
        notes.append(
            f"of the labels {distinct[0]!r} and {distinct[1]!r}, {positive_label(distinct)!r} is the positive one"
        )
        return TableForm("binary", identity, [label or "target"], distinct, label)
    if flags.labels == "binary" and distinct == ["0", "1"]:
        return TableForm("binary", identity, plain_form.targets, distinct, label)
    ratings = flags.labels == "any" and discrete and not text and len(distinct) <= _MOST_RATINGS
    return replace(plain_form, classes=distinct) if ratings else plain_form


def _class_columns_alone(table: Opened, truth: Truth | None, flags: TableFlags, notes: list[str]) -> Opened:
    """Without the columns beside those of the classes, where there are some of every class."""
    if truth is None or flags.wide is True or flags.prediction or not table.columns or table.predictions.ndim != 2:
        return table
    values = truth.labels.values
    distinct: Array = np.unique(values) if values.ndim == 1 or values.shape[1] == 1 else np.empty(0)
    labels = sort_labels(list({label_text(value) for value in np.asarray(distinct).tolist()}))
    if not 2 <= len(labels) < len(table.columns) or len(labels) > _MOST_CLASSES or flags.labels == "values":
        return table
    chosen = [i for i, name in enumerate(table.columns) if label_of(name, labels) is not None]
    groups = group_columns([table.columns[i] for i in chosen], labels) or {}
    kept = sorted(
        chosen[i]
        for own in groups.values()
        if _sums_to_one(table.predictions[:, [chosen[i] for i in own]])
        for i in own
    )
    if not kept or len(kept) == len(table.columns):
        return table
    left = [name for i, name in enumerate(table.columns) if i not in kept]
    notes.append(f"{table.path}: the columns {_few(left)} are of no class and left out (--prediction names others)")
    return replace(table, columns=[table.columns[i] for i in kept], predictions=table.predictions[:, kept])


def _width(table: Opened) -> int:
    return int(np.prod(table.predictions.shape[2 if table.models else 1 :], dtype=np.int64))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _empty(flat: Array) -> npt.NDArray[np.bool_]:
    return np.asarray(flat == "" if flat.dtype.kind == "U" else np.isnan(flat))


def _whole(flat: Array) -> bool:
    held = flat[~np.isnan(flat)]
    return bool((held == np.rint(held)).all())


def _classes(first: Opened, columns: list[str], labels: list[str]) -> list[str] | None:
    """Classes that the columns are of: rows of one model sum to one."""
    width = _width(first)
    if not columns:
        return labels if width == len(labels) and _sums_to_one(first.predictions) else None
    classes = classes_of_columns(columns, labels)
    if classes is not None and _sums_to_one(first.predictions):
        return classes
    groups = group_columns(columns, labels)
    if groups is not None and all(_sums_to_one(first.predictions[..., chosen]) for chosen in groups.values()):
        return labels
    return None


def _sums_to_one(values: Array) -> bool:
    sums = np.nansum(values, axis=-1)
    held = ~np.isnan(values).any(axis=-1)
    if not held.any():
        return True  # empty cells are refused by name later
    return bool((values[held] >= -_SUM_TO_ONE).all() and (np.abs(sums[held] - 1) <= _SUM_TO_ONE).mean() > 0.99)


def _truth_banks(
    form: TableForm, flags: TableFlags, shared: Truth | None
) -> Callable[[Opened, Text], TableBank | None]:
    """The truth of a table: its own labels where it has some and no file was named, else the shared ones."""
    made: dict[str, TableBank] = {}

    def bank(truth: Truth) -> TableBank:
        key = str(truth.labels.where)
        if key not in made:
            values = _numeric(truth.labels, form)
            known = ~np.isnan(values).reshape(len(values), -1).any(axis=1)
            manifest = Manifest(kind="truth", domain="", metric="", targets=form.targets)
            index = pd.DataFrame({"row_id": truth.ids[known]})
            made[key] = TableBank(truth.labels.where, manifest, index, values[known])
        return made[key]

    def of(table: Opened, ids: Text) -> TableBank | None:
        if table.labels is not None and flags.truth is None:
            return bank(Truth(ids, table.labels))
        return bank(shared) if shared is not None else None

    return of


def _numeric(labels: Labels, form: TableForm) -> Array:
    """True values as predictions are: numbers, 0/1, or a column per class; NaN where there is none."""
    values = labels.values
    if form.kind == "values" or (values.ndim > 1 and values.shape[1] > 1):
        if values.dtype.kind == "U":
            raise BankError(
                f"{labels.where}: the true values {_few(labels.names)} are text ({values[0]!r}), not numbers"
            )
        if labels.names and form.targets and labels.names != form.targets and set(labels.names) == set(form.targets):
            values = values[:, [labels.names.index(name) for name in form.targets]]
        return values
    flat = values.reshape(-1)
    codes = {label: i for i, label in enumerate(form.classes)}
    empty = _empty(flat)
    distinct, inverse = np.unique(flat, return_inverse=True)
    found = [codes.get(label_text(value), -1) for value in distinct.tolist()]
    row_codes = np.asarray(found)[inverse]
    if (unknown := (row_codes < 0) & ~empty).any():
        raise BankError(
            f"{labels.where} has the label {label_text(flat[unknown].tolist()[0])!r}, which is none of {_few(form.classes)}"
        )
    if form.kind == "binary":
        positive = form.classes.index(positive_label(form.classes))
        return np.where(empty, np.nan, row_codes == positive)[:, None].astype(np.float64)
    hot: Array = np.eye(len(form.classes))[row_codes]
    hot[empty] = np.nan
    return hot


# --- Predictions --------------------------------------------------------------------------------------------------


def _models(table: Opened, form: TableForm, flags: TableFlags) -> list[tuple[str, list[str], Array]]:
    """Models of one table: name (perhaps none), columns, ``(rows, *shape)`` in the order of the targets."""
    values, columns = table.predictions, table.columns
    if table.models:
        alone = (replace(table, models=[], predictions=own) for own in values)
        return [(name, *_models(own, form, flags)[0][1:]) for name, own in zip(table.models, alone, strict=True)]
    if values.ndim > 2:
        return [("", [], values)]
    width = values.shape[1]
    if (
        form.kind != "values"
        and width > 1
        and flags.wide is not True
        and (classes := _class_columns(table, form)) is not None
    ):
        if form.kind == "classes":
            return [
                (name, [columns[k] for k in chosen] if columns else [], values[:, chosen])
                for name, chosen in classes.items()
            ]
        one = form.classes.index(positive_label(form.classes))
        return [
            (name, [columns[chosen[one]]] if columns else [], values[:, [chosen[one]]])
            for name, chosen in classes.items()
        ]
    if form.kind == "classes":
        raise BankError(
            f"{table.path} has the columns {_few(columns) or width}, not one for each of the classes {_few(form.classes)}; name "
            "columns by labels"
        )
    if len(form.targets) > 1:
        return _several_targets(table, form)
    in_a_bank = flags.truth is not None and flags.truth.is_dir()  # it has as many targets as the array, or is refused
    if width == 1 or (not columns and in_a_bank and flags.wide is not True):
        return [("", columns, values)]
    return [(columns[k] if columns else f"column{k}", columns[k : k + 1], values[:, [k]]) for k in range(width)]


def _class_columns(table: Opened, form: TableForm) -> dict[str, list[int]] | None:
    if not table.columns:
        count = table.predictions.shape[1]
        return {"": list(range(count))} if count == len(form.classes) else None
    counted = [str(i) for i in range(len(form.classes))]
    groups = group_columns(table.columns, form.classes) or group_columns(table.columns, counted)
    if groups is None or not all(_sums_to_one(table.predictions[:, chosen]) for chosen in groups.values()):
        return None
    return {"": next(iter(groups.values()))} if len(groups) == 1 else groups


def _several_targets(table: Opened, form: TableForm) -> list[tuple[str, list[str], Array]]:
    values, columns = table.predictions, table.columns
    if not columns or columns == form.targets:
        return [("", columns, values)]
    groups = group_columns(columns, form.targets)
    if groups is None:
        if len(columns) == len(form.targets) or set(form.targets) & set(columns):
            other = next((name for name in form.targets if name not in columns), "")
            raise BankError(
                f"{table.path} has other targets: {_few(columns)}, without {other!r}; the others have {_few(form.targets)}"
            )
        raise BankError(f"{table.path} has the columns {_few(columns)}, not the targets {_few(form.targets)}")
    names = [""] if len(groups) == 1 else list(groups)
    return [
        (name, [columns[k] for k in chosen], values[:, chosen])
        for name, chosen in zip(names, groups.values(), strict=True)
    ]


def _complete(
    table: Opened, columns: Sequence[str], index: pd.DataFrame, values: Array, flags: TableFlags, notes: list[str]
) -> tuple[pd.DataFrame, Array]:
    """Refuse empty cells, or leave their rows out where models may lack rows."""
    bad = np.argwhere(~np.isfinite(values.reshape(len(values), -1)))
    if not len(bad):
        return index, values
    row, column = (int(i) for i in bad[0])
    rows = np.unique(bad[:, 0])
    if flags.rows == "intersect":
        notes.append(f"{table.path}: {len(rows)} rows without a prediction are left out")
        held = np.setdiff1d(np.arange(len(values)), rows)
        return index.iloc[held].reset_index(drop=True), values[held]
    name = f"column {columns[column]!r}" if column < len(columns) else f"value {column}"
    what = "is empty" if np.isnan(values.reshape(len(values), -1)[row, column]) else "is infinite"
    raise BankError(
        f"{table.row_name(row)}: {name} {what} (row id {index['row_id'].iloc[row]!r}, {len(rows)} such rows); fill it, or leave such "
        "rows out with --rows intersect"
    )


# --- Folds and rows -----------------------------------------------------------------------------------------------


class _Folds:
    """The fold of every row, by id: from ``--folds``, from the models' tables, or from the truth."""

    def __init__(self, flags: TableFlags, opened: Sequence[Opened], ids: Sequence[Text], truth: Truth | None) -> None:
        self.where = ""
        self._shared: pd.Series | None = None
        tables = [(t.path, own, t.folds) for t, own in zip(opened, ids, strict=True) if t.folds is not None]
        if flags.folds is not None:
            own, folds = open_folds(flags.folds, flags)
            tables = [(flags.folds, own, folds)]
        elif not tables and truth is not None and truth.folds is not None:
            tables = [(truth.labels.where, truth.ids, truth.folds)]
        if not tables:
            return
        for path, own, folds in tables:
            assert folds is not None
            if (empty := (folds == "") | (folds == "nan")).any():
                raise BankError(
                    f"{path}: row {str(own[np.argmax(empty)])!r} has no fold ({int(empty.sum())} such rows); fill it in"
                )
        self._code = self._codes(np.concatenate([folds for _, _, folds in tables if folds is not None]))
        self.where = str(tables[0][0])
        series = [
            pd.Series([self._code[label_text(x)] for x in folds.tolist()], index=own)
            for _, own, folds in tables
            if folds is not None
        ]
        self._shared = series[0]
        for (path, _, _), other in zip(tables[1:], series[1:], strict=True):
            common = self._shared.index.intersection(other.index)
            differs = self._shared[common] != other[common]
            if differs.any():
                row = common[int(np.argmax(differs))]
                raise BankError(
                    f"{path}: row {row!r} is in another fold than in {self.where}; all models of a blend need the same folds (or give "
                    "one table of them with --folds)"
                )
            self._shared = pd.concat([self._shared, other[other.index.difference(self._shared.index)]])

    @staticmethod
    def _codes(folds: Text) -> dict[str, int]:
        labels = sort_labels(sorted({label_text(value) for value in np.unique(folds).tolist()}))
        whole = all(label.lstrip("-").isdigit() for label in labels)
        return {label: int(label) if whole else i for i, label in enumerate(labels)}

    def of(self, ids: Text) -> npt.NDArray[np.int64] | None:
        """Folds of rows; None where nobody gives any."""
        if self._shared is None:
            return None
        found = self._shared.reindex(ids)
        if found.isna().any():
            raise BankError(f"{self.where} gives no fold for row {str(ids[int(np.argmax(found.isna()))])!r}")
        return found.to_numpy(dtype=np.int64)


def _intersect(found: TableSet) -> None:
    """Keep the rows that all models (and the truth) have, and say how many that costs."""
    common = pd.Index(found.banks[0][2].index["row_id"])
    for _, _, bank in found.banks[1:]:
        common = common[common.isin(bank.index["row_id"])]
    labelled = {id(bank.true_values): bank.true_values for _, _, bank in found.banks if bank.true_values is not None}
    for own in labelled.values():
        common = common[common.isin(own.index["row_id"])]
    if not len(common):
        raise BankError("--rows intersect: the models share no row; are the ids of one kind?")
    lost: dict[int, list[str]] = {}
    for _, _, bank in found.banks:
        held = bank.index["row_id"].isin(common).to_numpy()
        lost.setdefault(int((~held).sum()), []).append(bank.manifest.experiment)
        bank.index, bank.predictions = bank.index[held].reset_index(drop=True), bank.predictions[held]
    costs = "; ".join(f"{count} of {_few(names)}" for count, names in sorted(lost.items()) if count)
    found.notes.append(
        f"--rows intersect: {len(common)} rows are in all models" + (f"; lost: {costs}" if costs else ", none is lost")
    )


def _say(opened: Sequence[Opened], truth: Truth | None, folds: _Folds | None, found: TableSet) -> None:
    """What was guessed, the tables that were read alike in one line."""
    alike: dict[str, list[str]] = {}
    for table in opened:
        columns = _few(table.columns)
        said = ", ".join([*table.notes, *([f"predictions {columns}"] if columns else [])])
        alike.setdefault(said, []).append(table.path.name)
    lines = [f"{_few(names)}: {said}" for said, names in alike.items() if said]
    if truth is not None:
        label = f"{', '.join(truth.labels.names)} of " if truth.labels.names and len(truth.labels.names) < 6 else ""
        lines.append(f"true values: {label}{truth.labels.where}")
    if found.form.kind == "classes":
        lines.append(f"classes: {_few(found.form.classes)}")
    if folds is not None and folds.where:
        lines.append(f"folds: {folds.where}")
    found.notes[:0] = lines


def truth_bank(path: Path, flags: TableFlags, targets: Sequence[str], shape: tuple[int, ...]) -> TableBank:
    """True values of run directories' rows in a table.

    Args:
        path: The file.
        flags: Names of columns.
        targets: Names of the predictions' targets.
        shape: Trailing shape of the predictions.

    Raises:
        DataError: the file has no such columns, or text in them.
    """
    ids, _, labels, _ = open_truth(path, flags, targets, shape)
    values = _numeric(labels, TableForm(targets=list(targets)))
    manifest = Manifest(kind="truth", domain="", metric="", targets=labels.names or list(targets))
    return TableBank(path, manifest, pd.DataFrame({"row_id": ids}), values.reshape(len(values), *shape))


def form_of(bank: TableBank) -> TableForm:
    """What the tables of a blend held, as one of their banks keeps it."""
    return TableForm(**bank.manifest.extra["tables"])
