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

from blend.metrics.registry import KNOWN
from datamodules.errors import DataError
from datamodules.files import read_json
from experiments.engine.declare import Experiment, load_experiment
from experiments.engine.run_directory import RunDirectory

COLUMNS = (
    "name", "score", "±", "metric", "variant", "kind", "domain", "folds", "seeds", "parameters", "rows/s", "seconds", "status",
    "date", "commit", "data", "published",
)  # fmt: skip
_DIGITS = {"±": 2}
_WHOLE = frozenset({"parameters", "rows/s", "seconds"})


def number(value: Any, digits: int = 5) -> str:
    """A number as every page and table of the board shows it: significant digits, thousands apart, no exponent unless tiny or huge.

    Args:
        value: Number, or None; what is no number is shown as nothing.
        digits: Significant digits.
    """
    if value is None or value != value:
        return ""
    if value == 0 or not np.isfinite(value):
        return f"{value:g}"
    size = int(np.floor(np.log10(abs(value))))
    return f"{value:,.{max(0, digits - 1 - size)}f}" if -7 < size < 9 else f"{value:.{digits - 1}e}"


def cell(column: str, value: Any) -> str:
    """A cell of :func:`table` as text."""
    if isinstance(value, str):
        return value
    if column in _WHOLE and not pd.isna(value):
        return f"{value:,.0f}"
    return number(value, _DIGITS.get(column, 5))


def higher_is_better(metric: str) -> bool:
    """Direction of a judge's metric; a foreign one is taken for a loss."""
    return metric in KNOWN and KNOWN[metric].higher_is_better


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
    def own_groups(self) -> dict[str, float]:
        """Its scores by group, empty before there are any."""
        return self.groups.get(str(self.record.get("experiment"))) or {}

    @cached_property
    def per_target(self) -> pd.Series[float]:
        """Scores of every target in the judge's metric by its name, empty where the domain's report keeps none."""
        values = self.record.get("per_target") or []
        manifest = self.directory.bank / "manifest.json"
        names = read_json(manifest)["manifest"]["targets"] if values and manifest.is_file() else []
        return pd.Series(values, index=names if len(names) == len(values) else range(len(values)), dtype=float)

    @property
    def groups(self) -> dict[str, dict[str, float]]:
        """Scores by predictor (the net and its baselines), then by group; the first group is the judge's number."""
        found: dict[str, dict[str, float]] = self.record.get("scores") or {}
        return found

    @property
    def score(self) -> float:
        """The judge's number on the held-out rows; NaN before there is one."""
        best = (self.record.get("best") or {}).get("score")
        return float(next(iter(self.own_groups.values()), np.nan if best is None else best))

    @property
    def half_interval(self) -> float:
        """Half the width of the 95 % interval of its score over its held-out rows; NaN where its report gives none."""
        first = next(iter(self.own_groups), "")
        low, high = (self.record.get("intervals") or {}).get(first, (np.nan, np.nan))
        return float(high - low) / 2

    @cached_property
    def curves(self) -> pd.DataFrame:
        """``metrics.csv``."""
        path = self.directory.path / "metrics.csv"
        if not path.is_file() or not path.stat().st_size:
            return pd.DataFrame({"step": []})
        return pd.read_csv(path)

    def changed(self) -> pd.DataFrame:
        """Settings, those that differ from the declaration first."""
        from experiments.engine.cli import declared

        own = self.directory.flat_settings()
        names: dict[str, Any] = {}
        if self.experiment:
            plain = declared(self.experiment, demo=bool(self.record.get("demo"))).plain()
            for name, value in plain.items():
                names |= {f"{name}.{key}": v for key, v in value.items()} if isinstance(value, dict) else {name: value}
        rows = [
            (name, _shown(value), _shown(names[name]) if name in names else "not declared")
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
    sign = np.where(frame["metric"].map(higher_is_better), -1.0, 1.0)
    frame["order"] = frame["score"].astype(float) * sign
    return frame.sort_values(["domain", "order"], na_position="last").drop(columns="order").reset_index(drop=True)


def _system_row(system: str, members: Sequence[Run]) -> dict[str, Any]:
    first = members[0]
    record = first.record
    scores = [run.score for run in members]
    scored = [run for run in members if np.isfinite(run.score)]
    start = (record.get("starts") or [{}])[-1]
    return {
        "link": first.slug,
        "kind": "run",
        "name": system.split("/")[0],
        "variant": system.split("/")[1],
        "domain": first.domain,
        "metric": first.metric,
        "score": _mean(scores),
        "±": _spread(scores) if len(members) > 1 else first.half_interval,
        "folds": _list(run.record.get("fold") for run in scored or members),
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
    empty = dict.fromkeys(("parameters", "rows/s", "seconds"), np.nan) | {"published": "", "variant": ""}
    return row | empty | {"kind": "baseline", "name": name, "score": _mean(scores), "±": _spread(scores)}


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


def _spread(scores: Sequence[float]) -> float:
    """1.96 standard errors of the mean over folds and seeds; NaN for fewer than two."""
    known = np.asarray(scores, dtype=float)
    known = known[np.isfinite(known)]
    return float(known.std(ddof=1) / np.sqrt(len(known)) * 1.96) if len(known) > 1 else np.nan


def _shown(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def _list(values: Any) -> str:
    return ", ".join(dict.fromkeys(map(str, values)))


def _mean(values: Any) -> float:
    known = [float(value) for value in values if value is not None and value == value]
    return float(np.mean(known)) if known else np.nan
