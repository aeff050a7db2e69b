"""What the launcher and the grid cost beside the training: seconds a run, with runs that take no time.

A fake engine stands in for SLURM; records, statuses, dependencies, the table and the scores are the real ones::

    python benchmarks/launch.py --runs 1000 --finished 200
"""

from __future__ import annotations

# ruff: noqa: E402  (what follows finds the package blend)
import argparse
import contextlib
import io
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

sys.path = [str(Path(__file__).resolve().parents[1]), *sys.path[1:]]  # blend.py beside this file is not the package

from experiments.engine.cli import parse
from experiments.engine.declare import load_experiment
from experiments.engine.grid import run_grid
from experiments.engine.launch import job as jobs
from experiments.engine.launch.engines import Seen
from experiments.engine.launch.job import Job, Record, Status
from experiments.engine.launch.launcher import Launcher
from experiments.engine.launch.settings import Launch
from experiments.engine.training import identity_of, prepare_data


class Instant:
    """An engine whose jobs are queued, then running, then done, one look each."""

    def __init__(self) -> None:
        self.age: dict[str, int] = {}
        self.folders: dict[str, Path] = {}

    def see(self, records: Mapping[str, Record], statuses: Mapping[str, Status]) -> dict[str, Seen] | None:
        """Every job is older by a look."""
        seen = {}
        for token in list(self.age):
            self.age[token] += 1
            if self.age[token] > 2:
                jobs.write(self.folders[token], Status(token, 1, "done", 0, id=token))
                del self.age[token]
            else:
                seen[token] = Seen("queued" if self.age[token] == 1 else "running", token)
        return seen

    def room(self, running: int, records: Sequence[Record]) -> int:
        """No limit."""
        return 10**9

    def submit(self, folders: Sequence[tuple[Job, Path]], after: Sequence[str], running: Sequence[Record]) -> None:
        """Write the record, as SLURM's engine does."""
        for job, folder in folders:
            jobs.write(folder, Record(list(job.command), ".", "slurm", job.key, 3))
            self.age[job.key], self.folders[job.key] = 0, folder

    def cancel(self, id: str) -> None:
        """Nothing is cancelled."""


def bookkeeping(runs: int, out: Path) -> tuple[float, float]:
    """Seconds a run of a plan from submission to its end, and of looking once at all of them."""
    for number in range(runs):  # their newest scores are shown
        folder = out / "fake" / "default" / f"seed{number}" / "fold0"
        folder.mkdir(parents=True)
        rows = "".join(f"{step},{step // 10},0.5\n" for step in range(500))
        (folder / "metrics.csv").write_text("step,epoch,val_r2\n" + rows)
        (folder / "run.json").write_text(json.dumps({"status": "finished"}))
    half = runs // 2
    first = [
        Job(f"fake/default/seed{i}/fold0", ("true",), run=out / f"fake/default/seed{i}/fold0") for i in range(half)
    ]
    second = [
        Job(f"fake/default/seed{i}/fold0", ("true",), (first[i - half].key,), out / f"fake/default/seed{i}/fold0")
        for i in range(half, runs)
    ]
    launcher = Launcher(out, Launch(engine="slurm", poll_seconds=1e-3), Instant())
    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        launcher.run([*first, *second])
    whole = time.perf_counter() - begin
    from experiments.engine.launch.launcher import Watched

    watched = [Watched(job, launcher.folder / job.key) for job in (*first, *second)]
    begin = time.perf_counter()
    launcher.step(watched)
    return whole / runs, (time.perf_counter() - begin) / runs


def start_of_a_grid(finished: int, out: Path) -> float:
    """Seconds until a grid of which all runs are finished has checked them and printed its scores."""
    folds, seeds = 5, -(-finished // 5)
    words = [
        "--out", str(out), "--fold", "all", "--seeds", ",".join(map(str, range(seeds))), "--data.n_folds", str(folds),
        "--wandb", "disabled", "--accelerator", "cpu",
    ]  # fmt: skip
    settings = parse(load_experiment("moa_logistic"), words)
    from dataclasses import replace

    one = replace(settings, daily=replace(settings.daily, fold=0, seed=0, seeds=""))
    data = prepare_data(one)
    identity = identity_of(one, data)
    for seed in range(seeds):
        for fold in range(folds):
            directory = settings.directory(seed, fold)
            directory.path.mkdir(parents=True)
            own = replace(identity, seed=seed, fold=fold)
            directory.update_record(
                status="finished",
                **{name: getattr(own, name) for name in ("experiment", "variant", "seed", "fold", "hashes")},
                settings=dict(own.settings),
                rows={"train": 1, "valid": 1},
                best={"score": 0.02, "metric": "val"},
            )
    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        run_grid(settings, words)
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="fake runs of a plan, half of them after the other half")
    parser.add_argument("--finished", type=int, default=200, help="finished runs of a grid that is given again")
    asked = parser.parse_args()
    os.environ.setdefault("WANDB_MODE", "disabled")
    with TemporaryDirectory() as folder:
        whole, look = bookkeeping(asked.runs, Path(folder) / "plan")
        print(f"{asked.runs:,} runs through the launcher: {1e3 * whole:.2f} ms a run, submitted, watched and finished")
        print(f"one look at all of them: {1e3 * look:.3f} ms a run")
        seconds = start_of_a_grid(asked.finished, Path(folder) / "grid")
        print(f"a grid with {asked.finished} finished runs: {seconds:.2f} s until its table of scores")


if __name__ == "__main__":
    main()
