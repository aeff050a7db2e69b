"""What a board shows, read from run folders and weights files; no torch and no network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datamodules.errors import DataError
from datamodules.files import read_json
from experiments.engine.declare import Experiment, load_experiment
from experiments.engine.run_directory import RunDirectory

COLUMNS = (
    "kind", "name", "variant", "domain", "metric", "score", "±", "folds", "seeds", "parameters", "rows/s", "seconds", "status",
    "date", "commit", "data", "published",
)  # fmt: skip
HIGHER_IS_BETTER = frozenset({"r2", "accuracy"})


@dataclass(frozen=True)
class Run:
    """One run folder.

    Args:
        directory: Its paths.
        record: ``run.json``.
    """

    directory: RunDirectory
    record: dict[str, Any]

    @property
    def name(self) -> str:
        """``experiment/variant/seedS/foldF``."""
        return "/".join(self.directory.path.parts[-4:])

    @property
    def system(self) -> str:
        """What was trained, without seed and fold."""
        return f"{self.record.get('experiment', self.name.split('/')[0])}/{self.name.split('/')[1]}"

    @property
    def slug(self) -> str:
        """Name of its page."""
        return self.name.replace("/", "--")

    @cached_property
    def experiment(self) -> Experiment | None:
        """Its declaration, or None where this version has it no more."""
        try:
            return load_experiment(str(self.record.get("experiment")))
        except DataError:
            return None

    @property
    def domain(self) -> str:
        """Name of the domain."""
        return self.experiment.domain.name if self.experiment else self.name.split("_")[0]

    @property
    def metric(self) -> str:
        """Name of the judge's metric."""
        return self.experiment.domain.metric if self.experiment else str(self.record.get("best", {}).get("metric", ""))

    @property
    def groups(self) -> dict[str, dict[str, float]]:
        """Scores by predictor (the net and its baselines), then by group; the first group is the judge's number."""
        found: dict[str, dict[str, float]] = self.record.get("scores") or {}
        return found

    @property
    def score(self) -> float:
        """The judge's number on the held-out rows; NaN before there is one."""
        own = self.groups.get(str(self.record.get("experiment")))
        return float(next(iter(own.values()))) if own else float((self.record.get("best") or {}).get("score", np.nan))

    @cached_property
    def curves(self) -> pd.DataFrame:
        """``metrics.csv``."""
        path = self.directory.path / "metrics.csv"
        if not path.is_file() or not path.stat().st_size:
            return pd.DataFrame({"step": []})
        return pd.read_csv(path)

    def changed(self) -> pd.DataFrame:
        """Settings, those that differ from the declaration first."""
        from experiments.engine.cli import resolve

        own = self.directory.flat_settings()
        declared: dict[str, Any] = {}
        if self.experiment:
            plain = resolve(self.experiment, [], demo=bool(self.record.get("demo"))).plain()
            for name, value in plain.items():
                declared |= (
                    {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
                )
        rows = [
            (name, _shown(value), _shown(declared[name]) if name in declared else "not declared")
            for name, value in own.items()
        ]
        rows.sort(key=lambda row: row[1] == row[2])
        return pd.DataFrame(rows, columns=["setting", "this run", "declared"])


@dataclass(frozen=True)
class Blend:
    """One weights file.

    Args:
        folder: Where ``weights.json`` and ``report.md`` are.
        content: ``weights.json``.
    """

    folder: Path
    content: dict[str, Any]

    @property
    def slug(self) -> str:
        """Name of its page."""
        return "blend--" + "--".join(self.folder.parts[-2:]).strip("-.")

    @property
    def interval(self) -> float:
        """Half the width of the 95 % interval of its gain over the best single model."""
        against = self.content.get("scores", {}).get("against_best_single") or {}
        return (against["high"] - against["low"]) / 2 if {"high", "low"} <= against.keys() else np.nan


def find_runs(folders: Sequence[Path], pattern: str = "*") -> list[Run]:
    """All runs below the folders whose ``experiment/variant/seedS/foldF`` matches or contains the pattern.

    Args:
        folders: Folders of runs, or run folders.
        pattern: Shell pattern or part of a name.

    Raises:
        DataError: A folder does not exist, or a record is broken.
    """
    runs = []
    for folder in folders:
        if not folder.is_dir():
            raise DataError(f"{folder} is no folder; give the folder of runs that --out names (runs/ by default)")
        for path in sorted(folder.glob("**/seed*/fold*/run.json")):
            directory = RunDirectory(path.parent)
            run = Run(directory, directory.record())
            if not path.parent.name.rpartition(".replaced-")[1] and (fnmatch(run.name, pattern) or pattern in run.name):
                runs.append(run)
    return runs


def find_blends(folders: Sequence[Path]) -> list[Blend]:
    """All weights files below the folders."""
    found = []
    for folder in folders:
        for path in sorted(folder.glob("**/weights.json")):
            content = read_json(path)
            if isinstance(content, dict) and "weights" in content:
                found.append(Blend(path.parent, content))
    return found


def systems(runs: Sequence[Run]) -> Iterator[tuple[str, list[Run]]]:
    """Runs of one system, data set and fold table together: its seeds and folds."""
    grouped: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        hashes = run.record.get("hashes") or {}
        grouped.setdefault((run.system, str(hashes.get("data", ""))), []).append(run)
    for (system, _), members in grouped.items():
        yield system, members


def table(runs: Sequence[Run], blends: Sequence[Blend] = (), demo: bool | None = None) -> pd.DataFrame:
    """One row for each system, baseline and blend, best first within a domain.

    Args:
        runs: Runs.
        blends: Blends; shown beside the runs that they are made of.
        demo: Only runs on demo data, only runs on real data, or both.
    """
    rows: list[dict[str, Any]] = []
    for system, members in systems([run for run in runs if demo is None or bool(run.record.get("demo")) == demo]):
        rows.append(_system_row(system, members))
        for name in members[0].groups:
            if name != members[0].record.get("experiment"):
                rows.append(_baseline_row(name, members))
    known = {run.system: run for run in runs}
    for blend in blends:
        models = [str(model) for model in blend.content["weights"]["models"]]
        parts = [run for system, run in known.items() if any(system in model or model in system for model in models)]
        if demo is None or any(bool(run.record.get("demo")) == demo for run in parts) or (not parts and not demo):
            rows.append(_blend_row(blend, parts))
    frame = pd.DataFrame(rows, columns=["link", *COLUMNS])
    frame = frame.drop_duplicates(["kind", "name", "variant", "data", "score"])
    sign = np.where(frame["metric"].isin(HIGHER_IS_BETTER), -1.0, 1.0)
    frame["order"] = frame["score"].astype(float) * sign
    return frame.sort_values(["domain", "order"], na_position="last").drop(columns="order").reset_index(drop=True)


def _system_row(system: str, members: Sequence[Run]) -> dict[str, Any]:
    first = members[0]
    record = first.record
    scores = np.array([run.score for run in members])
    start = (record.get("starts") or [{}])[-1]
    spread = float(np.nanstd(scores, ddof=1) / np.sqrt(len(scores)) * 1.96) if len(scores) > 1 else np.nan
    return {
        "link": first.slug,
        "kind": "run",
        "name": system.split("/")[0],
        "variant": system.split("/")[1],
        "domain": first.domain,
        "metric": first.metric,
        "score": float(scores.mean()),
        "±": spread,
        "folds": _list(run.record.get("fold") for run in members),
        "seeds": _list(run.record.get("seed") for run in members),
        "parameters": record.get("parameters"),
        "rows/s": _mean(run.record.get("rows_per_second") for run in members),
        "seconds": _mean(run.record.get("seconds_of_last_start") for run in members),
        "status": _list(run.record.get("status") for run in members),
        "date": str(start.get("started", ""))[:10],
        "commit": str(start.get("commit") or "")[:7] + ("+" if start.get("uncommitted_changes") else ""),
        "data": str((record.get("hashes") or {}).get("data", ""))[:7],
        "published": "; ".join(f"{p['score']} {p['what']}" for p in record.get("published", [])),
    }


def _baseline_row(name: str, members: Sequence[Run]) -> dict[str, Any]:
    first = members[0]
    scores = [next(iter(run.groups[name].values())) for run in members if run.groups.get(name)]
    row = _system_row(first.system, members)
    spread = float(np.std(scores, ddof=1) / np.sqrt(len(scores)) * 1.96) if len(scores) > 1 else np.nan
    empty = dict.fromkeys(("parameters", "rows/s", "seconds"), np.nan) | {"published": "", "variant": ""}
    return row | empty | {"kind": "baseline", "name": name, "score": float(np.mean(scores)), "±": spread}


def _blend_row(blend: Blend, parts: Sequence[Run]) -> dict[str, Any]:
    content = blend.content
    scores = content.get("scores", {})
    nested = scores.get("nested")
    return {
        "link": blend.slug,
        "kind": "blend",
        "name": blend.folder.name,
        "variant": content["weights"]["method"],
        "domain": parts[0].domain if parts else "",
        "metric": parts[0].metric if parts else str(content.get("metric", "")),
        "score": float(scores.get("in_sample", np.nan) if nested is None else nested),
        "±": blend.interval,
        "folds": "nested" if nested is not None else "in-sample",
        "seeds": "",
        "parameters": np.nan,
        "rows/s": np.nan,
        "seconds": np.nan,
        "status": f"{len(content['weights']['models'])} models",
        "date": "",
        "commit": "",
        "data": "",
        "published": "",
    }


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _list(values: Any) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _mean(values: Any) -> float:
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if known else np.nan
