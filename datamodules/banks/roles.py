"""What the columns of a stranger's table are: ids, folds, labels, predictions, guessed from the names that people give them."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Rows = Literal["equal", "intersect"]
Kind = Literal["values", "binary", "classes"]

IDS = ("row_id", "id", "sample_id", "index", "idx", "key", "uid", "uuid", "object_id", "image_id", "image_name", "filename", "oid")  # fmt: skip
FOLDS = ("fold", "kfold", "folds", "fold_id", "fold_no", "fold_number", "cv_fold")
TARGETS = ("target", "label", "labels", "y", "y_true", "true", "truth", "true_label", "actual", "ground_truth", "gt", "class", "outcome", "response", "expected", "targets", "val_labels")  # fmt: skip
PREDICTIONS = ("prediction", "predictions", "pred", "preds", "y_pred", "y_hat", "oof", "oof_pred", "oof_preds", "oof_prediction", "oof_predictions", "y_oof", "predicted", "proba", "prob", "probability", "score", "p")  # fmt: skip
MODELS = ("model", "models", "model_names", "names")
CLASSES = ("targets", "classes", "label_names", "class_names", "columns")
_OOF = frozenset(("oof", "valid", "val", "validation", "cv", "train", "truth"))
_TEST = frozenset(("test", "sub", "subs", "submission", "submissions"))
_VAGUE = frozenset(("pred", "preds", "prediction", "predictions"))
_PREDICTION_WORDS = frozenset(
    ("pred", "preds", "prediction", "predictions", "predicted", "prob", "proba", "probability", "oof")
)
_YES = frozenset(("yes", "y", "true", "t", "positive", "pos"))
_TRUTH_FILES = ("train", "train_labels", "labels", "train_targets", "targets", "truth", "solution", "y_train", "ground_truth")  # fmt: skip
_OTHER_FILES = ("test", "sample_submission", "submission", "sub", "sample", "folds", "train_folds")
SUFFIXES = (".npz", ".npy", ".csv", ".csv.gz", ".csv.zip", ".tsv", ".parquet", ".pq")


@dataclass(frozen=True)
class TableFlags:
    """What a person says of the tables; None where it is to be guessed.

    Args:
        id: Column of the row ids.
        target: Column (or columns) of the true values.
        prediction: Columns of the predictions.
        fold: Column of the folds.
        ids: File of the row ids, in order, for arrays and tables without any.
        folds: File of the folds: an id column and a fold column.
        truth: File of the true values.
        rows: ``equal`` refuses models of different rows, ``intersect`` takes the rows that all of them have.
        wide: Every prediction column is a model of its own.
        labels: What the metric's truth holds, see :class:`blend.metrics.scores.Metric`.
        group: Column of the rows' groups.
        prefer: Name that comes first among the guesses of the id column.
    """

    id: str | None = None
    target: tuple[str, ...] = ()
    prediction: tuple[str, ...] = ()
    fold: str | None = None
    ids: Path | None = None
    folds: Path | None = None
    truth: Path | None = None
    rows: Rows = "equal"
    wide: bool | None = None
    labels: str = "any"
    group: str = "group"
    prefer: str = ""


@dataclass(frozen=True)
class TableForm:
    """What the tables of one blend hold; kept with the weights, so that test predictions are read alike.

    Args:
        kind: ``values``, ``binary`` (0/1 or the second of two labels), or ``classes`` (a column per class).
        identity: Name of the id column.
        targets: Names of the targets, in order.
        classes: Labels in the order of the classes, empty for values.
        label: Name of the label column of classes.
        columns: Names of the prediction columns that were taken.
    """

    kind: Kind = "values"
    identity: str = "row_id"
    targets: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    label: str = ""
    columns: list[str] = field(default_factory=list)

    def named(self, targets: list[str]) -> TableForm:
        """The same with names for the targets."""
        return replace(self, targets=targets)


def table_suffix(path: Path) -> str | None:
    """The suffix that makes a file a table, None for others."""
    name = Path(path).name.lower()
    return next((suffix for suffix in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(suffix)), None)


def table_stem(path: Path) -> str:
    """The file's name without the suffix of a table."""
    return Path(path).name[: -len(table_suffix(path) or "")] if table_suffix(path) else Path(path).stem


def table_name(path: Path) -> str:
    """Model name of a table: the file's name without ``oof``, ``test`` and the like at either end, or its folder's name."""
    name, _ = _split_role(table_stem(path))
    return name or Path(path).resolve().parent.name


def is_test(path: Path) -> bool:
    """Whether a table's name (or else its folder's) says that it holds test predictions."""
    _, roles = _split_role(table_stem(path))
    if roles & (_OOF | _TEST):
        return bool(roles & _TEST)
    return _is_test_folder(path.resolve().parent)


def _is_test_folder(folder: Path) -> bool:
    """``test``, ``test_preds``, ``submissions``, but not ``test_run_3``."""
    rest, roles = _split_role(folder.name)
    return not rest and bool(roles & _TEST)


def _split_role(stem: str) -> tuple[str, frozenset[str]]:
    """A stem without the words at its ends that say what the rows are, and these words."""
    words, roles = re.split(r"([_\-. ]+)", stem), set()
    known = _OOF | _TEST | _VAGUE
    while words and words[0].lower() in known:
        roles.add(words[0].lower())
        words = words[2:]
    while words and words[-1].lower() in known:
        roles.add(words[-1].lower())
        words = words[:-2]
    return "".join(words), frozenset(roles)


def is_truth_file(path: Path) -> bool:
    """Whether a table's name says that it holds true values."""
    return table_stem(path).lower() in _TRUTH_FILES or "truth" in _split_role(table_stem(path))[1]


def is_model_file(path: Path, test: bool) -> bool:
    """Whether a table of a folder is a model's predictions of the wanted rows."""
    stem = table_stem(path).lower()
    wanted = table_suffix(path) is not None and not path.name.startswith(".") and is_test(path) == test
    return wanted and stem not in _OTHER_FILES and not is_truth_file(path)


def truth_files(folder: Path) -> list[Path]:
    """Tables of true values that lie in a folder or the one above it, by name."""
    found = []
    for place in (folder, folder.resolve().parent):
        by_stem = {table_stem(path).lower(): path for path in sorted(place.iterdir()) if table_suffix(path)}
        found += [by_stem[name] for name in _TRUTH_FILES if name in by_stem]
    return found


def test_twins(path: Path) -> list[Path]:
    """Test predictions of the model of an out-of-fold table: beside it, in a folder beside it, or in one of that name for tests."""
    name, here = table_name(path), path.resolve().parent
    siblings = [child for child in sorted(here.parent.iterdir()) if child.is_dir() and child != here]
    within = [child for child in sorted(here.iterdir()) if child.is_dir()]
    places = [here, *(place for place in within + siblings if _is_test_folder(place))]
    found = [
        p
        for place in places
        for p in sorted(place.iterdir())
        if table_suffix(p) and is_test(p) and table_name(p) == name
    ]
    if not found and table_suffix(path) == ".npz":  # one archive may hold both
        with zipfile.ZipFile(path) as archive:
            found = [path] if any(name.lower().startswith(("test_", "test.")) for name in archive.namelist()) else []
    if not found and not _split_role(table_stem(path))[0]:  # oof.csv beside test.csv: no name is left
        found = [
            p for p in sorted(here.iterdir()) if table_suffix(p) and is_test(p) and not _split_role(table_stem(p))[0]
        ]
    return found


def plain(name: str) -> str:
    """A column's name as names are compared: lower case, letters and digits."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def find_known(names: Sequence[str], known: Sequence[str]) -> list[str]:
    """Those of the names that are known ones, in the order of the known."""
    order = {plain(name): i for i, name in reversed(list(enumerate(known)))}
    return sorted((name for name in names if plain(name) in order), key=lambda name: order[plain(name)])


def is_prediction(name: str) -> bool:
    """Whether a column calls itself a prediction: ``lgb_pred``, ``prob_setosa``, ``oof_1``."""
    return bool(set(re.split(r"[^a-z]+", name.lower())) & _PREDICTION_WORDS)


def id_candidates(names: Sequence[str], numeric: Sequence[str] = ()) -> list[str]:
    """Columns that may hold row ids, the likeliest first: known names, names that end in id, then the first column.

    Args:
        names: The table's columns.
        numeric: Those that hold fractions, which no id is.
    """
    found = find_known(names, IDS) + [name for name in names if re.search(r"(?i)(_id|[a-z]Id| id|ID)$", name)]
    taken = {plain(name) for name in (*FOLDS, *TARGETS, *PREDICTIONS, "group")}
    if names and len(names) > 1 and plain(names[0]) not in taken and names[0] not in numeric:
        found.append(names[0])
    return list(dict.fromkeys(found))


def label_text(value: object) -> str:
    """A label as it is compared: whole numbers without a point, text without spaces around it."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    text = str(value).strip()
    return text.split(".")[0] if re.fullmatch(r"-?\d+\.0+", text) else text


def sort_labels(labels: Sequence[str]) -> list[str]:
    """Numbers by value, other text alphabetically (scikit-learn's order)."""
    try:
        return sorted(labels, key=float)
    except ValueError:
        return sorted(labels)


def positive_label(labels: Sequence[str]) -> str:
    """Of two sorted labels the one that a single probability is of: yes, true, positive; else the second."""
    said = [label for label in labels if label.lower() in _YES]
    return said[0] if len(said) == 1 else labels[1]


def group_columns(columns: Sequence[str], labels: Sequence[str]) -> dict[str, list[int]] | None:
    """Match columns to labels: ``lgb_setosa``, ``prob_0``, ``Status_CL`` or the bare label, of one model or of several.

    Args:
        columns: Names of prediction columns.
        labels: Class labels, or names of targets.

    Returns:
        For every model (what is left of the name, perhaps nothing) the positions of its columns in the order of the labels;
        None where a column is of no label or a label has no column.
    """
    for end in (True, False):
        groups: dict[str, dict[int, int]] = {}
        for i, column in enumerate(columns):
            match = label_of(column, labels, end)
            if match is None or match[1] in groups.setdefault(match[0], {}):
                break
            groups[match[0]][match[1]] = i
        else:
            if all(len(group) == len(labels) for group in groups.values()):
                return {name: [group[k] for k in range(len(labels))] for name, group in groups.items()}
    return None


def label_of(column: str, labels: Sequence[str], end: bool = True) -> tuple[str, int] | None:
    """What is left of a column's name without the longest label at its end (or start), and that label's position."""
    name = column.strip().lower()
    for k in sorted(range(len(labels)), key=lambda k: -len(labels[k])):
        label = labels[k].strip().lower()
        for form in (label, f"{label}.0"):
            if name == form:
                return "", k
            rest = name.removesuffix(form) if end else name.removeprefix(form)
            cut = rest[-1:] if end else rest[:1]
            digits = form[:1].isdigit() and cut.isalpha()  # class0, prob1
            if rest != name and (not cut.isalnum() or digits):
                kept = column.strip()[: len(rest)] if end else column.strip()[-len(rest) :]
                return kept.strip("_-. []()"), k
    return None


def classes_of_columns(columns: Sequence[str], labels: Sequence[str]) -> list[str] | None:
    """All classes that columns name, where the labels are only some of them: a class may be missing from the rows."""
    words = [re.split(r"(?<=[_\-. ])", column.strip()) for column in columns]
    while all(len(word) > 1 for word in words) and len({word[0] for word in words}) == 1:
        words = [word[1:] for word in words]
    names = [label_text("".join(word)) for word in words]
    lower = {name.lower() for name in names}
    held = {label.lower() for label in labels} <= lower and len(lower) == len(columns)
    if held:
        spelled = {label.lower(): label for label in labels}
        return sort_labels([spelled.get(name.lower(), name) for name in names])
    counted = [str(i) for i in range(len(columns))]  # the numbers of a label encoder, in scikit-learn's order
    return list(labels) if sorted(names) == sorted(counted) and len(labels) == len(columns) else None
