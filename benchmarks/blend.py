"""Blending, side by side with the ways of the original solutions, in one run.

``moa``: column log loss of 21,948 rows x 206 targets x 7 models; the source searched weights with an Optuna loop that
recomputes blend and metric over all predictions in every trial. ``leap``: R2 of 100,000 rows x 368 targets x 6 models,
against scikit-learn's ``r2_score`` per target in a loop. ``maps``: MAE of 2,000 maps of 70 x 70 x 3 models, against
trials that recompute the error. ``auc``: 43 models of 26,048 rows beside scikit-learn's function. ``submission``: a CSV of
368 targets beside pandas. ``compare``: the whole command on a CSV of 100 models x 600 rows. ``peers``: :mod:`benchmarks.blend_peers`. ``memory``: one pass and an exact solution on 13 models x 625,000 x 368 (13 GB of disk).

Naive trials are timed on ``--naive_trials`` of them and multiplied; the score they reach is that of the same sampler with
the same number of trials. The exact solution's time includes opening the banks and the pass over the predictions.

    python benchmarks/blend.py
    python benchmarks/blend.py --cases memory --scratch /some/large/disk
"""

# ruff: noqa: E402  (what follows must be set before numpy is imported)

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

sys.path = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]  # this file is not the package of its name
for _variable in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import numpy as np
import numpy.typing as npt
import optuna
import pandas as pd
from sklearn.metrics import r2_score, roc_auc_score

from benchmarks.blend_peers import made, problem_of, run_peers
from blend.aligned.align import align
from blend.commands.report import table
from blend.commands.submission import write_csv
from blend.judging.judge import judge
from blend.metrics.registry import KNOWN
from blend.problem import Problem
from blend.solvers import make_solver
from blend.solvers.exact import exact_minimum
from datamodules.banks.bank import Manifest, write_bank
from datamodules.banks.sources import resolve

Array = npt.NDArray[np.float64]
T = TypeVar("T")


def write_banks(
    folder: Path, truth: npt.NDArray[np.float32], metric: str, models: list[npt.NDArray[np.float32]]
) -> None:
    rows = len(truth)
    index = pd.DataFrame({"row_id": [f"row_{i:07d}" for i in range(rows)], "fold": np.arange(rows) * 5 // rows})
    write_bank(folder / "truth", truth, index, Manifest("truth", "benchmark", metric))
    for k, predictions in enumerate(models):
        manifest = Manifest("out_of_fold", "benchmark", metric, experiment=f"model{k}", truth="../truth")
        write_bank(folder / f"model{k}", predictions, index, manifest)


def sparse_labels(
    rows: int, targets: int, models: int
) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
    """About 0.8 positives a row, correlated models of different quality, as in MoA."""
    rng = np.random.default_rng(0)
    prior = rng.normal(-6.6, 0.9, targets)
    logit = prior + rng.standard_gamma(0.3, (rows, targets)) * 2.5 * (rng.random((rows, targets)) < 0.3)
    truth = rng.random((rows, targets)) < 1 / (1 + np.exp(-logit))
    common = rng.normal(0, 0.4, (rows, targets))
    noisy = (logit + common + rng.normal(0, 0.3 + 0.08 * k, (rows, targets)) for k in range(models))
    return truth.astype(np.float32), [(1 / (1 + np.exp(-z))).astype(np.float32) for z in noisy]


def tendencies(rows: int, targets: int, models: int) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
    """Targets of different predictability, models with partly shared errors."""
    rng = np.random.default_rng(1)
    truth = rng.standard_normal((rows, targets), dtype=np.float32)
    noise = np.linspace(0.1, 0.9, targets, dtype=np.float32)
    shared = noise * rng.standard_normal((rows, targets), dtype=np.float32)
    own = (noise * (0.5 + 0.1 * k) * rng.standard_normal((rows, targets), dtype=np.float32) for k in range(models))
    return truth, [truth * 0.95 + 0.7 * shared + e for e in own]


def maps(rows: int, targets: int, models: int) -> tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]:
    """Velocities in m/s with errors of heavy tails."""
    rng = np.random.default_rng(2)
    truth = (1500 + 3000 * rng.random((rows, targets), dtype=np.float32)).astype(np.float32)
    shared = rng.laplace(0, 12, (rows, targets)).astype(np.float32)
    return truth, [
        truth + shared + rng.laplace(0, 15 + 4 * k, (rows, targets)).astype(np.float32) for k in range(models)
    ]


def naive_log_loss(y: npt.NDArray[np.float32], P: npt.NDArray[np.float32], w: Array) -> float:
    """As the source: blend all, clip, mean of both logarithms over all cells, float64."""
    blended = np.zeros(y.shape)
    for weight, predictions in zip(w, P, strict=True):
        blended += weight * predictions
    blended = np.clip(blended, 0.0, 1.0)
    return float(-np.mean(y * np.log(blended + 1e-15) + (1 - y) * np.log(1 - blended + 1e-15)))


def naive_r2(y: npt.NDArray[np.float32], P: npt.NDArray[np.float32], w: Array) -> float:
    """Scikit-learn's score of every target in a loop."""
    blended = np.tensordot(w, P, axes=1)
    return float(np.mean([r2_score(y[:, t], blended[:, t]) for t in range(y.shape[1])]))


def naive_mae(y: npt.NDArray[np.float32], P: npt.NDArray[np.float32], w: Array) -> float:
    """Blend all, mean absolute error."""
    return float(np.abs(np.tensordot(w, P, axes=1) - y).mean())


CASES: dict[
    str,
    tuple[
        str,
        Callable[..., tuple[npt.NDArray[np.float32], list[npt.NDArray[np.float32]]]],
        tuple[int, int, int],
        Callable[..., float],
    ],
] = {
    "moa": ("column_log_loss", sparse_labels, (21_948, 206, 7), naive_log_loss),
    "leap": ("r2", tendencies, (100_000, 368, 6), naive_r2),
    "maps": ("mae", maps, (2_000, 4_900, 3), naive_mae),
}


def seconds(function: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def run_study(score: Callable[[Array], float], models: int, higher: bool, trials: int) -> tuple[float, float]:
    """Seconds per trial and best score of a TPE study over independent weights, divided by their sum."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(
        direction="maximize" if higher else "minimize", sampler=optuna.samplers.TPESampler(seed=1120)
    )

    def trial_score(trial: optuna.Trial) -> float:
        w = np.array([trial.suggest_float(f"w{k}", 0, 1) for k in range(models)])
        return score(w / w.sum())

    taken, _ = seconds(lambda: study.optimize(trial_score, n_trials=trials))
    return taken / trials, study.best_value


def run_case(name: str, scale: float, trials: int, naive_trials: int, scratch: Path) -> None:
    metric, make, (rows, targets, models), naive = CASES[name]
    rows = max(50, int(rows * scale))
    y, P = make(rows, targets, models)
    folder = scratch / name
    write_banks(folder, y, metric, P)
    stacked = np.stack(P)
    del P
    higher = KNOWN[metric].higher_is_better
    naive_trial, _ = run_study(lambda w: naive(y, stacked, w), models, higher, naive_trials)
    naive_single, naive_value = seconds(lambda: naive(y, stacked, np.full(models, 1 / models)))
    banks = [str(folder / f"model{k}") for k in range(models)]
    opening, problem = seconds(lambda: Problem(align(resolve(banks)), KNOWN[metric]))
    passing, _ = seconds(problem.objective)
    objective = problem.objective()
    solving, (w, gap) = seconds(lambda: exact_minimum(objective))
    score_of = problem.metric.score_of_loss
    evaluation, _ = seconds(lambda: [objective.loss(w) for _ in range(20)])
    trial, searched = run_study(lambda v: score_of(objective.loss(v)), models, higher, trials)
    ours = score_of(objective.loss(objective.equal()))
    exact = opening + passing + solving
    print(f"\n## {name}: {rows} rows x {targets} targets x {models} models, {metric}\n")
    rows_of_table = [
        ["one naive evaluation", f"{naive_single:.3f} s", ""],
        [f"one naive Optuna trial (mean of {naive_trials})", f"{naive_trial:.3f} s", ""],
        [
            f"{trials} naive Optuna trials (the trial above, multiplied)",
            f"{naive_trial * trials:.1f} s",
            f"{searched:.9f}",
        ],
        ["ours: open the banks", f"{opening:.3f} s", ""],
        ["ours: one pass", f"{passing:.3f} s", ""],
        ["ours: exact solution after the pass", f"{solving:.4f} s", f"{score_of(objective.loss(w)):.9f}"],
        ["ours: exact solution in all", f"{exact:.3f} s", f"gap {gap:.1e}"],
        ["ours: one evaluation", f"{evaluation / 20 * 1e3:.3f} ms", ""],
        [f"ours: one Optuna trial, sampler included (mean of {trials})", f"{trial * 1e3:.2f} ms", f"{searched:.9f}"],
    ]
    print(table(("what", "time", "score"), rows_of_table))
    print(f"\nexact solution: {naive_trial * trials / exact:.0f} times faster than {trials} naive trials")
    print(
        f"Optuna trial: {naive_trial / trial:.0f} times cheaper; agreement of the metric: {abs(ours - naive_value):.1e}"
    )
    if name == "leap":
        _per_target(problem)


def _per_target(problem: Problem) -> None:
    taken, _ = seconds(lambda: make_solver("per_target", {"top": 4}).fit(problem))
    free, _ = seconds(lambda: make_solver("per_target", {}).fit(problem))
    print(
        f"per target: top-4 means in {taken:.2f} s, regularised weights with their strength chosen by folds in {free:.2f} s"
    )


class PeakMemory:
    """Peak of this process's own memory (without file pages that the system may take back), sampled."""

    def __enter__(self) -> PeakMemory:
        self.peak, self._stop = 0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._stop.wait(0.02):
            for line in Path("/proc/self/status").read_text().splitlines():
                if line.startswith("RssAnon"):
                    self.peak = max(self.peak, int(line.split()[1]) * 1024)

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def run_memory(scale: float, scratch: Path) -> None:
    rows, targets, models = int(625_000 * scale), 368, 13
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((4096, targets), dtype=np.float32)
    index = pd.DataFrame({"row_id": [f"row_{i:07d}" for i in range(rows)], "fold": np.arange(rows) * 5 // rows})
    folder = scratch / "memory"
    with tempfile.TemporaryDirectory(dir=scratch) as work:
        for k in range(-1, models):  # -1 is the truth; errors differ by model through shifts of one table of noise
            values = np.lib.format.open_memmap(Path(work) / "a.npy", mode="w+", dtype=np.float32, shape=(rows, targets))
            for start in range(0, rows, 4096):
                count = min(4096, rows - start)
                base = np.roll(noise, start // 4096 * 31 + 7, axis=0)[:count]
                error = np.roll(noise, 997 * (k + 2) + start // 4096 * 13, axis=0)[:count]
                values[start : start + count] = base if k < 0 else 0.9 * base + (0.3 + 0.03 * k) * error
            kind = "truth" if k < 0 else "out_of_fold"
            manifest = Manifest(kind, "benchmark", "r2", experiment=f"model{k}", truth=None if k < 0 else "../truth")
            write_bank(folder / ("truth" if k < 0 else f"model{k}"), values, index, manifest)
            del values
    with PeakMemory() as memory:
        begin = time.perf_counter()
        problem = Problem(align(resolve([str(folder / f"model{k}") for k in range(models)])), KNOWN["r2"])
        _, gap = exact_minimum(problem.objective())
        nested = {
            f: make_solver("convex", {}).fit(problem, [g for g in problem.folds if g != f]) for f in problem.folds
        }
        judged = judge(problem, [nested])[0]
        taken = time.perf_counter() - begin
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f"\n## memory: {rows} rows x {targets} targets x {models} models ({4 * rows * targets * models / 2**30:.1f} GiB of predictions)\n"
    )
    print(f"exact and nested solution in {taken:.1f} s (gap {gap:.1e}, nested R2 {judged.score():.6f})")
    print(
        f"peak of own memory {memory.peak / 2**30:.2f} GiB; peak resident size of the whole benchmark {whole:.2f} GiB (aim: below 4 GiB)"
    )


def run_auc(scale: float) -> None:
    """Greedy selection by AUC, and one evaluation beside scikit-learn's."""
    bank = made("auc", max(100, int(26_048 * scale)), 43)
    problem = problem_of(bank, np.arange(len(bank.truth)))
    greedy, weights = seconds(lambda: make_solver("greedy", {}).fit(problem))
    objective, repeats = problem.objective(), 20
    equal = np.tile(objective.equal(), (repeats, 1))
    many, _ = seconds(lambda: objective.losses(equal))
    one, loss = seconds(lambda: objective.loss(objective.equal()))
    blended = bank.models.mean(axis=0)
    theirs, score = seconds(lambda: [roc_auc_score(bank.truth, blended) for _ in range(repeats)])
    print(f"\n## auc: {len(bank.models)} models x {len(bank.truth)} rows\n")
    rows_of_table = [
        ["greedy, 100 steps of 43 candidates", f"{greedy:.2f} s", f"{-weights.path[-1]['loss']:.6f}"],
        ["ours: one evaluation", f"{one * 1e3:.2f} ms", f"{-loss:.6f}"],
        [f"ours: one of {repeats} at once, in threads", f"{many / repeats * 1e3:.2f} ms", ""],
        ["scikit-learn: one evaluation of blended rows", f"{theirs / repeats * 1e3:.2f} ms", f"{score[0]:.6f}"],
    ]
    print(table(("what", "time", "AUC"), rows_of_table))


def run_compare(scale: float, scratch: Path) -> None:
    """``python -m blend compare`` of many models of few rows, a process as a user starts it, by metric."""
    rows_of_table = []
    for metric in ("rmse", "mae", "column_log_loss", "auc"):
        bank = made("auc" if metric == "column_log_loss" else metric, max(60, int(600 * scale)), 100)
        frame = pd.DataFrame(bank.models.T, columns=[f"model{k}" for k in range(100)])
        frame.insert(0, "target", bank.truth)
        frame.insert(0, "id", np.arange(len(frame)))
        frame.to_csv(scratch / f"{metric}.csv", index=False)
        words = ["compare", f"{metric}.csv", "--metric", metric, "--out", f"out_{metric}", "--wandb", "disabled"]
        command = [sys.executable, "-m", "blend", *words]
        taken, _ = seconds(lambda: subprocess.run(command, cwd=scratch, check=True, stdout=subprocess.DEVNULL))  # noqa: B023
        rows_of_table.append([metric, f"{taken:.2f} s"])
    print("\n## compare: 100 models x 600 rows, start, figures and report included\n")
    print(table(("metric", "time"), rows_of_table))


def run_submission(scale: float, scratch: Path) -> None:
    """A submission of 368 targets, ours beside pandas."""
    rows, targets = max(100, int(50_000 * scale)), 368
    values = 0.01 * np.random.default_rng(4).standard_normal((rows, targets), dtype=np.float32)
    index = pd.DataFrame({"row_id": [f"test_{i:07d}" for i in range(rows)], "fold": 0})
    bank = write_bank(scratch / "submission", values, index, Manifest("test", "benchmark", "r2"))
    ours, _ = seconds(lambda: write_csv(bank, scratch / "ours.csv"))
    frame = pd.DataFrame(values, columns=[f"target_{t}" for t in range(targets)])
    frame.insert(0, "row_id", index["row_id"])
    few = max(50, rows // 20)
    theirs, _ = seconds(lambda: frame[:few].to_csv(scratch / "pandas.csv", index=False))
    print(f"\n## submission: {rows} rows x {targets} targets\n")
    lines = [
        ["ours", f"{ours:.2f} s", f"{rows / ours:,.0f}"],
        [f"pandas, {few} rows", f"{theirs:.2f} s", f"{few / theirs:,.0f}"],
    ]
    print(table(("writer", "time", "rows a second"), lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cases",
        nargs="+",
        default=["moa", "leap", "maps"],
        choices=[*CASES, "auc", "compare", "submission", "peers", "memory"],
    )
    parser.add_argument("--scale", type=float, default=1.0, help="share of the rows")
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--naive_trials", type=int, default=10)
    parser.add_argument("--scratch", type=Path, default=None, help="folder for the banks; default: a temporary one")
    flags = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=flags.scratch) as scratch:
        for case in flags.cases:
            if case == "memory":
                run_memory(flags.scale, Path(scratch))
            elif case == "auc":
                run_auc(flags.scale)
            elif case == "compare":
                run_compare(flags.scale, Path(scratch))
            elif case == "submission":
                run_submission(flags.scale, Path(scratch))
            elif case == "peers":
                run_peers(flags.scale)
            else:
                run_case(case, flags.scale, flags.trials, flags.naive_trials, Path(scratch))


if __name__ == "__main__":
    main()
