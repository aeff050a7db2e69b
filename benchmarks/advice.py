"""Is the recommendation of ``compare`` worth following?

Many banks, each split at random into halves, up to 30 times: every method is fitted on one half, with the nested scores that
``compare`` sees, and judged on the other half, which nothing has seen. The *regret* of a choice is its loss on that other half
above the loss of the best method there, in per cent of the latter (1 - R2, 1 - AUC, log loss, MAE), so that banks can be
averaged. The table sets the regret of the recommendation beside that of every fixed habit.

The banks: cross-validated models of many kinds on data sets of scikit-learn and on simulated ones, simulated predictions
(correlated models, many models and few rows, one leading model, duplicates, miscalibrated probabilities, heavy tails, several
targets), and the real ones below ``$PODIUM_REAL_DATA/oof`` where it is set. Predictions and what was measured are kept in
``--cache``.

The rule's constant (how much better another method must be than the committee) was chosen on the banks of even number and
checked on those of odd number (``--choose``). *Relative* regret is in units of the mean of always-single, -greedy, -convex and
-stacker, so that every bank counts alike.

    python benchmarks/advice.py --cache /tmp/advice
"""

# ruff: noqa: E402  (what follows must be set before numpy is imported)

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]  # this file is not the package of its name
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import numpy.typing as npt
import pandas as pd

from blend.aligned.chunks import ArrayRows, Member, Part
from blend.aligned.nesting import Nesting, nested_folds
from blend.aligned.view import Stack
from blend.commands.compare import recommend, run, solvers_for
from blend.commands.report import table
from blend.judging.judge import judge
from blend.judging.nested import difference
from blend.metrics.registry import KNOWN
from blend.problem import Problem
from blend.settings import Method
from datamodules.banks.bank import Manifest

Array = npt.NDArray[np.float64]
HABITS = ("single", "equal", "greedy", "convex", "stacker", "bagged", "committee")
PLAIN = ("single", "greedy", "convex", "stacker")
_FEWEST_SPLITS = 4


@dataclass(frozen=True)
class Bank:
    """Truth ``(rows, targets)`` and predictions ``(models, rows, targets)`` under a metric."""

    metric: str
    truth: npt.NDArray[np.float32]
    predictions: npt.NDArray[np.float32]


BANKS: dict[str, Callable[[], Bank]] = {}


def bank(make: Callable[[], Bank]) -> Callable[[], Bank]:
    BANKS[make.__name__] = make
    return make


# ---- models of scikit-learn, cross-validated


def classifiers(few: bool = False) -> list[Any]:
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.neural_network import MLPClassifier
    from sklearn.svm import SVC
    from sklearn.tree import DecisionTreeClassifier

    some = [
        LogisticRegression(C=0.1, max_iter=500),
        RandomForestClassifier(60, min_samples_leaf=2, random_state=0),
        GradientBoostingClassifier(n_estimators=40, random_state=0, subsample=0.7),
        KNeighborsClassifier(15),
        GaussianNB(),
        SVC(probability=True, random_state=0),
        MLPClassifier((32,), max_iter=150, random_state=0, early_stopping=True),
    ]
    if few:
        return some
    return [
        *some,
        *(LogisticRegression(C=c, max_iter=500) for c in (0.003, 0.03, 1.0, 10.0)),
        *(KNeighborsClassifier(k, weights="distance") for k in (5, 40)),
        *(ExtraTreesClassifier(60, max_features=f, min_samples_leaf=2, random_state=1) for f in (0.2, 0.8)),
        RandomForestClassifier(60, max_depth=4, random_state=2),
        DecisionTreeClassifier(max_depth=4, min_samples_leaf=10, random_state=0),
        LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
        SVC(C=10, probability=True, random_state=0),
        MLPClassifier((64, 32), max_iter=100, alpha=1.0, random_state=1),
    ]


def regressors(few: bool = False) -> list[Any]:
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor
    from sklearn.linear_model import HuberRegressor, Lasso, Ridge
    from sklearn.neighbors import KNeighborsRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import PolynomialFeatures
    from sklearn.svm import SVR
    from sklearn.tree import DecisionTreeRegressor

    some = [
        Ridge(1.0),
        RandomForestRegressor(60, min_samples_leaf=3, random_state=0),
        GradientBoostingRegressor(n_estimators=60, subsample=0.7, random_state=0),
        KNeighborsRegressor(15),
        SVR(C=3.0),
        MLPRegressor(hidden_layer_sizes=(32,), max_iter=200, random_state=0, early_stopping=True),
    ]
    if few:
        return some
    return [
        *some,
        *(Ridge(a) for a in (30.0, 300.0)),
        *(Lasso(a) for a in (0.01, 0.1)),
        HuberRegressor(max_iter=300),
        make_pipeline(PolynomialFeatures(2), Ridge(100.0)),
        *(KNeighborsRegressor(k, weights="distance") for k in (5, 40)),
        *(ExtraTreesRegressor(60, max_features=f, min_samples_leaf=2, random_state=1) for f in (0.3, 1.0)),
        GradientBoostingRegressor(n_estimators=80, max_depth=2, loss="absolute_error", random_state=3),
        DecisionTreeRegressor(max_depth=5, min_samples_leaf=8, random_state=0),
        SVR(C=0.3),
        MLPRegressor(hidden_layer_sizes=(64, 32), max_iter=150, alpha=1.0, random_state=1),
    ]


def cross_validated(X: Array, y: Array, models: list[Any], metric: str) -> Bank:
    """Out-of-fold predictions of models on standardised inputs."""
    from sklearn.base import is_classifier
    from sklearn.model_selection import KFold, StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    classes = is_classifier(models[0])
    folds = (StratifiedKFold if classes else KFold)(5, shuffle=True, random_state=0)
    if not classes:
        unit = y.std()
        y = (y - y.mean()) / unit
    pieces = []
    for model in models:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            how = "predict_proba" if classes else "predict"
            predicted = cross_val_predict(make_pipeline(StandardScaler(), model), X, y, cv=folds, method=how)
        pieces.append(predicted if predicted.ndim == 2 else predicted[:, None])
    P = np.array(pieces)
    truth = np.eye(P.shape[2])[y.astype(int)] if classes else y[:, None]
    if classes and P.shape[2] == 2:
        P, truth = P[..., 1:], truth[:, 1:]
    return Bank(metric, truth.astype(np.float32), P.astype(np.float32))


def noisy_classes(rows: int, classes: int, flip: float, seed: int) -> tuple[Array, Array]:
    from sklearn.datasets import make_classification

    X, y = make_classification(
        rows, 20, n_informative=8, n_redundant=4, n_classes=classes, flip_y=flip, class_sep=0.8, random_state=seed
    )
    return X, y


def friedman(rows: int, tails: bool, seed: int) -> tuple[Array, Array]:
    from sklearn.datasets import make_friedman1

    X, y = make_friedman1(rows, 10, noise=1.0, random_state=seed)
    rng = np.random.default_rng(seed)
    return X, y + (2.0 * rng.standard_t(1.8, rows) if tails else 0.0)


@bank
def breast_cancer() -> Bank:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return cross_validated(X, y, classifiers(), "column_log_loss")


@bank
def breast_cancer_few() -> Bank:
    from sklearn.datasets import load_breast_cancer

    X, y = load_breast_cancer(return_X_y=True)
    return cross_validated(X, y, classifiers(few=True)[:4], "column_log_loss")


@bank
def diabetes() -> Bank:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return cross_validated(X, y, regressors(), "r2")


@bank
def diabetes_mae() -> Bank:
    from sklearn.datasets import load_diabetes

    X, y = load_diabetes(return_X_y=True)
    return cross_validated(X, y, regressors(), "mae")


@bank
def digits() -> Bank:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return cross_validated(X, y, classifiers(few=True), "multiclass_log_loss")


@bank
def wine() -> Bank:
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True)
    return cross_validated(X, y, classifiers(), "multiclass_log_loss")


@bank
def wine_two_classes() -> Bank:
    from sklearn.datasets import load_wine

    X, y = load_wine(return_X_y=True)
    keep = y < 2
    return cross_validated(X[keep][:, :3], y[keep], classifiers(), "column_log_loss")


@bank
def noisy_binary() -> Bank:
    return cross_validated(*noisy_classes(1500, 2, 0.2, 1), classifiers(), "column_log_loss")


@bank
def noisy_binary_auc() -> Bank:
    return cross_validated(*noisy_classes(1500, 2, 0.2, 2), classifiers(), "auc")


@bank
def noisy_binary_few_rows() -> Bank:
    return cross_validated(*noisy_classes(270, 2, 0.1, 3), classifiers(), "column_log_loss")


@bank
def noisy_classes_4() -> Bank:
    return cross_validated(*noisy_classes(2000, 4, 0.1, 4), classifiers(), "multiclass_log_loss")


@bank
def friedman_r2() -> Bank:
    return cross_validated(*friedman(1500, False, 5), regressors(), "r2")


@bank
def friedman_few_rows() -> Bank:
    return cross_validated(*friedman(300, False, 6), regressors(), "r2")


@bank
def friedman_tails_mae() -> Bank:
    return cross_validated(*friedman(1500, True, 7), regressors(), "mae")


@bank
def friedman_three_models_mae() -> Bank:
    return cross_validated(*friedman(800, False, 8), regressors(few=True)[:3], "mae")


# ---- simulated predictions


def simulated_values(
    rows: int, models: int, seed: int, targets: int = 1, rank: int = 4, own: float = 0.5, metric: str = "r2"
) -> Bank:
    """Models whose errors share some directions, as those of one team do; each shrinks its predictions a little."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(0, 1, (rows, targets))
    shared = rng.normal(0, 0.5, (rank, rows, targets))
    load = rng.normal(0, 1, (models, rank)) / np.sqrt(rank) + 0.8
    noise = own * rng.uniform(0.5, 1.5, (models, 1, 1)) * rng.normal(0, 1, (models, rows, targets))
    errors = np.tensordot(load, shared, axes=1) * 0.5 + noise
    slope = rng.uniform(0.85, 1.0, (models, 1, 1))
    return Bank(metric, truth.astype(np.float32), (slope * (truth + errors)).astype(np.float32))


def simulated_labels(
    rows: int, models: int, seed: int, classes: int = 1, own: float = 0.6, slope: tuple[float, float] = (0.7, 1.3),
    metric: str | None = None,
) -> Bank:  # fmt: skip
    """Probabilities whose logits share errors and are too sharp or too flat by a factor of ``slope``."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 1.5, (rows, classes))
    shared = rng.normal(0, 0.6, (rows, classes))
    factor = rng.uniform(*slope, (models, 1, 1))
    z = factor * (
        logit + shared + own * rng.uniform(0.5, 1.5, (models, 1, 1)) * rng.normal(0, 1, (models, *logit.shape))
    )
    if classes == 1:
        truth = (rng.random((rows, 1)) < 1 / (1 + np.exp(-logit))).astype(np.float32)
        return Bank(metric or "column_log_loss", truth, (1 / (1 + np.exp(-z))).astype(np.float32))
    truth = np.eye(classes)[(logit + rng.gumbel(size=logit.shape)).argmax(axis=1)]
    P = np.exp(z - z.max(axis=2, keepdims=True))
    return Bank("multiclass_log_loss", truth.astype(np.float32), (P / P.sum(axis=2, keepdims=True)).astype(np.float32))


@bank
def many_models_few_rows() -> Bank:
    return simulated_values(270, 85, 11)


@bank
def many_models_few_rows_binary() -> Bank:
    return simulated_labels(300, 60, 12)


@bank
def one_leading_model() -> Bank:
    made = simulated_values(800, 20, 13, own=1.2)
    P = made.predictions.copy()
    P[7] = made.truth + np.random.default_rng(0).normal(0, 0.3, made.truth.shape)
    return Bank("r2", made.truth, P)


@bank
def one_leading_model_binary() -> Bank:
    made = simulated_labels(600, 12, 14, own=2.0)
    better = simulated_labels(600, 12, 14, own=0.0, slope=(1.0, 1.0))
    return Bank(made.metric, made.truth, np.concatenate([made.predictions[:-1], better.predictions[:1]]))


@bank
def duplicated_models() -> Bank:
    made = simulated_values(500, 8, 15)
    rng = np.random.default_rng(1)
    copies = made.predictions[rng.choice(4, 22)]
    return Bank(
        "r2",
        made.truth,
        np.concatenate([made.predictions, copies + 1e-4 * rng.normal(size=copies.shape)], dtype=np.float32),
    )


@bank
def miscalibrated() -> Bank:
    return simulated_labels(1200, 15, 16, slope=(0.3, 3.0))


@bank
def miscalibrated_classes() -> Bank:
    return simulated_labels(1500, 8, 17, classes=5, slope=(0.4, 2.0))


@bank
def heavy_tails_mae() -> Bank:
    made = simulated_values(800, 25, 18, own=0.1)
    rng = np.random.default_rng(2)
    return Bank(
        "mae", made.truth, (made.predictions + 0.3 * rng.standard_t(1.5, made.predictions.shape)).astype(np.float32)
    )


@bank
def heavy_tails_r2() -> Bank:
    made = simulated_values(500, 15, 19, own=0.1)
    rng = np.random.default_rng(3)
    return Bank(
        "r2", made.truth, (made.predictions + 0.2 * rng.standard_t(2.5, made.predictions.shape)).astype(np.float32)
    )


@bank
def several_targets() -> Bank:
    return simulated_values(1000, 10, 20, targets=12)


@bank
def many_rows_binary() -> Bank:
    return simulated_labels(40_000, 12, 21)


@bank
def many_rows_mae() -> Bank:
    return simulated_values(20_000, 10, 22, metric="mae")


@bank
def auc_many_models() -> Bank:
    return simulated_labels(1000, 30, 23, metric="auc")


def real_banks() -> None:
    folder = os.environ.get("PODIUM_REAL_DATA")
    if not folder or not (Path(folder) / "oof").is_dir():
        return
    oof = Path(folder) / "oof"

    @bank
    def mars_84_models() -> Bank:
        held = np.load(oof / "mars1_pred_bank.npz", allow_pickle=False)
        rows = int(held["n_val"])
        return Bank("column_log_loss", held["val_labels"].astype(np.float32), held["preds"][:, :rows])

    @bank
    def mars_36_models() -> Bank:
        held = np.load(oof / "mars_ega_val_blend.npz", allow_pickle=False)
        P = np.clip(held["preds"], 0, 1).astype(np.float32)
        return Bank("column_log_loss", held["labels"].astype(np.float32), P)


# ---- what is measured


def problem_of(made: Bank, rows: npt.NDArray[np.int_], seed: int) -> Problem:
    """Some rows of a bank, without files."""
    ids = [f"row{i:06d}" for i in rows]
    frame, note = nested_folds(pd.DataFrame({"row_id": ids}), Nesting(seed=seed), lambda: made.truth[rows])
    order = np.argsort(frame["nested"].to_numpy(), kind="stable")

    def member(name: str, values: npt.NDArray[np.float32]) -> Member:
        return Member(name, [Part(name, ArrayRows(values[rows][order]), 0, np.arange(len(rows), dtype=np.int32))])

    stack = Stack(
        [member(f"model{k}", values) for k, values in enumerate(made.predictions)],
        frame.iloc[order].reset_index(drop=True), made.truth.shape[1:], np.ones(()),
        Manifest("out_of_fold", "benchmark", made.metric), note, truth=member("truth", made.truth),
    )  # fmt: skip
    return Problem(stack, KNOWN[made.metric])


def loss_of(metric: str, score: float) -> float:
    return 1.0 - score if KNOWN[metric].higher_is_better else score


def halves(made: Bank, seed: int) -> tuple[npt.NDArray[np.int_], npt.NDArray[np.int_]]:
    """Two random halves of the rows."""
    order = np.random.default_rng(seed).permutation(len(made.truth))
    middle = len(order) // 2
    return np.sort(order[:middle]), np.sort(order[middle:])


def measure(made: Bank, seed: int) -> dict[str, Any]:
    """Fit everything on one half as ``compare`` does: nested losses, their errors against the committee's, and losses on the
    other half, by method.
    """
    fitted_on, judged_on = halves(made, seed)
    problem, other = problem_of(made, fitted_on, seed), problem_of(made, judged_on, seed)
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        fits = run(problem, solvers_for(problem, None, Method()), strict=False)
        chosen, _ = recommend(fits, problem)
    seconds = time.perf_counter() - start
    held = judge(other, [fitted.weights for fitted in fits.values()])
    home = fits["committee"].honest
    return {
        "methods": list(fits),
        "nested": [loss_of(made.metric, fitted.honest.score()) for fitted in fits.values()],
        "error": [difference(fitted.honest, home, samples=400).error for fitted in fits.values()],
        "test": [loss_of(made.metric, judged.score()) for judged in held],
        "recommended": chosen,
        "seconds": seconds,
    }


def followed(split: dict[str, Any], better: float) -> str:
    """What the rule recommends where another method must be better than the committee by so many standard errors."""
    methods, nested = split["methods"], split["nested"]
    best = int(np.argmin(nested))
    home = methods.index("committee")
    if nested[home] - nested[best] > better * split["error"][best] or nested[home] > nested[methods.index("single")]:
        return str(methods[best])
    return "committee"


def regret(split: dict[str, Any], method: str) -> float:
    """Loss on the other half above that of the best method there, in per cent; ``greedy`` stands for what has no exact one."""
    methods, losses = split["methods"], split["test"]
    place = methods.index(method if method in methods else "greedy")
    return 100.0 * float(losses[place] / max(min(losses), 1e-12) - 1.0)


def measured(name: str, cache: Path, splits: int, seconds: float) -> tuple[Bank, list[dict[str, Any]]]:
    """A bank and its splits; those of the cache are gone on with."""
    predictions, results = cache / f"{name}.npz", cache / f"{name}.json"
    if predictions.is_file():
        with np.load(predictions, allow_pickle=False) as file:
            made = Bank(str(file["metric"]), file["truth"], file["predictions"])
    else:
        made = BANKS[name]()
        np.savez(predictions, metric=made.metric, truth=made.truth, predictions=made.predictions)
    found: list[dict[str, Any]] = json.loads(results.read_text()) if results.is_file() else []
    start = time.process_time()
    while len(found) < splits and (time.process_time() - start < seconds or len(found) < _FEWEST_SPLITS):
        found.append(measure(made, len(found)))
        results.write_text(json.dumps(found))
    return made, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cache", type=Path, default=Path("advice"), help="folder of predictions and results (default: advice)"
    )
    parser.add_argument("--banks", nargs="+", default=None, help="names of banks; default: all")
    parser.add_argument("--splits", type=int, default=30, help="most splits of a bank")
    parser.add_argument("--seconds", type=float, default=25.0, help="seconds of the processor for a bank's splits")
    parser.add_argument("--choose", action="store_true", help="also show what other constants of the rule would give")
    flags = parser.parse_args()
    real_banks()
    flags.cache.mkdir(parents=True, exist_ok=True)
    names = flags.banks or list(BANKS)
    columns = [*HABITS, "best nested", "recommended"]
    rows, table_of, every = [], [], []
    for name in names:
        made, splits = measured(name, flags.cache, flags.splits, flags.seconds)
        every.append(splits)
        regrets = [float(np.mean([regret(split, habit) for split in splits])) for habit in HABITS]
        regrets.append(float(np.mean([regret(split, followed(split, 0.0)) for split in splits])))
        regrets.append(float(np.mean([regret(split, split["recommended"]) for split in splits])))
        table_of.append(regrets)
        models, count, width = made.predictions.shape
        took = float(np.mean([split["seconds"] for split in splits]))
        size = f"{models} x {count}" + (f" x {width}" if width > 1 else "")
        rows.append([name, made.metric, size, len(splits), *(f"{r:.2f}" for r in regrets), f"{took:.1f}"])
        print(f"{name}: {len(splits)} splits, {took:.1f} s each", file=sys.stderr, flush=True)
    print(table(("bank", "metric", "models x rows", "splits", *columns, "s"), rows))
    print("\n" + summarised(columns, np.array(table_of)))
    if flags.choose:
        print("\n" + chosen(every, np.array(table_of)))


def summarised(columns: list[str], regrets: Array) -> str:
    """Means over the banks, the banks where a choice is the worst of all, and means relative to the four plain habits."""
    plain = [columns.index(name) for name in PLAIN]
    relative = regrets / np.maximum(regrets[:, plain].mean(axis=1, keepdims=True), 1e-12)
    worst = (regrets >= regrets[:, plain].max(axis=1, keepdims=True) - 1e-9).sum(axis=0)
    header = ("choice", "mean regret, %", "median, %", "relative", "even banks", "odd banks", "worst on")
    cells = [
        [name, f"{m:.2f}", f"{d:.2f}", f"{r:.2f}", f"{even:.2f}", f"{odd:.2f}", f"{w} of {len(regrets)}"]
        for name, m, d, r, even, odd, w in zip(
            columns,
            regrets.mean(axis=0),
            np.median(regrets, axis=0),
            relative.mean(axis=0),
            relative[::2].mean(axis=0),
            relative[1::2].mean(axis=0),
            worst,
            strict=True,
        )
    ]
    return table(header, cells)


def chosen(every: list[list[dict[str, Any]]], regrets: Array) -> str:
    """Relative regret on banks of even and of odd number of the rule with other constants."""
    columns = [*HABITS, "best nested", "recommended"]
    unit = np.maximum(regrets[:, [columns.index(name) for name in PLAIN]].mean(axis=1), 1e-12)
    cells = []
    for better in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0):
        own = [np.mean([regret(split, followed(split, better)) for split in splits]) for splits in every]
        relative = np.array(own) / unit
        cells.append(
            [f"{better:g}", f"{np.mean(own):.2f}", f"{relative[::2].mean():.3f}", f"{relative[1::2].mean():.3f}"]
        )
    return table(("standard errors", "mean regret, %", "even banks", "odd banks"), cells)


if __name__ == "__main__":
    main()
