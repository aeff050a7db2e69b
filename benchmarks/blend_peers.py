"""The peers of the blend on the same rows in the same run: ``benchmarks/blend.py --cases peers``.

Weights are fitted on one half of the rows and judged on the other. Peers that are not installed are named and left out:
``pip install -e ".[peers]"`` in an environment of its own, since AutoGluon wants pandas 2.
"""

from __future__ import annotations

import contextlib
import io
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import minimize
from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score, root_mean_squared_error

from blend.aligned.chunks import ArrayRows, Member, Part
from blend.aligned.view import Stack
from blend.commands.report import table
from blend.metrics.registry import KNOWN
from blend.problem import Problem
from blend.solvers import make_solver
from blend.weights import blend_rows
from datamodules.banks.bank import Manifest

Array = npt.NDArray[np.float64]


@dataclass
class Bank:
    """Predictions of one column.

    Attributes:
        metric: Name of the metric here.
        truth: ``(rows,)``.
        models: ``(models, rows)``.
        together: So many rows, one after another, are of one sample and stay in one half.
    """

    metric: str
    truth: Array
    models: Array
    together: int = 1

    def halves(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows to fit on and rows to judge on."""
        samples = np.random.default_rng(0).permutation(len(self.truth) // self.together)
        rows = (samples[:, None] * self.together + np.arange(self.together)).reshape(-1)
        half = len(samples) // 2 * self.together
        return rows[:half], rows[half:]


# for each metric: the plain function, what AutoGluon calls it, its problem type, and whether higher is better
METRICS: dict[str, tuple[Callable[[Array, Array], float], str, str, bool]] = {
    "column_log_loss": (lambda y, p: float(log_loss(y, np.clip(p, 1e-15, 1 - 1e-15))), "log_loss", "binary", False),
    "auc": (lambda y, p: float(roc_auc_score(y, p)), "roc_auc", "binary", True),
    "rmse": (lambda y, p: float(root_mean_squared_error(y, p)), "root_mean_squared_error", "regression", False),
    "mae": (lambda y, p: float(mean_absolute_error(y, p)), "mean_absolute_error", "regression", False),
}


def made(metric: str, rows: int, models: int) -> Bank:
    """Correlated models of different quality and calibration, some of them nearly twins, some poor."""
    rng = np.random.default_rng(models)
    signal, shared = rng.normal(0, 1.5, rows), rng.normal(0, 0.6, rows)
    raw = np.array([signal + shared + rng.normal(0, 0.3 + 0.9 * rng.random(), rows) for _ in range(models)])
    raw[1] = raw[0] + rng.normal(0, 0.05, rows)
    raw = raw * rng.uniform(0.7, 1.3, (models, 1)) + rng.normal(0, 0.15, (models, 1))
    if METRICS[metric][2] == "regression":
        return Bank(metric, signal + rng.normal(0, 0.5, rows), raw)
    return Bank(metric, (rng.random(rows) < 1 / (1 + np.exp(-signal))).astype(float), 1 / (1 + np.exp(-raw)))


def real() -> dict[str, Bank]:
    """36 held-out models of ten labels of a sibling of the Mars competition, its cells as rows."""
    folder = os.environ.get("PODIUM_REAL_DATA")
    if not folder:
        return {}
    with np.load(Path(folder) / "oof/mars_ega_val_blend.npz", allow_pickle=False) as file:
        truth, models = file["labels"].astype(float), np.clip(file["preds"], 0, 1).astype(float)
    return {
        "real: 36 models of mars_ega": Bank("column_log_loss", truth.reshape(-1), models.reshape(len(models), -1), 10)
    }


def problem_of(bank: Bank, rows: npt.NDArray[np.intp]) -> Problem:
    """Our problem of some rows, in five folds."""
    order = np.sort(rows)
    nested = np.arange(len(order)) * 5 // len(order)
    index = pd.DataFrame({"row_id": [f"r{i}" for i in order], "nested": nested})
    place = np.arange(len(order), dtype=np.int32)

    def member(name: str, values: Array) -> Member:
        return Member(name, [Part(name, ArrayRows(values[order, None].astype(np.float32)), 0, place)])

    members = [member(f"m{k}", values) for k, values in enumerate(bank.models)]
    stack = Stack(members, index, (1,), np.ones(()), Manifest("out_of_fold", "", bank.metric))
    stack.attach_truth(member("truth", bank.truth))
    return Problem(stack, KNOWN[bank.metric])


def ours(method: str, bank: Bank, fit: npt.NDArray[np.intp], held: npt.NDArray[np.intp]) -> Array:
    """Blended held-out rows of one of our methods."""
    weights = make_solver(method, {}).fit(problem_of(bank, fit))
    return blend_rows(weights, bank.models[:, held, None].astype(np.float32))[:, 0]


def slsqp(bank: Bank, fit: npt.NDArray[np.intp], held: npt.NDArray[np.intp]) -> Array:
    """Scipy on the simplex, from equal weights, as notebooks do it."""
    score, _, _, higher = METRICS[bank.metric]
    y, P, count = bank.truth[fit], bank.models[:, fit], len(bank.models)
    sign = -1.0 if higher else 1.0
    found = minimize(
        lambda w: sign * score(y, w @ P),
        np.full(count, 1 / count),
        method="SLSQP",
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
    )
    return np.asarray(found.x @ bank.models[:, held])


def autogluon(bank: Bank, fit: npt.NDArray[np.intp], held: npt.NDArray[np.intp]) -> Array:
    """AutoGluon's ensemble selection with its default of a hundred additions."""
    from autogluon.core import metrics
    from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

    _, name, problem_type, _ = METRICS[bank.metric]
    selection = EnsembleSelection(ensemble_size=100, problem_type=problem_type, metric=getattr(metrics, name))
    truth = bank.truth[fit].astype(int) if problem_type == "binary" else bank.truth[fit]
    selection.fit(list(bank.models[:, fit]), truth)
    return np.asarray(selection.weights_ @ bank.models[:, held])


def hillclimbers(bank: Bank, fit: npt.NDArray[np.intp], held: npt.NDArray[np.intp]) -> Array:
    """Hillclimbers with its default precision of a hundredth."""
    import hillclimbers as package

    score, name, _, higher = METRICS[bank.metric]

    def named(y: Array, p: Array) -> float:
        return score(np.asarray(y), np.asarray(p))

    named.__name__ = name
    columns = [f"m{k}" for k in range(len(bank.models))]
    found = package.climb_hill(
        train=pd.DataFrame({"y": bank.truth[fit]}),
        oof_pred_df=pd.DataFrame(bank.models[:, fit].T, columns=columns),
        test_pred_df=pd.DataFrame(bank.models[:, held].T, columns=columns),
        target="y",
        objective="maximize" if higher else "minimize",
        eval_metric=package.partial(named),
        plot_hill=False,
    )
    return np.asarray(found, dtype=np.float64)


def equal(bank: Bank, _fit: npt.NDArray[np.intp], held: npt.NDArray[np.intp]) -> Array:
    """The plain mean."""
    return np.asarray(bank.models[:, held].mean(axis=0))


PEERS: dict[str, Callable[..., Array]] = {
    "scipy SLSQP": slsqp,
    "AutoGluon EnsembleSelection": autogluon,
    "hillclimbers": hillclimbers,
    "equal weights": equal,
}


def run_peers(scale: float) -> None:
    """Print time and held-out score of all, bank by bank."""
    banks = {
        f"{metric}, {models} models x {int(rows * scale)} rows": made(metric, max(100, int(rows * scale)), models)
        for metric, rows, models in (
            ("column_log_loss", 20_000, 12),
            ("column_log_loss", 1_000, 40),
            ("auc", 20_000, 12),
            ("rmse", 20_000, 12),
            ("rmse", 1_000, 40),
            ("mae", 5_000, 12),
        )
    } | real()
    for title, bank in banks.items():
        score, _, _, higher = METRICS[bank.metric]
        fit, held = bank.halves()
        first = "convex" if KNOWN[bank.metric].convex else "greedy"
        methods = {f"ours: {name}": partial(ours, name) for name in (first, "shrunk", "stacker")} | PEERS
        lines = []
        for name, method in methods.items():
            start = time.perf_counter()
            try:
                with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    blended = method(bank, fit, held)
            except ImportError as error:
                lines.append([name, "", f"not installed ({error.name})"])
                continue
            lines.append([name, f"{time.perf_counter() - start:.2f} s", f"{score(bank.truth[held], blended):.6f}"])
        print(f"\n## {title} ({'higher' if higher else 'lower'} is better, fitted on one half, judged on the other)\n")
        print(table(("method", "time", bank.metric), lines), flush=True)
