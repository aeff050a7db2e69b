"""Out-of-fold and test predictions as ten people save them, all of the same numbers.

``python -m tests.files.oof_tables FOLDER`` writes all of them for a look.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

MODELS = ("lgb", "xgb", "nn")
Array = npt.NDArray[np.float64]


@dataclass
class Case:
    """One competition.

    Attributes:
        labels: ``(rows,)`` what ``train.csv`` says.
        oof, test: ``(models, rows, columns)``; one column, or one per class in the labels' order.
        folds: ``(rows,)``.
        classes: Labels in order, empty for numbers.
    """

    labels: npt.NDArray
    oof: Array
    test: Array
    folds: npt.NDArray[np.int64]
    classes: list[str]

    def ids(self, test: bool = False) -> list[str]:
        """Ids of all rows; those of test rows go on from there."""
        start = len(self.labels) if test else 0
        return [str(1000 + 7 * (start + i)) for i in range(len(self.test[0]) if test else start or len(self.labels))]


def make_case(kind: str, rows: int = 90, seed: int = 0) -> Case:
    """``values``, ``binary`` or ``classes``."""
    rng = np.random.default_rng(seed)
    classes = ["setosa", "versi color", "virginica"] if kind == "classes" else []
    noise = [rng.normal(0, 0.8 + 0.2 * k, (rows + 30, max(1, len(classes)))) for k in range(3)]
    if kind == "classes":
        codes = rng.integers(0, 3, rows + 30)
        raw = np.array([np.exp(2 * np.eye(3)[codes] + e) for e in noise])
        values, labels = raw / raw.sum(axis=2, keepdims=True), np.array(classes)[codes]
    elif kind == "binary":
        logit = rng.normal(-0.5, 2, rows + 30)
        labels = (rng.random(rows + 30) < 1 / (1 + np.exp(-logit))).astype(int)
        values = np.array([1 / (1 + np.exp(-(logit[:, None] + e))) for e in noise])
    else:
        truth = rng.normal(5, 2, rows + 30)
        labels, values = truth.round(3), np.array([truth[:, None] + e for e in noise])
    values = values.astype(np.float32).astype(float)
    return Case(labels[:rows], values[:, :rows], values[:, rows:], rng.permutation(rows) % 5, classes)


def _train(case: Case, folder: Path, identity: str = "id", target: str = "target", **more: object) -> None:
    rng = np.random.default_rng(5)
    columns = {identity: case.ids(), "age": rng.integers(0, 90, len(case.labels)), target: case.labels, **more}
    pd.DataFrame(columns).to_csv(folder / "train.csv", index=False)


def _sample(case: Case, folder: Path, identity: str, targets: list[str]) -> None:
    frame = pd.DataFrame({identity: case.ids(test=True)[::-1]} | dict.fromkeys(targets, 0.5))
    frame.to_csv(folder / "sample_submission.csv", index=False)


def _names(case: Case, form: str) -> list[str]:
    return [form.format(label) for label in case.classes] if case.classes else [form.format("x").strip("_x ") or "pred"]


def _frames(case: Case, test: bool, identity: str, columns: list[str]) -> list[pd.DataFrame]:
    return [
        pd.DataFrame({identity: case.ids(test)} | {name: values[:, j] for j, name in enumerate(columns)})
        for values in (case.test if test else case.oof)
    ]


def like_a_submission(case: Case, folder: Path) -> list[str]:
    """Files in the form of the sample submission: the target's column holds predictions. Rows in any order."""
    columns = [f"p_{label}" for label in case.classes] or ["target"]
    for test in (False, True):
        for k, frame in enumerate(_frames(case, test, "id", columns)):
            frame.sample(frac=1, random_state=k).to_csv(
                folder / f"{MODELS[k]}_{'test' if test else 'oof'}.csv", index=False
            )
    _train(case, folder)
    _sample(case, folder, "id", columns)
    return [str(folder)]


def labels_in_every_file(case: Case, folder: Path) -> list[str]:
    """Label, fold and prediction side by side, column order and names of everyone's own; semicolons in one."""
    for k, name in enumerate(MODELS):
        columns = [f"{name}_{label}" for label in case.classes] or [f"pred_{name}"]
        oof, test = _frames(case, False, "row_id", columns)[k], _frames(case, True, "row_id", columns)[k]
        oof["y_true"], oof["kfold"] = case.labels, case.folds
        oof = oof[list(oof.columns)[::-1]] if k == 1 else oof
        oof.to_csv(folder / f"oof_{name}.csv", index=False, sep=";" if k == 2 else ",")
        test.to_csv(folder / f"test_{name}.csv", index=False)
    return [str(folder / "oof_*.csv")]


def one_wide_file(case: Case, folder: Path) -> list[str]:
    """A column per model (and class)."""
    for test in (False, True):
        columns = {
            f"{name}_{case.classes[j]}" if case.classes else name: values[:, j]
            for name, values in zip(MODELS, case.test if test else case.oof, strict=True)
            for j in range(values.shape[1])
        }
        frame = pd.DataFrame({"Id": case.ids(test)} | columns)
        if not test:
            frame.insert(1, "label", case.labels)
        frame.to_csv(folder / f"stack_{'test' if test else 'oof'}.csv", index=False)
    return [str(folder / "stack_oof.csv")]


def parquet_with_an_index(case: Case, folder: Path) -> list[str]:
    """Integer ids in the index of a DataFrame, float32, in folders for out-of-fold and test rows."""
    columns = [f"prob_{label}" for label in case.classes] or ["prediction"]
    for test, place in ((False, "oof"), (True, "test")):
        (folder / place).mkdir()
        for k, frame in enumerate(_frames(case, test, "id", columns)):
            frame["id"] = frame["id"].astype(int)
            frame.set_index("id").astype(np.float32).to_parquet(folder / place / f"{MODELS[k]}.parquet")
    _train(case, folder)
    return [str(folder / "oof")]


def numpy_arrays(case: Case, folder: Path) -> list[str]:
    """Arrays alone; the ids are the rows of train.csv and test.csv."""
    for name, oof, test in zip(MODELS, case.oof, case.test, strict=True):
        np.save(folder / f"{name}_oof.npy", oof if case.classes else oof[:, 0])
        np.save(folder / f"{name}_test.npy", test if case.classes else test[:, 0])
    _train(case, folder, "sample_id")
    pd.DataFrame({"sample_id": case.ids(test=True), "age": 1}).to_csv(folder / "test.csv", index=False)
    return [str(folder), "--ids", str(folder / "train.csv")]


def numpy_archives(case: Case, folder: Path) -> list[str]:
    """``.npz`` files that hold both sets."""
    for name, oof, test in zip(MODELS, case.oof, case.test, strict=True):
        arrays = {"ids": case.ids(), "test_ids": case.ids(test=True), "fold": case.folds}
        named = {"preds": oof, "test_preds": test} if name == "nn" else {"oof": oof, "test": test}
        np.savez(folder / f"{name}.npz", **arrays, **named)
    _train(case, folder)
    return [str(folder)]


def everything_quoted(case: Case, folder: Path) -> list[str]:
    """Tabs, all quoted, the label and a text fold in one file alone, ids that pandas made fractions of."""
    columns = [f"{label} (p)" for label in case.classes] or ["Predicted"]
    for test in (False, True):
        for k, frame in enumerate(_frames(case, test, "ID", columns)):
            if not test and k == 1:
                frame["Label"], frame["fold"] = case.labels, [f"part {'ABCDE'[f]}" for f in case.folds]
            if k == 2:
                frame["ID"] = frame["ID"].astype(float)
            path = folder / f"{MODELS[k]}{'.test' if test else '.oof'}.tsv"
            frame.to_csv(path, index=False, sep="\t", quoting=csv.QUOTE_ALL)
    return [str(folder / "*.tsv")]


def a_folder_per_model(case: Case, folder: Path) -> list[str]:
    """``lgb/oof.csv`` beside ``lgb/test.csv``, with the index of a DataFrame in front; labels in a file of their own."""
    columns = [f"class_{label}" for label in case.classes] or ["y_pred"]
    for k, name in enumerate(MODELS):
        (folder / name).mkdir()
        for test in (False, True):
            frame = _frames(case, test, "image_name", columns)[k]
            frame.to_csv(folder / name / f"{'test' if test else 'oof'}.csv")
    pd.DataFrame({"image_name": case.ids(), "label": case.labels}).to_csv(folder / "train_labels.csv", index=False)
    return [str(folder / "*" / "oof.csv"), "--truth", str(folder / "train_labels.csv")]


def numbered_classes(case: Case, folder: Path) -> list[str]:
    """Columns by the numbers of a label encoder; folds in a file of their own; gzipped."""
    columns = [f"pred_{j}" for j in range(len(case.classes))] or ["pred"]
    for test in (False, True):
        for k, frame in enumerate(_frames(case, test, "uid", columns)):
            frame.to_csv(folder / f"{MODELS[k]}_{'test' if test else 'oof'}.csv.gz", index=False)
    _train(case, folder, "uid", "species", weight=1.0)
    pd.DataFrame({"uid": case.ids(), "fold": case.folds}).sample(frac=1, random_state=1).to_csv(
        folder / "folds.csv", index=False
    )
    return [str(folder), "--target", "species", "--folds", str(folder / "folds.csv")]


def named_by_flags(case: Case, folder: Path) -> list[str]:
    """Names that nobody guesses."""
    columns = [f"wert {label}" for label in case.classes] or ["wert"]
    for test in (False, True):
        for k, frame in enumerate(_frames(case, test, "kennung", columns)):
            frame.insert(0, "zeile", 7)
            if not test:
                frame["richtig"], frame["teil"] = case.labels, case.folds
            frame.to_csv(folder / f"{MODELS[k]}{'-test' if test else ''}.csv", index=False)
    given = columns[0] if len(columns) == 1 else f"[{','.join(columns)}]"
    return [str(folder), "--id", "kennung", "--target", "richtig", "--fold", "teil", "--prediction", given]


STYLES: dict[str, Callable[[Case, Path], list[str]]] = {
    style.__name__: style
    for style in (
        like_a_submission, labels_in_every_file, one_wide_file, parquet_with_an_index, numpy_arrays, numpy_archives,
        everything_quoted, a_folder_per_model, numbered_classes, named_by_flags,
    )
}  # fmt: skip
"""Writers by name; each returns the words of a command line that reads what it wrote."""


if __name__ == "__main__":
    for kind in ("values", "binary", "classes"):
        for name, write in STYLES.items():
            place = Path(sys.argv[1]) / kind / name
            place.mkdir(parents=True)
            print(*write(make_case(kind), place))
